import { O_CLOEXEC, O_RDONLY } from '../os/constants.ts'
import { EOPNOTSUPP, EPERM, EXDEV } from '../os/errno.ts'
import { open } from '../os/libc.ts'
import { cString } from '../os/memory.ts'
import { getattr, readlink, setattr, statfs } from './attributes.ts'
import { copyEnded } from './copy-up.ts'
import { ROOT_NODE, TreeCore, type TreeParts } from './core.ts'
import { link, mkdir, mknod, rmdir, symlink, unlink } from './entries.ts'
import * as files from './files.ts'
import { FLAG_WRITABLE, REMOTE } from './frames.ts'
import { Listings } from './listing.ts'
import { lookup } from './lookup.ts'
import * as opening from './opening.ts'
import type {
  AttributeChange,
  DirectorySink,
  DriverServices,
  HandleId,
  Name,
  NodeId,
  TreeOperations,
} from './operations.ts'
import { rename } from './rename.ts'
import { getxattr, listxattr, removexattr, setxattr } from './xattrs.ts'

/** The access tree: what the drivers serve. Each group of operations has its file; this is their index. */
export class AccessTree extends TreeCore implements TreeOperations {
  readonly #listings: Listings
  /** The table of mounts. */
  readonly mountsDescriptor = open(cString('/proc/self/mountinfo').address, O_RDONLY | O_CLOEXEC, 0)

  constructor(parts: TreeParts) {
    super(parts)
    this.#listings = new Listings(this)
  }

  protected override freed(slot: NodeId): void {
    this.#listings.drop(slot)
  }

  attach(services: DriverServices): void {
    this.services = services
  }
  answered(): void {
    this.trim()
  }
  jobEnded(token: number, result: number): void {
    copyEnded(this, token, result)
  }

  nextEnded(): string | undefined {
    return this.productions.nextEnded() ?? this.remotes.questions.nextEnded()
  }
  abandoned(key: string): void {
    this.productions.abandoned(key)
    this.remotes.questions.abandoned(key)
  }
  interrupted(uniqueLow: number, uniqueHigh: number): void {
    if (this.remotes.roots.size > 0)
      this.remotes.questions.send({ type: 'interrupted', uniqueLow, uniqueHigh })
  }

