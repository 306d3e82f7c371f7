import type { WireText } from '../form/wire.ts'
import type { NetrunAnswer } from '../mesh/netrun/netrun.ts'

// What operations of the control protocol answer (docs/protocol.md), paths and names as they go.

/** By which command directories were merged at a path; both look in the nearest layer first. */
export type BindKind = 'bind' | 'cascade'

/** Of `status`: the daemon and all that it serves. */
export interface StatusResult {
  pid: number
  supervisor: number
  home: WireText
  version: string
  /** When the daemon started, seconds since 1970. */
  since: number
  mounts: MountStatus[]
  vms: VmStatus[]
  peers: PeerStatus[]
  listening: ListenResult
  /** Access frames that are in use. */
  frames: number
  /** Path of the log file. */
  log: WireText
}
interface MountStatus {
  path: WireText
  driver: string
  /** Whether the kernel reads and writes local files by itself. */
  passthrough: boolean
}
interface VmStatus {
  name: string
  state: string
}
/** Of `vms`: one VM, what it runs and has run. */
export interface VmReport extends VmStatus {
  /** Where its profile lies. */
  directory: WireText
  description: string
  kinds: string[]
  pids: number[]
  /** Sessions now, and all so far. */
  sessions: number
  launches: number
  restarts: number
  /** Whether the link `.cosm/default/vm` names it. */
  default: boolean
}
/** Of `launch`: the VM that executes, and what it is told; or the peer, by way of the launcher (docs/netrun.md). */
export type LaunchResult = LocalLaunch | NetrunAnswer
interface LocalLaunch {
  vm: string
  /** Where the VM's session is had. */
  socket: WireText
  run: string
  route: WireRoute
  /** Where the streams are recorded, and how many bytes of each. */
  record?: { directory: WireText; limit: number }
}
/** What the VM is told (docs/vm-protocol.md). */
export interface WireRoute {
  path: WireText
  payload: WireText
  kind: string
  interpreter?: WireText
  interpreterArguments?: WireText[]
  library?: WireText
  prototype?: string
  lend?: [WireText, WireText][]
  modules?: WireText[]
  limits?: { seconds?: number; memory?: number }
}
/** An exit code, or the number and the name of a signal. */
export type ObituaryResult = { code: number } | { signal: number; name: string }
/** Of `dlopen`: the VM that calls a library's functions. */
export interface DlopenResult {
  vm: string
  socket: WireText
  library: WireText
  /** C prototypes that are known of its functions. */
  prototypes: string[]
}
/** Of `accepts`: what each VM says to an executable. */
export interface AcceptsResult {
  path: WireText
  kind: string
  /** The one that would run it; missing where none does. */
  chosen?: string
  verdicts: { vm: string; accepts: boolean; reason?: string }[]
}
/** Of `runs`: one result frame. `since` is in seconds since 1970. */
export interface RunReport {
  id: string
  argv: WireText[]
  cwd: WireText
  vm: string
  since: number
  /** `0`, `signal 15`, `lost: why`; missing while it runs. */
  exit?: string
}
/** Of `run`: all that a result frame has, but for the streams, which lie in `directory`. */
export interface RunDetails extends RunReport {
  path: WireText
  directory: WireText
  env?: WireText[]
}
interface PeerStatus {
  id: string
  name: string
  state: string
}

/** Kinds of nodes, as `find -type` names them in words. */
export type NodeType = 'file' | 'directory' | 'link' | 'fifo' | 'socket' | 'block' | 'character'

/** Attributes of a node, as stat(2) has them. Times are seconds since 1970. */
export interface NodeAttributes {
  /** Decimal: 64 bits do not fit a number. */
  inode: string
  type: NodeType
  mode?: number
  size?: number
  mtime?: number
  nlink?: number
  uid?: number
  gid?: number
  /** Target of a symbolic link. */
  target?: WireText
}
/** Of `list`: one entry of a directory. */
export interface ListEntry extends NodeAttributes {
  name: WireText
}
/** Of `inspect`: one node with its frame, dcel, production and layers. */
export interface InspectResult extends NodeAttributes {
  path: WireText
  /** Number of the access frame. */
  node: number
  mode: number
  size: number
  mtime: number
  /** Name of the dcel. */
  dcel: string
  /** The production instruction, as `name:prod` shows it. */
  production: string
  layers: LayerInfo[]
  /** Path of the context frame. */
  context: WireText
  /** The node's other properties. */
  properties: Record<string, string>
}
/** What was made anew. */
export interface ProduceResult {
  path: WireText
  /** The production instruction, in one line. */
  instruction: string
  /** What each step made: bytes of a file, entries of a directory. */
  steps: { instruction: string; size: number; milliseconds: number }[]
}
interface LayerInfo {
  path: WireText
  /** `directory`, `programs`, … */
  kind: string
  /** Whether writes go to it. */
  local: boolean
}
/** Of `which`: one layer that has the name, in the order in which they are looked at. */
export interface WhichEntry {
  /** Where the name is in this layer. */
  path: WireText
  layer: WireText
  kind: string
}
/** Of `lookup`: where a path leads, and how it was resolved. */
export interface LookupResult {
  /** The path as it is resolved, from the mount's root. */
  path: WireText
  kind: string
  /** Empty unless `trace` was asked for. */
  stages: LookupStage[]
}
interface LookupStage {
  /** A name of the path; a step by which the name before it was made begins with two spaces. */
  stage: string
  /** Who resolved it: `host`, `cascade`, `source https`, `fudge`, … */
  by: string
  answer: string
  microseconds: number
}
/** Of `bind` and `unbind`. */
export interface BindResult {
  path: WireText
  /** What shows there now, nearest first. */
  layers: WireText[]
}
/** Of `binds`: one of them. */
export interface BindEntry extends BindResult {
  kind: BindKind
}
/** Of `down`: who is busy. */
export interface DownResult {
  busy: BusyProcess[]
}
/** A process that holds the mount. */
export interface BusyProcess {
  pid: number
  name: string
  /** What it holds: `working directory`, `open file PATH`, … */
  what: string
}
/** Of `reload`. */
export interface ReloadResult {
  /** The new daemon; 0 when it is not known yet: `status` tells. */
  pid: number
  former: number
}

/** Where this host listens now, and where it will when somebody may come. */
export interface ListenResult {
  addresses: string[]
  waiting: string[]
}

export interface InviteResult {
  invite: string
  /** Milliseconds since 1970. */
  expires: number
}

/** Who was joined. */
export interface JoinResult {
  id: string
  name: string
}

/** A host that can run a program. */
export interface WhereEntry {
  /** `me@laptop`. */
  host: string
  /** This host itself. */
  local: boolean
  /** Host path of the program, here. */
  path?: WireText
}
