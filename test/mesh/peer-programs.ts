import { chmodSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable, Writable } from 'node:stream'
import { AuditLog } from '../../src/mesh/audit.ts'
import { Grants, parseGrant } from '../../src/mesh/grants.ts'
import { PeerPrograms, type PeerRequest } from '../../src/mesh/run-for-peer.ts'
import type { PeerRun } from '../../src/mesh/run-for-peer-launch.ts'
import type { PeerExit, PeerStreams } from '../../src/mesh/run-for-peer-running.ts'
import { sandboxUser, whyNoSandbox } from '../../src/mesh/sandbox.ts'
import { whyNotInstalled } from '../support/packages.ts'
import { run as runProgram } from '../support/run.ts'

/** Support: programs run for a peer that is not there. */

export const PEER = { id: 'ab'.repeat(32), name: 'me@laptop' }

/** Why no sandbox can be tested here; undefined when it can. */
export async function whyNoBubblewrap(): Promise<string | undefined> {
  const works = async () => (await runProgram('/bin/sh', ['-c', 'command -v bwrap'])).code === 0
  return (await whyNotInstalled(['bubblewrap'], works)) ?? (await whyNoSandbox(sandboxUser()))?.message
}

/** What a program left. */
export interface Left {
  readonly exit: PeerExit
  readonly ended?: string
  readonly stdout: string
  readonly stderr: string
}

/** A stream that keeps what is written to it. */
export class Kept extends Writable {
  text = ''
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString('latin1')
    done()
  }
}

/** Streams of a caller that has this to say and keeps what it is told. */
export function keptStreams(input: string | Readable = ''): PeerStreams & { stdout: Kept; stderr: Kept } {
  const stdin = typeof input === 'string' ? Readable.from([Buffer.from(input)]) : input
  return { stdin, stdout: new Kept(), stderr: new Kept() }
}

/** A host on which a peer runs programs: a directory with everything it has. */
export class PeerHost {
  readonly base: string
  /** The daemon's own: never for peers. */
  readonly secret: string
  readonly audit: AuditLog
  readonly programs: PeerPrograms
  readonly failures: unknown[] = []

  constructor(base = mkdtempSync(join(tmpdir(), 'cosmos-peer-'))) {
    this.base = realpathSync(base)
    chmodSync(this.base, 0o755)
    this.secret = join(this.base, 'state')
    mkdirSync(this.secret)
    this.audit = new AuditLog(join(this.base, 'audit.log'), (error) => this.failures.push(error))
    this.programs = new PeerPrograms({
      directory: join(this.base, 'sandbox'),
      secrets: [this.secret],
      audit: this.audit,
      environment: { ...process.env, HOME: '/' },
    })
  }

  /** Starts a program that `rules` have to grant. */
  start(
    rules: readonly string[],
    request: Partial<PeerRequest> & { readonly argv: readonly string[] },
    streams: PeerStreams = keptStreams(),
  ): Promise<PeerRun> {
    const grants = new Grants(
      rules.map((rule) => parseGrant(rule)),
      PEER,
    )
    const program = request.argv[0] ?? ''
    return this.programs.start(PEER, grants, { program, env: [], lent: [], ...request }, streams)
  }

  /** Runs a program to its end. */
  async run(
    rules: readonly string[],
    request: Partial<PeerRequest> & { readonly argv: readonly string[] },
    input?: string | Readable,
  ): Promise<Left> {
    const streams = keptStreams(input)
    const run = await this.start(rules, request, streams)
    const { exit, ended } = await run.result
    return { exit, ...(ended ? { ended } : {}), stdout: streams.stdout.text, stderr: streams.stderr.text }
  }

  /** The lines of the audit log so far. */
  async audited(): Promise<Record<string, unknown>[]> {
    await this.audit.flush()
    return readFileSync(join(this.base, 'audit.log'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  async stop(): Promise<void> {
    await this.programs.close()
    rmSync(this.base, { recursive: true, force: true })
  }
}

/** A stream whose end and content a test decides. */
export function openInput(): PassThrough {
  return new PassThrough()
}
