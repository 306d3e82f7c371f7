import { openSync, writeFileSync } from 'node:fs'
import { type VmClient, VmProcess } from '../support/wasi-vm.ts'
import { compileWasm, whyNoWasmCompiler } from '../support/wasm-tools.ts'
import { tiny } from '../wasi/tiny.ts'

/** What the VM wasi takes for a warm program and for a warm call, at its socket. */

/** Milliseconds from sending a request to its end: the median of the rounds, and the slowest hundredth. */
export interface Figure {
  readonly median: number
  readonly p99: number
}

/** `exec` of a compiled hello in C; of a program of a few bytes where there is no compiler. */
export async function measureWarmHello(rounds = 300): Promise<Figure> {
  const vm = new VmProcess()
  try {
    let payload = vm.path('hello.wasm')
    if ((await whyNoWasmCompiler()) === undefined)
      payload = await compileWasm('examples/wasm/hello.c', vm.directory)
    else writeFileSync(payload, tiny.write)
    const client = await vm.connect()
    const [input, output] = [openSync('/dev/null', 'r'), openSync('/dev/null', 'w')]
    const args = {
      route: { path: payload, payload, kind: 'wasm' },
      argv: ['hello'],
      env: [],
      cwd: vm.directory,
      umask: 0o022,
      limits: [],
      descriptors: [0, 1, 2],
    }
    return await measure(rounds, () => client.run(args, [input, output, output]))
  } finally {
    await vm.stop()
  }
}

/** `call` of a function that adds two numbers. */
export async function measureWarmCall(rounds = 2000): Promise<Figure> {
  const vm = new VmProcess()
  try {
    const client = await vm.connect()
    const called = await openAdd(vm, client)
    return await measure(rounds, () => client.request('call', { function: called, args: [1, 2] }))
  } finally {
    await vm.stop()
  }
}

async function openAdd(vm: VmProcess, client: VmClient): Promise<unknown> {
  writeFileSync(vm.path('library.wasm'), tiny.library)
  const { library } = await client.request('open', { library: vm.path('library.wasm') })
  return (await client.request('sym', { library, prototype: 'add' })).function
}

async function measure(rounds: number, act: () => Promise<unknown>): Promise<Figure> {
  for (let i = 0; i < 50; i++) await act()
  const times: number[] = []
  for (let i = 0; i < rounds; i++) {
    const start = performance.now()
    await act()
    times.push(performance.now() - start)
  }
  times.sort((a, b) => a - b)
  return { median: times[rounds >> 1]!, p99: times[Math.floor(rounds * 0.99)]! }
}
