import { S_IFMT, S_IFREG } from '../../os/constants.ts'
import type { SourcePath } from '../../source/service.ts'
import type { TreeCore } from '../core.ts'
import { REMOTE } from '../frames.ts'
import { type NodeId, PENDING } from '../operations.ts'
import { makeName } from '../paths.ts'
import { remember } from '../remember.ts'
import { sourcePathOf, urlOf } from '../remote/path.ts'
import { emptyAttributes } from '../statx.ts'
import { WAITING } from './vocabulary.ts'

/** The file that something is made from. */
export interface Base {
  readonly name: string
  readonly path: string
  /** It is fetched from there. */
  readonly source?: SourcePath
  /** `device:inode`, as stat(2) tells them. */
  readonly inode: string
  /** Device, inode, size and times: another one when it is changed. */
  readonly generation: string
  /** The same, and how often what was made of it was dropped. */
  readonly identity: string
  readonly uid: number
  readonly gid: number
  readonly mode: number
  /** Bytes. */
  readonly size: number
  /** Whether it lies where changes go to. */
  readonly isLocal: boolean
}

/** Generations that are remembered as dropped. */
const CAPACITY = 10_000
const READ = 0o444
const OWN_UID = process.getuid?.() ?? 0
const OWN_GID = process.getgid?.() ?? 0

/** Finds files that something can be made from. */
export class Bases {
  readonly #core: TreeCore
  /**
   * How often what was made of a generation of a file was dropped: what is made then has another name, so that
   * nothing that the kernel or this daemon knows of the former is believed.
   */
  readonly #dropped = new Map<string, number>()
  readonly #attributes = emptyAttributes()

  constructor(core: TreeCore) {
    this.#core = core
  }

  /** What was made of a generation is to be made anew. */
  drop(generation: string): void {
    remember(this.#dropped, generation, (this.#dropped.get(generation) ?? 0) + 1, CAPACITY)
  }

  /** The file of a name in a directory; undefined where it is none. Throws WAITING while a source is asked. */
  find(parent: NodeId, text: string): Base | undefined {
    return this.#core.frames.kind(parent) === REMOTE ? this.#remote(parent, text) : this.#local(parent, text)
  }

  #local(parent: NodeId, text: string): Base | undefined {
    const core = this.#core
    const layer = core.statChild(parent, makeName(text))
    if (layer < 0 || (core.stat.mode & S_IFMT) !== S_IFREG) return undefined
    core.stat.decode(this.#attributes)
    const { mode, uid, gid, size, mtime, mtimensec, ctime, ctimensec } = this.#attributes
    const directory = core.hostPath(parent, layer)
    const generation = `${core.stat.device}:${core.inoText()}:${size}:${mtime}.${mtimensec}:${ctime}.${ctimensec}`
    const stack = core.stackOf(parent)
    return {
      name: text,
      path: `${directory === '/' ? '' : directory}/${text}`,
      inode: `${userDevice(core.stat.device)}:${core.inoText()}`,
      generation,
      identity: this.#identity(generation, generation),
      uid,
      gid,
      mode,
      size,
      isLocal: !stack.readOnly && (stack.single || layer === core.localLayer(parent)),
    }
  }

  /** What a source has is fetched first. */
  #remote(parent: NodeId, text: string): Base | undefined {
    const core = this.#core
    const node = core.remotes.child(parent, text)
    if (node === PENDING) throw WAITING
    if (typeof node === 'number' || node.type !== 'file') return undefined
    const { size, mtime = 0, mode = READ } = node
    const path = `${core.treePath(parent)}/${text}`
    // What nobody can tell from another is believed for as long as its service says.
    const turn = Math.floor(Date.now() / Math.max(1000, node.fresh))
    const version = node.generation ?? `${size}:${mtime}:${turn}`
    const generation = `${urlOf(path)} ${version}`
    return {
      name: text,
      path: urlOf(path),
      source: sourcePathOf(path),
      inode: '',
      generation,
      // Whoever has another password may see something else. It is not written down: a key is a hash.
      identity: this.#identity(generation, `${path} ${version}`),
      uid: OWN_UID,
      gid: OWN_GID,
      mode,
      size: size ?? 0,
      isLocal: false,
    }
  }

  #identity(generation: string, identity: string): string {
    const dropped = this.#dropped.get(generation)
    return dropped === undefined ? identity : `${identity}:${dropped}`
  }
}

/** A device number of the kernel as stat(2) has it (makedev(3)). */
function userDevice(device: number): number {
  const [major, minor] = [device >>> 20, device & 0xfffff]
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
}
