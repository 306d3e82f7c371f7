// What can be executed is a file of the tree: what the kernel reads of it, what runs it, and why nothing does.
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CosmosInstance, whyNoMount } from '../support/instance.ts'
import { run } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

/** (module (func (export "_start"))): a WASI program that does nothing. */
const NOTHING = Buffer.from('0061736d0100000001040160000003020100070a01065f737461727400000a040102000b', 'hex')
const skip = whyNoMount()

describe.skipIf(skip)(`executables${skip ? ` (${skip})` : ''}`, () => {
  let instance: CosmosInstance
  let bin: string
  let shown: string
  beforeAll(async () => {
    instance = await CosmosInstance.start()
    bin = join(instance.home, '.cosm/bin')
    shown = join(instance.mount, '.cosm/bin')
  })
  afterAll(() => instance.stop())

  const put = (name: string, content: string | Buffer, mode = 0o755): string => {
    writeFileSync(join(bin, name), content)
    chmodSync(join(bin, name), mode)
    return join(shown, name)
  }

  test('a native program is its own payload, and runs', async () => {
    copyFileSync('/bin/echo', join(bin, 'myecho'))
    expect(readFileSync(join(shown, 'myecho')).equals(readFileSync('/bin/echo'))).toBe(true)
    expect((await run(join(shown, 'myecho'), ['one', 'two'])).stdout).toBe('one two\n')
    expect((await run(join(shown, 'myecho:native'), ['three'])).stdout).toBe('three\n')
    await expect(run(join(shown, 'myecho:payload'), [])).rejects.toThrow(/EACCES/)
  })

  test('a script whose interpreter is there is its own payload, and runs', async () => {
    const text = '#!/bin/sh\necho "$0 $1"; exit 9\n'
    const path = put('myscript', text)
    expect(readFileSync(path, 'utf8')).toBe(text)
    expect(await run(path, ['x'])).toMatchObject({ code: 9, stdout: `${path} x\n` })
  })

  test('a WebAssembly module reads as a line that names the launcher, and runs', async () => {
    const path = put('nothing.wasm', NOTHING, 0o644)
    const line = readFileSync(path)
    expect(line.toString('latin1', 0, 2)).toBe('#!')
    expect(line.length).toBe(256)
    expect(readFileSync(`${path}:payload`).equals(NOTHING)).toBe(true)
    expect(readFileSync(`${path}:native`).equals(NOTHING)).toBe(true)
    expect(await run(path, [])).toMatchObject({ code: 0, stdout: '', stderr: '' })
  })

  test('a file that is replaced is another executable at once', async () => {
    const path = put('turncoat', NOTHING)
    expect((await run(path, [])).code).toBe(0)
    put('turncoat', '#!/bin/sh\necho script\n')
    expect((await run(path, [])).stdout).toBe('script\n')
    copyFileSync('/bin/echo', join(bin, 'turncoat.new'))
    await run('/bin/mv', [join(bin, 'turncoat.new'), join(bin, 'turncoat')])
    expect((await run(path, ['program'])).stdout).toBe('program\n')
    put('turncoat.new', NOTHING)
    await run('/bin/mv', [join(bin, 'turncoat.new'), join(bin, 'turncoat')])
    expect(await run(path, ['program'])).toMatchObject({ code: 0, stdout: '' })
  })

  test('a payload is written to by the name of its executable', async () => {
    const path = put('rewritten.wasm', NOTHING)
    writeFileSync(path, '#!/bin/sh\necho rewritten\n')
    expect(readFileSync(join(bin, 'rewritten.wasm'), 'utf8')).toBe('#!/bin/sh\necho rewritten\n')
    expect((await run(path, [])).stdout).toBe('rewritten\n')
  })

  test('profile, VMs and payload are properties', async () => {
    const path = put('asked.wasm', NOTHING)
    expect(readFileSync(`${path}:profile`, 'utf8')).toMatch(/^kind +wasm$/m)
    expect(readFileSync(`${path}:vms`, 'utf8')).toMatch(/^wasi runs it$/m)
    expect(readFileSync(`${path}:vms`, 'utf8')).toMatch(/^hostexec refuses: .+/m)
    expect((await run('/bin/ls', [`${path}:`])).stdout.split('\n')).toEqual(
      expect.arrayContaining(['profile', 'payload', 'vms', 'inode']),
    )
    const inspected = JSON.parse(await instance.tell('inspect', '--json', path)) as {
      properties: Record<string, string>
    }[]
    expect(inspected[0]?.properties.profile).toMatch(/wasm/)
    const accepted = JSON.parse(await instance.tell('vm', 'accepts', '--json', path)) as {
      chosen: string
      verdicts: { vm: string; accepts: boolean; reason?: string }[]
    }[]
    expect(accepted[0]?.chosen).toBe('wasi')
    expect(accepted[0]?.verdicts.find((each) => each.vm === 'hostexec')).toMatchObject({ accepts: false })
  })

  test.each([
    ['truncated', readFileSync('/bin/echo').subarray(0, 300), 126],
    ['foreign', foreign(), 126],
    ['no-interpreter', '#!/nonexistent/interpreter\n', 126],
    ['broken.wasm', NOTHING.subarray(0, 20), 126],
    ['text', 'just words\n', 126],
  ] as const)('%s: it answers what is wrong in one line', async (name, content, code) => {
    const result = await run(put(name, Buffer.from(content)), [])
    expect(result).toMatchObject({ code, stdout: '' })
    expect(result.stderr).toMatch(new RegExp(`^cosmos: .*${name}.*: .+\n$`))
    expect(result.stderr.trimEnd()).not.toContain('\n')
  })

  test('a text that was not meant to be run is itself', async () => {
    const path = put('README', 'words\n', 0o644)
    expect(readFileSync(path, 'utf8')).toBe('words\n')
    expect((await run('/bin/sh', ['-c', '"$1"', 'sh', path])).code).toBe(126)
  })

  test('exec: a name, a path, a VM by its name, nothing, a directory', async () => {
    copyFileSync('/bin/echo', join(bin, 'named'))
    expect((await instance.cosmos(['exec', 'named', 'hello'])).stdout).toBe('hello\n')
    expect((await instance.cosmos(['exec', '/bin/echo', '-n', '--json'])).stdout).toBe('--json')
    expect((await instance.cosmos(['exec', '/bin/sh', '-c', 'exit 77'])).code).toBe(77)
    expect((await instance.cosmos(['exec', '/bin/sh', '-c', 'kill -KILL $$'])).signal).toBe('SIGKILL')
    expect(await instance.cosmos(['exec', '--vm', 'wasi', '/bin/echo'])).toMatchObject({ code: 126 })
    expect(await instance.cosmos(['exec', '--vm', 'none', '/bin/echo'])).toMatchObject({ code: 126 })
    expect(await instance.cosmos(['exec', './nowhere'])).toMatchObject({ code: 127 })
    expect(await instance.cosmos(['exec', 'nowhere'])).toMatchObject({ code: 127 })
    expect(await instance.cosmos(['exec', '/etc'])).toMatchObject({ code: 126 })
  })

  test('the default VM is changed by changing the link', async () => {
    const vm = join(instance.home, '.cosm/vm/mine')
    mkdirSync(join(vm, 'bin'), { recursive: true })
    copyFileSync(instance.code('examples/vm-python/bin/vm.py'), join(vm, 'bin/vm.py'))
    chmodSync(join(vm, 'bin/vm.py'), 0o755)
    writeFileSync(
      join(vm, 'profile'),
      'kinds = ["script"]\ncommand = "bin/vm.py"\ninterpreters = ["python3"]\n',
    )
    const path = put('either', '#!/usr/bin/env python3\nprint("either")\n')
    const link = join(instance.mount, '.cosm/default/vm')
    const runner = async () => /^(\w+) runs it$/m.exec(readFileSync(`${path}:vms`, 'utf8'))?.[1]
    await waitFor('the VM', async () => readFileSync(`${path}:vms`, 'utf8').includes('mine'))
    expect(await runner()).toBe('hostexec')
    unlinkSync(link)
    symlinkSync('../vm/mine', link)
    await waitFor('the other VM', async () => (await runner()) === 'mine')
    await waitFor('the line', async () => readFileSync(path).length === 256)
    expect(await run(path, [])).toMatchObject({ code: 0, stdout: 'either\n', stderr: '' })
    rmSync(vm, { recursive: true })
    await waitFor('the first VM', async () => (await runner()) === 'hostexec')
  })
})

/** A program of another machine. */
function foreign(): Buffer {
  const bytes = Buffer.from(readFileSync('/bin/echo'))
  bytes.writeUInt16LE(process.arch === 'x64' ? 183 : 62, 18)
  return bytes
}
