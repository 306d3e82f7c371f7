import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import type { SourceContext, SourcePath } from '../../src/source/service.ts'
import { isRoot } from '../support/instance.ts'
import { whyNotInstalled } from '../support/packages.ts'
import { has, succeed } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

/** Support: Debian's sshd on loopback, with keys, configuration and a user's home of its own. */

const SSHD = '/usr/sbin/sshd'
const AGENT = 'ssh-agent'

/** Why there is no sshd; undefined when there is. */
export function whyNoSshd(): Promise<string | undefined> {
  return whyNotInstalled(['openssh-server', 'openssh-client'], async () => {
    return existsSync(SSHD) && (await has(AGENT)) && (await has('ssh-keygen'))
  })
}

/** A server for the user who runs the tests, and the home of one who may enter it. */
export class Sshd {
  readonly directory = mkdtempSync(join(tmpdir(), 'cosmos-sshd-'))
  /** The client's home: `.ssh/id_ed25519` is let in, `.ssh/known_hosts` has the host. */
  readonly home = join(this.directory, 'home')
  /** What the server shows to those who look: a directory for tests. */
  readonly files = join(this.directory, 'files')
  readonly user = userInfo().username
  readonly log: string[] = []
  port = 0
  #child: ChildProcess | undefined
  #agent: ChildProcess | undefined

  static async start(): Promise<Sshd> {
    const sshd = new Sshd()
    try {
      mkdirSync(join(sshd.home, '.ssh'), { recursive: true, mode: 0o700 })
      mkdirSync(sshd.files)
      if (isRoot) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
      await sshd.makeKey(sshd.at('host_key'))
      await sshd.makeKey(sshd.at('host_rsa'), 'rsa')
      await sshd.makeKey(sshd.key('id_ed25519'))
      sshd.letIn('id_ed25519')
      sshd.port = await freePort()
      writeFileSync(sshd.at('known_hosts'), '')
      sshd.know(`[127.0.0.1]:${sshd.port}`)
      await sshd.run()
      return sshd
    } catch (error) {
      await sshd.stop()
      throw error
    }
  }

  at(name: string): string {
    return join(this.directory, name)
  }

  /** A private key of the client's home. */
  key(name: string): string {
    return join(this.home, '.ssh', name)
  }

  async makeKey(path: string, type = 'ed25519', passphrase = ''): Promise<void> {
    await succeed('ssh-keygen', ['-q', '-t', type, '-N', passphrase, '-f', path])
  }

  /** Lets the owner of a key of the client's home in. */
  letIn(name: string): void {
    appendFileSync(this.at('authorized_keys'), readFileSync(`${this.key(name)}.pub`))
  }

  /** Makes the host known by a name, with one of its keys. */
  know(name: string, key = 'host_key'): void {
    const [type, text] = readFileSync(`${this.at(key)}.pub`, 'utf8').split(' ')
    appendFileSync(this.key('known_hosts'), `${name} ${type} ${text}\n`)
  }

  forget(): void {
    writeFileSync(this.key('known_hosts'), '')
  }

  /** Starts the server on its port; done when it answers. */
  async run(more = ''): Promise<void> {
    writeFileSync(
      this.at('sshd_config'),
      `Port ${this.port}
ListenAddress 127.0.0.1
HostKey ${this.at('host_key')}
HostKey ${this.at('host_rsa')}
AuthorizedKeysFile ${this.at('authorized_keys')}
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100
Subsystem sftp internal-sftp
${more}`,
    )
    const child = spawn(SSHD, ['-D', '-e', '-f', this.at('sshd_config')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    child.stderr?.on('data', (text: Buffer) => this.log.push(text.toString()))
    this.#child = child
    await waitFor('sshd to listen', () => {
      if (child.exitCode !== null) throw new Error(this.log.join(''))
      return answers(this.port)
    })
  }

  /** The processes of its connections, and of what they started. */
  sessions(): number[] {
    return this.#child?.pid === undefined ? [] : descendants(this.#child.pid)
  }

  /** Ends the server, and all connections. */
  async kill(): Promise<void> {
    const child = this.#child
    if (!child) return
    const sessions = this.sessions()
    this.#child = undefined
    for (const pid of sessions) signal(pid, 'SIGKILL')
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  }

  /** Starts an ssh-agent that has keys of the client's home; answers its socket. */
  async agent(...names: string[]): Promise<string> {
    const socket = this.at('agent')
    this.#agent = spawn(AGENT, ['-D', '-a', socket], { stdio: 'ignore' })
    await waitFor('ssh-agent', () => existsSync(socket))
    const askpass = this.at('askpass')
    writeFileSync(askpass, '#!/bin/sh\necho secret\n', { mode: 0o755 })
    const env = {
      ...process.env,
      SSH_AUTH_SOCK: socket,
      SSH_ASKPASS: askpass,
      SSH_ASKPASS_REQUIRE: 'force',
      DISPLAY: ':0',
    }
    for (const name of names) await succeed('ssh-add', ['-q', this.key(name)], { env })
    return socket
  }

  async stop(): Promise<void> {
    await this.kill()
    if (this.#agent && this.#agent.exitCode === null) {
      this.#agent.kill('SIGTERM')
      await once(this.#agent, 'exit')
    }
    rmSync(this.directory, { recursive: true, force: true })
  }

  /** What a service of its client is told. */
  context(
    settings: SourceContext['settings'] = {},
    environment: SourceContext['environment'] = {},
  ): TestContext {
    const lines: string[] = []
    return {
      home: this.home,
      environment: { USER: this.user, ...environment },
      settings,
      log: (line) => lines.push(line),
      lines,
    }
  }

  /** A path below `files`; its host is this server's address unless another is said. */
  path(name = '', authority = `127.0.0.1:${this.port}`): SourcePath {
    const segments = `${this.files}/${name}`.split('/').filter(Boolean)
    return { scheme: 'ssh', segments: [authority, ...segments] }
  }
}

/** A context that remembers what was logged. */
export interface TestContext extends SourceContext {
  readonly lines: string[]
}

/** A signal that never comes. */
export const never = new AbortController().signal

/** The errno of what a promise rejects with; throws when it does not. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  return String(Reflect.get(await errorOf(promise), 'code'))
}

export async function errorOf(promise: Promise<unknown>): Promise<Error> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason) => reason,
  )
  if (!(error instanceof Error)) throw new Error('it did not fail')
  return error
}

/** Sends a signal to a process that may have ended. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function descendants(pid: number): number[] {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
  } catch {
    return []
  }
  const children = text.split(' ').filter(Boolean).map(Number)
  return children.flatMap((child) => [child, ...descendants(child)])
}

/** A port of loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
