// Executables of an ordinary user: his daemon, his VMs, his files.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'
import { tiny } from '../wasi/tiny.ts'

const skip = whyNoMount()

describe.skipIf(skip)(`executables of an ordinary user${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  beforeAll(async () => {
    instance = await CosmosInstance.start({ asUser: true })
  })
  afterAll(() => instance.stop())

  /** A line of a shell in which the tree's programs come first. */
  const shell = (line: string) =>
    instance.run('/bin/sh', ['-c', line], {
      env: { PATH: `${join(instance.mount, '.cosm/bin')}:/usr/bin:/bin` },
      cwd: instance.work,
    })

  test('a module, a function, a program by its VM', async () => {
    const bin = join(instance.home, '.cosm/bin')
    mkdirSync(bin, { recursive: true })
    writeFileSync(join(bin, 'tiny.wasm'), tiny.write, { mode: 0o644 })
    expect(await shell('tiny.wasm')).toMatchObject({ code: 0, stdout: 'tiny\n', stderr: '' })
    expect(await shell('tiny.wasm | wc -c')).toMatchObject({ stdout: expect.stringMatching(/^5\n$/) })
    expect(await shell(`${instance.mount}/.cosm/lib/libm.so.6/cos 0`)).toMatchObject({ stdout: '1\n' })
    expect((await instance.cosmos(['exec', '/usr/bin/id', '-u'])).stdout).toBe(
      (await instance.run('/usr/bin/id', ['-u'])).stdout,
    )
    expect((await instance.cosmos(['call', 'libc.so.6', 'strlen', 'hello'])).stdout).toBe('5\n')
  })

  test('the result frames are his alone', async () => {
    const listed = await instance.tell('run', 'list')
    expect(listed).toContain('tiny.wasm')
    expect(await shell(`ls -ld ${instance.home}/.cosm/var/run`)).toMatchObject({
      stdout: expect.stringMatching(/^drwx------/),
    })
  })

  test('declarations beside a file and at its top', async () => {
    const bin = join(instance.home, '.cosm/bin')
    const said = async (name: string, text: string, toml?: string): Promise<string> => {
      writeFileSync(join(bin, name), text, { mode: 0o755 })
      if (toml !== undefined) writeFileSync(join(bin, `${name}.cef.toml`), toml)
      const { code, stderr } = await shell(name)
      return `${code} ${stderr}`
    }
    expect(await said('wants', '#!/bin/sh\necho\n', 'environment = ["SURELY_NOT_SET"]\n')).toMatch(
      /^126 cosmos: .*wants: needs the variable SURELY_NOT_SET/,
    )
    expect(await said('files', '#!/bin/sh\n# cosmos: files = ["/surely/not/there"]\n')).toMatch(
      /^126 cosmos: .*files: needs the file \/surely\/not\/there/,
    )
    expect(await said('other', '#!/bin/sh\n# cosmos: vm = "surely-not"\n')).toMatch(
      /^126 cosmos: .*surely-not/,
    )
    expect(await said('wrong', '#!/bin/sh\n', 'vmm = 1\n')).toMatch(/^126 cosmos: .*wrong\.cef\.toml.*vmm/)
  })
})
