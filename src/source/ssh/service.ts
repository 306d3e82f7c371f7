import { CosmosError } from '../../errors.ts'
import type {
  SourceAccess,
  SourceChange,
  SourceContext,
  SourceEntry,
  SourceFile,
  SourceNode,
  SourcePath,
  SourceService,
} from '../service.ts'
import { Connections } from './connections.ts'
import { type Attempt, attempt, subjectOf } from './failures.ts'
import { abortable, SshFile } from './file.ts'
import { FRESH, toNode, typeOf } from './nodes.ts'
import * as sftp from './packets.ts'
import type { SftpSession } from './session.ts'

/** Settings of `[source.ssh]`, in seconds, and what they are where nobody set them. */
const SETTINGS = {
  /** Until a host has let us in. */
  connect: 10,
  /** Between two questions whether a silent host is there; it is lost after the third without an answer. */
  keepalive: 5,
  /** SFTP that says nothing to what it is asked. */
  silence: 30,
  /** A connection that nobody uses. */
  idle: 300,
}
/** Links of a directory whose targets are asked for at once. */
const MAX_READLINKS = 64
/** Paths that are remembered as written. */
const MAX_WRITTEN = 1000

/**
 * The source `ssh`: the files of a host, by SFTP. `ssh://user@host:port/path`: the first segment is the host, as ssh(1)
 * and ~/.ssh/config have it, the others are the absolute path there. Segments are names as they are: `%2F` is three
 * characters of one. Without a segment it is a directory of the hosts that are connected.
 */
export function sshService(context: SourceContext): SourceService {
  const setting = (name: keyof typeof SETTINGS) => {
    const value = context.settings[name]
    return (typeof value === 'number' && value > 0 ? value : SETTINGS[name]) * 1000
  }
  const patience = {
    connect: setting('connect'),
    keepalive: setting('keepalive'),
    silence: setting('silence'),
  }
  return new SshService(new Connections(context, patience, setting('idle')))
}

/** A place on a host. */
interface Place {
  readonly authority: string
  readonly path: string
  readonly subject: string
}

class SshService implements SourceService {
  readonly #connections: Connections
  /** When paths were written last: what tells apart the contents of one second. */
  readonly #written = new Map<string, string>()

  constructor(connections: Connections) {
    this.#connections = connections
  }

  async stat(path: SourcePath, signal: AbortSignal): Promise<SourceNode> {
    if (path.segments.length === 0) return { type: 'directory', size: 0, mode: 0o555, fresh: FRESH }
    return abortable(
      this.#on(path, 'stat', (session, place) => this.#nodeAt(session, place)),
      signal,
    )
  }

  async list(path: SourcePath, signal: AbortSignal): Promise<readonly SourceEntry[]> {
    if (path.segments.length === 0) return this.#connections.names().map((name) => ({ name }))
    return abortable(
      this.#on(path, 'list', (session, place) => this.#entries(session, place)),
      signal,
    )
  }

