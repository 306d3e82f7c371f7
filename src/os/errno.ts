import { constants } from 'node:os'

const names = new Map<number, string>()
for (const [name, value] of Object.entries(constants.errno)) if (!names.has(value)) names.set(value, name)

/** errno numbers of Linux (asm-generic/errno.h); operations answer them negated. */
export const EPERM = 1
export const ENOENT = 2
export const EINTR = 4
export const EIO = 5
export const ENXIO = 6
export const EBADF = 9
export const EAGAIN = 11
export const ENOMEM = 12
export const EACCES = 13
export const EBUSY = 16
export const EEXIST = 17
export const EXDEV = 18
export const ENODEV = 19
export const ENOTDIR = 20
export const EISDIR = 21
export const EINVAL = 22
export const ENFILE = 23
export const ENOTTY = 25
export const EFBIG = 27
export const ENOSPC = 28
export const ESPIPE = 29
export const EROFS = 30
export const ERANGE = 34
export const ENAMETOOLONG = 36
export const ENOSYS = 38
export const ENOTEMPTY = 39
export const ELOOP = 40
export const ENODATA = 61
export const EOPNOTSUPP = 95
export const ENOTCONN = 107
export const ESTALE = 116

/** The name of an errno number (`2` → `ENOENT`); an unknown one as `E<number>`. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `E${errno}`
}

/** The number of an errno name; EIO for one that is none. */
export function errnoNumber(name: string): number {
  const numbers: Record<string, number | undefined> = constants.errno
  return numbers[name] ?? OTHERS[name] ?? EIO
}

/** Names that Node does not have (asm-generic/errno.h). */
const OTHERS: Readonly<Record<string, number>> = { EHOSTDOWN: 112, ECOMM: 70, ESHUTDOWN: 108, ENOKEY: 126 }
