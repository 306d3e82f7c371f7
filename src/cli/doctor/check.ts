import type { Instance } from '../../daemon/instance.ts'

/** What a check found. */
export interface Finding {
  readonly state: 'ok' | 'warn' | 'fail'
  readonly detail: string
  /** The command that mends it, or what to do. */
  readonly fix?: string
}

/** One thing that cosmos needs of a machine. */
export interface Check {
  readonly name: string
  run(instance: Instance): Finding | readonly Finding[] | Promise<Finding | readonly Finding[]>
}

/** All is well. */
export function ok(detail: string): Finding {
  return { state: 'ok', detail }
}

/** cosmos works, less well. */
export function warn(detail: string, fix?: string): Finding {
  return fix === undefined ? { state: 'warn', detail } : { state: 'warn', detail, fix }
}

/** cosmos cannot work. */
export function fail(detail: string, fix?: string): Finding {
  return fix === undefined ? { state: 'fail', detail } : { state: 'fail', detail, fix }
}

/** Whether this user is root. */
export function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** A command that only root may run, as this user types it. */
export function asRoot(command: string): string {
  return isRoot() ? command : `sudo ${command}`
}
