import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { CosmosError } from '../errors.ts'

/**
 * Result frames: `.cosm/run/ID/` holds one execution (design §5). They are real files of the instance's state, which
 * is a layer of the cosm. `argv` and `env` are NUL-terminated, as in proc(5); `exit` is there once it has ended.
 */

/** What is known of an execution when it begins. */
export interface RunStart {
  /** Path of the executable as it was named; one character a byte, as the rest. */
  readonly path: string
  readonly cwd: string
  readonly argv: readonly string[]
  /** `KEY=value`; undefined where it is not recorded. */
  readonly env: readonly string[] | undefined
  readonly vm: string
  readonly payload: string
  /** The peer that runs it: `me@gpubox`; undefined: this host. */
  readonly peer?: string
}

/** How an execution ended: its exit code, the number of a signal, or that nobody knows. */
export type RunExit = { readonly code: number } | { readonly signal: number } | { readonly lost: string }

/** A result frame, as `cosmos run list` shows it. */
export interface RunSummary {
  readonly id: string
  readonly argv: string[]
  readonly cwd: string
  readonly vm: string
  /** Seconds since 1970. */
  readonly since: number
  /** `0`, `signal 15`, `lost: why`; undefined while it runs. */
  readonly exit: string | undefined
}

/** Frames that are kept, and their bytes in all. */
const MAX_RUNS = 1000
const MAX_BYTES = 256 * 1024 * 1024
/** Most bytes of each recorded stream. */
export const MAX_STREAM = 8 * 1024 * 1024
/** So many new ones are let in before the oldest are looked for. */
const PRUNE_EVERY = 64
const PRUNE_AFTER_MS = 1000

/** Frames that nobody has to see at once are written this much later, with others, milliseconds. */
const WRITE_AFTER_MS = 200
/** How long writing may hold the thread up. */
const SLICE_MS = 4

/** The result frames of an instance. */
export class Runs {
  readonly #directory: string
  /** What is to be written, in order. */
  readonly #unwritten: (() => void)[] = []
  #timer: NodeJS.Timeout | undefined
  #last = 0
  #sincePrune = PRUNE_EVERY
  /** There may be recorded streams: they alone are large, and grow as long as a program runs. */
  #hasRecorded = true

  constructor(directory: string) {
    this.#directory = directory
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const newest = readdirSync(directory).sort().at(-1)
    if (newest !== undefined) this.#last = Number.parseInt(newest, 36) || 0
  }

  /** A new frame's id. Ids sort by time. One that is recorded is there at once, unless the disk takes nothing. */
  begin(start: RunStart, isRecorded: boolean): string {
    this.#last = Math.max(this.#last + 1, Date.now() * 16)
    const id = this.#last.toString(36)
    const files: [string, Buffer | string][] = [
      ['path', line(start.path)],
      ['cwd', line(start.cwd)],
      ['payload', line(start.payload)],
      ['vm', line(start.vm)],
      ['peer', line(start.peer ?? 'local')],
      ['trace', traceLine('launched')],
      ['argv', zeroed(start.argv)],
    ]
    if (start.env) files.push(['env', zeroed(start.env)])
    const write = (): void => {
      mkdirSync(this.directory(id), { mode: 0o700 })
      for (const [name, content] of files) writeFileSync(join(this.directory(id), name), content)
    }
    this.#later(write)
    if (isRecorded) {
      this.#hasRecorded = true
      this.flush()
    }
    if (++this.#sincePrune > PRUNE_EVERY) {
      this.#sincePrune = 0
      // One that is removed by somebody else meanwhile is left to the next round.
      setTimeout(() => this.#prune().catch(() => {}), PRUNE_AFTER_MS).unref()
    }
    return id
  }

  /** The directory of a frame. */
  directory(id: string): string {
    return join(this.#directory, id)
  }

  end(id: string, exit: RunExit): void {
    const trace = traceLine(`ended: ${exitText(exit)}`)
    this.#later(() => {
      appendFileSync(join(this.directory(id), 'trace'), trace)
      writeFileSync(join(this.directory(id), 'exit'), `${exitText(exit)}\n`)
    })
  }

