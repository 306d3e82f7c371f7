import { flushCompileCache } from 'node:module'
import { acceptConnection, LISTEN_FD, waitReadable } from '../socket.ts'
import { ModuleCache } from './modules.ts'
import { Session, type Shared } from './session.ts'
import { Watch } from './watch.ts'

/**
 * The VM `wasi`: WebAssembly programs and libraries, one session at a time. See docs/vm-protocol.md and
 * docs/guest-api.md.
 */

const shared: Shared = {
  cache: new ModuleCache(),
  watch: new Watch(),
  counts: { sessions: 0, runs: 0, calls: 0 },
}

// One that is killed would never write what it compiled.
flushCompileCache()
for (;;) {
  waitReadable([LISTEN_FD], -1)
  const connection = acceptConnection()
  if (connection !== undefined) {
    shared.counts.sessions++
    new Session(connection, shared).serve()
  }
  // What the engine has no use for any more is freed only when the event loop turns.
  await new Promise(setImmediate)
}
