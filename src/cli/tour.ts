import { accessSync, constants, readdirSync } from 'node:fs'
import { homedir, hostname } from 'node:os'
import { delimiter, join } from 'node:path'
import { findInstance } from '../daemon/instance.ts'
import { style } from './output.ts'
import { packageFile } from './version.ts'

/** What to try first: lines to paste into the shell at hand, each below what it shows. */
export function tour(mount: string): string {
  const tree = short(mount)
  const host = `${tree}/${quoted(hostDirectory(mount))}`
  const cosmos = onPath('cosmos') ? 'cosmos' : short(ownPath())
  const work = `${tree}/work`
  const home = short(findInstance().home)
  const steps: [string, ...string[]][] = [
    ['This host, and the working cosm:', `ls -A ${tree}`],
    ['Its root file system:', `ls -l ${host}/etc | head -5`],
    [
      'The programs of every layer, first on your PATH:',
      `export PATH=${tree}/.cosm/bin:$PATH`,
      'command -v ls',
    ],
    [
      'A merged directory: reads come from both, what you write stays in work:',
      `mkdir -p ${work}`,
      `${cosmos} bind file:///usr/share/doc ${work}`,
      `ls ${work} | head -5`,
      `cat ${work}:layers`,
      `${cosmos} unbind ${work}`,
    ],
    [
      'A file in another form, and its inside; a URL has them too:',
      `printf 'list: [1, 2]\\n' > ${work}/conf.yaml`,
      `cat ${work}/conf.yaml.to-json`,
      `cat ${work}/conf.yaml.d/list/1`,
    ],
    [
      "A library's function, as a command and as a file:",
      `${cosmos} call libm.so.6 'double cos(double x)' 0`,
      `${tree}/.cosm/lib/libm.so.6/cos 0`,
    ],
    [
      'A VM of one Python file, and a program for it:',
      `cp -r ${short(packageFile('examples/vm-python'))} ${home}/vm/python`,
      `echo 'print("hello from a warm Python")' > ${home}/bin/hello.py`,
      `${tree}/.cosm/bin/hello.py`,
      `${cosmos} vm accepts ${tree}/.cosm/bin/hello.py`,
      `${cosmos} run list`,
    ],
    ['The machines that have joined; cosmos invite --help is how another one does:', `${cosmos} peers`],
    ['How it is:', `${cosmos} status`],
  ]
  // No comments on the lines: an interactive zsh does not know them.
  const text = steps.map(
    ([about, ...lines]) => `${style('dim', about)}\n${lines.map((each) => `    ${each}\n`).join('')}`,
  )
  return `Try, line by line:\n\n${text.join('\n')}`
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

/** A path as it is typed: `~` for the home directory, which fish expands at the start of a word only. */
function short(path: string): string {
  if (process.env.SHELL?.endsWith('fish')) return quoted(path)
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
