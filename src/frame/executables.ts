import type { Host } from '../cef/host.ts'
import { type RequirementsProfile, requirementsOf } from '../cef/requirements.ts'
import { S_IFREG } from '../os/constants.ts'
import { ANCHOR_COSM } from '../source/stacks.ts'
import { chooseVm, type VmVerdict, verdictsOf } from '../vm/choice.ts'
import type { VmDefinition, VmDefinitions } from '../vm/definitions.ts'
import type { TreeCore } from './core.ts'
import { BACKED } from './frames.ts'
import type { NodeId } from './operations.ts'

/**
 * What a file of a cosm's `bin` is for the kernel: itself where the VM that runs it is the kernel's own execve, else
 * a `#!` line that names the launcher (design §5).
 */

/** What is known of one file, as long as it is the same. */
interface Known {
  readonly identity: string
  readonly launched: boolean
  readonly checkedAt: number
}

/** Files that are remembered. */
const CAPACITY = 4096
/** How long an answer holds while file and VMs are the same: libraries and interpreters come and go. Milliseconds. */
const FRESH = 1000

/** What the tree is told of executables. */
export interface ExecutablesParts {
  readonly vms: VmDefinitions
  readonly host: Host
  /** What the kernel reads of an executable that it does not run itself. */
  readonly launcherLine: Buffer
}

export class Executables {
  readonly line: Buffer
  readonly vms: VmDefinitions
  readonly #host: Host
  readonly #known = new Map<string, Known>()

  constructor({ vms, host, launcherLine }: ExecutablesParts) {
    this.vms = vms
    this.#host = host
    this.line = launcherLine
  }

  /** What every VM says to an executable, and the one that would run it. */
  judge(
    requirements: RequirementsProfile,
    wanted?: string,
  ): { verdicts: VmVerdict[]; chosen: VmDefinition | undefined } {
    const verdicts = verdictsOf(requirements, this.vms.all(), this.#host)
    const chosen = chooseVm(verdicts, wanted ?? requirements.vm, this.vms.defaultName())
    return { verdicts, chosen }
  }

  /**
   * Whether a file whose attributes are at hand shows as the launcher's line. One that nothing accepts does too, so
   * that running it says why, unless it was not meant to be run.
   */
  isLaunched(core: TreeCore, slot: NodeId): boolean {
    const { frames, attributes } = core
    const key = `${frames.device(slot)}:${frames.inoHigh(slot)}:${frames.inoLow(slot)}`
    const { mode, size, mtime, mtimensec, ctime, ctimensec } = attributes
    const identity = `${this.vms.generation()} ${mode} ${size} ${mtime}.${mtimensec} ${ctime}.${ctimensec}`
    const known = this.#known.get(key)
    const now = performance.now()
    if (known?.identity === identity && now - known.checkedAt < FRESH) return known.launched
    const launched = size > 0 && this.#launches(core.hostPath(slot), mode)
    this.#known.delete(key)
    this.#known.set(key, { identity, launched, checkedAt: now })
    if (this.#known.size > CAPACITY) this.#known.delete(this.#known.keys().next().value as string)
    return launched
  }

  #launches(path: string, mode: number): boolean {
    const { chosen } = this.judge(requirementsOf(path))
    return chosen ? !chosen.capabilities?.native : (mode & 0o111) !== 0
  }
}

/** Whether a frame is a file of a cosm's `bin`. */
export function isCosmProgram(core: TreeCore, slot: NodeId): boolean {
  const { frames } = core
  if (frames.kind(slot) !== BACKED || frames.type(slot) !== S_IFREG) return false
  const parent = frames.parent(slot)
  const context = frames.context(slot)
  return (
    frames.parent(parent) === context &&
    parent !== context &&
    core.stackOf(slot).type === ANCHOR_COSM &&
    frames.nameText(parent) === 'bin'
  )
}
