import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import * as ops from '../../src/frame/operations.ts'
import { emptyAttributes } from '../../src/frame/statx.ts'
import { DT_DIR, DT_LNK, DT_REG, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../../src/os/constants.ts'
import {
  EEXIST,
  EISDIR,
  ENODATA,
  ENOENT,
  ENOTDIR,
  ENOTEMPTY,
  EOPNOTSUPP,
  ERANGE,
} from '../../src/os/errno.ts'
import { viewOf } from '../../src/os/memory.ts'

type Name = ops.Name

interface Node {
  mode: number
  uid: number
  gid: number
  nlink: number
  mtime: number
  /** Content of a file, target of a link. */
  data: Buffer
  /** Names of a directory, as latin1 so that any bytes are kept. */
  entries: Map<string, number>
  xattrs: Map<string, Buffer>
}

const text = (name: Name): string => name.bytes.toString('latin1', name.offset, name.offset + name.length)
const memory = (address: number, size: number): Buffer =>
  size === 0 ? Buffer.alloc(0) : Buffer.from(viewOf(address, size))

/**
 * A whole tree in memory for tests of the driver: no disk, every operation on the spot. With a file to save to, a
 * next process can go on with it, and a request that was resent is not done twice.
 */
export class MemoryTree implements ops.TreeOperations {
  readonly request = { uid: 0, gid: 0, pid: 0, umask: 0, uniqueLow: 0, uniqueHigh: 0, resent: false }
  readonly attributes = emptyAttributes()
  readonly validity = { entry: 0, attributes: 0 }
  readonly opened = { handle: 0, backingId: 0, keepCache: false, directIo: false, flush: false }
  readonly job: ops.Job = {
    kind: 'fsync',
    descriptor: -1,
    otherDescriptor: -1,
    position: 0,
    otherPosition: 0,
    length: 0,
    mode: 0,
    again: false,
    token: 0,
    key: '',
  }
  readonly statistics = {
    blocks: 1000,
    freeBlocks: 600,
    availableBlocks: 500,
    files: 100,
    freeFiles: 50,
    blockSize: 4096,
    nameLength: 255,
    fragmentSize: 4096,
  }
  entryNode = 0
  watchDescriptor = -1
  readonly mountsDescriptor = -1
  readonly timerDescriptor = -1
  services: ops.DriverServices | undefined
  /** What was called, in order; undefined to keep no record. */
  calls: string[] | undefined = []
  /** Seconds that answers, and names that do not exist, hold. */
  seconds = 0
  negativeSeconds = 0
  /** Set for a request's read, fsync or copy to be a job on this descriptor. */
  jobDescriptor = -1
  /** Where given, called with the operation's name after its effect, before its reply. */
  afterEffect: (operation: string) => void = () => {}
  readonly ended: [number, number][] = []
  readonly nodes = new Map<number, Node>()
  readonly #file: string | undefined
  #done = new Map<number, number>()
  #next = 2

  constructor(file?: string) {
    this.#file = file
    this.nodes.set(1, this.#make(S_IFDIR | 0o755))
    if (file !== undefined) this.#load(file)
  }

  attach(services: ops.DriverServices): void {
    this.services = services
  }
  answered(): void {
    this.calls?.push('answered')
  }
  abandoned(): void {}
  interrupted(): void {}
  nextEnded(): string | undefined {
    return undefined
  }
  jobEnded(token: number, result: number): void {
    this.ended.push([token, result])
    this.jobDescriptor = -1
  }

  lookup(parent: number, name: Name): number {
    this.calls?.push(`lookup ${parent} ${text(name)}`)
    this.validity.entry = this.negativeSeconds
    return this.#entry(this.nodes.get(parent)?.entries.get(text(name)))
  }
  forget(node: number, count: number): void {
    this.calls?.push(`forget ${node} ${count}`)
  }
  getattr(node: number, handle: number): number {
    this.calls?.push(`getattr ${node} ${handle}`)
    return this.#show(node)
  }
  setattr(id: number, handle: number, change: ops.AttributeChange): number {
    this.calls?.push(`setattr ${id} ${handle} ${JSON.stringify(change)}`)
    const node = this.nodes.get(id)
    if (node === undefined) return -ENOENT
    if (change.valid & ops.SET_MODE) node.mode = (node.mode & S_IFMT) | (change.mode & 0o7777)
    if (change.valid & ops.SET_UID) node.uid = change.uid
    if (change.valid & ops.SET_GID) node.gid = change.gid
    if (change.valid & ops.SET_SIZE) this.#resize(node, change.size)
    if (change.valid & ops.SET_MTIME) node.mtime = change.mtime
    this.#save()
    return this.#show(id)
  }
  readlink(id: number, address: number, size: number): number {
    this.calls?.push(`readlink ${id}`)
    return this.nodes.get(id)?.data.copy(memory(address, size)) ?? -ENOENT
  }
  mknod(parent: number, name: Name, mode: number, rdev: number): number {
    this.calls?.push(`mknod ${parent} ${text(name)} ${mode.toString(8)} ${rdev} ${this.request.umask}`)
    return this.#add('mknod', parent, name, this.#make(mode & ~this.request.umask))
  }
  mkdir(parent: number, name: Name, mode: number): number {
    this.calls?.push(`mkdir ${parent} ${text(name)} ${mode.toString(8)} ${this.request.umask}`)
    return this.#add('mkdir', parent, name, this.#make(S_IFDIR | (mode & ~this.request.umask)))
  }
  symlink(parent: number, name: Name, target: Name): number {
    this.calls?.push(`symlink ${parent} ${text(name)} ${text(target)}`)
    const node = this.#make(S_IFLNK | 0o777)
    node.data = Buffer.from(target.bytes.subarray(target.offset, target.offset + target.length))
    return this.#add('symlink', parent, name, node)
  }
  link(id: number, newParent: number, name: Name): number {
    this.calls?.push(`link ${id} ${newParent} ${text(name)}`)
    const node = this.nodes.get(id)
    const directory = this.nodes.get(newParent)
    if (node === undefined || directory === undefined) return -ENOENT
    return this.#once('link', () => {
      if (directory.entries.has(text(name))) return -EEXIST
      directory.entries.set(text(name), id)
      node.nlink++
      return this.#entry(id)
    })
  }
  unlink(parent: number, name: Name): number {
    this.calls?.push(`unlink ${parent} ${text(name)}`)
    return this.#once('unlink', () => this.#remove(parent, name, false))
  }
  rmdir(parent: number, name: Name): number {
    this.calls?.push(`rmdir ${parent} ${text(name)}`)
    return this.#once('rmdir', () => this.#remove(parent, name, true))
  }
  rename(parent: number, name: Name, newParent: number, newName: Name, flags: number): number {
    this.calls?.push(`rename ${parent} ${text(name)} ${newParent} ${text(newName)} ${flags}`)
    const from = this.nodes.get(parent)?.entries
    const to = this.nodes.get(newParent)?.entries
    return this.#once('rename', () => {
      const id = from?.get(text(name))
      if (id === undefined || from === undefined || to === undefined) return -ENOENT
      from.delete(text(name))
      to.set(text(newName), id)
      return 0
    })
  }
  open(node: number, flags: number): number {
    this.calls?.push(`open ${node} ${flags.toString(8)}`)
    this.opened.handle = node
    return 0
  }
  create(parent: number, name: Name, flags: number, mode: number): number {
    this.calls?.push(`create ${parent} ${text(name)} ${flags.toString(8)} ${mode.toString(8)}`)
    const result = this.#add(
      'create',
      parent,
      name,
      this.#make(S_IFREG | (mode & 0o7777 & ~this.request.umask)),
    )
    this.opened.handle = this.entryNode
    return result
  }
  mountsChanged(): void {}
  giveBack(): void {}
  tmpfile(parent: number, flags: number, mode: number): number {
    this.calls?.push(`tmpfile ${parent} ${flags.toString(8)} ${mode.toString(8)}`)
    return -EOPNOTSUPP
  }
  read(id: number, handle: number, address: number, size: number, position: number): number {
    this.calls?.push(`read ${id} ${handle} ${size} ${position}`)
    if (this.jobDescriptor >= 0) return this.#pend('read', position, size)
    const node = this.nodes.get(id)
    if (node === undefined) return -ENOENT
    return node.data.copy(memory(address, size), 0, position, position + size)
  }
  write(id: number, handle: number, address: number, size: number, position: number, kill: boolean): number {
    this.calls?.push(`write ${id} ${handle} ${size} ${position} ${kill}`)
    const node = this.nodes.get(id)
    if (node === undefined) return -ENOENT
    if (position + size > node.data.length) this.#resize(node, position + size)
    memory(address, size).copy(node.data, position)
    this.#save()
    this.afterEffect('write')
    return size
  }
  flush(): number {
    return 0
  }
  release(node: number, handle: number): number {
    this.calls?.push(`release ${node} ${handle}`)
    return 0
  }
  fsync(node: number, handle: number, dataOnly: boolean): number {
    this.calls?.push(`fsync ${node} ${handle} ${dataOnly}`)
    return this.jobDescriptor >= 0 ? this.#pend(dataOnly ? 'fdatasync' : 'fsync', 0, 0) : 0
  }
  readdir(id: number, cookieLow: number, _high: number, plus: boolean, sink: ops.DirectorySink): number {
    this.calls?.push(`readdir${plus ? 'plus' : ''} ${id} ${cookieLow}`)
    const node = this.nodes.get(id)
    if (node === undefined) return -ENOENT
    const all = [['.', id], ['..', 1], ...node.entries] as [string, number][]
    for (let at = cookieLow; at < all.length; at++) {
      const [name, child] = all[at]!
      const { mode } = this.nodes.get(child)!
      const type = (mode & S_IFMT) === S_IFDIR ? DT_DIR : (mode & S_IFMT) === S_IFLNK ? DT_LNK : DT_REG
      this.#entry(child)
      if (name === '.' || name === '..') this.entryNode = 0
      const bytes = Buffer.from(name, 'latin1')
      if (!sink.add(bytes, 0, bytes.length, child, 0, type, at + 1, 0)) break
    }
    return 0
  }
  fsyncdir(node: number): number {
    this.calls?.push(`fsyncdir ${node}`)
    return 0
  }
  statfs(node: number): number {
    this.calls?.push(`statfs ${node}`)
    return 0
  }
  access(): number {
    return 0
  }
  getxattr(id: number, name: Name, address: number, size: number): number {
    this.calls?.push(`getxattr ${id} ${text(name)} ${size}`)
    return give(this.nodes.get(id)?.xattrs.get(text(name)), address, size)
  }
  setxattr(id: number, name: Name, address: number, size: number, flags: number): number {
    this.calls?.push(`setxattr ${id} ${text(name)} ${memory(address, size).toString()} ${flags}`)
    this.nodes.get(id)?.xattrs.set(text(name), Buffer.from(memory(address, size)))
    this.#save()
    return 0
  }
  listxattr(id: number, address: number, size: number): number {
    this.calls?.push(`listxattr ${id} ${size}`)
    const names = [...(this.nodes.get(id)?.xattrs.keys() ?? [])].map((name) => `${name}\0`).join('')
    return give(Buffer.from(names), address, size)
  }
  removexattr(id: number, name: Name): number {
    this.calls?.push(`removexattr ${id} ${text(name)}`)
    return this.nodes.get(id)?.xattrs.delete(text(name)) ? 0 : -ENODATA
  }
  lseek(node: number, handle: number, position: number, whence: number): number {
    this.calls?.push(`lseek ${node} ${handle} ${position} ${whence}`)
    return position
  }
  fallocate(node: number, handle: number, mode: number, position: number, length: number): number {
    this.calls?.push(`fallocate ${node} ${handle} ${mode} ${position} ${length}`)
    return 0
  }
  copyFileRange(
    node: number,
    handle: number,
    position: number,
    outNode: number,
    outHandle: number,
    outPosition: number,
    length: number,
  ): number {
    this.calls?.push(`copy ${node} ${handle} ${position} ${outNode} ${outHandle} ${outPosition} ${length}`)
    return length
  }
  drainWatches(): void {
    this.calls?.push('drainWatches')
  }

  #pend(kind: ops.JobKind, position: number, length: number): number {
    Object.assign(this.job, { kind, descriptor: this.jobDescriptor, position, length })
    return ops.PENDING
  }

  #make(mode: number): Node {
    const { uid, gid } = this.request
    const times = { nlink: 1, mtime: 1_700_000_000 }
    return { mode, uid, gid, ...times, data: Buffer.alloc(0), entries: new Map(), xattrs: new Map() }
  }

  #add(operation: string, parent: number, name: Name, node: Node): number {
    const directory = this.nodes.get(parent)
    if (directory === undefined) return -ENOENT
    return this.#once(operation, () => {
      if (directory.entries.has(text(name))) return -EEXIST
      const id = this.#next++
      this.nodes.set(id, node)
      directory.entries.set(text(name), id)
      return this.#entry(id)
    })
  }

  /** Has an effect, unless the request is resent and had it. */
  #once(operation: string, effect: () => number): number {
    const { uniqueLow, resent } = this.request
    const node = this.#done.get(uniqueLow)
    if (resent && node !== undefined) return node === 0 ? 0 : this.#entry(node)
    this.entryNode = 0
    const result = effect()
    if (result === 0) this.#done.set(uniqueLow, this.entryNode)
    this.#save()
    this.afterEffect(operation)
    return result
  }

  #remove(parent: number, name: Name, directory: boolean): number {
    const entries = this.nodes.get(parent)?.entries
    const id = entries?.get(text(name))
    if (id === undefined || entries === undefined) return -ENOENT
    const node = this.nodes.get(id)!
    const isDirectory = (node.mode & S_IFMT) === S_IFDIR
    if (isDirectory !== directory) return directory ? -ENOTDIR : -EISDIR
    if (node.entries.size > 0) return -ENOTEMPTY
    entries.delete(text(name))
    node.nlink--
    return 0
  }

  #resize(node: Node, size: number): void {
    const data = Buffer.alloc(size)
    node.data.copy(data)
    node.data = data
  }

  #entry(id: number | undefined): number {
    this.entryNode = id ?? 0
    return id === undefined ? -ENOENT : this.#show(id)
  }

  #show(id: number): number {
    const node = this.nodes.get(id)
    if (node === undefined) return -ENOENT
    const { attributes } = this
    attributes.inoLow = id
    attributes.mode = node.mode
    attributes.nlink = node.nlink
    attributes.uid = node.uid
    attributes.gid = node.gid
    attributes.size = node.data.length
    attributes.blocks = Math.ceil(node.data.length / 512)
    attributes.mtime = node.mtime
    this.validity.entry = this.seconds
    this.validity.attributes = this.seconds
    return 0
  }

  #save(): void {
    if (this.#file === undefined) return
    const nodes = [...this.nodes].map(([id, node]) => ({
      id,
      ...node,
      data: node.data.toString('base64'),
      entries: [...node.entries],
      xattrs: [],
    }))
    // Whole or not at all: the daemon may be killed in between.
    writeFileSync(`${this.#file}.new`, JSON.stringify({ nodes, next: this.#next, done: [...this.#done] }))
    renameSync(`${this.#file}.new`, this.#file)
  }

  #load(file: string): void {
    let saved: string
    try {
      saved = readFileSync(file, 'utf8')
    } catch {
      return
    }
    const { nodes, next, done } = JSON.parse(saved)
    for (const { id, ...node } of nodes) {
      const data = Buffer.from(node.data, 'base64')
      this.nodes.set(id, { ...node, data, entries: new Map(node.entries), xattrs: new Map() })
    }
    this.#next = next
    this.#done = new Map(done)
  }
}

function give(value: Buffer | undefined, address: number, size: number): number {
  if (value === undefined) return -ENODATA
  if (size === 0) return value.length
  if (size < value.length) return -ERANGE
  return value.copy(memory(address, size))
}
