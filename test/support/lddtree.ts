// The list of libraries of programs, as cosmos has it and as lddtree (pax-utils) has it: for a test and a benchmark.
import { existsSync, lstatSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { basename, join } from 'node:path'
import { readElf } from '../../src/cef/elf.ts'
import { resolveLibraries } from '../../src/cef/libraries.ts'
import { CosmosError } from '../../src/errors.ts'
import { run } from './run.ts'

/** A library, and the file behind it without links; an empty text where it is missing. */
type Libraries = Map<string, string>

/** A program for which the two lists differ. */
export interface Difference {
  program: string
  /** `libx.so.1: cosmos PATH, lddtree PATH`, a line each. */
  why: string[]
}

/** What comparing came to. */
export interface Comparison {
  programs: number
  libraries: number
  agreeing: number
  differences: Difference[]
  /** Time for all programs, milliseconds. */
  cosmosMs: number
  lddtreeMs: number
}

const LDDTREE = '/usr/bin/lddtree'
/** Programs of one call of lddtree. */
const BATCH = 100

/** Why the two can't be compared here; undefined where they can. */
export async function whyNoLddtree(): Promise<string | undefined> {
  if (!existsSync(LDDTREE)) return 'lddtree is not installed (apt-get install pax-utils)'
  const { code, stderr } = await lddtree(['--version'])
  return code === 0 ? undefined : `lddtree does not run: ${stderr.trim().split('\n').at(-1)}`
}

/** Every ELF program in a directory that is no link. */
export function elfPrograms(directory: string): string[] {
  return readdirSync(directory)
    .map((name) => join(directory, name))
    .filter(
      (path) => lstatSync(path).isFile() && readFileSync(path).subarray(0, 4).equals(Buffer.from('\x7fELF')),
    )
}

/** Compares the lists of all these programs. Names count, and the files that they lead to. */
export async function compareWithLddtree(programs: readonly string[]): Promise<Comparison> {
  const started = performance.now()
  const ours = new Map(programs.map((program) => [program, listedByCosmos(program)]))
  const between = performance.now()
  const theirs = await listedByLddtree(programs)
  const lddtreeMs = performance.now() - between
  const differences: Difference[] = []
  let libraries = 0
  for (const program of programs) {
    const [our, their] = [ours.get(program)!, theirs.get(program)]
    libraries += our.size
    const why = their ? differencesOf(our, their) : ['lddtree lists nothing']
    if (why.length > 0) differences.push({ program, why })
  }
  return {
    programs: programs.length,
    libraries,
    agreeing: programs.length - differences.length,
    differences,
    cosmosMs: between - started,
    lddtreeMs,
  }
}

function differencesOf(ours: Libraries, theirs: Libraries): string[] {
  return [...new Set([...ours.keys(), ...theirs.keys()])]
    .filter((name) => ours.get(name) !== theirs.get(name))
    .map((name) => `${name}: cosmos ${where(ours.get(name))}, lddtree ${where(theirs.get(name))}`)
}

function where(path: string | undefined): string {
  return path === undefined ? 'does not list it' : path || 'finds nothing'
}

function listedByCosmos(program: string): Libraries {
  try {
    const elf = readElf(program)
    const needs = resolveLibraries(program, elf)
    const listed: Libraries = new Map(needs.map(({ name, path }) => [name, fileBehind(path)]))
    // lddtree has the dynamic linker in its first line, needed by a library or not.
    if (elf.interpreter !== undefined) listed.set(basename(elf.interpreter), fileBehind(elf.interpreter))
    return listed
  } catch (error) {
    if (!(error instanceof CosmosError)) throw error
    return new Map([[`(${error.message})`, '']])
  }
}

function fileBehind(path: string | undefined): string {
  return path !== undefined && existsSync(path) ? realpathSync(path) : ''
}

async function listedByLddtree(programs: readonly string[]): Promise<Map<string, Libraries>> {
  const all = new Map<string, Libraries>()
  for (let i = 0; i < programs.length; i += BATCH) {
    const { stdout } = await lddtree(programs.slice(i, i + BATCH))
    let current: Libraries = new Map()
    for (const line of stdout.split('\n')) {
      const [, program, interpreter] = /^(\/.*) \(interpreter => (.*)\)$/.exec(line) ?? []
      if (program !== undefined && interpreter !== undefined) {
        current = new Map(interpreter === 'None' ? [] : [[basename(interpreter), fileBehind(interpreter)]])
        all.set(program, current)
      }
      const [, name, path] = /^ +(.*) => (.*)$/.exec(line) ?? []
      if (name === undefined || path === undefined || path.startsWith('!!!')) continue
      current.set(name, fileBehind(path === 'None' ? undefined : path))
    }
  }
  return all
}

/** By the system's Python: that has the library which lddtree wants; the first one on the PATH may not. */
function lddtree(args: readonly string[]) {
  const { LD_LIBRARY_PATH: _, ...env } = process.env
  return run('/usr/bin/python3', [LDDTREE, ...args], { env, timeout: 120_000 })
}
