import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll } from 'vitest'
import { FunctionSession, type Library } from '../../src/api/functions.ts'
import { CosmosError } from '../../src/errors.ts'
import { compileLibrary, whyNoCompiler } from '../support/c-library.ts'
import { TestVm } from '../support/vm-process.ts'

/** Why the tests that need a library of their own are skipped. */
export const missing = whyNoCompiler()

/** hostfn with `functions.c` as a library, for the tests of a file. */
export interface Setup {
  readonly vm: TestVm
  readonly library: string
  readonly directory: string
  /** A session until the end of the test. */
  session(options?: { deadline?: number }): FunctionSession
  /** The library, open in a session of its own. */
  open(options?: { deadline?: number }): Promise<Library>
  /** A session until the end of the file. */
  lasting(): FunctionSession
}

/** Makes a {@link Setup} before the tests of a file and ends it after them. */
export function setUp(processes = 3): Setup {
  const sessions: FunctionSession[] = []
  const lasting: FunctionSession[] = []
  const directory = mkdtempSync(join(tmpdir(), 'cosmos-hostfn-'))
  const library = join(directory, 'functions.so')
  let vm: TestVm
  beforeAll(() => {
    vm = new TestVm(new URL('../../vms/hostfn/main.ts', import.meta.url), processes)
    if (missing === undefined) compileLibrary(new URL('functions.c', import.meta.url), library)
  })
  afterEach(() => {
    for (const session of sessions.splice(0)) session.close()
  })
  afterAll(async () => {
    for (const session of lasting) session.close()
    await vm.stop()
    rmSync(directory, { recursive: true, force: true })
  })
  const make = (options: { deadline?: number }, among: FunctionSession[]) => {
    const made = new FunctionSession({ connect: vm.connect, obituary: vm.obituary, ...options })
    among.push(made)
    return made
  }
  const session = (options: { deadline?: number } = {}) => make(options, sessions)
  return {
    get vm() {
      return vm
    },
    library,
    directory,
    session,
    open: (options) => session(options).open(library),
    lasting: () => make({}, lasting),
  }
}

/** What a promise fails with: `CODE message`, or `no error`. */
export async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'no error'
  } catch (error) {
    return error instanceof CosmosError ? `${error.code} ${error.message}` : String(error)
  }
}
