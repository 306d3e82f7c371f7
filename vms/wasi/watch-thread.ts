import { writeSync } from 'node:fs'
import { constants } from 'node:os'
import { workerData } from 'node:worker_threads'
import { describeError } from '../../src/errors.ts'
import { exitNow, poll, read } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { Connection, LIFE_FD, waitReadable } from '../socket.ts'
import { forgetStop, stopMainThread } from './process.ts'
import { effectOf } from './signals.ts'
import { CALLING, CONNECTION, IDLE, MODE, READING, READY, RUNNING, type WatchData } from './watch.ts'

/** The thread of watch.ts: waits in poll(2), for ever. */

const { state, request, wakeFd, timerFd, stopSignal } = workerData as WatchData
const POLLIN = 1
const POLLHUP = 0x10
const POLLRDHUP = 0x2000
/** How often a client that has gone between two requests is looked at again, milliseconds. */
const GONE_INTERVAL = 50

/** struct pollfd (8) of: the daemon's pipe, the main thread's word, the timer, the connection. */
const fds = allocateNative(32)
const CONNECTION_AT = 24
const drained = allocateNative(8)
let connection: Connection | undefined
/** Whether the program is to stand still. */
let stopped = false
/** The stop that it stands in. */
let stop: number | undefined

for (const [i, fd] of [LIFE_FD, wakeFd, timerFd].entries()) {
  fds.view.setInt32(8 * i, fd, true)
  fds.view.setInt16(8 * i + 4, POLLIN, true)
}
Atomics.store(state, READY, 1)
Atomics.notify(state, READY)

let timeout = -1
for (;;) {
  const fd = Atomics.load(state, CONNECTION)
  const mode = Atomics.load(state, MODE)
  fds.view.setInt32(CONNECTION_AT, timeout < 0 || mode !== IDLE ? fd : -1, true)
  fds.view.setInt16(CONNECTION_AT + 4, mode === RUNNING ? POLLIN | POLLRDHUP : POLLRDHUP, true)
  poll(fds.address, 4, timeout)
  timeout = -1
  if (happened(0) !== 0) exitNow(0)
  if (happened(1) !== 0) read(wakeFd, drained.address, 8)
  if (happened(2) !== 0) deadline()
  const about = happened(CONNECTION_AT / 8)
  if (fd < 0 || about === 0 || fd !== Atomics.load(state, CONNECTION)) continue
  if (mode === RUNNING) whileHolding(RUNNING, () => listen(fd))
  else if (about & (POLLRDHUP | POLLHUP)) {
    // Without a request there is nothing to end: the main thread sees it too, unless it begins one just now.
    whileHolding(CALLING, () => exitNow(0))
    timeout = GONE_INTERVAL
  }
}

function happened(index: number): number {
  return fds.view.getInt16(8 * index + 6, true)
}

/** Does something while the main thread can neither end what it does nor read; nothing where it is not at that. */
function whileHolding(mode: number, act: () => void): void {
  if (Atomics.compareExchange(state, MODE, mode, READING) !== mode) return
  act()
  Atomics.store(state, MODE, mode)
  Atomics.notify(state, MODE)
}

function deadline(): void {
  const isOver = (): boolean => read(timerFd, drained.address, 8) === 8
  whileHolding(CALLING, () => {
    if (isOver()) process.kill(process.pid, 'SIGALRM')
  })
  whileHolding(RUNNING, () => {
    if (isOver()) end(connected(Atomics.load(state, CONNECTION)), constants.signals.SIGALRM)
  })
}

/**
 * Reads what the client says; a message that has begun is read to its end. A program that is stopped goes on as soon
 * as the client says anything, and is stopped again where that was not SIGCONT.
 */
function listen(fd: number): void {
  const from = connected(fd)
  try {
    if (stop !== undefined) forgetStop(stop)
    stop = undefined
    do {
      const messages = from.receive()
      if (messages === undefined) exitNow(0)
      for (const message of messages) hear(from, message)
      from.dropDescriptors()
    } while (from.partial && waitReadable([fd, LIFE_FD], -1).includes(fd))
  } catch (error) {
    writeSync(2, `${describeError(error)}; the program is ended\n`)
    exitNow(0)
  }
  if (stopped) stop = tryStop(fd)
}

function tryStop(fd: number): number | undefined {
  try {
    return stopMainThread(stopSignal, [fd, LIFE_FD, timerFd])
  } catch (error) {
    writeSync(2, `${describeError(error)}; the program is not stopped\n`)
    return undefined
  }
}

function connected(fd: number): Connection {
  if (connection?.fd !== fd) connection = new Connection(fd)
  return connection
}

function hear(from: Connection, { id, signal }: Record<string, unknown>): void {
  if (typeof signal !== 'number') {
    const error = { code: 'EBUSY', subject: 'wasi', message: 'wasi: a program runs in this session' }
    from.send({ id, error })
  } else if (id === request[0]) obey(from, signal)
}

function obey(from: Connection, signal: number): void {
  const effect = effectOf(signal)
  if (effect === 'end') end(from, signal)
  if (effect === 'stop' && !stopped) from.send({ id: request[0], stopped: signal })
  if (effect === 'stop' || effect === 'continue') stopped = effect === 'stop'
}

/** Ends the program, which can be done only with the process. */
function end(to: Connection, signal: number): never {
  to.send({ id: request[0], exit: { signal, core: false } })
  exitNow(0)
}
