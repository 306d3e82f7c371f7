import { spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CosmosError } from '../../src/errors.ts'
import type { Mapper } from '../../src/form/mapper.ts'
import { json } from '../../src/form/mappers/json.ts'
import { keepTree, openInput, type Produced, type Production, partOf } from '../../src/form/produce.ts'
import { nodeAt } from '../../src/form/tree.ts'

/** Starts a program that ends with the one that has started it (setpriv(1), Linux). */
const SETPRIV = '/usr/bin/setpriv'
/** Bounds what one writes to a file (prlimit(1), Linux). */
const PRLIMIT = '/usr/bin/prlimit'
/** Largest stream that a program makes, bytes. */
const MAX_STREAM = 1024 ** 3
/** How much of what a program says on its standard error is told. */
const COMPLAINT_SIZE = 1000

/**
 * Runs a program with the stream on its standard input; what it writes is the result. One that maps writes JSON. It is
 * ended with this process, whose deadline is its own. Throws CosmosError EIO when it fails.
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  kind: 'map' | 'transform',
  production: Production,
): Promise<Produced> {
  const { input, identity, output, at = [] } = production
  const part = partOf(output)
  try {
    await run(program, args, openInput(input, identity), part)
    if (kind === 'map') return keepTree(nodeAt(await json.map(readFileSync(part)), at), production)
    const { size } = statSync(part)
    renameSync(part, output)
    return { size }
  } finally {
    rmSync(part, { recursive: true, force: true })
  }
}

/** A program that maps, as a mapper for what a transformer takes; it is given the file `input`. */
export function programMapper(name: string, program: string, input: string): Mapper {
  return {
    name,
    extensions: [],
    async map(_, options) {
      const directory = mkdtempSync(join(tmpdir(), 'form-'))
      try {
        const part = join(directory, 'tree')
        await run(program, [], openInput(input, undefined), part)
        return await json.map(readFileSync(part), options)
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    },
  }
}

/** Runs a program; closes `input`. */
function run(program: string, args: readonly string[], input: number, output: string): Promise<void> {
  rmSync(output, { recursive: true, force: true })
  const files = [input, openSync(output, 'wx')] as const
  const line = [program, ...args]
  if (existsSync(PRLIMIT)) line.unshift(PRLIMIT, `--fsize=${MAX_STREAM}`)
  if (existsSync(SETPRIV)) line.unshift(SETPRIV, '--pdeathsig', 'KILL')
  const child = spawn(line[0]!, line.slice(1), { cwd: '/', stdio: [...files, 'pipe'] })
  for (const file of files) closeSync(file)
  let complaint = ''
  child.stderr?.on('data', (bytes: Buffer) => {
    complaint = (complaint + bytes.toString()).slice(-COMPLAINT_SIZE)
  })
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(new CosmosError('ENOEXEC', program, error.message)))
    child.on('close', (code, signal) => {
      const said = complaint.trim().split('\n').at(-1)
      if (signal === 'SIGXFSZ') {
        reject(new CosmosError('EFBIG', program, `makes more than ${MAX_STREAM} bytes`))
        return
      }
      const end = signal === null ? `exited with ${code}` : `ended by ${signal}`
      if (code === 0) resolve()
      else reject(new CosmosError('EIO', program, said ? `${end}: ${said}` : end))
    })
  })
}