  /** Whether a frame is of a source: those have their own operations. */
  #isRemote(slot: NodeId): boolean {
    return this.frames.exists(slot) && this.frames.kind(slot) === REMOTE
  }

  /** Every name that the kernel may have cached, for kernels that can't drop them all at once. */
  *everyName(): Generator<{ parent: NodeId; bytes: Uint8Array; offset: number; length: number }> {
    for (const slot of this.frames.all()) {
      const { bytes, offset, length } = this.nameOf(slot)
      if (length > 0) yield { parent: this.frames.parent(slot), bytes, offset, length }
    }
  }

  get watchDescriptor(): number {
    return this.watches.descriptor
  }
  mountsChanged(): void {
    this.outside.mountsChanged()
  }
  drainWatches(): void {
    this.watches.drain(this.outside, 8)
    this.trim()
  }
  get timerDescriptor(): number {
    return this.borrowed.descriptor
  }
  override giveBack(): void {
    super.giveBack()
    this.#listings.giveBack()
    this.trim()
  }

  lookup(parent: NodeId, name: Name): number {
    return lookup(this, parent, name)
  }
  forget(node: NodeId, count: number): void {
    if (node === ROOT_NODE || !this.frames.exists(node)) return
    this.frames.setLookups(node, Math.max(0, this.frames.lookups(node) - count))
    if (this.frames.lookups(node) === 0) this.settle(node)
  }
  getattr(node: NodeId, _handle: HandleId): number {
    return getattr(this, node)
  }
  setattr(node: NodeId, handle: HandleId, change: AttributeChange): number {
    if (this.#isRemote(node)) return this.remotes.setattr(node, change)
    return setattr(this, node, handle, change)
  }
  readlink(node: NodeId, address: number, size: number): number {
    return readlink(this, node, address, size)
  }
  mknod(parent: NodeId, name: Name, mode: number, rdev: number): number {
    if (this.#isRemote(parent)) return -EPERM
    return mknod(this, parent, name, mode, rdev)
  }
  mkdir(parent: NodeId, name: Name, mode: number): number {
    if (this.#isRemote(parent)) return this.remotes.mkdir(parent, name, mode)
    return mkdir(this, parent, name, mode)
  }
  symlink(parent: NodeId, name: Name, target: Name): number {
    if (this.#isRemote(parent)) return this.remotes.symlink(parent, name, target)
    return symlink(this, parent, name, target)
  }
  link(node: NodeId, newParent: NodeId, newName: Name): number {
    if (this.#isRemote(newParent)) return this.remotes.link(node, newParent, newName)
    return link(this, node, newParent, newName)
  }
  unlink(parent: NodeId, name: Name): number {
    if (this.#isRemote(parent)) return this.remotes.remove(parent, name, 'unlink')
    return unlink(this, parent, name)
  }
  rmdir(parent: NodeId, name: Name): number {
    if (this.#isRemote(parent)) return this.remotes.remove(parent, name, 'rmdir')
    return rmdir(this, parent, name)
  }
  rename(parent: NodeId, name: Name, newParent: NodeId, newName: Name, flags: number): number {
    if (this.#isRemote(parent) || this.#isRemote(newParent))
      return this.remotes.rename(parent, name, newParent, newName, flags)
    return rename(this, parent, name, newParent, newName, flags)
  }
  open(node: NodeId, flags: number): number {
    return this.#isRemote(node) ? this.remotes.open(node, flags) : opening.open(this, node, flags)
  }
  create(parent: NodeId, name: Name, flags: number, mode: number): number {
    if (this.#isRemote(parent)) return this.remotes.create(parent, name, flags, mode)
    return opening.create(this, parent, name, flags, mode)
  }
  tmpfile(parent: NodeId, flags: number, mode: number): number {
    if (this.#isRemote(parent)) return -EOPNOTSUPP
    return opening.tmpfile(this, parent, flags, mode)
  }
  read(node: NodeId, handle: HandleId, address: number, size: number, position: number): number {
    if (this.#isRemote(node)) return this.remotes.files.read(node, handle, size, position)
    return files.read(this, node, handle, address, size, position)
  }
  write(
    node: NodeId,
    handle: HandleId,
    address: number,
    size: number,
    position: number,
    kill: boolean,
    cached: boolean,
  ): number {
    if (this.#isRemote(node)) return this.remotes.files.write(node, handle, address, size, position)
    return files.write(this, node, handle, address, size, position, kill, cached)
  }
  /** What was written to a disk is with the host's kernel already. */
  flush(node: NodeId, handle: HandleId): number {
    if (this.#isRemote(node)) return this.remotes.files.flush(node, handle)
    const edited = this.productions.edits.flush(handle)
    if (edited !== 0) return edited
    if (this.frames.exists(node) && this.frames.hasFlag(node, FLAG_WRITABLE))
      this.productions.shown.written(node)
    return 0
  }
  release(node: NodeId, handle: HandleId): number {
    return this.#isRemote(node)
      ? this.remotes.files.release(node, handle)
      : opening.release(this, node, handle)
  }
  fsync(node: NodeId, handle: HandleId, dataOnly: boolean): number {
    if (this.#isRemote(node)) return this.remotes.files.sync(node, handle)
    return files.fsync(this, node, handle, dataOnly)
  }
  readdir(node: NodeId, cookieLow: number, cookieHigh: number, plus: boolean, sink: DirectorySink): number {
    return this.#listings.readdir(node, cookieLow, cookieHigh, plus, sink)
  }
  fsyncdir(node: NodeId): number {
    return this.#isRemote(node) ? 0 : files.fsyncDirectory(this, node)
  }
  statfs(node: NodeId): number {
    return statfs(this, node)
  }
  access(_node: NodeId, _mask: number): number {
    return -EPERM
  }
  getxattr(node: NodeId, name: Name, address: number, size: number): number {
    return getxattr(this, node, name, address, size)
  }
  setxattr(node: NodeId, name: Name, address: number, size: number, flags: number): number {
    return setxattr(this, node, name, address, size, flags)
  }
  listxattr(node: NodeId, address: number, size: number): number {
    return listxattr(this, node, address, size)
  }
  removexattr(node: NodeId, name: Name): number {
    return removexattr(this, node, name)
  }
  lseek(node: NodeId, handle: HandleId, position: number, whence: number): number {
    if (this.#isRemote(node)) return this.remotes.lseek(node, handle, position, whence)
    return files.lseek(this, node, handle, position, whence)
  }
  fallocate(node: NodeId, handle: HandleId, mode: number, position: number, length: number): number {
    if (this.#isRemote(node)) return -EOPNOTSUPP
    return files.fallocate(this, node, handle, mode, position, length)
  }
  copyFileRange(
    node: NodeId,
    handle: HandleId,
    position: number,
    outNode: NodeId,
    outHandle: HandleId,
    outPosition: number,
    length: number,
  ): number {
    // The kernel copies by reading and writing then.
    if (this.#isRemote(node) || this.#isRemote(outNode)) return -EXDEV
    return files.copyFileRange(this, node, handle, position, outNode, outHandle, outPosition, length)
  }
}
