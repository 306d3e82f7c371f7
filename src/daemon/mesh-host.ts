import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DeviceTable } from '../frame/devices.ts'
import { toBytesText } from '../frame/paths.ts'
import type { Mesh } from '../mesh/mesh.ts'
import { OwnPrograms } from '../mesh/own-programs.ts'
import type { Sources } from '../source/sources.ts'
import type { Instance } from './instance.ts'
import type { TreeAsker } from './tree-requests.ts'

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

  /** Tells the peers that it ends, as far as that goes at once. */
  async close(): Promise<void> {
    const mesh = await this.#mesh?.catch(() => undefined)
    await Promise.race([mesh?.close(), sleep(FAREWELL_MS)])
  }

  async #start(): Promise<Mesh> {
    const { instance, tree, sources, mount, name, software } = this.#parts
    const { Mesh } = await import('../mesh/mesh.ts')
    const devices = new DeviceTable()
    const mesh = new Mesh({
      state: instance.state,
      database: instance.database,
      layer: join(instance.runtime, 'peers'),
      sandboxes: join(instance.runtime, 'sandbox'),
      name,
      software,
      mount,
      secrets: [instance.state, instance.runtime].map(toBytesText).concat(mount),
      sources,
      rootsChanged: () => tree.ask('setSources', sources.roots),
      isTree: (path) => path === mount || devices.isCosmosMountPoint(path, MOUNTS_FRESH),
      programs: () => this.programs.all(),
      log: (line) => console.error(line),
    })
    await mesh.start()
    return mesh
  }
}
