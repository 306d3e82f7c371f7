import { getrlimit, setrlimit } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { prlimit } from './calls.ts'

/**
 * Resource limits of programs. A program begins with the VM's own, so the caller's are set in two steps:
 *
 * - before it is spawned, by the VM's own soft limits, those that execve(2) itself looks at (the stack's, which bounds
 *   the arguments) or that a program may ask for or meet at once (open files, core). Lowering them for that moment
 *   does nothing to the VM: what is open stays open, and its stack is grown.
 * - right after, by prlimit(2), all others that differ. Memory and processes belong here, since the VM could not spawn
 *   under such a limit, and hard limits, since a VM that is not root could not raise them again. On a busy machine the
 *   program may have begun by then: such a limit bounds it a moment later.
 *
 * A hard limit that is above the VM's own is not to be had: then the VM's own is given.
 */

/** A resource's number (asm-generic/resource.h), its soft and its hard limit. */
export type Limit = readonly [resource: number, soft: bigint, hard: bigint]

const RLIMIT_STACK = 3
const RLIMIT_CORE = 4
const RLIMIT_NOFILE = 7
const RLIMIT_AS = 9
const COUNT = 16
const EARLY = [RLIMIT_STACK, RLIMIT_CORE, RLIMIT_NOFILE]

const pair = allocateNative(16)

function set(resource: number, soft: bigint, hard: bigint): void {
  pair.view.setBigUint64(0, soft, true)
  pair.view.setBigUint64(8, hard, true)
  setrlimit(resource, pair.address)
}

/** This process's limits. It may have as many files open as it ever may: each session has some. */
const own: Limit[] = Array.from({ length: COUNT }, (_, resource) => {
  getrlimit(resource, pair.address)
  const hard = pair.view.getBigUint64(8, true)
  if (resource === RLIMIT_NOFILE) set(resource, hard, hard)
  return [resource, resource === RLIMIT_NOFILE ? hard : pair.view.getBigUint64(0, true), hard]
})

/** What a program gets of what its caller has; `memory` bounds its address space, in bytes. */
export function limitsFor(caller: readonly Limit[], memory: number | undefined): Limit[] {
  const wanted = own.map(([resource, soft, hard]): Limit => [resource, soft, hard])
  for (const [resource, soft, hard] of caller) {
    const most = own[resource]?.[2]
    if (most === undefined) continue
    wanted[resource] = [resource, least(soft, most), least(hard, most)]
  }
  const space = wanted[RLIMIT_AS]
  if (memory !== undefined && space) {
    const most = least(BigInt(memory), space[2])
    wanted[RLIMIT_AS] = [RLIMIT_AS, least(space[1], most), most]
  }
  return wanted
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

/**
 * Sets this process's own soft limits for the time of a spawn; answers the limits that it has then. `highest` is the
 * highest descriptor that the program gets: it must be below the limit while it is put in its place.
 */
export function lowerOwn(wanted: readonly Limit[], highest: number): Limit[] {
  const given = [...own]
  for (const resource of EARLY) {
    const was = own[resource]
    const soft = wanted[resource]?.[1]
    if (!was || soft === undefined) continue
    const early = resource === RLIMIT_NOFILE && soft <= highest ? BigInt(highest + 1) : soft
    if (early === was[1]) continue
    set(resource, early, was[2])
    given[resource] = [resource, early, was[2]]
  }
  return given
}

/** Sets this process's limits back. */
export function raiseOwn(given: readonly Limit[]): void {
  for (const resource of EARLY) {
    const was = own[resource]
    if (was && given[resource] !== was) set(...was)
  }
}

/** Gives a process that was spawned under the limits `given` those that are wanted. */
export function applyTo(pid: number, wanted: readonly Limit[], given: readonly Limit[]): void {
  for (const [resource, soft, hard] of wanted) {
    const was = given[resource]
    if (!was || (soft === was[1] && hard === was[2])) continue
    pair.view.setBigUint64(0, soft, true)
    pair.view.setBigUint64(8, hard, true)
    prlimit(pid, resource, pair.address, 0)
  }
}
