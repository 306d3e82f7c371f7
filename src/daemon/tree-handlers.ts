import { close, read as readFile } from 'node:fs'
import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { CosmosError } from '../errors.ts'
import { toWire } from '../form/wire.ts'
import { pathBytes } from '../frame/paths.ts'
import { type LookedUp, type NodeDescription, type Place, subjectOf } from '../frame/queries.ts'
import { S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFSOCK } from '../os/constants.ts'
import type { Sources } from '../source/sources.ts'
import type { ControlHandlers, PathArguments } from './handlers.ts'
import { PATIENCE_MS } from './patient-tree.ts'
import type { ListEntry, NodeAttributes, NodeType } from './results.ts'
import type { TreeAsker } from './tree-requests.ts'

const readDescriptor = promisify(readFile)
const closeDescriptor = promisify(close)
/** Entries of a listing that are looked at in one go, so that the tree thread is never held long. */
const BATCH = 1024
const CHUNK = 256 * 1024
/** How often a lookup that waits is tried again, milliseconds. */
const LOOK_AGAIN_MS = 1
/** A notification may wait for a lock that some slow request holds. */
const TELL_PATIENCE_MS = 1000

/** The control socket's operations that the tree answers. */
export type TreeHandlers = Pick<
  ControlHandlers,
  'inspect' | 'which' | 'list' | 'read' | 'lookup' | 'produce' | 'bind' | 'unbind' | 'binds'
>

/** Handlers over the tree thread and the sources; `mount` is the tree's mount point, one character a byte. */
export function treeHandlers(tree: TreeAsker, sources: Sources, mount: string): TreeHandlers {
  const place = (args: PathArguments): Place => ({ path: args.path, cwd: args.cwd, mount })
  return {
    async inspect(args) {
      const found = await tree.ask('inspect', place(args))
      return {
        ...attributesOf(found),
        path: toWire(found.path),
        node: found.node,
        mode: found.mode & 0o7777,
        size: found.size,
        mtime: found.mtime,
        dcel: found.dcel,
        production: found.production,
        layers: found.layers.map((layer) => ({ ...layer, path: toWire(layer.path) })),
        context: toWire(found.context),
        properties: found.properties,
      }
    },
    async which(args) {
      const found = await tree.ask('which', { path: args.name, cwd: args.cwd, mount })
      return found.map((each) => ({ path: toWire(each.path), layer: toWire(each.layer), kind: each.kind }))
    },
    async *list(args, { signal }) {
      const at = place(args)
      const names = await tree.ask('names', at)
      for (let from = 0; from < names.length && !signal.aborted; from += BATCH) {
        const batch = await tree.ask('entries', at, names.slice(from, from + BATCH))
        yield batch.map((each): ListEntry => ({ ...attributesOf(each), name: toWire(each.name) }))
      }
    },
    async *read(args, { signal }) {
      const opened = await tree.ask('openForReading', place(args))
      if ('text' in opened) {
        yield Buffer.from(opened.text, 'latin1')
        return
      }
      if ('source' in opened) {
        yield* sources.read(opened.source, signal)
        return
      }
      try {
        while (!signal.aborted) {
          const { bytesRead, buffer } = await readDescriptor(
            opened.fd,
            Buffer.allocUnsafe(CHUNK),
            0,
            CHUNK,
            null,
          )
          if (bytesRead === 0) return
          yield buffer.subarray(0, bytesRead)
        }
      } finally {
        await closeDescriptor(opened.fd)
      }
    },
    async lookup(args, { signal }) {
      const found = await lookedUp(tree, place(args), signal)
      return { path: toWire(found.path), kind: typeOf(found.mode), stages: args.trace ? found.stages : [] }
    },
    async produce(args) {
      const at = place(args)
      const dropped = await tree.ask('dropMade', at)
      await Promise.all(dropped.map((path) => rm(pathBytes(path), { recursive: true, force: true })))
      const made = await tree.ask('madeAnew', at)
      await untilTold(tree)
      return { ...made, path: toWire(made.path), steps: [...made.steps] }
    },
    async bind(args) {
      const bound = await tree.ask('bind', place(args), args.kind, args.urls)
      await untilTold(tree)
      return { path: toWire(bound.path), layers: bound.layers.map(toWire) }
    },
    async unbind(args) {
      const left = await tree.ask('unbind', place(args))
      await untilTold(tree)
      return { path: toWire(left.path), layers: left.layers.map(toWire) }
    },
    async binds() {
      const all = await tree.ask('binds')
      return all.map((each) => ({
        kind: each.kind,
        path: toWire(each.path),
        layers: [each.local, ...each.layers].map(toWire),
      }))
    },
  }
}

/** Looks a path up to the end: a stage may wait for a source, or for what is made. */
async function lookedUp(
  tree: TreeAsker,
  at: Place,
  signal: AbortSignal,
): Promise<Exclude<LookedUp, { waits: number }>> {
  const since = Date.now()
  const begun = performance.now()
  const waited: number[] = []
  for (;;) {
    const asked = performance.now()
    const found = await tree.ask('lookUp', at, since, waited)
    if (!('waits' in found)) return found
    signal.throwIfAborted()
    if (asked - begun > PATIENCE_MS)
      throw new CosmosError('ETIMEDOUT', subjectOf(at), 'is still being made', 'cosmos log')
    await sleep(LOOK_AGAIN_MS)
    waited[found.waits] = (waited[found.waits] ?? 0) + performance.now() - asked
  }
}

/** What was changed shows to whoever looks next: the kernel is told by another thread, in its time. */
async function untilTold(tree: TreeAsker): Promise<void> {
  const deadline = performance.now() + TELL_PATIENCE_MS
  while (performance.now() < deadline && !(await tree.ask('isTold'))) await sleep(1)
}

function attributesOf(found: NodeDescription): NodeAttributes {
  const { inode, mode, size, mtime, nlink, uid, gid, target } = found
  const attributes: NodeAttributes = {
    inode,
    type: typeOf(mode),
    mode: mode & 0o7777,
    size,
    mtime,
    nlink,
    uid,
    gid,
  }
  if (target !== undefined) attributes.target = toWire(target)
  return attributes
}

function typeOf(mode: number): NodeType {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return 'directory'
    case S_IFLNK:
      return 'link'
    case S_IFIFO:
      return 'fifo'
    case S_IFSOCK:
      return 'socket'
    case S_IFBLK:
      return 'block'
    case S_IFCHR:
      return 'character'
    default:
      return 'file'
  }
}
