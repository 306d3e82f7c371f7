import type { CefKind } from '../cef/capabilities.ts'

/** What a VM is told of an executable (`route` in docs/vm-protocol.md). Paths have one character a byte. */
export interface Route {
  /** How the caller named it. */
  readonly path: string
  /** The host file that is run; of a function, its library. */
  readonly payload: string
  readonly kind: CefKind
  readonly interpreter?: string
  readonly interpreterArguments?: readonly string[]
  /** Of a function: its library, and its C prototype. */
  readonly library?: string
  readonly prototype?: string
  /** Directories that the guest may use, and the paths that they have for it. */
  readonly lend?: readonly (readonly [host: string, guest: string])[]
  /** Directories that a WebAssembly module's imports are looked for in. */
  readonly modules?: readonly string[]
  /** The peer that runs it. */
  readonly peer?: string
  readonly limits?: { readonly seconds?: number; readonly memory?: number }
}
