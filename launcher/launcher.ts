import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { isatty } from 'node:tty'
import { CosmosError } from '../src/errors.ts'
import { encodeFrame, isMap } from '../src/form/msgpack.ts'
import { type WireText, wireBytes } from '../src/form/wire.ts'
import { endAs, endingOf } from './ending.ts'
import { FAILED, fail, failAsTold, failUnreadable, NOT_RUNNABLE } from './failure.ts'
import { args, descriptors, env, limits, workingDirectory } from './inherited.ts'
import { pump } from './pump.ts'
import { Copier } from './record.ts'
import { connectTo, sendWithDescriptors } from './rights.ts'
import { catchSignals, killGroup, stop } from './signals.ts'
import { HELLO, REQUEST, Wire } from './wire.ts'

// The launcher where there is no C compiler; launcher.c says what it does. bin/cosmos-launcher starts it.

/** unix(7), SCM_MAX_FD. */
const MAX_DESCRIPTORS = 253
/** How long a daemon that is being replaced is waited for, and how often it is tried. */
const PATIENCE_MS = 2000
const RETRY_MS = 20
const STDERR = 2

const [control = '', ...argv] = args
const [path] = argv
if (path === undefined)
  fail(FAILED, 'launcher: the kernel starts it, as LAUNCHER CONTROL-SOCKET PATH [ARG...]')
if (descriptors.length > MAX_DESCRIPTORS)
  fail(FAILED, 'launcher: more than 253 open files cannot be handed over; close some')
const cwd = workingDirectory()

const { daemon, answer } = await askDaemon(wireBytes(control).toString('latin1'))
if (isMap(answer.remote)) await pump(daemon, answer)
const { socket, route, run, record } = answer
const vmName = typeof answer.vm === 'string' ? answer.vm : ''
if (!isText(socket) || socket.length === 0 || typeof run !== 'string' || !isMap(route))
  failUnreadable('daemon')

/** The program's pid, once it is known to be a process of this machine. */
let program: number | undefined
/** The program is the VM's own process: as that ends, it ends. */
let isVmItself = false
let vm: Wire | undefined
const early: Buffer[] = []
catchSignals((signal, group) => {
  const frame = encodeFrame({ id: REQUEST, signal, group })
  if (vm) vm.socket.write(frame)
  else early.push(frame)
})
const copiers: Copier[] = []
vm = handOver()
for (const frame of early) vm.socket.write(frame)
await follow(vm)

function isText(value: unknown): value is WireText {
  return typeof value === 'string' || value instanceof Uint8Array
}

