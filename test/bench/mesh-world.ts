import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Host, Hosts, whyNoHosts } from '../support/hosts.ts'
import { whyNotInstalled } from '../support/packages.ts'
import { has, succeed } from '../support/run.ts'
import { waitFor } from '../support/wait.ts'

/** Where things listen on b, on its loopback and to a. */
const LOCAL = '127.0.0.1'
const SSH = 2222
const MESH = 4711
const PACKAGES = ['sshfs', 'openssh-server', 'openssh-client', 'parallel']

/** Two hosts with a network of their own, joined, and Debian's sshd on the same host b. */
export class MeshWorld {
  readonly a: Host
  readonly b: Host
  /** A directory of b's that a may read, and where it and all of b shows on a. */
  readonly files: string
  readonly shown: string
  /** `ssh`'s arguments: this world's configuration, in which b is called `b`. */
  readonly config: string
  readonly #hosts: Hosts
  readonly #keys: string
  readonly #children: ChildProcess[] = []
  #mounted = false

  private constructor(hosts: Hosts) {
    this.#hosts = hosts
    this.a = hosts.get('a')
    this.b = hosts.get('b')
    this.files = join(this.b.cosmos.work, 'files')
    this.shown = join(this.a.cosmos.mount, 'me@b')
    this.#keys = join(this.b.cosmos.base, 'ssh')
    this.config = join(this.#keys, 'config')
    // Before the files of the hosts are removed.
    process.prependListener('exit', this.#endSshd)
  }

  /** Makes the world; what b sends to a and a to b takes `delay` milliseconds longer. `end` must be called. */
  static async start(delay: number): Promise<MeshWorld> {
    const missing =
      whyNoHosts() ??
      (await whyNotInstalled(PACKAGES, async () => (await has('sshfs')) && (await has('parallel'))))
    if (missing !== undefined) throw new Error(missing)
    const world = new MeshWorld(await Hosts.start(['a', 'b']))
    try {
      mkdirSync(world.files)
      for (const name of ['true', 'head'])
        copyFileSync(join('/usr/bin', name), join(world.b.programs, `far-${name}`))
      await world.#startProxy(delay)
      await world.#startSshd()
      await world.#join()
      return world
    } catch (error) {
      await world.end()
      throw error
    }
  }

  /** Where programs that only b has show on a. */
  program(name: string): string {
    return join(this.a.cosmos.mount, '.cosm/bin', name)
  }

  /** Where a file of b shows on a. */
  onA(path: string): string {
    return join(this.shown, path)
  }

  /** Replaces what a may run on b. */
  async grantPrograms(operation: 'exec' | 'exec-bare'): Promise<void> {
    const other = operation === 'exec' ? 'exec-bare' : 'exec'
    await this.b.cosmos.cosmos(['revoke', 'me@a', `${other}:.cosm/bin`])
    await this.b.cosmos.tell('grant', 'me@a', `${operation}:.cosm/bin`)
  }

  /** An invite of b for one more peer, as it is used on a. */
  async invite(grant: string): Promise<string> {
    const { invite } = JSON.parse(await this.b.cosmos.tell('invite', '--json', '--grant', grant)) as {
      invite: string
    }
    return invite.replace(LOCAL, this.b.address)
  }

  /** Mounts b's files by sshfs anew, so that nothing is known of them; answers where. */
  async sshfs(): Promise<string> {
    const mount = join(this.#keys, 'mount')
    await this.#unmount()
    await this.#run('sshfs', ['-F', this.config, `b:${this.files}`, mount])
    this.#mounted = true
    return mount
  }

  /** Connects ssh, which later commands share (ControlMaster). */
  async connectSsh(): Promise<void> {
    await this.#run('ssh', ['-F', this.config, '-fN', 'b'])
  }

  /** A program on a host that is waited for by others; killed at the end. */
  async spawn(host: Host, args: readonly string[]): Promise<ChildProcess> {
    const inside = `--net=/proc/${await host.cosmos.daemon()}/ns/net`
    const child = spawn('nsenter', [inside, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: '/',
      env: host.cosmos.env,
    })
    this.#children.push(child)
    return child
  }

  async end(): Promise<void> {
    await this.#unmount().catch(() => {})
    await this.a.cosmos.run('ssh', ['-F', this.config, '-O', 'exit', 'b'])
    for (const child of this.#children) child.kill('SIGKILL')
    this.#endSshd()
    process.off('exit', this.#endSshd)
    await this.#hosts.stop()
  }

  /** sshd goes its own way: it is ended here, and when the bench is interrupted. */
  readonly #endSshd = (): void => {
    try {
      process.kill(Number(readFileSync(join(this.#keys, 'pid'), 'utf8')))
    } catch {
      // It was not started.
    }
  }

  async #run(program: string, args: readonly string[]): Promise<void> {
    const { code, stderr } = await this.a.cosmos.run(program, args)
    if (code !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${code}\n${stderr}`)
  }

  async #unmount(): Promise<void> {
    if (this.#mounted) await succeed('fusermount3', ['-u', join(this.#keys, 'mount')])
    this.#mounted = false
  }

  /** Where there is delay, b is reached by a proxy in front of it. */
  async #startProxy(delay: number): Promise<void> {
    const routes = [SSH, MESH].map((port) => `${this.b.address}:${port}=${LOCAL}:${port}`)
    if (delay === 0) return
    const program = join(import.meta.dirname, 'delay-proxy.ts')
    const proxy = await this.spawn(this.b, [process.execPath, program, String(delay), ...routes])
    await once(proxy.stdout!, 'data')
  }

  get #address(): string {
    return this.#children.length > 0 ? LOCAL : this.b.address
  }

  async #startSshd(): Promise<void> {
    const at = (name: string): string => join(this.#keys, name)
    mkdirSync(at('mount'), { recursive: true })
    chmodSync(this.#keys, 0o700)
    mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
    for (const name of ['host', 'user'])
      await succeed('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(name)])
    copyFileSync(at('user.pub'), at('authorized_keys'))
    const [type, key] = readFileSync(at('host.pub'), 'utf8').split(' ')
    writeFileSync(at('known_hosts'), `[${this.b.address}]:${SSH} ${type} ${key}\n`)
    const server = [
      `Port ${SSH}\nListenAddress ${this.#address}\nHostKey ${at('host')}\nPidFile ${at('pid')}`,
      `AuthorizedKeysFile ${at('authorized_keys')}\nStrictModes no\nUsePAM no\nPermitRootLogin yes`,
      // SHLVL: bash takes itself for one that sshd has started, and reads the user's .bashrc, where it is not set.
      'MaxStartups 100\nMaxSessions 100\nSubsystem sftp internal-sftp\nSetEnv SHLVL=2\n',
    ]
    writeFileSync(at('sshd_config'), server.join('\n'))
    const client = [
      `Host b\nHostName ${this.b.address}\nPort ${SSH}\nUser root\nIdentityFile ${at('user')}`,
      `UserKnownHostsFile ${at('known_hosts')}\nControlMaster auto\nControlPath ${at('control')}\nControlPersist yes\n`,
    ]
    writeFileSync(this.config, client.join('\n'), { mode: 0o600 })
    const { code, stderr } = await this.b.cosmos.run('/usr/sbin/sshd', ['-f', at('sshd_config')])
    if (code !== 0) throw new Error(`sshd: exit ${code}\n${stderr}`)
    await waitFor('sshd', () => readFileSync(at('pid'), 'utf8') !== '')
  }

  async #join(): Promise<void> {
    const { b, a } = this
    await b.cosmos.tell('listen', `${LOCAL}:${MESH}`)
    if (this.#address !== LOCAL) {
      await b.cosmos.tell('invite')
      await b.cosmos.tell('listen', `${this.#address}:${MESH}`)
    }
    await a.cosmos.tell('join', await this.invite(`read:${this.files}`))
    await this.grantPrograms('exec-bare')
    await waitFor('the programs of b', async () => {
      return (await a.cosmos.run(this.program('far-true'), [])).code === 0
    })
  }
}
