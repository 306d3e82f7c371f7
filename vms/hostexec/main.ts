import { flushCompileCache } from 'node:module'
import { describeError } from '../../src/errors.ts'
import { EAGAIN, EINTR } from '../../src/os/errno.ts'
import { accept4, exitNow, fcntl } from '../../src/os/libc.ts'
import { Connection, LIFE_FD, LISTEN_FD } from '../socket.ts'
import { Epoll } from './epoll.ts'
import { Programs } from './programs.ts'
import { Session } from './session.ts'

// The VM for programs and scripts: this machine's kernel runs them, as processes of their own.
// One thread waits in epoll_wait(2) for clients and programs; Node's event loop does not run.

const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const F_SETFD = 2
const F_SETFL = 4
const FD_CLOEXEC = 1
const O_NONBLOCK = 0o4000

// What the daemon gave is not for programs: they get what their callers hand over.
for (const fd of [LIFE_FD, 1, 2, LISTEN_FD]) fcntl(fd, F_SETFD, FD_CLOEXEC)
// Another process may be faster to accept.
fcntl(LISTEN_FD, F_SETFL, O_NONBLOCK)

const epoll = new Epoll()
const programs = new Programs(epoll)
let living = true
/** Not accepting: the process has as many files open as it may. */
let full = false

epoll.add(LIFE_FD, () => {
  living = false
})
epoll.add(LISTEN_FD, accept)

// One that is killed would never write what it compiled.
flushCompileCache()
let status = 0
try {
  while (living) {
    epoll.wait(programs.patience)
    programs.doDue()
  }
} catch (error) {
  status = 1
  process.stderr.write(`hostexec ends: ${error instanceof Error ? error.stack : error}\n`)
}
programs.killAll()
// Node's own way out waits for threads, and one of them waits for children.
exitNow(status)

function accept(): void {
  for (;;) {
    const fd = accept4(LISTEN_FD, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK)
    if (fd >= 0) serve(fd)
    else if (fd === -EAGAIN) return
    else if (fd !== -EINTR) {
      // Those that wait are taken when a session ends, or by another process.
      full = true
      epoll.remove(LISTEN_FD)
      return
    }
  }
}

function serve(fd: number): void {
  const session = new Session(new Connection(fd), programs)
  const receive = () => {
    try {
      if (session.receive()) return
      end(fd)
      session.close()
    } catch (error) {
      process.stderr.write(`connection ended: ${describeError(error)}\n`)
      end(fd)
      session.fail(error)
    }
  }
  epoll.add(fd, receive)
  // It has mostly asked already.
  receive()
}

function end(fd: number): void {
  epoll.remove(fd)
  if (!full) return
  full = false
  epoll.add(LISTEN_FD, accept)
}
