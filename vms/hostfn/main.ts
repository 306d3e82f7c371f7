import './stack.ts'
import { flushCompileCache } from 'node:module'
import { CosmosError } from '../../src/errors.ts'
import { exitNow, setrlimit } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { LIFE_FD, LISTEN_FD, waitReadable } from '../socket.ts'
import { acceptCaller } from './connection.ts'
import { Session } from './session.ts'
import { bufferByLine, exitAtOnce } from './system.ts'

/**
 * hostfn: the VM of native library functions. One thread that takes a client, serves it to its end, and waits for the
 * next. A function may have spoilt anything in the process, so one that has served functions is not used again.
 */

const RLIMIT_CORE = 4

/** A crash is an answer here and leaves no core: 1 byte, because 0 does not keep it from a core_pattern's pipe. */
function leaveNoCore(): void {
  const limits = allocateNative(16)
  limits.view.setBigUint64(0, 1n, true)
  limits.view.setBigUint64(8, 1n, true)
  const result = setrlimit(RLIMIT_CORE, limits.address)
  if (result < 0) throw CosmosError.fromErrno(result, 'RLIMIT_CORE')
}

leaveNoCore()
bufferByLine()
exitAtOnce()
// One that is killed would never write what it compiled.
flushCompileCache()
for (;;) {
  if (waitReadable([LIFE_FD, LISTEN_FD], -1).includes(LIFE_FD)) exitNow(0)
  const connection = acceptCaller()
  if (!connection) continue
  const session = new Session(connection)
  session.serve()
  connection.close()
  if (session.used) exitNow(0)
}
