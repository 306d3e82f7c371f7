import { chmodSync, lstatSync, rmSync } from 'node:fs'
import { CosmosError } from '../errors.ts'
import { accept4, bind, close, listen, socket } from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
/** Connections that may wait; the kernel takes its own limit (net.core.somaxconn) where that is lower. */
const BACKLOG = 65_535
/** struct sockaddr_un: family, then a path of at most 107 bytes and NUL (unix(7)). */
const ADDRESS_SIZE = 110

/**
 * A Unix socket that listens, as a descriptor for child processes: they all accept from it, so a connection never
 * waits for one that is busy, and never fails because one has just died.
 */
export class ListeningSocket {
  readonly path: string
  readonly fd: number
  readonly #inode: bigint

  /** Listens at `path`, 0600, in the place of what is there. Throws CosmosError ENAMETOOLONG, or what bind(2) answers. */
  constructor(path: string) {
    const bytes = Buffer.from(path)
    if (bytes.length > 107)
      throw new CosmosError('ENAMETOOLONG', path, 'too long for a socket', 'set a shorter XDG_RUNTIME_DIR')
    rmSync(path, { force: true })
    const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if (fd < 0) throw CosmosError.fromErrno(fd, path)
    const address = allocateNative(ADDRESS_SIZE)
    address.view.setUint16(0, AF_UNIX, true)
    address.bytes.set(bytes, 2)
    const bound = bind(fd, address.address, ADDRESS_SIZE)
    const listening = bound < 0 ? bound : listen(fd, BACKLOG)
    if (listening < 0) {
      close(fd)
      throw CosmosError.fromErrno(listening, path)
    }
    chmodSync(path, 0o600)
    this.path = path
    this.#inode = lstatSync(path, { bigint: true }).ino
    this.fd = fd
  }

  /** Ends the connections that wait and that nobody will accept. */
  refuse(): void {
    for (;;) {
      const fd = accept4(this.fd, 0, 0, SOCK_CLOEXEC)
      if (fd < 0) return
      close(fd)
    }
  }

  close(): void {
    close(this.fd)
    // Another may listen there by now.
    if (lstatSync(this.path, { bigint: true, throwIfNoEntry: false })?.ino === this.#inode) rmSync(this.path)
  }
}
