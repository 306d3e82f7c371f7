import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { WireError } from '../form/wire.ts'
import type { DriverName } from './handover.ts'
import type { Instance } from './instance.ts'

/** What the supervisor writes down of a running instance, in its runtime directory. */
export interface InstanceRecord {
  readonly supervisor: number
  /** The daemon that serves, and one that waits to; 0 where there is none at the moment. */
  readonly daemon: number
  readonly spare: number
  readonly mount: string
  /** The outermost directory that was made for the mount point. */
  readonly made?: string
  readonly driver: DriverName
  /** `major:minor` of the mount; empty while it is not known. */
  readonly device: string
  readonly state: 'starting' | 'running' | 'ending'
}

/** What the supervisor was told to do: its second argument, JSON. */
export interface SupervisorOrder {
  readonly mount: string
  readonly driver: DriverName
  /** End with whoever started it. */
  readonly foreground: boolean
}

/** What the supervisor tells whoever started it, once. */
export type StartReport = { type: 'ready'; record: InstanceRecord } | { type: 'failed'; error: WireError }

/** Exit code of a supervisor that found another one at work. */
export const EXIT_LOCKED = 3

/** The files of an instance's runtime directory that are the supervisor's. */
export function supervisorFiles(instance: Instance): { record: string; lock: string; upLock: string } {
  const { runtime } = instance
  return {
    record: join(runtime, 'instance.json'),
    lock: join(runtime, 'supervisor.lock'),
    upLock: join(runtime, 'up.lock'),
  }
}

/** Writes the record down, whole or not at all. */
export function writeRecord(instance: Instance, record: InstanceRecord): void {
  const { record: path } = supervisorFiles(instance)
  const fresh = `${path}.new`
  writeFileSync(fresh, `${JSON.stringify(record)}\n`, { mode: 0o600 })
  renameSync(fresh, path)
}

/** The record of a running instance, or of one that was killed. */
export function readRecord(instance: Instance): InstanceRecord | undefined {
  try {
    return JSON.parse(readFileSync(supervisorFiles(instance).record, 'utf8')) as InstanceRecord
  } catch {
    return undefined
  }
}
