import { CosmosError } from '../../errors.ts'
import { readable } from '../../frame/paths.ts'
import { typeOf } from './nodes.ts'
import * as sftp from './packets.ts'
import { SftpFailure, type SftpSession } from './session.ts'

/**
 * SFTP's version 3 has six words for what fails, and `failure` is most of it: what it was is found out by a look at what
 * is there. Between the failure and the look it may have changed; then the answer is EIO with the server's own words.
 */

/** What was tried, on which paths (one character a byte). */
export interface Attempt {
  readonly session: SftpSession
  /** `ssh://host/path` for people. */
  readonly subject: string
  readonly path: string
  readonly to?: string
  readonly what:
    | 'stat'
    | 'list'
    | 'open'
    | 'create'
    | 'mkdir'
    | 'symlink'
    | 'link'
    | 'unlink'
    | 'rmdir'
    | 'rename'
    | 'change'
    | 'write'
}

/** Does something on a server; rejects with a CosmosError. */
export async function attempt<T>(trying: Attempt, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof SftpFailure)) throw error
    const code = await codeOf(error, trying)
    const why = code === 'EIO' ? `the server says: ${error.message}` : WORDS[code]
    throw new CosmosError(code, trying.subject, why ?? error.message, undefined, { cause: error })
  }
}

const WORDS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EEXIST: 'exists already',
  EINVAL: 'is not valid',
  EISDIR: 'is a directory',
  ENAMETOOLONG: 'the name is too long',
  ENOENT: 'not found',
  ENOTDIR: 'is not a directory',
  ENOTEMPTY: 'the directory is not empty',
  EOPNOTSUPP: 'the server does not support it',
  EPERM: 'is not permitted',
  EXDEV: 'the server cannot move it there',
}

/** Bytes of a name (Linux's NAME_MAX), and of a path. */
const MAX_NAME = 255
const MAX_PATH = 4095

async function codeOf({ status }: SftpFailure, trying: Attempt): Promise<string> {
  switch (status) {
    case sftp.PERMISSION_DENIED:
      return trying.what === 'change' ? 'EPERM' : 'EACCES'
    case sftp.UNSUPPORTED:
      return 'EOPNOTSUPP'
    case sftp.NO_SUCH_FILE:
      return (await hasFileAbove(trying)) ? 'ENOTDIR' : 'ENOENT'
    case sftp.BAD_MESSAGE:
      return isTooLong(trying.path) || isTooLong(trying.to ?? '') ? 'ENAMETOOLONG' : 'EINVAL'
    default:
      return isTooLong(trying.path) || isTooLong(trying.to ?? '') ? 'ENAMETOOLONG' : codeOfFailure(trying)
  }
}

async function codeOfFailure({ session, what, path, to }: Attempt): Promise<string> {
  const type = await typeAt(session, path)
  switch (what) {
    case 'create':
    case 'mkdir':
    case 'symlink':
      return type ? 'EEXIST' : 'EIO'
    case 'open':
    case 'unlink':
      return type === 'directory' ? 'EISDIR' : 'EIO'
    case 'rmdir':
      return !type || type === 'directory' ? 'ENOTEMPTY' : 'ENOTDIR'
    case 'link':
      return (await typeAt(session, to ?? '')) ? 'EEXIST' : type === 'directory' ? 'EPERM' : 'EXDEV'
    case 'rename': {
      if (to?.startsWith(`${path}/`)) return 'EINVAL'
      const there = await typeAt(session, to ?? '')
      if (!there) return 'EXDEV'
      if (type === 'directory') return there === 'directory' ? 'ENOTEMPTY' : 'ENOTDIR'
      return there === 'directory' ? 'EISDIR' : 'EXDEV'
    }
    default:
      return 'EIO'
  }
}

/** `no such file` is said too where a file has been taken for a directory: the path itself, or one above. */
async function hasFileAbove({ session, what, path, to }: Attempt): Promise<boolean> {
  const isFile = async (at: string, follow: boolean) => {
    const type = await typeAt(session, at, follow)
    return type !== undefined && type !== 'directory'
  }
  if (what === 'list' || what === 'rmdir') return isFile(path, false)
  for (const each of to === undefined ? [path] : [path, to])
    if (await isFile(each.slice(0, each.lastIndexOf('/')) || '/', true)) return true
  return what === 'rename' && (await typeAt(session, path)) === 'directory' && isFile(to ?? '', false)
}

async function typeAt(session: SftpSession, path: string, follow = false): Promise<string | undefined> {
  try {
    return typeOf(await (follow ? session.stat(path) : session.lstat(path)))
  } catch (error) {
    if (error instanceof SftpFailure) return undefined
    throw error
  }
}

function isTooLong(path: string): boolean {
  return path.length > MAX_PATH || path.split('/').some((name) => name.length > MAX_NAME)
}

/** A path of a host for people. */
export function subjectOf(authority: string, path: string): string {
  return `ssh://${readable(authority.slice(authority.lastIndexOf('@') + 1))}${readable(path)}`
}
