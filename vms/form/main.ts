import { flushCompileCache } from 'node:module'
import { exitNow } from '../../src/os/libc.ts'
import { acceptConnection, LISTEN_FD, waitReadable } from '../socket.ts'
import { Watch } from '../wasi/watch.ts'
import { Session } from './session.ts'

/**
 * The VM `form`: mappers and transformers, one session at a time. What a document can do to a library it does in this
 * process. See docs/vm-protocol.md.
 */

const watch = new Watch()
// One that is killed would never write what it compiled.
flushCompileCache()
for (;;) {
  waitReadable([LISTEN_FD], -1)
  const connection = acceptConnection()
  if (connection !== undefined) {
    const session = new Session(connection, watch)
    await session.serve()
    // Not as Node ends: it would wait for the watch, which waits for ever.
    if (session.used) exitNow(0)
  }
  // What the engine has no use for any more is freed only when the event loop turns.
  await new Promise(setImmediate)
}
