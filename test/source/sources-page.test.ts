import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { moduleService } from '../../src/source/modules/service.ts'
import { codeOf, never } from './sshd.ts'

test('the example of docs/sources.md is a source', async () => {
  const page = readFileSync(new URL('../../docs/sources.md', import.meta.url), 'utf8')
  const example = /```js\n(.*?)```/s.exec(page)?.[1]
  const directory = mkdtempSync(join(tmpdir(), 'cosmos-page-'))
  const file = join(directory, 'env.mjs')
  writeFileSync(file, example ?? '')
  const environment = { FIRST: 'one', SECOND: 'zwölf' }
  const service = moduleService('env', file, { home: directory, environment, settings: {}, log: () => {} })
  const at = (...segments: string[]) => ({ scheme: 'env', segments })
  try {
    expect((await service.list(at(), never)).map(({ name }) => name)).toEqual(['FIRST', 'SECOND'])
    const opened = await service.open(at('SECOND'), { read: true, write: false, truncate: false }, never)
    expect(opened.node.size).toBe(6)
    expect(Buffer.from(await opened.read(0, 100, never)).toString()).toBe('zwölf')
    await opened.close()
    expect(await codeOf(service.stat(at('THIRD'), never))).toBe('ENOENT')
  } finally {
    await service.close?.()
    rmSync(directory, { recursive: true, force: true })
  }
})
