import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CosmosInstance, isRoot } from './instance.ts'
import { run } from './run.ts'

/** Support: several hosts on this machine, each with a network namespace, a cosmos home and a mount of its own. */

/** Why no hosts can be made here; undefined when they can. */
export function whyNoHosts(): string | undefined {
  if (!isRoot) return 'network namespaces need root'
  return spawnSync('ip', ['netns']).status === 0 ? undefined : "needs Debian's iproute2"
}

/** One of the hosts. */
export interface Host {
  readonly name: string
  /** Its address in the network that all share. */
  readonly address: string
  readonly cosmos: CosmosInstance
  /** A directory of programs that only this host has on its PATH. */
  readonly programs: string
}

let made = 0

/** Hosts that see each other over one switch. `stop` must be called. */
export class Hosts {
  readonly #namespaces: string[] = []
  readonly #hosts: Host[] = []

  /** Makes a host for each name, with cosmos up on each. */
  static async start(names: readonly string[]): Promise<Hosts> {
    const hosts = new Hosts()
    try {
      await hosts.#make(names)
      return hosts
    } catch (error) {
      await hosts.stop()
      throw error
    }
  }

  get(name: string): Host {
    const found = this.#hosts.find((each) => each.name === name)
    if (!found) throw new Error(`no host ${name}`)
    return found
  }

  /** Runs a program on a host. */
  on(name: string, program: string, args: readonly string[] = []): ReturnType<CosmosInstance['run']> {
    return this.get(name).cosmos.run(program, args)
  }

  /** Two hosts become peers: `invites` listens and gives, `joins` joins and gives. */
  async join(
    invites: string,
    joins: string,
    given: readonly string[],
    gives: readonly string[] = [],
  ): Promise<void> {
    const [inviter, joiner] = [this.get(invites), this.get(joins)]
    const options = (rules: readonly string[]) => rules.flatMap((rule) => ['--grant', rule])
    await inviter.cosmos.tell('listen', `${inviter.address}:4711`)
    const { invite } = JSON.parse(await inviter.cosmos.tell('invite', '--json', ...options(given))) as {
      invite: string
    }
    await joiner.cosmos.tell('join', invite, ...options(gives))
  }

  async stop(): Promise<void> {
    const failures: unknown[] = []
    for (const { cosmos } of this.#hosts.splice(0)) await cosmos.stop().catch((error) => failures.push(error))
    for (const namespace of this.#namespaces.splice(0)) spawnSync('ip', ['netns', 'del', namespace])
    if (failures.length > 0) throw failures[0]
  }

  async #make(names: readonly string[]): Promise<void> {
    const prefix = `cs${process.pid.toString(36)}${(++made).toString(36)}`
    const wire = `${prefix}-w`
    await this.#namespace(wire)
    await ip(wire, 'link', 'add', 'br0', 'type', 'bridge')
    await ip(wire, 'link', 'set', 'br0', 'up')
    for (const [index, name] of names.entries()) {
      const namespace = `${prefix}-${index}`
      const address = `10.77.0.${index + 1}`
      await this.#namespace(namespace)
      await ip(wire, 'link', 'add', `v${index}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace)
      await ip(wire, 'link', 'set', `v${index}`, 'master', 'br0', 'up')
      await ip(namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0')
      await ip(namespace, 'link', 'set', 'eth0', 'up')
      await ip(namespace, 'link', 'set', 'lo', 'up')
      this.#hosts.push(await startHost(name, address, namespace))
    }
  }

  async #namespace(name: string): Promise<void> {
    const { code, stderr } = await run('ip', ['netns', 'add', name])
    if (code !== 0) throw new Error(`ip netns add ${name}: ${stderr}`)
    this.#namespaces.push(name)
  }
}

async function startHost(name: string, address: string, namespace: string): Promise<Host> {
  const cosmos = new CosmosInstance({ via: ['nsenter', `--net=/run/netns/${namespace}`] })
  const programs = join(cosmos.base, 'p')
  mkdirSync(programs, { mode: 0o755 })
  const etc = join(cosmos.home, '.cosm/etc/cosmos')
  mkdirSync(etc, { recursive: true })
  writeFileSync(join(etc, 'cosmos.conf'), `[host]\nname = "${name}"\n`)
  const { code, stderr } = await cosmos.cosmos(['up', '--mount', cosmos.mount], {
    env: { PATH: `${programs}:${cosmos.env.PATH}` },
  })
  if (code === 0) return { name, address, cosmos, programs }
  const log = cosmos.log()
  await cosmos.stop()
  throw new Error(`cosmos up on ${name}: exit ${code}\n${stderr}\n${log}`)
}

async function ip(namespace: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await run('ip', ['-n', namespace, ...args])
  if (code !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`)
}
