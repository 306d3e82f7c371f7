import { readFileSync } from 'node:fs'

/**
 * Who makes what: a process that reads what it itself is making would wait for itself, and two that read each other's
 * results for each other. Productions are named by their keys.
 */
export class Makers {
  /** Keys by the process that makes it. */
  readonly #byProcess = new Map<number, string>()
  /** What the makers of a key wait for. */
  readonly #waitsFor = new Map<string, string>()

  /** This process makes it. */
  begin(key: string, pid: number): void {
    this.#byProcess.set(pid, key)
  }

  /** It is not made any more. */
  end(key: string): void {
    this.#waitsFor.delete(key)
    for (const [pid, each] of this.#byProcess) if (each === key) this.#byProcess.delete(pid)
  }

  /** Whether a process that is about to wait for `key` would wait for itself. */
  isLoop(key: string, pid: number): boolean {
    if (this.#byProcess.size === 0) return false
    const made = this.#madeBy(pid)
    if (made === undefined) return false
    for (let at: string | undefined = key; at !== undefined; at = this.#waitsFor.get(at))
      if (at === made) return true
    this.#waitsFor.set(made, key)
    return false
  }

  /** What a process makes, or one that has started it. */
  #madeBy(pid: number): string | undefined {
    for (let at = pid; at > 1; ) {
      // A request of FUSE names the thread.
      const { process, parent } = relatives(at)
      const made = this.#byProcess.get(process)
      if (made !== undefined) return made
      at = parent
    }
    return undefined
  }
}

/** The process of a thread, and the one that has started it (proc(5)); 0 where they are gone. */
function relatives(thread: number): { process: number; parent: number } {
  try {
    const status = readFileSync(`/proc/${thread}/status`, 'latin1')
    return { process: numberIn(status, /^Tgid:\t(\d+)$/m), parent: numberIn(status, /^PPid:\t(\d+)$/m) }
  } catch {
    return { process: 0, parent: 0 }
  }
}

function numberIn(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1] ?? 0)
}
