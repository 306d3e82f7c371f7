import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The version of the package that this file belongs to. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as { version: string }).version
}

/** Path of a file of the package. */
export function packageFile(path: string): string {
  // The directory with the package.json: in a checkout two directories up, in dist/ three.
  let at = new URL('.', import.meta.url)
  while (!existsSync(new URL('package.json', at)) && at.pathname !== '/') at = new URL('..', at)
  return fileURLToPath(new URL(path, at))
}
