import { release } from 'node:os'
import { HOST_ARCH } from './arch.ts'
import { placeOf } from './host-file.ts'
import { type RequirementsProfile, requirementsOf } from './requirements.ts'

/** What `accepts` wants to know of a machine. */
export interface Host {
  readonly arch: string
  readonly system: string
  /** As uname -r has it: `6.1.0-28-amd64`. */
  readonly kernel: string
  /** Directories in which env(1) looks for an interpreter. */
  readonly path: readonly string[]
  /** Names of variables that are set. */
  readonly environment: ReadonlySet<string>
  /** What an interpreter needs itself. */
  requirementsOf(path: string): RequirementsProfile
  /** What is at a path, if anything. */
  kindOf(path: string): 'device' | 'other' | undefined
}

/** How long an interpreter's profile is believed, milliseconds. */
const FRESH = 1000
const MAX_PROFILES = 256

/** This machine, for programs that are run with this environment; its PATH has one character a byte. */
export function thisHost(environment: NodeJS.ProcessEnv = process.env): Host {
  const profiles = new Map<string, { profile: RequirementsProfile; at: number }>()
  return {
    arch: HOST_ARCH,
    system: process.platform,
    kernel: release(),
    path: Buffer.from(environment.PATH ?? '', 'utf8')
      .toString('latin1')
      .split(':')
      .filter((directory) => directory.startsWith('/')),
    environment: new Set(Object.keys(environment)),
    // Many scripts share few interpreters.
    requirementsOf(path) {
      const now = performance.now()
      const known = profiles.get(path)
      if (known && now - known.at < FRESH) return known.profile
      if (profiles.size === MAX_PROFILES) profiles.clear()
      const profile = requirementsOf(path)
      profiles.set(path, { profile, at: now })
      return profile
    },
    kindOf(path) {
      const place = placeOf(path)
      if (typeof place === 'string') return undefined
      return place.stats.isCharacterDevice() || place.stats.isBlockDevice() ? 'device' : 'other'
    },
  }
}
