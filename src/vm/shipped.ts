import { fileURLToPath } from 'node:url'
import { BUILT_IN } from '../cef/capabilities.ts'
import { CosmosError } from '../errors.ts'
import { pathBytes } from '../frame/paths.ts'
import type { VmDefinition } from './definitions.ts'
import type { VmPlan } from './registry.ts'

/** Options of Node that a shipped VM wants. */
const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  // V8 would take a SIGSEGV of a library for one of WebAssembly.
  hostfn: ['--disable-wasm-trap-handler'],
  // A document that makes more than this ends its process, not the machine's other work.
  form: ['--max-old-space-size=1024'],
  wasi: ['--disable-warning=ExperimentalWarning'],
}

/**
 * How a VM is run, from its profile; `compileCache` is where Node keeps compiled code. Throws CosmosError EINVAL for a
 * profile that is wrong.
 */
export function planOf(vm: VmDefinition, compileCache: string | undefined): VmPlan {
  const { name, capabilities } = vm
  if (!capabilities)
    throw new CosmosError('EINVAL', `VM ${name}`, vm.problem ?? 'has no profile', `${vm.directory}/profile`)
  const directory = pathBytes(vm.directory).toString('utf8')
  const { pool, sessions } = capabilities
  const isShipped = capabilities.command === BUILT_IN
  return {
    name,
    directory,
    ...(isShipped && compileCache !== undefined ? { compileCache } : {}),
    command: isShipped ? shippedCommand(name) : [`${directory}/${capabilities.command}`],
    bounds: { ...pool, sessions },
  }
}

/** The shipped ones run on this daemon's own Node. */
function shippedCommand(name: string): [string, ...string[]] {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const program = fileURLToPath(new URL(`../../vms/${name}/main.${extension}`, import.meta.url))
  return [process.execPath, ...process.execArgv, ...(OPTIONS[name] ?? []), program]
}
