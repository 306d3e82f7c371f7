import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  watch,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { launcherPath } from '../cef/launcher.ts'
import type { PoolStatus } from './pool.ts'

/**
 * The files by which a VM shows in the tree: `state`, `err`, `stats` and `ctl` of `.cosm/vm/NAME/`. They are real
 * files of the runtime directory, which is a layer of the cosm, so that the tree needs to know nothing of VMs.
 */
export class VmStateFiles {
  readonly #directory: string
  readonly #errorLog: number
  #errorSize = 0
  #watcher: ReturnType<typeof watch> | undefined
  readonly #shown = new Map<string, string>()
  #closed = false

  /** Makes them anew. `order` is called with each word that is written to `ctl`. */
  constructor(runtime: string, name: string, order: (word: string) => void) {
    this.#directory = join(runtime, 'cosm', 'vm', name)
    rmSync(this.#directory, { recursive: true, force: true })
    mkdirSync(this.#directory, { recursive: true })
    const log = join(runtime, 'vm', `${name}_err`)
    rmSync(log, { force: true })
    this.#errorLog = openSync(log, 'a', 0o600)
    linkSync(log, join(this.#directory, 'err'))
    const control = join(this.#directory, 'ctl')
    writeFileSync(control, '')
    this.#watcher = watch(control, () => {
      let words: string[] = []
      unlessLost(() => {
        words = readFileSync(control, 'utf8').split(/\s+/).filter(Boolean)
        if (words.length > 0) writeFileSync(control, '')
      })
      for (const word of words) order(word)
    })
    this.#watcher.on('error', () => {})
    this.#watcher.unref()
  }

  /** Takes what the VM's processes say. The log starts anew when it has become too long. */
  log(bytes: Buffer): void {
    if (this.#closed) return
    this.#errorSize += bytes.length
    unlessLost(() => {
      if (this.#errorSize > MAX_LOG) {
        ftruncateSync(this.#errorLog)
        this.#errorSize = bytes.length
      }
      writeSync(this.#errorLog, bytes)
    })
  }

  /** Shows what a pool is at. */
  show(status: PoolStatus): void {
    this.#write('state', stateText(status))
    this.#write('stats', statsText(status))
  }

  #write(name: string, text: string): void {
    if (this.#closed || this.#shown.get(name) === text) return
    unlessLost(() => {
      writeFileSync(join(this.#directory, name), text)
      this.#shown.set(name, text)
    })
  }

  /** Takes them away. */
  close(): void {
    this.#closed = true
    this.#watcher?.close()
    closeSync(this.#errorLog)
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

/**
 * Makes the directories that the daemon shows of itself (`default/vm` names hostexec until a layer has another), and
 * the link by which `#!` lines name the launcher: its own path may be long, or have white space.
 */
export function prepareState(runtime: string): void {
  const fresh = join(runtime, `launcher.${process.pid}`)
  rmSync(fresh, { force: true })
  symlinkSync(launcherPath(), fresh)
  renameSync(fresh, launcherLink(runtime))
  for (const name of ['vm', 'run', 'default']) mkdirSync(join(runtime, 'cosm', name), { recursive: true })
  const link = join(runtime, 'cosm', 'default', 'vm')
  rmSync(link, { force: true })
  symlinkSync('../vm/hostexec', link)
}

/** The launcher's link in an instance's runtime directory. */
export function launcherLink(runtime: string): string {
  return join(runtime, 'launcher')
}

/** Largest error log, bytes. */
const MAX_LOG = 4 * 1024 * 1024

function statsText({ pids, leases, launches, restarts }: PoolStatus): string {
  return `processes ${pids.length}\nsessions ${leases}\nlaunches ${launches}\nrestarts ${restarts}\n`
}

/** `running`, `stopped`, or `failed: why`, and the processes. */
function stateText(status: PoolStatus): string {
  const first = status.reason ? `${status.state}: ${status.reason}` : status.state
  return `${first}\n${status.pids.map((pid) => `process ${pid}\n`).join('')}`
}

/** A disk that is full, or a file that somebody has removed, costs what would show and not the daemon. */
function unlessLost(work: () => void): void {
  try {
    work()
  } catch {
    // It shows again with the next change.
  }
}
