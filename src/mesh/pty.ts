import { closeSync } from 'node:fs'
import { ReadStream } from 'node:tty'
import { CosmosError } from '../errors.ts'
import { O_CLOEXEC, O_NOCTTY, O_RDWR } from '../os/constants.ts'
import { call, fchownat, ioctl, open } from '../os/libc.ts'
import { allocateNative, cString } from '../os/memory.ts'

/** A terminal for a program whose caller has one elsewhere: pty(7). */

const openMaster = call<(flags: number) => number>('int posix_openpt(int)')
const grant = call<(fd: number) => number>('int grantpt(int)')
const unlock = call<(fd: number) => number>('int unlockpt(int)')
/** Answers an errno, which is not negative. */
const nameOf = call<(fd: number, buffer: number, size: number) => number>(
  'int ptsname_r(int, uintptr_t, size_t)',
)
/** ioctl_tty(2) */
const TIOCSWINSZ = 0x5414
const AT_EMPTY_PATH = 0x1000

const size = allocateNative(8)
const name = allocateNative(128)
const empty = cString('')

/** Rows and columns of a terminal. */
export interface WindowSize {
  readonly rows: number
  readonly columns: number
}

/** The two ends of a terminal. */
export class Pty {
  /** `/dev/pts/N`: what the program has. */
  readonly path: string
  /** The program's end, open here until it has started. */
  readonly slave: number
  /** What the program writes is read here, and what is written here is its input. Ends with the program's end. */
  readonly stream: ReadStream
  readonly #master: number

  private constructor(master: number, slave: number, path: string) {
    this.#master = master
    this.slave = slave
    this.path = path
    this.stream = new ReadStream(master)
  }

  /** Makes a terminal that belongs to a user, by default this one. Throws CosmosError. */
  static open(window: WindowSize, owner?: { readonly uid: number; readonly gid: number }): Pty {
    const master = checked(openMaster(O_RDWR | O_NOCTTY | O_CLOEXEC))
    try {
      checked(grant(master))
      checked(unlock(master))
      checked(-nameOf(master, name.address, name.bytes.length))
      const slave = checked(open(name.address, O_RDWR | O_NOCTTY | O_CLOEXEC, 0))
      if (owner) checked(fchownat(slave, empty.address, owner.uid, owner.gid, AT_EMPTY_PATH))
      setSize(master, window)
      return new Pty(master, slave, name.bytes.toString('latin1', 0, name.bytes.indexOf(0)))
    } catch (error) {
      closeSync(master)
      throw error
    }
  }

  /** The caller's window has another size: the program is told by SIGWINCH. */
  resize(window: WindowSize): void {
    if (!this.stream.destroyed) setSize(this.#master, window)
  }
}

function setSize(master: number, { rows, columns }: WindowSize): void {
  size.view.setUint16(0, rows, true)
  size.view.setUint16(2, columns, true)
  ioctl(master, TIOCSWINSZ, size.address)
}

function checked(result: number): number {
  if (result < 0) throw CosmosError.fromErrno(result, 'terminal')
  return result
}
