import { execFile } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { CosmosError } from '../../src/errors.ts'
import { POLLERR, POLLPRI } from '../../src/os/constants.ts'
import { poll } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'

const MOUNTS = '/proc/self/mountinfo'

/** A mount seen from outside: the library does not tell when it is gone. Looking at it never enters it. */
export class MountPoint {
  readonly path: string
  readonly #fd: number
  readonly #polled = allocateNative(8)
  /** The kernel's number of the mount; undefined before it is there. */
  #id: string | undefined

  constructor(path: string) {
    this.path = path
    this.#fd = openSync(MOUNTS, 'r')
    this.#polled.view.setInt32(0, this.#fd, true)
    this.#polled.view.setInt16(4, POLLPRI | POLLERR, true)
  }

  /** Notes the mount that has just been made. */
  appeared(): void {
    this.#id = topmost(this.path)
  }

  /** Whether the mount is gone; reads the table of mounts only when the kernel says that it has changed. */
  isGone(): boolean {
    if (poll(this.#polled.address, 1, 0) <= 0) return false
    return !this.exists()
  }

  exists(): boolean {
    return this.#id !== undefined && mounts().some((each) => each.id === this.#id)
  }

  close(): void {
    closeSync(this.#fd)
  }
}

/** Takes a mount away: at once where nobody uses it, else lazily. */
export async function unmount(path: string): Promise<void> {
  // By another process: this one may have to answer requests meanwhile.
  if (await run('fusermount', ['-u', path])) return
  if (await run('fusermount', ['-u', '-z', path])) return
  if (await run('umount', ['-l', path])) return
  throw new CosmosError('EIO', path, 'cannot be unmounted', `umount -l ${path}`)
}

function run(program: string, args: string[]): Promise<boolean> {
  // Its working directory must not lie in the mount.
  return new Promise((resolve) => execFile(program, args, { cwd: '/' }, (error) => resolve(error === null)))
}

function topmost(path: string): string | undefined {
  return mounts().findLast((each) => each.path === path)?.id
}

function mounts(): { id: string; path: string }[] {
  return readFileSync(MOUNTS, 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .map(([id = '', , , , path = '']) => ({ id, path: unescapeOctal(path) }))
}

/** Blanks and the like are written in octal (proc_pid_mountinfo(5)). */
function unescapeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}
