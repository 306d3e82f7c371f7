import { accessSync, constants, readdirSync } from 'node:fs'
import { homedir, hostname } from 'node:os'
import { delimiter, join } from 'node:path'
import { style } from './output.ts'
import { packageFile } from './version.ts'

/** What to try first: lines to paste into the shell at hand, each with what it shows. */
export async function tour(mount: string): Promise<string> {
  const tree = short(mount)
  const host = `${tree}/${quoted(hostDirectory(mount))}`
  const cosmos = onPath('cosmos') ? 'cosmos' : quoted(ownPath())
  const work = join(mount, 'work')
  const steps: [string, string][] = [
    [`ls -A ${tree}`, 'this host, and the working cosm'],
    [`ls -l ${host}/etc | head -5`, 'its root file system'],
    [`export PATH=${tree}/.cosm/bin:$PATH`, 'programs of every layer'],
    [`mkdir -p ${short(work)}`, 'your own files'],
    [`${cosmos} bind file:///usr/share/doc ${short(work)}`, 'merge: reads from both, writes to work'],
    [`ls ${short(work)} | head -5`, ''],
    [`cat ${tree}/work:layers`, 'what it is made of'],
    [`${cosmos} unbind ${short(work)}`, ''],
    [`${cosmos} status`, 'the daemon; cosmos --help shows more'],
  ]
  const width = Math.max(...steps.map(([command]) => command.length))
  const lines = steps.map(([command, why]) =>
    why ? `  ${command.padEnd(width)}  ${style('dim', `# ${why}`)}` : `  ${command}`,
  )
  return `Try, line by line:\n\n${lines.join('\n')}\n`
}

/** The directory of this host in the mount: `name@host`. */
function hostDirectory(mount: string): string {
  const local = `me@${hostname()}`
  try {
    const names = readdirSync(mount)
    return names.includes(local) ? local : (names.find((name) => name.endsWith(`@${hostname()}`)) ?? local)
  } catch {
    return local
  }
}

/** A path as it is typed: `~` for the home directory. */
function short(path: string): string {
  const home = homedir()
  const below = path.startsWith(`${home}/`)
  return below ? `~/${quoted(path.slice(home.length + 1))}` : quoted(path)
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

function onPath(name: string): boolean {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .some((directory) => isProgram(join(directory || '.', name)))
}

/** Where `cosmos` is when it is not on the PATH. */
function ownPath(): string {
  return ['node_modules/.bin/cosmos', 'bin/cosmos'].map(packageFile).find(isProgram) ?? 'cosmos'
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
