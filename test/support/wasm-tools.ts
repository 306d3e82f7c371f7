import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { checkout } from './instance.ts'
import { whyNotInstalled } from './packages.ts'

/** Support: a C compiler for WebAssembly. */

/** Debian's packages of it. */
const PACKAGES = ['clang', 'lld', 'wasi-libc', 'libclang-rt-dev-wasm32']

let known: Promise<string | undefined> | undefined

/** Why C cannot be compiled here; undefined when it can. Where root runs the tests, Debian's packages are installed. */
export function whyNoWasmCompiler(): Promise<string | undefined> {
  known ??= whyNotInstalled(PACKAGES, works, 'several hundred MB')
  return known
}

/** Whether a program of C with WASI can be made. */
async function works(): Promise<boolean> {
  const directory = mkdtempSync(join(tmpdir(), 'cosmos-cc-'))
  try {
    const source = join(directory, 'a.c')
    writeFileSync(source, '#include <stdio.h>\nint main(void) { return printf("%f", 1.0) < 0; }\n')
    await promisify(execFile)('clang', ['--target=wasm32-wasi', source, '-o', join(directory, 'a.wasm')])
    return true
  } catch {
    return false
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** How a sample is compiled: with WASI's C library, without any, or as a library of functions without one. */
export type WasmKind = 'wasi' | 'bare' | 'library'

const FLAGS: Readonly<Record<WasmKind, readonly string[]>> = {
  wasi: ['--target=wasm32-wasi'],
  bare: ['--target=wasm32', '-nostdlib'],
  library: ['--target=wasm32', '-nostdlib', '-Wl,--no-entry'],
}

/** Compiles a source of the checkout into a directory; answers the module's path. */
export async function compileWasm(
  source: string,
  directory: string,
  kind: WasmKind = 'wasi',
): Promise<string> {
  const output = join(directory, basename(source).replace(/c$/, 'wasm'))
  const args = [...FLAGS[kind], '-O2', '-Wall', '-Werror', join(checkout, source), '-o', output]
  await promisify(execFile)('clang', args)
  return output
}
