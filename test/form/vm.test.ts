import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parseCapabilities } from '../../src/cef/capabilities.ts'
import { CosmosError } from '../../src/errors.ts'
import { checkout } from '../support/instance.ts'
import { waitFor } from '../support/wait.ts'
import { type VmClient, VmProcess } from '../support/wasi-vm.ts'
import { listing } from './support.ts'

const COMMAND = [process.execPath, '--max-old-space-size=256', join(checkout, 'vms/form/main.ts')]

let vm: VmProcess
let client: VmClient

beforeAll(async () => {
  vm = new VmProcess(COMMAND)
  client = await vm.connect()
})
afterAll(() => vm.stop())

function file(name: string, content: string | Buffer, mode = 0o644): string {
  writeFileSync(vm.path(name), content)
  chmodSync(vm.path(name), mode)
  return vm.path(name)
}

const produce = (args: object, by: VmClient = client) => by.request('produce', { kind: 'transform', ...args })

async function refused(asked: Promise<unknown>): Promise<string> {
  try {
    await asked
  } catch (error) {
    return error instanceof CosmosError ? `${error.code} ${error.message}` : `${error}`
  }
  return 'no error'
}

test('the profile', () => {
  const path = join(checkout, 'cosm/vm/form/profile')
  expect(parseCapabilities('form', readFileSync(path, 'utf8'), path)).toMatchObject({
    kinds: [],
    produces: true,
    sessions: 1,
  })
})

test('a map, by its name and by that of the file', async () => {
  const input = file('a.json', '{"a": {"b": {"c": [1]}}, "d": "x"}')
  const output = vm.path('a.d')
  expect(await produce({ kind: 'map', name: 'd', input, output, depth: 1 })).toEqual({ entries: 2, left: 1 })
  expect(listing(output)).toEqual({ d: 'x\n' })
  expect(await produce({ kind: 'map', name: 'd', input, output, fill: true, at: ['a'], more: 10 })).toEqual({
    entries: 3,
    left: 0,
  })
  expect(listing(output)).toEqual({ 'a/b/c/0': '1\n', d: 'x\n' })
  expect(readFileSync(`${output}.index`, 'utf8')).toMatch(
    /^\{"path":"","type":"object"\}\n\{"path":"a","type":"object","left":true\}\n/,
  )
  const below = vm.path('a.b')
  expect(await produce({ kind: 'map', name: 'json', input, output: below, at: ['a', 'b'] })).toEqual({
    entries: 2,
    left: 0,
  })
  expect(listing(below)).toEqual({ 'c/0': '1\n' })
  const document = file('stored', 'x\n  y\n')
  await produce({ kind: 'map', name: 'd', form: 'ox', input: document, output: vm.path('ox') })
  expect(listing(vm.path('ox'))).toEqual({ 'x/y': 'y\n' })
})

test('transforms: of a file, of a tree, into a tree', async () => {
  const input = file('b.yaml', 'a: [1, x]\n')
  const output = vm.path('b.json')
  expect(await produce({ name: 'to-json', input, output })).toEqual({ size: 32 })
  expect(JSON.parse(readFileSync(output, 'utf8'))).toEqual({ a: [1, 'x'] })
  await produce({ kind: 'map', name: 'yaml', input, output: vm.path('b.d') })
  await produce({ name: 'to-json', input: vm.path('b.d'), output: vm.path('b2.json') })
  expect(readFileSync(vm.path('b2.json'))).toEqual(readFileSync(output))
  expect(await produce({ name: 'grep', args: ['x', 'c'], input, output: vm.path('count') })).toEqual({
    size: 2,
  })
})

test('errors, and nothing is left of them', async () => {
  const input = file('bad.json', '{"a": [1, 2}')
  const output = vm.path('never')
  expect(await refused(produce({ kind: 'map', name: 'json', input, output }))).toBe(
    'EILSEQ json document: line 1, column 12: "," or "]" is missing',
  )
  expect(await refused(produce({ kind: 'map', name: 'none', input, output }))).toBe(
    'ENOENT none: no mapper is called so',
  )
  expect(await refused(produce({ name: '../x', input, output }))).toBe(
    'ENOENT ../x: no transformer is called so',
  )
  expect(await refused(produce({ name: 'sha256', input: vm.path('no'), output }))).toMatch(/^ENOENT /)
  expect(await refused(produce({ name: 'sha256', input, output: input }))).toMatch(/^EEXIST /)
  expect(await refused(produce({ kind: 'x', name: 'sha256', input, output }))).toMatch(/^EPROTO /)
  expect(await refused(client.request('exec'))).toMatch(/^ENOSYS /)
  expect(await client.request('accepts', { profile: {} })).toMatchObject({ accepts: false })
  expect([existsSync(output), existsSync(`${output}.part`)]).toEqual([false, false])
  expect((await client.request('stats')).productions).toBeGreaterThan(0)
})