  async open(path: SourcePath, access: SourceAccess, signal: AbortSignal): Promise<SourceFile> {
    const opening = this.#on(path, 'open', async (session, place) => {
      // Looked at first: to open a fifo would stop the server until somebody opens its other end.
      const attributes = await session.stat(place.path)
      const type = typeOf(attributes)
      if (type === 'directory') throw new CosmosError('EISDIR', place.subject, 'is a directory')
      if (type !== 'file') throw new CosmosError('ENXIO', place.subject, 'is no regular file')
      const handle = await session.open(place.path, openFlags(access))
      if (access.truncate) this.#wrote(place)
      const opened = access.truncate ? { ...attributes, size: 0 } : attributes
      return this.#file(place, access, this.#node(place, opened), session, handle)
    })
    const wanted = opening.then((file) => {
      if (signal.aborted) file.close().catch(() => {})
      return file
    })
    return abortable(wanted, signal)
  }

  create(path: SourcePath, mode: number, access: SourceAccess): Promise<SourceFile> {
    return this.#on(path, 'create', async (session, place) => {
      const flags = openFlags(access) | sftp.CREATE | sftp.EXCLUSIVE
      const handle = await session.open(place.path, flags, { mode: mode & 0o7777 })
      try {
        // The server takes its own umask from the mode; ours was taken already.
        await session.setstatOfHandle(handle, { mode: mode & 0o7777 })
        this.#wrote(place)
        const node = this.#node(place, await session.lstat(place.path))
        return this.#file(place, access, node, session, handle)
      } catch (error) {
        session.close(handle).catch(() => {})
        throw error
      }
    })
  }

  mkdir(path: SourcePath, mode: number): Promise<SourceNode> {
    return this.#on(path, 'mkdir', async (session, place) => {
      await session.mkdir(place.path, mode & 0o7777)
      const made = await session.lstat(place.path)
      const wanted = (mode & 0o1777) | ((made.mode ?? 0) & 0o6000)
      if (((made.mode ?? 0) & 0o7777) === wanted) return this.#node(place, made)
      await session.setstat(place.path, { mode: wanted })
      return this.#nodeAt(session, place)
    })
  }

  symlink(path: SourcePath, target: string): Promise<SourceNode> {
    return this.#on(path, 'symlink', async (session, place) => {
      await session.symlink(place.path, target)
      return this.#nodeAt(session, place)
    })
  }

  link(path: SourcePath, to: SourcePath): Promise<SourceNode> {
    const there = this.#sameHost(path, to)
    return this.#on(path, 'link', async (session, place) => {
      await attempt({ session, subject: place.subject, path: there.path, to: place.path, what: 'link' }, () =>
        session.extended('hardlink@openssh.com', [there.path, place.path]),
      )
      return this.#nodeAt(session, place)
    })
  }

  unlink(path: SourcePath): Promise<void> {
    return this.#on(path, 'unlink', (session, place) => session.remove(place.path))
  }

  rmdir(path: SourcePath): Promise<void> {
    return this.#on(path, 'rmdir', (session, place) => session.rmdir(place.path))
  }

  rename(from: SourcePath, to: SourcePath, keep: boolean): Promise<void> {
    const target = this.#sameHost(from, to)
    return this.#on(from, 'rename', async (session, place) => {
      await attempt(
        { session, subject: place.subject, path: place.path, to: target.path, what: 'rename' },
        () => (keep ? renameKeeping(session, place, target) : renameOver(session, place.path, target.path)),
      )
      this.#wrote(target)
    })
  }

  change(path: SourcePath, change: SourceChange): Promise<SourceNode> {
    return this.#on(path, 'change', async (session, place) => {
      const now = await session.lstat(place.path)
      const attributes = changed(now, change, place)
      if (typeOf(now) !== 'link') await session.setstat(place.path, attributes)
      else if (attributes.mode !== undefined || attributes.size !== undefined)
        throw new CosmosError('EOPNOTSUPP', place.subject, 'a link has no mode and no size of its own')
      else await session.extended('lsetstat@openssh.com', [place.path, attributes])
      if (change.size !== undefined) this.#wrote(place)
      return this.#nodeAt(session, place)
    })
  }

  close(): Promise<void> {
    return this.#connections.close()
  }

  /** Does something on the host of a path. */
  async #on<T>(
    path: SourcePath,
    what: Attempt['what'],
    work: (session: SftpSession, place: Place) => Promise<T>,
  ): Promise<T> {
    const place = placeOf(path)
    const session = await this.#connections.session(place.authority)
    return attempt({ session, subject: place.subject, path: place.path, what }, () => work(session, place))
  }

  #sameHost(one: SourcePath, other: SourcePath): Place {
    const place = placeOf(other)
    if (placeOf(one).authority !== place.authority)
      throw new CosmosError('EXDEV', place.subject, 'is on another host')
    return place
  }

  async #nodeAt(session: SftpSession, place: Place): Promise<SourceNode> {
    const attributes = await session.lstat(place.path)
    return this.#node(
      place,
      attributes,
      typeOf(attributes) === 'link' ? await session.readlink(place.path) : undefined,
    )
  }

  async #entries(session: SftpSession, place: Place): Promise<SourceEntry[]> {
    const names = await session.list(place.path)
    const at = (name: string): Place => ({
      ...place,
      path: `${place.path === '/' ? '' : place.path}/${name}`,
    })
    const targets = await readLinks(
      session,
      names.filter(({ attributes }) => typeOf(attributes) === 'link').map(({ name }) => at(name).path),
    )
    return names.map(({ name, attributes }) => {
      const here = at(name)
      const target = targets.get(here.path)
      // A link that is gone again, or not to be read, is asked for by itself.
      if (attributes.mode === undefined || (typeOf(attributes) === 'link' && target === undefined))
        return { name }
      return { name, node: this.#node(here, attributes, target) }
    })
  }

  #node(place: Place, attributes: sftp.Attributes, target?: string): SourceNode {
    return toNode(place.path, attributes, target, this.#written.get(place.authority + place.path))
  }

  #file(
    place: Place,
    access: SourceAccess,
    node: SourceNode,
    session: SftpSession,
    handle: Buffer,
  ): SourceFile {
    const { path, subject } = place
    return new SshFile(
      {
        path,
        subject,
        session: () => this.#connections.session(place.authority),
        written: () => this.#wrote(place),
      },
      access,
      node,
      session,
      handle,
    )
  }

  #wrote({ authority, path }: Place): void {
    const key = authority + path
    this.#written.delete(key)
    this.#written.set(key, `-${Date.now().toString(36)}${process.hrtime.bigint() % 1_000_000n}`)
    const [oldest] = this.#written.keys()
    if (this.#written.size > MAX_WRITTEN && oldest !== undefined) this.#written.delete(oldest)
  }
}

