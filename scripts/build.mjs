// `npm run build`: makes dist/, which the published package runs because Node strips no types inside
// node_modules. Beside what tsc writes go the files that are not TypeScript: C, Python, WebAssembly, units.
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { inRoot, node, root, run } from './support.mjs'

const SHIPPED = ['src', 'mount', 'vms']

if (!existsSync(inRoot('node_modules/typescript'))) {
  console.error('build: the packages are not installed; run: npm run setup')
  process.exit(1)
}

// Made beside and put in place at the end, so that a failed build leaves the last good one.
const made = inRoot(`dist.${process.pid}`)
const tsc = [inRoot('node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', made]
const { code } = await run(node, tsc, { show: true })
if (code === 0) {
  for (const name of SHIPPED) if (existsSync(inRoot(name))) copyData(inRoot(name))
  nameBuiltFiles(made)
  rmSync(inRoot('dist'), { recursive: true, force: true })
  renameSync(made, inRoot('dist'))
} else {
  rmSync(made, { recursive: true, force: true })
  process.exitCode = 1
}

function copyData(folder) {
  for (const file of filesOf(folder)) {
    if (/\.(ts|mts|md)$/.test(file) && !file.endsWith('.d.ts')) continue
    const copy = join(made, relative(root, file))
    mkdirSync(dirname(copy), { recursive: true })
    copyFileSync(file, copy)
    chmodSync(copy, statSync(file).mode)
  }
}

/** tsc rewrites the extensions of imports only; threads and programs are named by `new URL('./x.ts', import.meta.url)`. */
function nameBuiltFiles(folder) {
  for (const file of filesOf(folder)) {
    if (!file.endsWith('.js')) continue
    const text = readFileSync(file, 'utf8')
    const named = text.replace(
      /(new URL\(\s*(['"`])\.{1,2}\/[\w./-]+)\.ts(\2,\s*import\.meta\.url)/g,
      (_, start, __, end) => `${start}.js${end}`,
    )
    if (named !== text) writeFileSync(file, named)
  }
}

function filesOf(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
}
