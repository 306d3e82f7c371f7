import type { WireText } from '../form/wire.ts'
import type { PeerReport } from '../mesh/mesh.ts'
import type { PeerCredentials } from '../os/peer-credentials.ts'
import type { RunExit } from '../vm/runs.ts'
import { ArgumentReader } from './argument-reader.ts'
import type {
  AcceptsResult,
  BindEntry,
  BindKind,
  BindResult,
  DlopenResult,
  DownResult,
  InspectResult,
  InviteResult,
  JoinResult,
  LaunchResult,
  ListEntry,
  ListenResult,
  LookupResult,
  ObituaryResult,
  ProduceResult,
  ReloadResult,
  RunDetails,
  RunReport,
  StatusResult,
  VmReport,
  WhereEntry,
  WhichEntry,
} from './results.ts'

/**
 * What the daemon answers on its control socket: one method an operation. Paths and names come as text with one
 * character a byte (`BytesText`, as the tree has them) and go as {@link WireText} (`toWire(bytesText)`).
 */
export interface ControlHandlers {
  status(args: NoArguments, context: RequestContext): Promise<StatusResult>
  inspect(args: PathArguments, context: RequestContext): Promise<InspectResult>
  which(args: WhichArguments, context: RequestContext): Promise<WhichEntry[]>
  /** Batches of entries of a directory, in its own order, without `.` and `..`. ENOTDIR for what is none. */
  list(args: PathArguments, context: RequestContext): AsyncIterable<ListEntry[]>
  read(args: PathArguments, context: RequestContext): AsyncIterable<Uint8Array>
  lookup(args: LookupArguments, context: RequestContext): Promise<LookupResult>
  /** Makes what a path stands for anew, whatever was kept. EINVAL for what is made of nothing, EIO where it fails. */
  produce(args: PathArguments, context: RequestContext): Promise<ProduceResult>
  bind(args: BindArguments, context: RequestContext): Promise<BindResult>
  unbind(args: PathArguments, context: RequestContext): Promise<BindResult>
  binds(args: NoArguments, context: RequestContext): Promise<BindEntry[]>
  /** Which VM executes what lies at a path, and how. The run is over when the client's connection is. */
  launch(args: LaunchArguments, context: RequestContext): Promise<LaunchResult>
  /** The launcher tells how the program ended. */
  ran(args: RanArguments, context: RequestContext): Promise<Record<string, never>>
  /** Where the functions of a library are called. The client's connection holds the VM's session. */
  dlopen(args: PathArguments, context: RequestContext): Promise<DlopenResult>
  /** How a process of a VM ended. */
  obituary(args: ObituaryArguments, context: RequestContext): Promise<ObituaryResult>
  /** Every VM, and what it is at. */
  vms(args: NoArguments, context: RequestContext): Promise<VmReport[]>
  /** What each VM says to an executable. */
  accepts(args: PathArguments, context: RequestContext): Promise<AcceptsResult>
  /** Ends the processes of a VM; what they run is ended. */
  restartVm(args: NameArguments, context: RequestContext): Promise<Record<string, never>>
  /** Result frames, the oldest first. */
  runs(args: NoArguments, context: RequestContext): Promise<RunReport[]>
  run(args: NameArguments, context: RequestContext): Promise<RunDetails>
  /** Listens for peers at these addresses, and no others. */
  listen(args: TextsArguments, context: RequestContext): Promise<ListenResult>
  /** A one-time invite with these grants. */
  invite(args: TextsArguments, context: RequestContext): Promise<InviteResult>
  /** Joins by an invite, and gives the inviter these grants. */
  join(args: NamedTextsArguments, context: RequestContext): Promise<JoinResult>
  peers(args: NoArguments, context: RequestContext): Promise<PeerReport[]>
  /** Adds rules to what a peer may do here, or takes some away (none named: all). Answers what is left. */
  grant(args: NamedTextsArguments, context: RequestContext): Promise<string[]>
  revoke(args: NamedTextsArguments, context: RequestContext): Promise<string[]>
  /** Parts with a peer. */
  leave(args: NameArguments, context: RequestContext): Promise<Record<string, never>>
  /** The hosts that can run a program, this one first. */
  where(args: NameArguments, context: RequestContext): Promise<WhereEntry[]>
  /** Answers who is busy; then the mount goes, lazily where it is busy, and the daemon ends. */
  down(args: DownArguments, context: RequestContext): Promise<DownResult>
  /** Answers before the daemon ends, or after the next has taken over. */
  reload(args: NoArguments, context: RequestContext): Promise<ReloadResult>
}

