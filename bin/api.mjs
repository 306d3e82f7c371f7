// What `import … from 'cosmos'` gives: the TypeScript sources in a checkout, dist/ in an installed package.
import { existsSync } from 'node:fs'

const source = new URL('../src/api/index.ts', import.meta.url)
const built = new URL('../dist/src/api/index.js', import.meta.url)
export const { CosmosError, dlopen, exec, open } = await import(existsSync(source) ? source : built)