/** Where a path leads. Throws CosmosError ENOENT for names that no host has. */
function placeOf({ segments }: SourcePath): Place {
  const [authority = '', ...names] = segments
  const path = `/${names.join('/')}`
  const subject = subjectOf(authority, path)
  if (authority === '') throw new CosmosError('EROFS', 'ssh:', 'has hosts in it, and nothing else')
  for (const name of names)
    if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name))
      throw new CosmosError('ENOENT', subject, 'has a name in it that no file has')
  return { authority, path, subject }
}

function openFlags({ read, write, truncate }: SourceAccess): number {
  return (read ? sftp.FOR_READ : 0) | (write ? sftp.FOR_WRITE : 0) | (truncate ? sftp.TRUNCATE : 0)
}

/** Targets by path; those that cannot be read are missing. */
async function readLinks(session: SftpSession, paths: readonly string[]): Promise<Map<string, string>> {
  const targets = new Map<string, string>()
  for (let at = 0; at < paths.length; at += MAX_READLINKS)
    await Promise.all(
      paths.slice(at, at + MAX_READLINKS).map(async (path) => {
        const target = await session.readlink(path).catch(() => undefined)
        if (target !== undefined) targets.set(path, target)
      }),
    )
  return targets
}

/** Takes the place of what is there, at once where the server can. */
async function renameOver(session: SftpSession, from: string, to: string): Promise<void> {
  if (session.extensions.has('posix-rename@openssh.com'))
    return session.extended('posix-rename@openssh.com', [from, to])
  return session.rename(from, to)
}

/** SFTP's own rename takes no place that is taken; only that of a link that leads nowhere, with some servers. */
async function renameKeeping(session: SftpSession, from: Place, to: Place): Promise<void> {
  const there = await session.lstat(to.path).catch(() => undefined)
  if (there) throw new CosmosError('EEXIST', to.subject, 'exists already')
  return session.rename(from.path, to.path)
}

/** What is sent for a change: owners and times go in pairs, times in whole seconds of 32 bits. */
function changed(now: sftp.Attributes, change: SourceChange, place: Place): sftp.Attributes {
  const seconds = (milliseconds: number) => {
    const value = Math.floor(milliseconds / 1000)
    if (value < 0 || value > 0xffffffff)
      throw new CosmosError('EINVAL', place.subject, 'SFTP has no such time')
    return value
  }
  const { mode, size, uid, gid, atime, mtime } = change
  const owner = { uid: uid ?? now.owner?.uid ?? 0, gid: gid ?? now.owner?.gid ?? 0 }
  const times = {
    atime: atime === undefined ? (now.times?.atime ?? 0) : seconds(atime),
    mtime: mtime === undefined ? (now.times?.mtime ?? 0) : seconds(mtime),
  }
  return {
    ...(size === undefined ? {} : { size }),
    ...(mode === undefined ? {} : { mode: mode & 0o7777 }),
    ...(uid === undefined && gid === undefined ? {} : { owner }),
    ...(atime === undefined && mtime === undefined ? {} : { times }),
  }
}