/** Text with one character a byte (latin1). */
export type BytesText = string

/** Who asks, and whether the answer is still wanted. */
export interface RequestContext {
  /** Aborted when the client cancels or is gone. */
  readonly signal: AbortSignal
  /** The client's process, as the kernel says; undefined where the system cannot tell. */
  readonly peer: PeerCredentials | undefined
  /** Calls back once when the client's connection is closed, after the answer too. */
  onClose(callback: () => void): void
}

type NoArguments = Record<string, never>

/** A URL or a path; a relative one is resolved at `cwd`, an absolute host path of the caller. */
export interface PathArguments {
  path: BytesText
  cwd: BytesText
}
interface WhichArguments {
  name: BytesText
  cwd: BytesText
}
interface LookupArguments extends PathArguments {
  /** Whether `stages` is wanted. */
  trace: boolean
}
interface BindArguments extends PathArguments {
  kind: BindKind
  /** What is merged at `path`, nearest first. */
  urls: BytesText[]
}
export interface LaunchArguments extends PathArguments {
  /** A query string: `vm=NAME`, `record=1`, `lend=DIR`. */
  options: string
  argv: BytesText[]
  /** `KEY=value`; empty where it is not to be recorded. */
  env: BytesText[]
}
interface RanArguments {
  run: string
  exit: RunExit
}
interface ObituaryArguments {
  vm: string
  pid: number
}
interface NameArguments {
  name: string
}
interface TextsArguments {
  texts: string[]
}
interface NamedTextsArguments extends NameArguments, TextsArguments {}
interface DownArguments {
  /** Detach at once: do not wait for requests at hand nor look who is busy. */
  force: boolean
}
/** The operations by how they answer. */
export type OperationName = keyof ControlHandlers
export type StreamName = 'list' | 'read'
export type CallName = Exclude<OperationName, StreamName>

/** What is sent with an operation: paths as {@link WireText}, what may be left out optional. */
export interface WireArguments {
  status: NoArguments
  inspect: { path: WireText; cwd: WireText }
  which: { name: WireText; cwd: WireText }
  list: { path: WireText; cwd: WireText }
  read: { path: WireText; cwd: WireText }
  lookup: { path: WireText; cwd: WireText; trace?: boolean }
  bind: { kind: BindKind; urls: WireText[]; path: WireText; cwd: WireText }
  unbind: { path: WireText; cwd: WireText }
  produce: { path: WireText; cwd: WireText }
  binds: NoArguments
  launch: { path: WireText; cwd: WireText; options?: string; argv?: WireText[]; env?: WireText[] }
  ran: { run: string; exit: RunExit }
  dlopen: { path: WireText; cwd: WireText }
  obituary: { vm: string; pid: number }
  vms: NoArguments
  accepts: { path: WireText; cwd: WireText }
  restartVm: { name: string }
  runs: NoArguments
  run: { name: string }
  listen: { texts: string[] }
  invite: { texts: string[] }
  join: { name: string; texts: string[] }
  peers: NoArguments
  grant: { name: string; texts: string[] }
  revoke: { name: string; texts: string[] }
  leave: { name: string }
  where: { name: string }
  down: { force?: boolean }
  reload: NoArguments
}

/** What one frame of an operation's answer carries. */
export type Answer<O extends OperationName> =
  ReturnType<ControlHandlers[O]> extends Promise<infer R>
    ? R
    : ReturnType<ControlHandlers[O]> extends AsyncIterable<infer R>
      ? R
      : never

