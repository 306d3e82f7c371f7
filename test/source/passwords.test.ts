import { expect, test } from 'vitest'
import { urlOf } from '../../src/frame/remote/path.ts'
import { hidePassword, hidePasswords } from '../../src/source/passwords.ts'

test('a password is not shown, whatever is in it', () => {
  expect(hidePassword('me:secret@host:80')).toBe('me@host:80')
  expect(hidePassword('me:sec@ret:x@host')).toBe('me@host')
  expect(hidePassword('me@host:80')).toBe('me@host:80')
  expect(hidePassword('[::1]:80')).toBe('[::1]:80')
  expect(urlOf('/https:/me:sec@ret@host/a:b@c')).toBe('https://me@host/a:b@c')
})

test('nor in a text', () => {
  expect(hidePasswords('https://me:sec@ret@host/a: no such host')).toBe('https://me@host/a: no such host')
  expect(hidePasswords('/ssh:/me:x@h/a and http://:y@h')).toBe('/ssh:/me@h/a and http://@h')
  expect(hidePasswords('https://host:80/a@b ssh:/me@host a:b@c')).toBe(
    'https://host:80/a@b ssh:/me@host a:b@c',
  )
})