test("a user's own: a module and an executable", async () => {
  const modules = [vm.path('own')]
  mkdirSync(modules[0]!)
  file(
    'own/shout.mjs',
    'export default { transform: (bytes, args) => Buffer.from(bytes.toString().toUpperCase() + args) }\n',
  )
  file(
    'own/words.mjs',
    "export default { map: (bytes) => ({ name: '', children: bytes.toString().split(' ').map((name) => ({ name })) }) }\n",
  )
  file('own/wrong.mjs', 'export default 1\n')
  file('own/rot', '#!/bin/sh\ntr a-z b-za; echo "$1"\n', 0o755)
  file('own/fails', '#!/bin/sh\necho reason >&2; exit 3\n', 0o755)
  file('own/tree', '#!/bin/sh\necho \'{"a": 1}\'\n', 0o755)
  const input = file('in', 'a b')
  expect(await produce({ name: 'rot', args: ['x'], modules, input, output: vm.path('rotten') })).toEqual({
    size: 5,
  })
  expect(readFileSync(vm.path('rotten'), 'utf8')).toBe('b cx\n')
  expect(await refused(produce({ name: 'fails', modules, input, output: vm.path('no') }))).toMatch(
    /^EIO .*fails: exited with 3: reason$/,
  )
  expect(await produce({ kind: 'map', name: 'tree', modules, input, output: vm.path('t') })).toEqual({
    entries: 1,
    left: 0,
  })
  await produce({ name: 'shout', args: ['!'], modules, input, output: vm.path('loud') })
  expect(readFileSync(vm.path('loud'), 'utf8')).toBe('A B!')
  await produce({ kind: 'map', name: 'words', modules, input, output: vm.path('words') })
  expect(listing(vm.path('words'))).toEqual({ a: '', b: '' })
  expect(await refused(produce({ name: 'wrong', modules, input, output: vm.path('no') }))).toMatch(
    /^ENOEXEC .*wrong.mjs: its default export has no function transform$/,
  )
  // What has loaded a module is not used again.
  client.close()
  expect(await vm.ended).toEqual({ code: 0, signal: null })
  client = await vm.connect()
})

test('deadline, memory, a client that goes: one production, and the next works', async () => {
  const modules = [vm.path('bad')]
  mkdirSync(modules[0]!)
  file('bad/spin.mjs', 'export default { transform: () => { for (;;); } }\n')
  file('bad/sleep', '#!/bin/sh\necho $$ >"$1"; exec sleep 1000\n', 0o755)
  file(
    'bad/hoard.mjs',
    'export default { transform: () => { const all = []; for (;;) all.push({ a: [all.length] }) } }\n',
  )
  const input = file('input', 'x')
  const output = vm.path('unmade')
  const ask = (name: string, args: object) => refused(produce({ name, modules, input, output, ...args }))
  expect(await ask('spin', { deadline: 0.3 })).toContain('the session ended')
  expect(await vm.ended).toEqual({ code: null, signal: 'SIGALRM' })
  client = await vm.connect()
  const pidFile = vm.path('pid')
  expect(await ask('sleep', { deadline: 1, args: [pidFile] })).toContain('the session ended')
  const pid = Number(readFileSync(pidFile, 'utf8'))
  await waitFor(
    'the end of the program',
    () => !existsSync(`/proc/${pid}`) || readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z '),
  )
  client = await vm.connect()
  expect(await ask('hoard', { deadline: 30 })).toContain('the session ended')
  client = await vm.connect()
  file(
    'bad/begun.mjs',
    `import { writeFileSync } from 'node:fs'
    export default { transform: (_, [path]) => { writeFileSync(path, ''); for (;;); } }\n`,
  )
  const asked = ask('begun', { args: [vm.path('begun')] })
  await waitFor('the production', () => existsSync(vm.path('begun')))
  client.close()
  await asked
  expect(await vm.ended).toEqual({ code: 0, signal: null })
  client = await vm.connect()
  expect(await produce({ name: 'sha256', input, output })).toEqual({ size: 65 })
})
