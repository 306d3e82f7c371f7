import { describe, expect, test } from 'vitest'
import { toBytesText } from '../../src/frame/paths.ts'
import { linksOf } from '../../src/source/http/links.ts'
import { locate, namesFile } from '../../src/source/http/location.ts'
import { at } from './http-service.ts'

describe('a path is a URL', () => {
  test.each([
    ['h', 'http://h', '/'],
    ['h:8080/a/b.txt', 'http://h:8080', '/a/b.txt'],
    ['[::1]:80/a', 'http://[::1]', '/a'],
    ['h/a%2Fb', 'http://h', '/a%2Fb'],
    ['h/p?q=1&x=a%26b', 'http://h', '/p?q=1&x=a%26b'],
    ['h/a b#c', 'http://h', '/a%20b%23c'],
    ['h/100%', 'http://h', '/100%25'],
    ['h/a?b?c', 'http://h', '/a?b?c'],
    [`h/${toBytesText('é')}`, 'http://h', '/%C3%A9'],
    ['h/\xff', 'http://h', '/%FF'],
  ])('%s', (text, origin, target) => {
    expect(locate(at(text))).toMatchObject({ origin, target })
  })

  test('names of hosts may have letters of all alphabets', () => {
    expect(locate(at(toBytesText('bücher.example/a'))).origin).toBe('http://xn--bcher-kva.example')
  })

  test('user and password are read byte by byte, and shown nowhere', () => {
    const location = locate(at(`me%40work:p%3Aw${toBytesText('é')}@h/a?token=1`))
    expect(location.authorization).toBe(`Basic ${Buffer.from('me@work:p:wé').toString('base64')}`)
    expect(JSON.stringify({ ...location, authorization: '' })).not.toMatch(/work|p%3Aw|token.*token/)
    expect(location.display).toBe('http://h/a?...')
  })

  test.each(['', '.git', 'a..b', 'a b', 'h:99999', '[::1', 'a\\b'])('%s is no host', (host) => {
    expect(() => locate(at(host))).toThrow(expect.objectContaining({ code: 'ENOENT' }))
  })

  test('nothing is below a query', () => {
    expect(() => locate(at('h/a?b/c'))).toThrow(expect.objectContaining({ code: 'ENOTDIR' }))
  })

  test.each([
    ['a.txt', true],
    ['a.tar.gz', true],
    ['a?b', true],
    ['a%2fb', true],
    ['movie.mp4', true],
    ['a', false],
    ['v1.0', false],
    ['.hidden', false],
    ['libc.so.6', false],
    ['a.', false],
  ])('%s is a file by its name: %s', (name, isFile) => {
    expect(namesFile(name)).toBe(isFile)
  })
})

describe('the links of a page', () => {
  const url = new URL('http://h/d/')
  const names = async (page: string, from = url) => (await linksOf(page, from)).map((link) => link.name)

  test('are those directly below it, once each', async () => {
    const page = `
      <a href="one.txt">1</a> <a href='one.txt#part'>again</a> <a href="./two">2</a> <A HREF=three/>3</A>
      <a href="../up">up</a> <a href="/d/four">4</a> <a href="/elsewhere">no</a> <a href="deep/er">no</a>
      <a href="http://h/d/five">5</a> <a href="http://other/d/six">no</a> <a href="//other/d/x">no</a>
      <a href="javascript:void(0)">no</a> <a href="mailto:me@h">no</a> <a href="">no</a> <a href="#top">no</a>
      <a href="?C=N;O=D">no</a> <a href="q?x=1&amp;y=a/b">q</a> <a href="a%2Fb">slash</a> <a href="s p.txt">space</a>
      <a href="é">letter</a> <a href="%FF">byte</a> <a href="100%25">percent</a> <a href="..">no</a>
      <a href="%2e%2e/x">no</a> <a href="http://">no</a> <a name="x">no</a> <map><area href="area"></map>
      <!-- <a href="comment">no</a> --> <script>'<a href="script">'</script> <title><a href="title"></title>
      <style><a href="style"></style> <textarea><a href="text"></textarea> <img src="image.png">`
    expect(await names(page)).toEqual([
      'one.txt',
      'two',
      'three',
      'four',
      'five',
      'q?x=1&y=a%2Fb',
      'a%2Fb',
      's p.txt',
      toBytesText('é'),
      '%FF',
      '100%25',
      'area',
    ])
  })

  test('say which are directories, whichever way they come', async () => {
    expect(await linksOf('<a href="a"><a href="a/"><a href="b/?x"><a href="c">', url)).toEqual([
      { name: 'a', directory: true },
      { name: 'c', directory: false },
    ])
  })

  test('are below the page, with a slash or without', async () => {
    expect(await names('<a href="d/x">', new URL('http://h/d'))).toEqual(['x'])
    expect(await names('<a href="x">', new URL('http://h/d'))).toEqual([])
  })

  test('follow the page’s base', async () => {
    const page = '<base href="/d/e/"><base href="/f/"><a href="../x"><a href="y">'
    expect(await names(page)).toEqual(['x'])
  })

  test('are looked up where they lead', async () => {
    for (const href of ['s p', 'é', 'a%2Fb', '%FF', 'q?x=1', '100%25', '%41']) {
      const [name] = await names(`<a href="${href}">`)
      expect(locate({ scheme: 'http', segments: ['h', 'd', name ?? ''] }).target).toBe(
        new URL(href, url).pathname + new URL(href, url).search,
      )
    }
  })

  test('a name that no directory can list is left out', async () => {
    expect(await names(`<a href="${'x'.repeat(256)}"><a href="${'x'.repeat(255)}">`)).toHaveLength(1)
  })

  test('a page of nothing but open elements takes linear time', async () => {
    expect(await names(`${'<div><a href=x>'.repeat(200_000)}`)).toEqual(['x'])
  })
})
