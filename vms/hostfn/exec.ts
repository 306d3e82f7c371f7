import { formatResult, parseArguments } from '../../src/cef/arguments.ts'
import type { Prototype, Value } from '../../src/cef/ctypes.ts'
import { parsePrototype } from '../../src/cef/prototype.ts'
import { CosmosError, describeError } from '../../src/errors.ts'
import { isMap } from '../../src/form/msgpack.ts'
import { type WireText, wireBytes } from '../../src/form/wire.ts'
import { EAGAIN, EINTR, EPERM } from '../../src/os/errno.ts'
import { close, fcntl, setrlimit, write } from '../../src/os/libc.ts'
import { addressOf, allocateNative } from '../../src/os/memory.ts'
import { type Connection, LIFE_FD, waitWritable } from '../socket.ts'
import { Libraries } from './libraries.ts'
import { Deadline, dup2, endByBrokenPipe, flushOutput } from './system.ts'
import { startWatching } from './watch.ts'

/**
 * A function as a program: its arguments are argv, its result is printed. The process becomes the caller's program as
 * far as a function can tell (descriptors, environment, directory, limits) and is of no other use after it.
 */

const F_DUPFD_CLOEXEC = 1030
/** Exit codes: as shells have them, and 2 for a caller who gave wrong arguments. */
const WRONG_ARGUMENTS = 2
const FAILED = 125
const NOT_EXECUTABLE = 126
const NOT_FOUND = 127

/** Executes; answers the exit code. Throws CosmosError EINVAL, EBADF for a request that is none. */
export function execute(connection: Connection, id: number, args: Record<string, unknown>): number {
  const route = isMap(args.route) ? args.route : {}
  const argv = textList(args.argv, 'argv')
  const numbers = Array.isArray(args.descriptors) ? args.descriptors : []
  const descriptors = connection.takeDescriptors(numbers.length)
  connection.send({ id, started: { pid: process.pid } })

  const life = fcntl(LIFE_FD, F_DUPFD_CLOEXEC, 0)
  for (const [i, descriptor] of descriptors.entries()) {
    // Others than the standard ones have numbers that this process uses itself, and no function knows them.
    if (numbers[i] === 0 || numbers[i] === 1 || numbers[i] === 2) dup2(descriptor, numbers[i])
    close(descriptor)
  }
  startWatching(life, connection.fd, true)
  endByBrokenPipe()
  try {
    adopt(args)
    return run(route, argv.slice(1))
  } catch (error) {
    return complain(error, FAILED)
  }
}

function run(route: Record<string, unknown>, argv: readonly WireText[]): number {
  const library = route.library ?? route.payload
  if (!isText(library) || typeof route.prototype !== 'string')
    throw new CosmosError('EINVAL', 'route', 'names no library or no prototype')
  const prototype = parsePrototype(route.prototype)
  let values: Value[]
  try {
    values = parseArguments(prototype, argv)
  } catch (error) {
    return complain(error, WRONG_ARGUMENTS)
  }
  return call(wireBytes(library).toString(), route, prototype, values)
}

function call(
  path: string,
  route: Record<string, unknown>,
  prototype: Prototype,
  values: readonly Value[],
): number {
  const libraries = new Libraries()
  try {
    const { function: id } = libraries.find(libraries.load(path), route.prototype as string)
    const seconds = isMap(route.limits) ? route.limits.seconds : undefined
    if (typeof seconds === 'number' && seconds > 0) new Deadline().set(seconds)
    const result = libraries.function(id).call(values)
    flushOutput()
    print(1, formatResult(prototype, result))
    return 0
  } catch (error) {
    const code = error instanceof CosmosError ? error.code : ''
    if (code === 'EINVAL' || code === 'ERANGE') return complain(error, WRONG_ARGUMENTS)
    return complain(error, code === 'ENOENT' ? NOT_FOUND : code === 'ENOEXEC' ? NOT_EXECUTABLE : FAILED)
  }
}

/** Takes the caller's environment, directory, mask and limits. */
function adopt(args: Record<string, unknown>): void {
  if (args.env !== undefined) {
    for (const name of Object.keys(process.env)) delete process.env[name]
    for (const entry of textList(args.env, 'env')) {
      const text = wireBytes(entry).toString()
      const end = text.indexOf('=', 1)
      if (end > 0) process.env[text.slice(0, end)] = text.slice(end + 1)
    }
  }
  if (isText(args.cwd)) process.chdir(wireBytes(args.cwd).toString())
  if (typeof args.umask === 'number') process.umask(args.umask)
  const limits = allocateNative(16)
  for (const limit of Array.isArray(args.limits) ? args.limits : []) {
    const [resource, soft, hard]: unknown[] = Array.isArray(limit) ? limit : []
    if (typeof resource !== 'number' || !isLimit(soft) || !isLimit(hard))
      throw new CosmosError('EINVAL', 'limits', 'is no list of [resource, soft, hard]')
    limits.view.setBigUint64(0, BigInt.asUintN(64, BigInt(soft)), true)
    limits.view.setBigUint64(8, BigInt.asUintN(64, BigInt(hard)), true)
    const result = setrlimit(resource, limits.address)
    // A hard limit that is above this process's own is not to be had.
    if (result < 0 && result !== -EPERM) throw CosmosError.fromErrno(result, `limit ${resource}`)
  }
}

function isLimit(value: unknown): value is number | bigint {
  return Number.isInteger(value) || typeof value === 'bigint'
}

function isText(value: unknown): value is WireText {
  return typeof value === 'string' || value instanceof Uint8Array
}

function textList(value: unknown, name: string): WireText[] {
  if (Array.isArray(value) && value.every(isText)) return value
  throw new CosmosError('EINVAL', name, 'is no list of texts')
}

/** One line for the caller; answers the exit code. */
function complain(error: unknown, code: number): number {
  flushOutput()
  print(2, Buffer.from(`cosmos: ${describeError(error)}\n`))
  return code
}

/** Writes it whole, if somebody reads it. */
function print(fd: number, bytes: Buffer): void {
  let at = 0
  while (at < bytes.length) {
    const written = write(fd, addressOf(bytes) + at, bytes.length - at)
    if (written >= 0) at += written
    else if (written === -EAGAIN) waitWritable(fd)
    else if (written !== -EINTR) return
  }
}
