import { writeSync } from 'node:fs'
import { workerData } from 'node:worker_threads'
import { describeError } from '../../src/errors.ts'
import { poll } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { Connection } from '../socket.ts'
import { kill } from './system.ts'
import type { WatchData } from './watch.ts'

/**
 * Watches the client and the daemon while the main thread is in a function, where it hears nobody: one that nobody
 * waits for any more is ended, and signals for a program reach it.
 */

const POLLIN = 1
const POLLHUP = 0x10
const POLLRDHUP = 0x2000
const SIGHUP = 1
const SIGKILL = 9
/** A stopped process would not hear that it is to go on. */
const STOPPING = [19, 20, 21, 22]
/** How long a process has to end by itself, milliseconds. */
const GRACE = 1000

const { life, connection, executes, progress } = workerData as WatchData
const polled = allocateNative(16)
polled.view.setInt32(0, life, true)
polled.view.setInt16(4, POLLIN, true)
polled.view.setInt32(8, connection, true)
polled.view.setInt16(12, POLLRDHUP | (executes ? POLLIN : 0), true)
const requests = executes ? new Connection(connection) : undefined

for (;;) {
  poll(polled.address, 2, -1)
  if (polled.view.getInt16(6, true) !== 0) end()
  const events = polled.view.getInt16(14, true)
  if ((events & POLLIN) !== 0 && !passSignals()) endStuck()
  else if ((events & (POLLRDHUP | POLLHUP)) !== 0) endStuck()
}

/** False when the client is gone, or says what is no message. */
function passSignals(): boolean {
  try {
    const messages = requests?.receive()
    for (const { signal } of messages ?? [])
      if (typeof signal === 'number' && !STOPPING.includes(signal)) kill(process.pid, signal)
    return messages !== undefined
  } catch (error) {
    writeSync(2, `connection ended: ${describeError(error)}\n`)
    return false
  }
}

/** The daemon is gone: the main thread ends the process if it hears it, else this does. */
function end(): never {
  pause(GRACE)
  return hangUp()
}

/** The client is gone: a call that goes on and on is ended; the main thread finds out between calls. */
function endStuck(): never {
  for (;;) {
    const former = progress[0]!
    pause(GRACE)
    if (former % 2 === 1 && Atomics.load(progress, 0) === former) hangUp()
  }
}

function hangUp(): never {
  kill(process.pid, SIGHUP)
  pause(GRACE)
  for (;;) kill(process.pid, SIGKILL)
}

function pause(milliseconds: number): void {
  poll(0, 0, milliseconds)
}
