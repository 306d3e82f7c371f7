import { randomBytes } from 'node:crypto'
import { constants } from 'node:os'
import { CosmosError } from '../errors.ts'
import { toBytesText } from '../frame/paths.ts'
import type { SourceService } from '../source/service.ts'
import { type CallPeer, peerFiles } from './files/client.ts'
import { countOf, fieldsOf, isText, textOf, wrong } from './files/wire.ts'
import type { Grants, Visitor } from './grants.ts'
import { readableOf, writableOf } from './node-streams.ts'
import type { WindowSize } from './pty.ts'
import type { ReachableMount } from './reachable-mount.ts'
import type { PeerLent, PeerPrograms } from './run-for-peer.ts'
import type { PeerResult, PeerRun } from './run-for-peer-launch.ts'
import { sandboxUser } from './sandbox.ts'
import type { CallContext } from './session/incoming-call.ts'

/** Programs of this host that a peer runs: its call `exec` (docs/mesh-protocol.md). */
export interface ExecDeskParts {
  readonly programs: PeerPrograms
  /** Where programs reach this host's tree. */
  readonly mount: ReachableMount
  /** The host path of a program by its name in the cosm's `bin`; undefined for none. */
  find(name: string): Promise<string | undefined>
  /** Shows a source in the root of the tree under a name that is not listed, or takes it away. */
  show(root: string, service: SourceService): Promise<void>
  hide(root: string): Promise<void>
}

/** A directory that the caller lends. */
interface Lent {
  readonly token: string
  /** Where it shows, on both hosts. */
  readonly at: string
  /** Where it lies on the caller's host: the same, but for one that lies in the caller's own tree. */
  readonly path: string
  readonly writable: boolean
}

/** What a peer sends. Texts have one character a byte. */
interface ExecArguments {
  readonly program: string
  readonly argv: readonly string[]
  readonly env: readonly string[]
  readonly cwd: string | undefined
  readonly lent: readonly Lent[]
  readonly terminal: WindowSize | undefined
}

/** How a peer's program ended, as it is sent. */
export interface ExecAnswer {
  readonly code?: number
  /** Number (signal(7)). */
  readonly signal?: number
  readonly path: string
  readonly vm: string
  readonly sandboxed: boolean
  readonly seconds: number
  /** It was ended: its time was over. */
  readonly ended?: string
}

const MAX_TEXTS = 64 * 1024
const MAX_LENT = 32
/** What may come before a program runs. */
const MAX_EVENTS = 1000

export class ExecDesk {
  readonly #parts: ExecDeskParts

  constructor(parts: ExecDeskParts) {
    this.#parts = parts
  }

  /** Runs a program; answers how it ended, after its streams. Rejects with CosmosError. */
  async call(
    args: unknown,
    context: CallContext,
    visitor: Visitor,
    grants: Grants,
    call: CallPeer,
  ): Promise<ExecAnswer> {
    const events: [string, unknown][] = []
    let run: PeerRun | undefined
    // What comes before the program runs waits for it.
    context.event = (op, sent) => {
      if (run) onEvent(run, op, sent)
      else if (events.length < MAX_EVENTS) events.push([op, sent])
    }
    const [stdin] = context.readers
    const [stdout, stderr] = context.writers
    if (!stdin || !stdout || !stderr) throw wrong('a call with three streams')
    const wanted = argumentsOf(args)
    const { programs } = this.#parts
    const isName = !wanted.program.includes('/')
    const program = isName ? await this.#parts.find(wanted.program) : wanted.program
    if (program === undefined)
      throw new CosmosError('ENOENT', wanted.program, 'is no program of this host', 'cosmos where NAME')
    const roots: string[] = []
    const { mount } = this.#parts
    const lends = wanted.lent.length > 0
    try {
      const lent: PeerLent[] = []
      const tree = lends ? toBytesText(await mount.use()) : ''
      for (const each of wanted.lent) lent.push(await this.#show(each, tree, call, roots))
      run = await programs.start(
        visitor,
        grants,
        {
          program,
          ...(isName && { name: `.cosm/bin/${wanted.program}` }),
          argv: wanted.argv,
          env: wanted.env,
          ...(wanted.cwd !== undefined && { cwd: wanted.cwd }),
          lent,
          ...(wanted.terminal && { terminal: wanted.terminal }),
        },
        { stdin: readableOf(stdin), stdout: writableOf(stdout), stderr: writableOf(stderr) },
      )
      const running = run
      if (context.signal.aborted) running.cancel()
      else context.signal.addEventListener('abort', () => running.cancel(), { once: true })
      for (const [op, sent] of events) onEvent(running, op, sent)
      return answerOf(running, await running.result)
    } finally {
      await Promise.allSettled(roots.map((root) => this.#parts.hide(root)))
      if (lends) mount.release()
    }
  }

  /** A lent directory in this host's tree, as the user of sandboxes has it. */
  async #show(
    { token, at, path, writable }: Lent,
    tree: string,
    call: CallPeer,
    roots: string[],
  ): Promise<PeerLent> {
    const root = `.lent-${randomBytes(12).toString('hex')}`
    const segments = path.split('/').filter(Boolean)
    // It is to be hidden whether it shows or not.
    roots.push(root)
    await this.#parts.show(root, peerFiles({ call, lend: { token, segments, owner: sandboxUser() } }))
    return { host: `${tree}/${root}`, at, writable }
  }
}

function answerOf(run: PeerRun, { exit, ended, duration }: PeerResult): ExecAnswer {
  if ('error' in exit) throw exit.error
  const { path, vm, sandboxed } = run
  const told = { path, vm, sandboxed, seconds: duration, ...(ended && { ended }) }
  return 'code' in exit ? { code: exit.code, ...told } : { signal: exit.signal, ...told }
}

/** Signals that a caller's process may pass on. */
const SIGNALS: ReadonlySet<number> = new Set(Object.values(constants.signals))

function onEvent(run: PeerRun, op: string, sent: unknown): void {
  const fields = fieldsOf(sent)
  if (op === 'signal') {
    const signal = countOf(fields.signal, 'a signal')
    if (SIGNALS.has(signal)) run.signal(signal)
  } else if (op === 'resize') {
    const window = windowOf(fields)
    if (window) run.resize(window)
  }
}

function argumentsOf(sent: unknown): ExecArguments {
  const fields = fieldsOf(sent)
  const { lent = [] } = fields
  if (!Array.isArray(lent) || lent.length > MAX_LENT) throw wrong('a list of what is lent')
  return {
    program: textOf(fields.program, 'a program'),
    argv: textsOf(fields.argv, 'arguments'),
    env: textsOf(fields.env, 'an environment'),
    cwd: fields.cwd === undefined || fields.cwd === null ? undefined : textOf(fields.cwd, 'a directory'),
    lent: lent.map((each) => {
      const { token, at, path = at, writable } = fieldsOf(each)
      return {
        token: textOf(token, 'a lend'),
        at: textOf(at, 'a directory'),
        path: textOf(path, 'a directory'),
        writable: writable === true,
      }
    }),
    terminal: fields.terminal ? windowOf(fieldsOf(fields.terminal)) : undefined,
  }
}

function windowOf(fields: Readonly<Record<string, unknown>>): WindowSize | undefined {
  const { rows, columns } = fields
  return { rows: countOf(rows, 'a window'), columns: countOf(columns, 'a window') }
}

function textsOf(sent: unknown, what: string): string[] {
  if (!Array.isArray(sent) || sent.length > MAX_TEXTS) throw wrong(what)
  for (const text of sent) if (!isText(text) || text.includes('\0')) throw wrong(what)
  return sent as string[]
}
