import { ProgramEnding } from './wasi.ts'

/** How WebAssembly ends that does not return. */

/**
 * Why an instance stopped, for one line; undefined for an error that is no trap. A trap is what the core
 * specification calls so, a stack that is exhausted, and an exception that nothing catches.
 */
export function trapReason(error: unknown): string | undefined {
  if (error instanceof WebAssembly.RuntimeError) return error.message
  if (error instanceof RangeError && error.message.startsWith('Maximum call stack'))
    return 'call stack exhausted'
  if (error instanceof WebAssembly.Exception) return 'an exception is not caught'
  if (error instanceof ProgramEnding) return 'a function that ends its program'
  return undefined
}
