import { createPublicKey, generateKeyPairSync, verify, X509Certificate } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { CosmosError } from '../../src/errors.ts'
import { peerIdOf } from '../../src/mesh/certificate.ts'
import { loadIdentity } from '../../src/mesh/identity.ts'
import { run } from '../support/run.ts'

let directory: string
let path: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cosmos-identity-'))
  path = join(directory, 'identity.key')
  onTestFinished(() => rmSync(directory, { recursive: true }))
})

function refusal(): CosmosError {
  try {
    loadIdentity(directory)
  } catch (error) {
    if (error instanceof CosmosError) return error
    throw error
  }
  throw new Error('the key was taken')
}

describe('the key of a host', () => {
  test('is made at first use, for its owner alone, and is the same from then on', () => {
    const first = loadIdentity(directory)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(directory)).toEqual(['identity.key'])
    const second = loadIdentity(directory)
    expect(second.id).toBe(first.id)
    expect(second.pem).toEqual(first.pem)
    expect(first.id).toMatch(/^[0-9a-f]{64}$/)
    expect(first.id).toBe(
      peerIdOf(createPublicKey(readFileSync(path)).export({ type: 'spki', format: 'der' })),
    )
  })

  test.each([0o640, 0o604, 0o660, 0o620, 0o601])('is refused with mode %o', (mode) => {
    const { id } = loadIdentity(directory)
    chmodSync(path, mode)
    expect(refusal()).toMatchObject({ code: 'EACCES', subject: path, hint: `chmod 600 ${path}` })
    chmodSync(path, 0o600)
    expect(loadIdentity(directory).id).toBe(id)
  })

  test.skipIf(process.getuid?.() !== 0)('is refused when it belongs to another user', () => {
    loadIdentity(directory)
    chownSync(path, 12_345, 0)
    expect(refusal()).toMatchObject({ code: 'EPERM', hint: `chown 0 ${path}` })
  })

  test('is refused as a symbolic link, as a directory, and as what is no Ed25519 key', () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
    const pem = rsa.export({ type: 'pkcs8', format: 'pem' })
    writeFileSync(join(directory, 'elsewhere'), pem, { mode: 0o600 })
    symlinkSync('elsewhere', path)
    expect(refusal()).toMatchObject({ code: 'EPERM' })
    rmSync(path)
    for (const content of [pem, '', 'not a key']) {
      writeFileSync(path, content, { mode: 0o600 })
      expect(refusal()).toMatchObject({ code: 'EINVAL' })
      expect(readFileSync(path, 'utf8')).toBe(content)
      rmSync(path)
    }
  })

  test('is one, though many processes make it at once', async () => {
    const module = new URL('../../src/mesh/identity.ts', import.meta.url).href
    const script = `const { loadIdentity } = await import('${module}'); console.log(loadIdentity(process.argv[1]).id)`
    const made = await Promise.all(
      Array.from({ length: 4 }, () =>
        run(process.execPath, ['--input-type=module', '-e', script, directory]),
      ),
    )
    expect(new Set(made.map(({ stdout }) => stdout.trim()))).toEqual(new Set([loadIdentity(directory).id]))
    expect(readdirSync(directory)).toEqual(['identity.key'])
  })
})

test('the certificate is a valid self-signed one, and no clock is too wrong for it', () => {
  const { pem, spki, privateKey } = loadIdentity(directory)
  const certificate = new X509Certificate(pem.cert)
  expect(certificate.verify(createPublicKey(privateKey))).toBe(true)
  expect(certificate.publicKey.export({ type: 'spki', format: 'der' })).toEqual(spki)
  expect(certificate.checkPrivateKey(privateKey)).toBe(true)
  expect(certificate.checkIssued(certificate)).toBe(true)
  expect([certificate.validFromDate.getUTCFullYear(), certificate.validToDate.getUTCFullYear()]).toEqual([
    2000, 9999,
  ])
  expect(verify(null, Buffer.from('x'), certificate.publicKey, Buffer.alloc(64))).toBe(false)
})
