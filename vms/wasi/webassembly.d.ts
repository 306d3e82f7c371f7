/** What this VM uses of the WebAssembly JavaScript interface: TypeScript declares it with the browser's library only. */
declare namespace WebAssembly {
  type ExternalKind = 'function' | 'table' | 'memory' | 'global' | 'tag'
  type ImportValue = unknown
  type Imports = Record<string, Record<string, ImportValue>>

  interface ImportDescriptor {
    readonly module: string
    readonly name: string
    readonly kind: ExternalKind
  }
  interface ExportDescriptor {
    readonly name: string
    readonly kind: ExternalKind
  }

  class Module {
    constructor(bytes: Uint8Array)
    static imports(module: Module): ImportDescriptor[]
    static exports(module: Module): ExportDescriptor[]
  }
  class Instance {
    constructor(module: Module, imports?: Imports)
    readonly exports: Readonly<Record<string, unknown>>
  }
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number })
    readonly buffer: ArrayBuffer
  }
  class RuntimeError extends Error {}
  class LinkError extends Error {}
  class Exception {}
}
