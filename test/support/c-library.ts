import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** Why no C can be compiled here; undefined where it can. */
export function whyNoCompiler(): string | undefined {
  return spawnSync('cc', ['--version']).status === 0 ? undefined : 'there is no C compiler (cc)'
}

/** Makes a shared library of a C file. */
export function compileLibrary(source: URL, library: string): void {
  const flags = ['-shared', '-fPIC', '-O1', '-fno-optimize-sibling-calls', '-w']
  const { status, stderr } = spawnSync('cc', [...flags, '-o', library, fileURLToPath(source)])
  if (status !== 0) throw new Error(`cc failed: ${stderr}`)
}
