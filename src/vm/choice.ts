import { accepts, type Verdict } from '../cef/accepts.ts'
import type { Host } from '../cef/host.ts'
import type { RequirementsProfile } from '../cef/requirements.ts'
import { CosmosError } from '../errors.ts'
import type { VmDefinition } from './definitions.ts'

/** What a VM says to an executable. */
export interface VmVerdict {
  readonly vm: VmDefinition
  readonly verdict: Verdict
}

/** What every VM says; in the order in which they are asked. */
export function verdictsOf(
  requirements: RequirementsProfile,
  vms: readonly VmDefinition[],
  host: Host,
): VmVerdict[] {
  return vms.map((vm) => ({
    vm,
    verdict: vm.capabilities
      ? accepts(requirements, vm.capabilities, host)
      : { accepts: false, code: 'EIO', reason: vm.problem ?? 'has no profile' },
  }))
}

/**
 * The VM that runs an executable: the one that the caller or the executable names, else the default VM, else one that
 * runs it natively, else the first that accepts it. Undefined where none does.
 */
export function chooseVm(
  verdicts: readonly VmVerdict[],
  wanted: string | undefined,
  defaultName: string,
): VmDefinition | undefined {
  const accepting = verdicts.filter((each) => each.verdict.accepts).map((each) => each.vm)
  if (wanted !== undefined) return accepting.find((vm) => vm.name === wanted)
  return (
    accepting.find((vm) => vm.name === defaultName) ??
    accepting.find((vm) => vm.capabilities?.native) ??
    accepting[0]
  )
}

/** The error of an executable that no VM accepts (or that the wanted one does not): what is missing, in one line. */
export function refusal(
  path: string,
  verdicts: readonly VmVerdict[],
  wanted: string | undefined,
): CosmosError {
  const hint = `cosmos vm accepts ${path}`
  if (wanted !== undefined && !verdicts.some((each) => each.vm.name === wanted))
    return new CosmosError('ENOEXEC', path, `there is no VM ${wanted}`, 'cosmos vm list')
  const asked = verdicts.filter((each) => wanted === undefined || each.vm.name === wanted)
  const refused = asked.flatMap(({ vm, verdict }) => (verdict.accepts ? [] : [{ vm, verdict }]))
  // One that does not run this kind at all has nothing to say about what is missing.
  const telling = refused.find((each) => each.verdict.code !== 'EOPNOTSUPP') ?? refused[0]
  if (!telling) return new CosmosError('ENOEXEC', path, 'there is no VM', 'cosmos vm list')
  const why =
    wanted === undefined ? telling.verdict.reason : `${wanted} refuses it: ${telling.verdict.reason}`
  return new CosmosError(telling.verdict.code === 'EACCES' ? 'EACCES' : 'ENOEXEC', path, why, hint)
}