  /** Writes when the programs have their answers: nobody waits for it. */
  #later(work: () => void): void {
    this.#unwritten.push(work)
    this.#timer ??= setTimeout(() => this.#write(), WRITE_AFTER_MS)
  }

  #write(): void {
    this.#timer = undefined
    const end = performance.now() + SLICE_MS
    for (let work = this.#unwritten.shift(); work; work = this.#unwritten.shift()) {
      try {
        work()
      } catch {
        // A disk that is full costs the record and not the program.
      }
      if (performance.now() > end) break
    }
    if (this.#unwritten.length > 0) this.#timer ??= setTimeout(() => this.#write(), SLICE_MS)
  }

  /** Writes what is not written yet. */
  flush(): void {
    while (this.#unwritten.length > 0) this.#write()
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** The newest frames, the oldest of them first. */
  list(): RunSummary[] {
    this.flush()
    return readdirSync(this.#directory)
      .sort()
      .flatMap((id) => {
        try {
          return [this.#summary(id)]
        } catch {
          // It is being made, or has just been removed.
          return []
        }
      })
  }

  /** One frame. Throws CosmosError ENOENT. */
  show(id: string): RunSummary & { path: string; env: string[] | undefined } {
    this.flush()
    if (!/^[0-9a-z]+$/.test(id) || !statSync(join(this.#directory, id), { throwIfNoEntry: false }))
      throw new CosmosError('ENOENT', `run ${id}`, 'there is none', 'cosmos run list')
    const env = this.#read(id, 'env')
    return {
      ...this.#summary(id),
      path: this.#read(id, 'path')?.slice(0, -1) ?? '',
      env: env === undefined ? undefined : splitZeroed(env),
    }
  }

  #summary(id: string): RunSummary {
    const argv = this.#read(id, 'argv')
    if (argv === undefined) throw new CosmosError('ENOENT', `run ${id}`, 'is not complete')
    return {
      id,
      argv: splitZeroed(argv),
      cwd: this.#read(id, 'cwd')?.slice(0, -1) ?? '',
      vm: this.#read(id, 'vm')?.slice(0, -1) ?? '',
      since: Number.parseInt(id, 36) / 16_000,
      exit: this.#read(id, 'exit')?.trimEnd(),
    }
  }

  #read(id: string, name: string): string | undefined {
    try {
      return readFileSync(join(this.#directory, id, name), 'latin1')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  /** Removes the oldest beyond the bounds; those that still run stay. */
  async #prune(): Promise<void> {
    const ids = (await readdir(this.#directory)).sort().reverse()
    for (const id of ids.slice(MAX_RUNS)) await this.#remove(id)
    if (!this.#hasRecorded) return
    this.#hasRecorded = false
    let bytes = 0
    for (const id of ids.slice(0, MAX_RUNS)) {
      for (const name of ['stdout', 'stderr']) {
        const size = await sizeOf(join(this.#directory, id, name))
        bytes += size ?? 0
        this.#hasRecorded ||= size !== undefined
      }
      if (bytes > MAX_BYTES) await this.#remove(id)
    }
  }

  /** Removes a frame, unless its program still runs. */
  async #remove(id: string): Promise<void> {
    const directory = join(this.#directory, id)
    if (existsSync(join(directory, 'exit'))) await rm(directory, { recursive: true, force: true })
  }
}

/** Bytes of a file; undefined where there is none. */
async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch {
    return undefined
  }
}

function exitText(exit: RunExit): string {
  return 'code' in exit
    ? String(exit.code)
    : 'signal' in exit
      ? `signal ${exit.signal}`
      : `lost: ${exit.lost}`
}

/** A list as proc(5) has it. */
function zeroed(list: readonly string[]): Buffer {
  return Buffer.from(list.map((each) => `${each}\0`).join(''), 'latin1')
}

function line(text: string): Buffer {
  return Buffer.from(`${text}\n`, 'latin1')
}

function traceLine(what: string): string {
  return `${new Date().toISOString()} ${what}\n`
}

function splitZeroed(text: string): string[] {
  return text.split('\0').slice(0, -1)
}
