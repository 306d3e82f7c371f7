import { errnoName } from './os/errno.ts'

/**
 * The one error type of cosmos: what failed, why, and what to do about it.
 * The mount answers its errno; the command line prints it as one line.
 */
export class CosmosError extends Error {
  /** errno name, such as `ENOENT`. */
  readonly code: string
  /** The path, host, process or option that the error is about. */
  readonly subject: string
  /** What a person can do next; a command where there is one. */
  readonly hint: string | undefined

  constructor(code: string, subject: string, why: string, hint?: string, options?: ErrorOptions) {
    super(`${subject}: ${why}`, options)
    this.name = 'CosmosError'
    this.code = code
    this.subject = subject
    this.hint = hint
  }

  /** The error of a system call that answered `-errno`. */
  static fromErrno(negativeErrno: number, subject: string, hint?: string): CosmosError {
    const code = errnoName(-negativeErrno)
    return new CosmosError(code, subject, WORDS[code] ?? code, hint)
  }
}

/** What the usual errno names say to people. */
const WORDS: Record<string, string> = {
  EACCES: 'permission denied',
  EBUSY: 'is busy',
  EEXIST: 'exists already',
  EHOSTDOWN: 'the host is down',
  EIO: 'input or output error',
  EISDIR: 'is a directory',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'the name is too long',
  ENOENT: 'not found',
  ENOSPC: 'no space left',
  ENOSYS: 'is not supported',
  ENOTDIR: 'is not a directory',
  EPERM: 'is not permitted',
  EROFS: 'is read-only',
}

/** One line for a terminal: what, why, what to do. */
export function describeError(error: unknown): string {
  if (error instanceof CosmosError) return error.hint ? `${error.message} (${error.hint})` : error.message
  return error instanceof Error ? error.message : String(error)
}
