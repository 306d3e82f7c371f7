import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { moduleService } from '../../src/source/modules/service.ts'
import type { SourceService } from '../../src/source/service.ts'
import { has, shell } from '../support/run.ts'
import { codeOf, never } from './sshd.ts'

const module = fileURLToPath(new URL('../../examples/source-git/git.mjs', import.meta.url))
const READ = { read: true, write: false, truncate: false }

describe.skipIf(!(await has('git')))('the example source-git', () => {
  const work = realpathSync(mkdtempSync(join(tmpdir(), 'cosmos git-')))
  const repo = join(work, 'outer', 'répo')
  const lines: string[] = []
  let service: SourceService
  let first: string
  let second: string

  const git = async (script: string) =>
    (
      await shell(
        `cd "$1"; git() { command git -c user.name=T -c user.email=t@example.org -c init.defaultBranch=main "$@"; }; ${script}`,
        [repo],
        { env: { ...process.env, HOME: work, GIT_CONFIG_NOSYSTEM: '1' } },
      )
    ).trim()
  const bytesText = (text: string) => Buffer.from(text).toString('latin1')
  const path = (rest: string) => ({
    scheme: 'git',
    segments: `${bytesText(repo)}/${rest}`.split('/').filter(Boolean),
  })
  const names = async (rest: string) => (await service.list(path(rest), never)).map(({ name }) => name).sort()

  async function contents(rest: string): Promise<string> {
    const file = await service.open(path(rest), READ, never)
    try {
      return Buffer.from(await file.read(0, file.node.size ?? 0, never)).toString()
    } finally {
      await file.close()
    }
  }

  beforeAll(async () => {
    mkdirSync(join(repo, 'sub'), { recursive: true })
    writeFileSync(join(repo, 'file'), 'first\n')
    writeFileSync(join(repo, 'sub', 'run'), '#!/bin/sh\n', { mode: 0o755 })
    writeFileSync(Buffer.concat([Buffer.from(`${repo}/sub/`), Buffer.from([0x6e, 0xff])]), 'no UTF-8')
    symlinkSync('sub/run', join(repo, 'link'))
    first = await git(
      "git init -q; git add -A; git commit -qm 'The first\n\nand its body'; git rev-parse HEAD",
    )
    writeFileSync(join(repo, 'file'), 'second, longer\n')
    second = await git(
      "git commit -qam second; git tag v1; git branch feature/x 'HEAD~1'; git rev-parse HEAD",
    )
    service = moduleService('git', module, {
      home: work,
      environment: { PATH: process.env.PATH, HOME: work, GIT_CONFIG_NOSYSTEM: '1' },
      log: (line) => lines.push(line),
      settings: {},
    })
  })
  afterAll(async () => {
    await service.close?.()
    rmSync(work, { recursive: true, force: true })
  })

  test('directories lead to the repository, and its kinds are in it', async () => {
    const outer = { scheme: 'git', segments: join(work, 'outer').split('/').filter(Boolean) }
    expect((await service.list(outer, never)).map(({ name }) => name)).toEqual([bytesText('répo')])
    expect(await names('')).toEqual(['branches', 'commits', 'tags'])
    expect(await names('branches')).toEqual(['feature%2Fx', 'main'])
    expect(await names('tags')).toEqual(['v1'])
    expect(await names('commits')).toEqual([first, second].sort())
  })

  test('trees of commits, branches and tags', async () => {
    expect(await names('branches/main')).toEqual(['file', 'link', 'sub'])
    expect(await contents('branches/main/file')).toBe('second, longer\n')
    expect(await contents('branches/feature%2Fx/file')).toBe('first\n')
    expect(await contents('tags/v1/file')).toBe('second, longer\n')
    expect(await contents(`commits/${first}/file`)).toBe('first\n')
    expect(await contents(`commits/${first.slice(0, 8)}/file`)).toBe('first\n')
    expect(await names(`commits/${first}/sub`)).toEqual(['n\xff', 'run'])
    expect(await contents(`commits/${first}/sub/n\xff`)).toBe('no UTF-8')
  })

  test('nodes', async () => {
    expect(await service.stat(path('branches/main/sub/run'), never)).toMatchObject({
      type: 'file',
      size: 10,
      mode: 0o555,
    })
    expect(await service.stat(path('branches/main/link'), never)).toMatchObject({
      type: 'link',
      target: 'sub/run',
    })
    const time = Number(await git('git log -1 --format=%ct main')) * 1000
    const [now, before] = await Promise.all(
      [second, first].map((id) => service.stat(path(`commits/${id}/file`), never)),
    )
    expect(now).toMatchObject({ type: 'file', size: 15, mtime: time })
    expect(now?.generation).not.toBe(before?.generation)
    const entries = await service.list(path('branches/main'), never)
    for (const { name, node } of entries)
      expect(node).toEqual(await service.stat(path(`branches/main/${name}`), never))
  })

  test('a commit has its message', async () => {
    const message = await service.property?.(path(`commits/${first}`), 'message', never)
    expect(Buffer.from(message ?? []).toString()).toBe('The first\n\nand its body\n')
    expect(await service.property?.(path(`commits/${first}`), 'other', never)).toBeUndefined()
    expect(await service.property?.(path(`commits/${first}/file`), 'message', never)).toBeUndefined()
  })

  test('a branch that moves is seen; a bare repository is one too', async () => {
    await git('git branch moving main~1')
    expect(await contents('branches/moving/file')).toBe('first\n')
    await git('git branch -f moving main; git clone -q --bare . ../bare')
    expect(await contents('branches/moving/file')).toBe('second, longer\n')
    const bare = {
      scheme: 'git',
      segments: join(work, 'outer', 'bare', 'branches').split('/').filter(Boolean),
    }
    expect((await service.list(bare, never)).map(({ name }) => name)).toContain('main')
  })

  test('what is not there, and what may not be', async () => {
    for (const missing of [
      'branches/none',
      'branches/main/none',
      'commits/ffffffff',
      'commits/HEAD',
      'none',
      'branches/a b',
    ])
      expect(await codeOf(service.stat(path(missing), never))).toBe('ENOENT')
    expect(await codeOf(service.stat(path('branches/main/file/below'), never))).toBe('ENOTDIR')
    expect(await codeOf(service.list(path('branches/main/file'), never))).toBe('ENOTDIR')
    expect(await codeOf(service.open(path('branches/main'), READ, never))).toBe('EISDIR')
    expect(await codeOf(service.open(path('branches/main/file'), { ...READ, write: true }, never))).toBe(
      'EROFS',
    )
    expect(await codeOf(Promise.resolve(service.mkdir?.(path('branches/main/new'), 0o755)))).toBe('EROFS')
    expect(readFileSync(join(repo, 'file'), 'utf8')).toBe('second, longer\n')
  })
})
