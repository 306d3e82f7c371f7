import { existsSync, realpathSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DeviceTable } from '../frame/devices.ts'
import { pathBytes, toBytesText } from '../frame/paths.ts'
import type { Mesh } from '../mesh/mesh.ts'
import type { Netrun, NetrunOffer } from '../mesh/netrun/netrun.ts'
import { OwnPrograms } from '../mesh/own-programs.ts'
import type { Sources } from '../source/sources.ts'
import type { Instance } from './instance.ts'
import type { TreeAsker } from './tree-requests.ts'
import type { RemoteLaunch } from './vm-handlers.ts'

/** What the daemon has of the mesh. */
export interface MeshHostParts {
  readonly instance: Instance
  readonly tree: TreeAsker
  readonly sources: Sources
  /** Where the tree is mounted, and directories of programs, nearest first; one character a byte. */
  readonly mount: string
  readonly programDirectories: readonly string[]
  /** What this host is called: `me@laptop`. */
  readonly name: string
  readonly software: string
}

/** How old a reading of the table of mounts may be, milliseconds. */
const MOUNTS_FRESH = 100
/** How long peers are told that this daemon ends, milliseconds. */
const FAREWELL_MS = 300

/** The mesh of this daemon: loaded when the host has peers, or when it is first asked for. */
export class MeshHost {
  readonly #parts: MeshHostParts
  readonly programs: OwnPrograms
  #mesh: Promise<Mesh> | undefined
  /** Where launchers of programs of peers come; made for the first. */
  #netrun: Promise<Netrun> | undefined

  constructor(parts: MeshHostParts) {
    this.#parts = parts
    this.programs = new OwnPrograms(parts.programDirectories)
  }

  /** Whether this host has been in a mesh. */
  get isWanted(): boolean {
    return existsSync(join(this.#parts.instance.state, 'identity.key'))
  }

  /** The mesh, if it is there already. */
  get running(): Promise<Mesh> | undefined {
    return this.#mesh
  }

  /** The mesh. Rejects with CosmosError where it cannot be: the key is not safe. */
  get(): Promise<Mesh> {
    this.#mesh ??= this.#start().catch((error: unknown) => {
      this.#mesh = undefined
      throw error
    })
    return this.#mesh
  }

  /** Prepares a program to be run by a peer. Rejects with CosmosError ENOENT for a host that is none. */
  async launch({ peer, program, ...launch }: RemoteLaunch): Promise<NetrunOffer> {
    const named = (await this.get()).peer(peer)
    const below = `${this.#parts.mount}/${named.name}/`
    const path = program.startsWith(below) ? program.slice(below.length - 1) : program
    this.#netrun ??= this.#listen()
    return (await this.#netrun).offer({ ...launch, peer: named, program: path })
  }

  async #listen(): Promise<Netrun> {
    const { Netrun } = await import('../mesh/netrun/netrun.ts')
    const { openOnPeer } = await import('../mesh/exec-caller.ts')
    return Netrun.listen({
      path: join(this.#parts.instance.runtime, 'netrun'),
      open: openOnPeer(
        () => this.get(),
        (directory) => this.#hostPathOf(directory),
      ),
      log: (line) => console.error(line),
    })
  }

  /** The host path of a directory of the caller's: one that lies in the tree is where the tree has it from. */
  async #hostPathOf(given: string): Promise<string | undefined> {
    const { mount, tree } = this.#parts
    const isInTree = (path: string) => path === mount || path.startsWith(`${mount}/`)
    // What is lent has no links in its path: none is followed for a peer.
    const directory = isInTree(given) ? given : await resolved(given)
    if (directory === undefined || !isInTree(directory)) return directory
    const { layers } = await tree.ask('inspect', { path: directory, cwd: '/', mount })
    return layers.length === 1 ? layers[0]?.path : undefined
  }

  /** Tells the peers that it ends, as far as that goes at once. */
  async close(): Promise<void> {
    const mesh = await this.#mesh?.catch(() => undefined)
    const netrun = await this.#netrun?.catch(() => undefined)
    await Promise.race([Promise.all([netrun?.close(), mesh?.close()]), sleep(FAREWELL_MS)])
  }

  async #start(): Promise<Mesh> {
    const { instance, tree, sources, mount, name, software } = this.#parts
    const { Mesh } = await import('../mesh/mesh.ts')
    const devices = new DeviceTable()
    const mesh = new Mesh({
      state: instance.state,
      database: instance.database,
      layer: join(instance.runtime, 'peers'),
      sandboxes: sandboxDirectory(instance.runtime),
      name,
      software,
      mount,
      secrets: secretsOf(instance),
      sources,
      rootsChanged: () => tree.ask('setSources', sources.roots),
      isTree: (path) => path === mount || devices.isCosmosMountPoint(path, MOUNTS_FRESH),
      programs: (anew) => this.programs.all(anew),
      log: (line) => console.error(line),
    })
    await mesh.start()
    return mesh
  }
}

/** A host path without links; undefined where there is nothing. */
async function resolved(path: string): Promise<string | undefined> {
  const found = await realpath(pathBytes(path), { encoding: 'buffer' }).catch(() => undefined)
  return found?.toString('latin1')
}

/** The daemon's state of all kinds, with what SQLite keeps beside a database. */
function secretsOf({ state, runtime, database }: Instance): string[] {
  const stands = (path: string): string => join(realpathSync(dirname(path)), basename(path))
  const files = ['', '-wal', '-shm', '-journal'].map((end) => stands(database) + end)
  return [realpathSync(state), realpathSync(runtime), ...files].map(toBytesText)
}

/** What sandboxes are made of: whoever is in one must reach it, which is another user where the daemon is root's. */
function sandboxDirectory(runtime: string): string {
  return process.getuid?.() === 0
    ? join('/run/cosmos-sandboxes', basename(runtime))
    : join(runtime, 'sandbox')
}