interface OperationRow {
  /** Asked again at the next daemon when this one ends before it answers. */
  readonly repeatable: boolean
  readonly stream: boolean
}

/** How each operation may be asked. */
export const OPERATIONS: { readonly [O in OperationName]: OperationRow } = {
  status: { repeatable: true, stream: false },
  inspect: { repeatable: true, stream: false },
  which: { repeatable: true, stream: false },
  list: { repeatable: true, stream: true },
  read: { repeatable: true, stream: true },
  lookup: { repeatable: true, stream: false },
  produce: { repeatable: false, stream: false },
  bind: { repeatable: false, stream: false },
  unbind: { repeatable: false, stream: false },
  binds: { repeatable: true, stream: false },
  launch: { repeatable: false, stream: false },
  ran: { repeatable: false, stream: false },
  dlopen: { repeatable: false, stream: false },
  obituary: { repeatable: false, stream: false },
  vms: { repeatable: true, stream: false },
  accepts: { repeatable: true, stream: false },
  restartVm: { repeatable: false, stream: false },
  runs: { repeatable: true, stream: false },
  run: { repeatable: true, stream: false },
  listen: { repeatable: true, stream: false },
  invite: { repeatable: false, stream: false },
  join: { repeatable: false, stream: false },
  peers: { repeatable: true, stream: false },
  grant: { repeatable: true, stream: false },
  revoke: { repeatable: false, stream: false },
  leave: { repeatable: false, stream: false },
  where: { repeatable: true, stream: false },
  down: { repeatable: false, stream: false },
  reload: { repeatable: false, stream: false },
}

/** The operation of this name, if it is one. */
export function isOperation(name: unknown): name is OperationName {
  return typeof name === 'string' && Object.hasOwn(OPERATIONS, name)
}

/** Calls the handler of an operation with checked arguments. Throws CosmosError EINVAL for others. */
export function dispatch(
  handlers: ControlHandlers,
  operation: OperationName,
  sent: unknown,
  context: RequestContext,
): Promise<unknown> | AsyncIterable<unknown> {
  const from = new ArgumentReader(operation, sent)
  switch (operation) {
    case 'status':
    case 'binds':
    case 'vms':
    case 'runs':
    case 'peers':
    case 'reload':
      return handlers[operation]({}, context)
    case 'inspect':
    case 'list':
    case 'read':
    case 'produce':
    case 'unbind':
    case 'dlopen':
    case 'accepts':
      return handlers[operation]({ path: from.path('path'), cwd: from.path('cwd') }, context)
    case 'which':
      return handlers.which({ name: from.path('name'), cwd: from.path('cwd') }, context)
    case 'lookup':
      return handlers.lookup(
        { path: from.path('path'), cwd: from.path('cwd'), trace: from.flag('trace') },
        context,
      )
    case 'bind':
      return handlers.bind(
        { kind: from.kind('kind'), urls: from.paths('urls'), path: from.path('path'), cwd: from.path('cwd') },
        context,
      )
    case 'launch':
      return handlers.launch(
        {
          path: from.path('path'),
          cwd: from.path('cwd'),
          options: from.word('options', ''),
          argv: from.texts('argv'),
          env: from.texts('env'),
        },
        context,
      )
    case 'ran':
      return handlers.ran({ run: from.word('run'), exit: from.exit('exit') }, context)
    case 'obituary':
      return handlers.obituary({ vm: from.word('vm'), pid: from.number('pid') }, context)
    case 'listen':
    case 'invite':
      return handlers[operation]({ texts: from.words('texts') }, context)
    case 'join':
    case 'grant':
    case 'revoke':
      return handlers[operation]({ name: from.word('name'), texts: from.words('texts') }, context)
    case 'restartVm':
    case 'leave':
    case 'where':
    case 'run':
      return handlers[operation]({ name: from.word('name') }, context)
    case 'down':
      return handlers.down({ force: from.flag('force') }, context)
  }
}