/** Asks the daemon who runs the path; again where it is replaced meanwhile: nothing runs yet. */
async function askDaemon(where: string): Promise<{ daemon: Wire; answer: Record<string, unknown> }> {
  const mark = where.lastIndexOf('?')
  const file = Buffer.from(mark < 0 ? where : where.slice(0, mark), 'latin1')
  const options = mark < 0 ? undefined : where.slice(mark + 1)
  const request = frameOf({ id: REQUEST, op: 'launch', args: launchArguments(options) })
  const deadline = performance.now() + PATIENCE_MS
  let seen = false
  for (;;) {
    try {
      const wire = await Wire.connect(file, 'daemon')
      seen = true
      wire.socket.write(Buffer.concat([HELLO, request]))
      const answer = await answerOf(wire)
      if (answer) return { daemon: wire, answer }
      wire.socket.destroy()
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EPROTO') failUnreadable('daemon')
      if (code === 'EACCES' || code === 'EPERM') fail(FAILED, `${file}: belongs to another user`)
      if (code === 'ENOENT' && !seen) fail(FAILED, 'no daemon is running; cosmos up')
      if (code !== 'ECONNREFUSED' && code !== 'ENOENT') fail(FAILED, `${file}: ${code}; cosmos up`)
    }
    if (performance.now() > deadline)
      fail(FAILED, `${seen ? 'the daemon ended before it answered' : 'no daemon is running'}; cosmos up`)
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

/** The environment, which may hold secrets, is told only for the record of a run. */
function launchArguments(options: string | undefined): Record<string, unknown> {
  const bytes = wireBytes(path ?? '')
  const absolute = bytes[0] === 0x2f ? bytes : Buffer.concat([wireBytes(cwd), Buffer.from('/'), bytes])
  return {
    path: absolute,
    cwd,
    argv,
    ...(options === undefined ? {} : { options }),
    ...(options?.includes('record=') ? { env } : {}),
  }
}

function frameOf(message: object): Buffer {
  try {
    return encodeFrame(message)
  } catch (error) {
    if (!(error instanceof CosmosError)) throw error
    fail(NOT_RUNNABLE, `${wireBytes(path ?? '')}: arguments and environment are longer than 16 MiB`)
  }
}

async function answerOf(wire: Wire): Promise<Record<string, unknown> | undefined> {
  for (;;) {
    const message = await wire.next()
    if (!message) return undefined
    const { id, ok, error } = message
    if (typeof id !== 'number') failUnreadable('daemon')
    if (id !== REQUEST && id !== 0) continue
    if (isMap(error)) failAsTold(error, id === 0)
    if (!isMap(ok)) failUnreadable('daemon')
    return ok
  }
}

/** Hands the program to its VM; this process's own copies of the open files go. */
function handOver(): Wire {
  const files = descriptors.map((number) => recorded(number) ?? number)
  const umask = process.umask()
  const exec = { route, argv, env, cwd, umask, limits: limits(), descriptors }
  const frame = frameOf({ id: REQUEST, op: 'exec', args: exec })
  const fd = connectTo(wireBytes(socket as WireText))
  if (fd < 0) fail(FAILED, `VM ${vmName}: nobody listens; cosmos log`)
  sendWithDescriptors(fd, HELLO, [])
  sendWithDescriptors(fd, frame, files)
  for (const [i, number] of descriptors.entries()) {
    const file = files[i]
    if (file !== undefined && file !== number) closeSync(file)
    // Copiers still write to those that are recorded.
    if (number !== STDERR && file === number) closeSync(number)
  }
  // Their numbers stay taken.
  while (openSync('/dev/null', 'r+') <= STDERR);
  return Wire.of(fd, 'VM')
}

/** What the program gets instead of its stdout or stderr where the run is recorded; a terminal stays one. */
function recorded(number: number): number | undefined {
  if (!isMap(record) || (number !== 1 && number !== 2) || isatty(number)) return undefined
  const { directory, limit } = record
  if (!isText(directory) || typeof limit !== 'number') failUnreadable('daemon')
  const file = Buffer.concat([wireBytes(directory), Buffer.from(number === 1 ? '/stdout' : '/stderr')])
  try {
    const copier = new Copier(file, limit, number)
    copiers.push(copier)
    return copier.to
  } catch (error) {
    fail(FAILED, `${file}: ${(error as NodeJS.ErrnoException).code}; cosmos log`)
  }
}

/** Is the program for its caller, until it ends. */
async function follow(wire: Wire): Promise<never> {
  for (;;) {
    let message: Record<string, unknown> | undefined
    try {
      message = await wire.next()
    } catch {
      lost('sent what cannot be read')
    }
    if (!message) {
      if (isVmItself) await endedItself(wire.hello?.pid)
      lost('ended before the program did')
    }
    const { id, error, started, stopped, exit: ended } = message
    if (typeof id !== 'number') lost('sent what cannot be read')
    if (id !== REQUEST && id !== 0) continue
    if (isMap(error)) failAsTold(error, id === 0)
    if (isMap(ended)) await finish(ended)
    if (isMap(started)) remember(started.pid, wire.hello?.pid)
    if (typeof stopped === 'number') stop()
  }
}

/**
 * Remembers the program's process, to end it should the VM be lost: only where it is the first of its group, and a
 * child of the VM's process or, that being lost already, of its session. So a number of another machine or PID
 * namespace means nobody here.
 */
function remember(pid: unknown, vmPid: unknown): void {
  if (typeof pid !== 'number' || !Number.isInteger(pid) || pid < 2) return
  isVmItself = pid === vmPid
  if (isVmItself) return
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const [, parent, group, session] = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number)
    if (group === pid && (parent === vmPid || session === vmPid)) program = pid
  } catch {
    // It has ended already.
  }
}

/** The VM's process has ended, and it was the program: the daemon knows how. */
async function endedItself(pid: unknown): Promise<void> {
  daemon.socket.write(encodeFrame({ id: REQUEST + 2, op: 'obituary', args: { vm: vmName, pid } }))
  for (;;) {
    const message = await daemon.next()
    if (!message) return
    if (message.id !== REQUEST + 2) continue
    if (isMap(message.ok)) await finish(message.ok)
    return
  }
}

function lost(why: string): never {
  if (program !== undefined && existsSync(`/proc/${program}`)) killGroup(program)
  fail(FAILED, `VM ${vmName}: ${why}; cosmos log`)
}

/** The program has ended. */
async function finish(how: Record<string, unknown>): Promise<never> {
  const ending = endingOf(how)
  if (ending === undefined) lost('sent what cannot be read')
  for (const copier of copiers) await copier.finish()
  return endAs(daemon, run, ending)
}
