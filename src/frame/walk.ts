import { CosmosError } from '../errors.ts'
import { S_IFDIR, S_IFLNK, S_IFMT } from '../os/constants.ts'
import { ELOOP, ENOENT, ENOTDIR, errnoName } from '../os/errno.ts'
import { allocateNative } from '../os/memory.ts'
import { getattr, readlink } from './attributes.ts'
import { ROOT_NODE, type TreeCore } from './core.ts'
import { ANCHOR, BACKED, REMOTE } from './frames.ts'
import { lookup } from './lookup.ts'
import { type NodeId, PENDING } from './operations.ts'
import { makeName, readable } from './paths.ts'

/** A path that was walked: the frame at its end, held until `release`. */
export interface Walked {
  readonly node: NodeId
  /** From the mount's root, links followed; one character a byte. */
  readonly path: string
  readonly stages: WalkStage[]
  release(): void
}

/** One step of a walk. */
export interface WalkStage {
  readonly name: string
  readonly node: NodeId
  /** Where it leads, where it is a link that was followed. */
  target?: string
  readonly microseconds: number
}

/** Links that one walk follows at most (path_resolution(7)). */
const MAX_LINKS = 40
const target = allocateNative(4097)

/**
 * Where a path or URL of a person lies in the tree, from the mount's root. What begins with the mount's own path
 * or is relative inside it is a path of the tree; `file:` URLs and any other path are the host's.
 * All of it has one character a byte.
 */
export function treePathOf(path: string, cwd: string, mount: string, hostDirectory: string): string {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//.exec(path)?.[1]
  if (scheme !== undefined && scheme !== 'file') return `/${path.replace(/\/{2,}/g, '/').replace(/\/$/, '')}`
  const url = /^file:(?:\/\/[^/]*)?(\/.*)$/.exec(path)
  if (url) return `/${hostDirectory}${unescapeUrl(url[1] ?? '/')}`
  const absolute = path.startsWith('/') ? path : `${cwd}/${path}`
  const normal = normalize(absolute)
  if (normal === mount) return '/'
  return normal.startsWith(`${mount}/`)
    ? normal.slice(mount.length)
    : `/${hostDirectory}${normal === '/' ? '' : normal}`
}

/**
 * Walks a path of the tree without the kernel. Throws CosmosError with the errno of the step that failed.
 * A link at the end is followed where `follow`; one that leads to the mount's own path leads into the tree. `stages` has
 * the steps, those before one that failed too.
 */
export function walk(
  core: TreeCore,
  path: string,
  follow = true,
  mount?: string,
  stages: WalkStage[] = [],
): Walked {
  const held: NodeId[] = []
  const release = (): void => {
    for (const node of held.splice(0)) {
      if (node === ROOT_NODE) continue
      core.frames.setLookups(node, core.frames.lookups(node) - 1)
      core.settle(node)
    }
    core.trim()
  }
  try {
    let links = 0
    let at: NodeId = ROOT_NODE
    let done: string[] = []
    const rest = path.split('/').filter((part) => part !== '' && part !== '.')
    while (rest.length > 0) {
      const part = rest.shift() as string
      if (part === '..') {
        done.pop()
        rest.unshift(...done)
        done = []
        at = ROOT_NODE
        continue
      }
      const started = performance.now()
      const result = lookup(core, at, makeName(part))
      const microseconds = Math.round((performance.now() - started) * 1000)
      if (result === PENDING)
        throw new CosmosError('EINPROGRESS', readable(`/${[...done, part].join('/')}`), 'is being made')
      if (result < 0) {
        const subject = readable(`/${[...done, part].join('/')}`)
        const kind = core.frames.kind(at)
        if (
          result === -ENOENT &&
          (kind === BACKED || kind === ANCHOR) &&
          core.productions.couldBe(at, part)
        ) {
          const { module, file } = core.productions.domain(at)
          if (module === 'literal' && file !== undefined)
            throw CosmosError.fromErrno(result, subject, `names are literal there: ${readable(file)}`)
        }
        const isRemote = at === ROOT_NODE || kind === REMOTE
        throw failureOf(result, subject, isRemote ? core.remotes.why(at, part) : undefined)
      }
      const node = core.entryNode
      held.push(node)
      const stage: WalkStage = { name: part, node, microseconds }
      stages.push(stage)
      const type = core.attributes.mode & S_IFMT
      if (type === S_IFLNK && (follow || rest.length > 0)) {
        if (++links > MAX_LINKS) throw CosmosError.fromErrno(-ELOOP, readable(path))
        const length = readlink(core, node, target.address, 4096)
        if (length < 0) throw CosmosError.fromErrno(length, readable(path))
        let text = target.bytes.toString('latin1', 0, length)
        stage.target = text
        const isInTree = mount !== undefined && (text === mount || text.startsWith(`${mount}/`))
        if (isInTree) text = text.slice(mount.length) || '/'
        rest.unshift(...text.split('/').filter((each) => each !== '' && each !== '.'))
        if (text.startsWith('/')) {
          // Any other absolute link means the host's root.
          if (!isInTree) rest.unshift(core.hostDirectory)
        } else rest.unshift(...done)
        done = []
        at = ROOT_NODE
        continue
      }
      if (rest.length > 0 && type !== S_IFDIR)
        throw CosmosError.fromErrno(-ENOTDIR, readable(`/${[...done, part].join('/')}`))
      done.push(part)
      at = node
    }
    const stated = getattr(core, at)
    if (stated === PENDING) throw new CosmosError('EINPROGRESS', readable(path), 'is being asked for')
    if (stated < 0) throw CosmosError.fromErrno(stated, readable(path))
    return { node: at, path: `/${done.join('/')}`, stages, release }
  } catch (error) {
    release()
    throw error
  }
}

/** The error of an operation that answered `-errno`; `why` is what a source said of it. */
export function failureOf(result: number, subject: string, why: string | undefined): CosmosError {
  return why === undefined || result === -ENOENT
    ? CosmosError.fromErrno(result, subject)
    : new CosmosError(errnoName(-result), subject, why)
}

function normalize(path: string): string {
  const parts: string[] = []
  for (const part of path.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part)
  }
  return `/${parts.join('/')}`
}

function unescapeUrl(path: string): string {
  return path.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
