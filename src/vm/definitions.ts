import { readlinkSync } from 'node:fs'
import { type CapabilitiesProfile, parseCapabilities } from '../cef/capabilities.ts'
import { identityOf, placeOf, readSmallFile } from '../cef/host-file.ts'
import { namesIn } from '../cef/linker.ts'
import { pathBytes } from '../frame/paths.ts'

/** A VM that some layer of the cosm has: its profile, and where that lies. */
export interface VmDefinition {
  readonly name: string
  /** The directory of its profile; one character a byte. */
  readonly directory: string
  /** Undefined where the profile is wrong: `problem` says why. */
  readonly capabilities: CapabilitiesProfile | undefined
  readonly problem: string | undefined
}

/** How long nobody looks again whether anything has changed, milliseconds. */
const FRESH = 20
const MAX_PROFILE = 64 * 1024

/** The VMs of the cosm's layers; the nearest layer that has a name wins. They are read again when they have changed. */
export class VmDefinitions {
  readonly #layers: readonly string[]
  #all: VmDefinition[] = []
  #default = ''
  #lookedAt = Number.NEGATIVE_INFINITY
  /** What the last reading was of. */
  #print = ''
  #generation = 0

  /** `layers` are the cosm's, nearest first; one character a byte. */
  constructor(layers: readonly string[]) {
    this.#layers = layers
  }

  /** All of them, by layer and name. */
  all(): readonly VmDefinition[] {
    this.#refresh()
    return this.#all
  }

  /** Name of the default VM: what the link `.cosm/default/vm` leads to. */
  defaultName(): string {
    this.#refresh()
    return this.#default
  }

  /** Another number whenever a VM, or the default, is another. */
  generation(): number {
    this.#refresh()
    return this.#generation
  }

  #refresh(): void {
    const now = performance.now()
    if (now - this.#lookedAt < FRESH) return
    this.#lookedAt = now
    const places = this.#places()
    const links = this.#layers.map((layer) => linkName(`${layer}/default/vm`))
    const print = [
      ...links,
      ...[...places.values()].map(({ directory, identity }) => `${directory} ${identity}`),
    ].join('\n')
    if (print === this.#print) return
    this.#print = print
    this.#generation++
    this.#default = links.find(Boolean) ?? ''
    this.#all = [...places].map(([name, { directory }]) => readDefinition(name, directory))
  }

  /** Where the profiles are, and which they are. */
  #places(): Map<string, { directory: string; identity: string }> {
    const found = new Map<string, { directory: string; identity: string }>()
    for (const layer of this.#layers)
      for (const name of namesIn(`${layer}/vm`).sort()) {
        const directory = `${layer}/vm/${name}`
        const place = found.has(name) ? 'EEXIST' : placeOf(`${directory}/profile`)
        if (typeof place !== 'string') found.set(name, { directory, identity: identityOf(place.stats) })
      }
    return found
  }
}

function readDefinition(name: string, directory: string): VmDefinition {
  const file = `${directory}/profile`
  try {
    const text = Buffer.from(readSmallFile(file, MAX_PROFILE), 'latin1').toString('utf8')
    return { name, directory, capabilities: parseCapabilities(name, text, file), problem: undefined }
  } catch (error) {
    return { name, directory, capabilities: undefined, problem: (error as Error).message }
  }
}

/** The last part of what a symbolic link leads to; `''` for no link. */
function linkName(path: string): string {
  try {
    return readlinkSync(pathBytes(path), 'latin1').split('/').filter(Boolean).at(-1) ?? ''
  } catch {
    return ''
  }
}
