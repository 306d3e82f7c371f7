import type { ControlClient } from '../../daemon/client.ts'
import type { ListEntry } from '../../daemon/results.ts'
import { CosmosError } from '../../errors.ts'
import { type WireText, wireBytes } from '../../form/wire.ts'
import { hidePasswords } from '../../source/passwords.ts'
import type { CliCommand } from '../command.ts'
import { argument, withDaemon, workingDirectory } from '../daemon.ts'
import { eachReported } from '../errors.ts'
import { modeText, timeText } from '../listing.ts'
import { columns, JsonList, line, nameBytes, shown, style, write } from '../output.ts'
import { OwnerNames } from '../users.ts'

interface LsOptions {
  all?: boolean
  long?: boolean
  inode?: boolean
  directory?: boolean
  unsorted?: boolean
  one?: boolean
  json?: boolean
}

/** `cosmos ls` */
export const command: CliCommand = {
  summary: 'list directories of the tree, without the kernel',
  rank: 6,
  examples: [
    'cosmos ls ~/cosmos',
    'cosmos ls -l file:///etc',
    "cosmos ls --json .cosm/bin | jq -r '.[].name'",
  ],
  configure(command) {
    command
      .argument('[path...]', 'paths or URLs; the working directory without any')
      .option('-a, --all', 'show names that start with a dot, too')
      .option('-l, --long', 'show mode, owner, size and time')
      .option('-i, --inode', 'show inode numbers')
      .option('-d, --directory', 'show directories themselves, not what is in them')
      .option('-U, --unsorted', 'print in the order in which the entries come, as they come')
      .option('-1, --one', 'print one name a line, on a terminal too')
      .option('--json', 'print JSON: a list of all entries; `directory` is that of each')
      .action((paths: string[], options: LsOptions) =>
        withDaemon((client) => new Lister(client, options).run(paths.length > 0 ? paths : ['.'])),
      )
  },
}

class Lister {
  readonly #client: ControlClient
  readonly #options: LsOptions
  readonly #list = new JsonList()
  readonly #owners = new OwnerNames()
  /** Something was printed: a blank line comes before the next directory. */
  #printed = false

  constructor(client: ControlClient, options: LsOptions) {
    this.#client = client
    this.#options = options
  }

  async run(paths: string[]): Promise<void> {
    try {
      await eachReported(paths, (path) => this.#show(path, paths.length > 1))
    } finally {
      if (this.#options.json) await this.#list.end()
    }
  }

  async #show(path: string, titled: boolean): Promise<void> {
    if (this.#options.directory) return this.#showNode(path)
    try {
      await this.#showDirectory(path, titled)
    } catch (error) {
      if (!(error instanceof CosmosError) || error.code !== 'ENOTDIR') throw error
      await this.#showNode(path)
    }
  }

  async #showNode(path: string): Promise<void> {
    const node = await this.#client.call('inspect', { path: argument(path), cwd: workingDirectory() })
    const { inode, type, mode, size, mtime, nlink, uid, gid, target } = node
    const entry: ListEntry = { name: argument(hidePasswords(path)), inode, type, mode, size, mtime }
    if (nlink !== undefined) entry.nlink = nlink
    if (uid !== undefined) entry.uid = uid
    if (gid !== undefined) entry.gid = gid
    if (target !== undefined) entry.target = target
    if (this.#options.json) await this.#list.add(entry)
    else await this.#print([entry])
    this.#printed = true
  }

  async #showDirectory(path: string, titled: boolean): Promise<void> {
    const { json, all, unsorted } = this.#options
    const entries: ListEntry[] = []
    let begun = false
    const begin = async () => {
      if (begun) return
      begun = true
      if (titled && !json) await line(`${this.#printed ? '\n' : ''}${shown(argument(hidePasswords(path)))}:`)
      this.#printed = true
    }
    const batches = this.#client.stream('list', { path: argument(path), cwd: workingDirectory() })
    for await (const batch of batches) {
      await begin()
      if (json) for (const entry of batch) await this.#list.add({ ...entry, directory: hidePasswords(path) })
      else {
        const visible = all ? batch : batch.filter((entry) => !isHidden(entry.name))
        if (unsorted) await this.#print(visible)
        else for (const entry of visible) entries.push(entry)
      }
    }
    await begin()
    if (json || unsorted) return
    entries.sort((a, b) => Buffer.compare(wireBytes(a.name), wireBytes(b.name)))
    await this.#print(entries)
  }

  async #print(entries: ListEntry[]): Promise<void> {
    if (this.#options.long) return this.#printLong(entries)
    if (process.stdout.isTTY && !this.#options.one && !this.#options.unsorted) {
      const names = entries.map((entry) => this.#inode(entry) + shown(entry.name))
      await write(columns(names, process.stdout.columns || 80))
      return
    }
    for (let at = 0; at < entries.length; at += LINES_A_WRITE) {
      const lines = entries
        .slice(at, at + 1000)
        .flatMap((entry) => [Buffer.from(this.#inode(entry)), nameBytes(entry.name), NEWLINE])
      await write(Buffer.concat(lines))
    }
  }

  async #printLong(entries: ListEntry[]): Promise<void> {
    const rows = entries.map((entry) => [
      String(entry.nlink ?? '?'),
      this.#owners.user(entry.uid),
      this.#owners.group(entry.gid),
      String(entry.size ?? '?'),
      timeText(entry.mtime),
    ])
    const widths = [0, 1, 2, 3, 4].map((i) =>
      rows.reduce((most, row) => Math.max(most, row[i]?.length ?? 0), 0),
    )
    let lines: Buffer[] = []
    for (const [i, entry] of entries.entries()) {
      const cells = (rows[i] ?? []).map((cell, column) => {
        const width = widths[column] ?? 0
        return column === 1 || column === 2 ? cell.padEnd(width) : cell.padStart(width)
      })
      const target = entry.target === undefined ? [] : [Buffer.from(' -> '), nameBytes(entry.target)]
      const before = Buffer.from(`${this.#inode(entry)}${modeText(entry)} ${cells.join(' ')} `)
      lines.push(before, colored(entry), ...target, NEWLINE)
      if (i % LINES_A_WRITE !== LINES_A_WRITE - 1 && i !== entries.length - 1) continue
      await write(Buffer.concat(lines))
      lines = []
    }
  }

  #inode(entry: ListEntry): string {
    return this.#options.inode ? `${entry.inode} ` : ''
  }
}

/** A write for each of a million names would take its time. */
const LINES_A_WRITE = 1000
const NEWLINE = Buffer.from('\n')

function isHidden(name: WireText): boolean {
  return wireBytes(name)[0] === 0x2e
}

function colored(entry: ListEntry): Buffer {
  if (!process.stdout.isTTY) return nameBytes(entry.name)
  const name = shown(entry.name)
  if (entry.type === 'directory') return Buffer.from(style('blueBright', name))
  if (entry.type === 'link') return Buffer.from(style('cyanBright', name))
  if (entry.type === 'file' && ((entry.mode ?? 0) & 0o111) !== 0)
    return Buffer.from(style('greenBright', name))
  return Buffer.from(name)
}
