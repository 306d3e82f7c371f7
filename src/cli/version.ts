import { existsSync, readFileSync } from 'node:fs'

/** The version of the package that this file belongs to. */
export function packageVersion(): string {
  // In a checkout two directories up, in dist/ three.
  for (let at = new URL('.', import.meta.url); ; at = new URL('..', at)) {
    const manifest = new URL('package.json', at)
    if (existsSync(manifest)) return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version
    if (at.pathname === '/') return 'unknown'
  }
}
