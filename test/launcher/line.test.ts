// The file that the kernel reads instead of an executable: a #! line that names the launcher.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LAUNCHER_FILE_SIZE, launcherLine, launcherPath } from '../../src/cef/launcher.ts'
import { CosmosError } from '../../src/errors.ts'
import { run } from '../support/run.ts'
import { codeOf } from '../support/system.ts'
import { forBoth } from './launchers.ts'

describe('the launcher line', () => {
  test('is a line and a comment, of one size', () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^\/[a-z/]{0,80}$/),
        fc.stringMatching(/^\/[a-z/]{0,80}$/),
        (socket, launcher) => {
          const text = launcherLine(socket, launcher).toString()
          const [first, rest] = text.split('\n')
          expect(text).toHaveLength(LAUNCHER_FILE_SIZE)
          expect(first).toBe(`#!${launcher} ${socket}`)
          expect(rest).toMatch(/^#*$/)
          expect(text.endsWith('\n')).toBe(true)
        },
      ),
    )
  })

  test('is refused where the kernel would cut it, and is not where it just fits', () => {
    const longest = 255 - '#!/l \n'.length
    expect(launcherLine(`/${'s'.repeat(longest - 1)}`, '/l')).toHaveLength(LAUNCHER_FILE_SIZE)
    expect(codeOf(() => launcherLine(`/${'s'.repeat(longest)}`, '/l'))).toBe('ENAMETOOLONG')
    expect(() => launcherLine(`/${'s'.repeat(longest)}`, '/l')).toThrow(CosmosError)
    expect(codeOf(() => launcherLine('/s', '/a b/l'))).toBe('EINVAL')
  })

  test('names a launcher that is there', () => {
    expect(readFileSync(launcherPath()).length).toBeGreaterThan(0)
  })
})

forBoth('a file with the line', (subject) => {
  test('is executed by the kernel, and read by everything else', async () => {
    const { world } = subject
    const path = join(world.directory, 'hello')
    const payload = join(world.directory, 'payload')
    writeFileSync(payload, '#!/bin/sh\necho "hello $*"\n', { mode: 0o755 })
    writeFileSync(path, launcherLine(world.control, subject.file), { mode: 0o755 })
    world.answer = { payload: () => payload }
    expect(await run(path, ['you'])).toMatchObject({ code: 0, stdout: 'hello you\n', stderr: '' })
    // By a shell, on its PATH, whose path it gets as argument 0.
    const env = { PATH: `${world.directory}:/usr/bin:/bin` }
    expect((await run('/bin/sh', ['-c', 'hello and all'], { env })).stdout).toBe('hello and all\n')
    expect(world.asked.at(-1)).toMatchObject({ path, argv: [path, 'and', 'all'] })
    expect(await run('/bin/sh', [path])).toMatchObject({ code: 0, stdout: '', stderr: '' })
    expect((await run('/bin/cat', [path])).stdout).toHaveLength(LAUNCHER_FILE_SIZE)
  })
})
