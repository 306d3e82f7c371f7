import type { CopiedNumber, LayersStore } from '../cosmosdb/layers-store.ts'
import { hashText } from '../frame/inode-number.ts'
import type { NodeId } from '../frame/operations.ts'
import type { ProgramsLayer } from './programs.ts'

/**
 * Everything of the tree is a stack of layers: host directories, nearest first. A directory of a stack shows what
 * its layers have at that place; reads come from the first layer that has a name, writes go to the local layer.
 * Host paths have one character a byte.
 */
export interface Stack {
  /** The anchor frame. */
  readonly slot: NodeId
  readonly type: AnchorType
  /** Names the stack over all lives: key of its whiteouts and kept inode numbers. */
  readonly key: string
  /** Its space of inode numbers; 0 for the host's own. */
  readonly space: number
  readonly layers: readonly Layer[]
  /** Index of the layer that writes go to; -1: read-only. */
  readonly local: number
  /** One layer that shows as it is: no merge, no whiteouts. */
  readonly single: boolean
  /** Nothing of it is changed: what is made of something else. */
  readonly readOnly: boolean
  /** Paths below the root that hide what layers below the local one have. */
  readonly whiteouts: Set<string>
  /** Kept inode numbers by `device:ino` of the copy. */
  readonly copied: Map<string, CopiedNumber>
  /** Symbolic links that show in `bin`. */
  readonly programs: ProgramsLayer | undefined
  /** Only these names show in its root. */
  readonly only: ReadonlySet<string> | undefined
}

/** One host directory of a stack. */
export interface Layer {
  readonly path: string
  /** Where below the stack's root it shows: `''` for all of it, `etc/cosmos` for a part. */
  readonly at: string
  /** Names of its root that do not show. */
  readonly hidden: ReadonlySet<string> | undefined
  /** Its files are written where they are, and not copied up: what the daemon shows of itself and takes orders by. */
  readonly inPlace: boolean
}

/** What an anchor frame is the root of; kept in its record. */
export type AnchorType = (typeof ANCHOR_TYPES)[number]
export const ANCHOR_ROOT = 1
export const ANCHOR_HOST = 2
export const ANCHOR_OS = 3
export const ANCHOR_COSM = 4
export const ANCHOR_BIND = 5
export const ANCHOR_PRODUCED = 6
const ANCHOR_TYPES = [ANCHOR_ROOT, ANCHOR_HOST, ANCHOR_OS, ANCHOR_COSM, ANCHOR_BIND, ANCHOR_PRODUCED] as const

/** The directories that make an operating system (`.os`, design §3). */
const OS_NAMES: ReadonlySet<string> = new Set(
  'bin boot dev etc lib lib32 lib64 libx32 opt proc run sbin sys usr var'.split(' '),
)

/** Where the layers of the tree are on this machine. */
export interface StackPlaces {
  /** The user's cosm, `~/.cosm`. */
  readonly home: string
  /** The root URL's content. */
  readonly root: string
  /** The cosm that ships with the package. */
  readonly shipped: string
  /** What the daemon shows of itself: its VMs, and the result frames. */
  readonly state: string
  readonly runs: string
  /** Programs of peers. */
  readonly peers: string
  readonly programs: ProgramsLayer
}

/** What a stack is made from: a fact for each kind of anchor. */
export type StackSource =
  | { type: typeof ANCHOR_ROOT }
  | { type: typeof ANCHOR_HOST }
  | { type: typeof ANCHOR_OS }
  /** Host path of the directory whose `.cosm` it is; undefined for the mount's root. `top`: where the cascade ends. */
  | { type: typeof ANCHOR_COSM; directory: string | undefined; top: string }
  | { type: typeof ANCHOR_BIND; id: number; local: string; layers: readonly string[] }
  /** Host path of the directory that was made. */
  | { type: typeof ANCHOR_PRODUCED; path: string }

/** Builds the stack of an anchor; reads what the cosmosdb has of it. */
export function buildStack(
  slot: NodeId,
  source: StackSource,
  places: StackPlaces,
  store: LayersStore,
): Stack {
  const key = stackKey(source)
  const layers = layersOf(source, places)
  const single = source.type !== ANCHOR_COSM && source.type !== ANCHOR_BIND
  return {
    slot,
    type: source.type,
    key,
    space: source.type === ANCHOR_HOST || source.type === ANCHOR_OS ? 0 : hashText(key) || 1,
    layers,
    local: 0,
    single,
    readOnly: source.type === ANCHOR_PRODUCED,
    whiteouts: new Set(single ? [] : store.whiteouts(key)),
    copied: new Map(
      single ? [] : store.copiedNumbers(key).map((copied) => [copiedKey(copied.device, copied.ino), copied]),
    ),
    programs: source.type === ANCHOR_COSM ? places.programs : undefined,
    only: source.type === ANCHOR_OS ? OS_NAMES : undefined,
  }
}

export function copiedKey(device: number, ino: string): string {
  return `${device}:${ino}`
}

function stackKey(source: StackSource): string {
  switch (source.type) {
    case ANCHOR_COSM:
      return `cosm:${source.directory ?? ''}`
    case ANCHOR_BIND:
      return `bind:${source.id}`
    case ANCHOR_PRODUCED:
      return `produced:${source.path}`
    case ANCHOR_ROOT:
      return 'root'
    case ANCHOR_HOST:
      return 'host'
    case ANCHOR_OS:
      return 'os'
  }
}

function layersOf(source: StackSource, places: StackPlaces): Layer[] {
  switch (source.type) {
    case ANCHOR_ROOT:
      return [layer(places.root)]
    case ANCHOR_HOST:
    case ANCHOR_OS:
      return [layer('/')]
    case ANCHOR_PRODUCED:
      return [layer(source.path)]
    case ANCHOR_BIND:
      return [source.local, ...source.layers].map((path) => layer(path))
    case ANCHOR_COSM:
      return cosmLayers(source.directory, source.top, places)
  }
}

/** Layers of a working cosm, nearest first (design §3). */
function cosmLayers(directory: string | undefined, top: string, places: StackPlaces): Layer[] {
  const paths: string[] = []
  for (let at = directory; at !== undefined; at = at === top || at === '/' ? undefined : parentOf(at))
    paths.push(at === '/' ? '/.cosm' : `${at}/.cosm`)
  paths.push(places.home, '/.cosm')
  const layers = [...new Set(paths)].map((path) =>
    path === places.home ? { ...layer(path), hidden: HOME_STATE } : layer(path),
  )
  return [
    ...layers,
    { ...layer('/etc/cosmos'), at: 'etc/cosmos' },
    layer(places.shipped),
    { ...layer(places.state), inPlace: true },
    { ...layer(places.runs), at: 'run', inPlace: true },
    { ...layer(places.peers), inPlace: true },
  ]
}

/** The instance's own state lies in its home and is no part of the cosm. */
const HOME_STATE: ReadonlySet<string> = new Set(['var', 'root'])

function layer(path: string): Layer {
  return { path, at: '', hidden: undefined, inPlace: false }
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/')
  return slash <= 0 ? '/' : path.slice(0, slash)
}
