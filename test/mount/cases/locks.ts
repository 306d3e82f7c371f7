// flock(2) and fcntl(2) locks between processes.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Case, Cases } from '../../support/cases.ts'
import * as sys from '../../support/system.ts'
import { within } from '../../support/wait.ts'

const { codeOf, F_RDLCK, F_UNLCK, F_WRLCK } = sys
const [SHARED, EXCLUSIVE, UNLOCK, NOW] = [1, 2, 8, 4]

/** Another process with the file open, which locks when told. */
class Other {
  readonly #child: ChildProcess
  readonly #lines: Interface
  constructor(path: string) {
    this.#child = spawn(
      process.execPath,
      [fileURLToPath(new URL('../../support/locker.ts', import.meta.url)), path],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    )
    this.#lines = createInterface(this.#child.stdout as NodeJS.ReadableStream)
  }
  get pid(): number {
    return this.#child.pid ?? 0
  }
  /** Sends a command; the answer is `0` or an errno name. */
  async ask(...words: (string | number)[]): Promise<string> {
    const answer = once(this.#lines, 'line')
    this.#child.stdin?.write(`${words.join(' ')}\n`)
    const [line] = (await within(10_000, words.join(' '), answer)) as [string]
    return line
  }
  async kill(): Promise<void> {
    if (this.#child.signalCode !== null) return
    const ended = once(this.#child, 'close')
    this.#child.kill('SIGKILL')
    await ended
  }
}

/** A case with a file, its descriptor, and another process that has it open. */
function withOther(act: (fd: number, other: Other, path: string) => Promise<void>): Case {
  return async ({ dir }) => {
    const path = join(dir, 'f')
    writeFileSync(path, 'x'.repeat(100))
    const other = new Other(path)
    const fd = openSync(path, 'r+')
    try {
      assert.equal(await other.ask('hello'), '0')
      await act(fd, other, path)
    } finally {
      closeSync(fd)
      await other.kill()
    }
  }
}

export const cases: Cases = {
  'flock excludes, and shares': withOther(async (fd, other) => {
    sys.flock(fd, EXCLUSIVE)
    assert.equal(await other.ask('flock', EXCLUSIVE | NOW), 'EAGAIN')
    assert.equal(await other.ask('flock', SHARED | NOW), 'EAGAIN')
    sys.flock(fd, SHARED)
    assert.equal(await other.ask('flock', SHARED | NOW), '0')
    assert.equal(
      codeOf(() => sys.flock(fd, EXCLUSIVE | NOW)),
      'EAGAIN',
    )
    assert.equal(await other.ask('flock', UNLOCK), '0')
    sys.flock(fd, EXCLUSIVE | NOW)
  }),
  'flock waits until it is let go': withOther(async (fd, other) => {
    sys.flock(fd, EXCLUSIVE)
    let got = false
    const waiting = other.ask('flock', EXCLUSIVE).then((answer) => {
      got = true
      return answer
    })
    // Another call of it is answered first: the waiting one waits.
    assert.equal(
      codeOf(() => sys.flock(fd, EXCLUSIVE | NOW)),
      '0',
    )
    assert.equal(got, false)
    sys.flock(fd, UNLOCK)
    assert.equal(await waiting, '0')
    assert.equal(
      codeOf(() => sys.flock(fd, SHARED | NOW)),
      'EAGAIN',
    )
  }),
  'a process that dies lets go': withOther(async (fd, other) => {
    assert.equal(await other.ask('flock', EXCLUSIVE), '0')
    assert.equal(await other.ask('range', F_WRLCK, 0, 0), '0')
    assert.equal(
      codeOf(() => sys.flock(fd, EXCLUSIVE | NOW)),
      'EAGAIN',
    )
    assert.equal(
      codeOf(() => sys.lockRange(fd, F_WRLCK, 0, 0)),
      'EAGAIN',
    )
    await other.kill()
    sys.flock(fd, EXCLUSIVE | NOW)
    sys.lockRange(fd, F_WRLCK, 0, 0)
  }),
  'ranges exclude where they overlap': withOther(async (fd, other) => {
    sys.lockRange(fd, F_WRLCK, 10, 10)
    assert.equal(await other.ask('range', F_WRLCK, 0, 10), '0')
    assert.equal(await other.ask('range', F_WRLCK, 20, 0), '0')
    assert.equal(await other.ask('range', F_WRLCK, 19, 1), 'EAGAIN')
    assert.equal(await other.ask('range', F_RDLCK, 5, 10), 'EAGAIN')
    assert.equal(await other.ask('query', F_WRLCK, 0, 0), `${F_WRLCK} 10 10 ${process.pid}`)
    sys.lockRange(fd, F_UNLCK, 10, 5)
    assert.equal(await other.ask('range', F_WRLCK, 10, 5), '0')
    assert.equal(await other.ask('range', F_WRLCK, 15, 5), 'EAGAIN')
    sys.lockRange(fd, F_RDLCK, 15, 5)
    assert.equal(await other.ask('range', F_RDLCK, 15, 5), '0')
    assert.deepEqual(sys.queryLock(fd, F_WRLCK, 0, 5), {
      type: F_WRLCK,
      start: 0,
      length: 15,
      pid: other.pid,
    })
  }),
  'a range is waited for': withOther(async (fd, other) => {
    sys.lockRange(fd, F_WRLCK, 0, 1)
    const waiting = other.ask('wait', F_WRLCK, 0, 1)
    sys.lockRange(fd, F_UNLCK, 0, 1)
    assert.equal(await waiting, '0')
    assert.equal(
      codeOf(() => sys.lockRange(fd, F_WRLCK, 0, 1)),
      'EAGAIN',
    )
  }),
  'closing any descriptor of the file gives a range up': withOther(async (fd, other, path) => {
    sys.lockRange(fd, F_WRLCK, 0, 0)
    assert.equal(await other.ask('range', F_WRLCK, 0, 0), 'EAGAIN')
    closeSync(openSync(path, 'r'))
    assert.equal(await other.ask('range', F_WRLCK, 0, 0), '0')
  }),
  'flock and ranges do not see each other': withOther(async (fd, other) => {
    sys.flock(fd, EXCLUSIVE)
    assert.equal(await other.ask('range', F_WRLCK, 0, 0), '0')
  }),
}
