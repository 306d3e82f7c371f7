import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { CosmosError } from '../../src/errors.ts'
import { json } from '../../src/form/mappers/json.ts'
import { keepTree, type Produced, type Production, partOf } from '../../src/form/produce.ts'
import { nodeAt } from '../../src/form/tree.ts'

/** Starts a program that ends with the one that has started it (setpriv(1), Linux). */
const SETPRIV = '/usr/bin/setpriv'
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
  const { input, output, at = [] } = production
  const part = partOf(output)
  try {
    await run(program, args, input, part)
    if (kind === 'map') return keepTree(nodeAt(await json.map(readFileSync(part)), at), production)
    const { size } = statSync(part)
    renameSync(part, output)
    return { size }
  } finally {
    rmSync(part, { recursive: true, force: true })
  }
}

function run(program: string, args: readonly string[], input: string, output: string): Promise<void> {
  rmSync(output, { recursive: true, force: true })
  const files = [openSync(input, 'r'), openSync(output, 'wx')] as const
  const tied = existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', 'KILL', program] : [program]
  const child = spawn(tied[0]!, [...tied.slice(1), ...args], { stdio: [...files, 'pipe'] })
  for (const file of files) closeSync(file)
  let complaint = ''
  child.stderr?.on('data', (bytes: Buffer) => {
    complaint = (complaint + bytes.toString()).slice(-COMPLAINT_SIZE)
  })
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(new CosmosError('ENOEXEC', program, error.message)))
    child.on('close', (code, signal) => {
      const said = complaint.trim().split('\n').at(-1)
      const end = signal === null ? `exited with ${code}` : `ended by ${signal}`
      if (code === 0) resolve()
      else reject(new CosmosError('EIO', program, said ? `${end}: ${said}` : end))
    })
  })
}
