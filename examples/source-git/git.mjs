/**
 * The source `git` of a cosm: commits and trees of local repositories as directories, read with the program git.
 *
 *     git:/home/me/project/branches/main/…        the tree of a branch; a / of its name is %2F
 *     git:/home/me/project/tags/v1.0/…
 *     git:/home/me/project/commits/1a2b3c…/…      any commit; the newest are listed
 *
 * `commits/ID:message` is the commit's message. A name of a tree is its bytes, one character each, as sources want it.
 */
import { execFile, spawn } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'

const KINDS = { branches: 'refs/heads', tags: 'refs/tags', commits: '' }
/** Commits that are listed, repositories and trees that are kept, and bytes of a list. */
const MAX_COMMITS = 1000
const MAX_REPOSITORIES = 16
const MAX_TREES = 2000
const MAX_OUTPUT = 64 * 1024 * 1024
/** Milliseconds: a branch may move, a commit never does. */
const SOON = 1000
const FOREVER = 3_600_000

const failure = (code, why) => Object.assign(new Error(why), { code })
const directory = (more = {}) => ({ type: 'directory', size: 0, mode: 0o555, fresh: SOON, ...more })
const bytesOf = (text) => Buffer.from(text, 'latin1')
const nameOf = (ref) => ref.replace(/[%/]/g, (character) => (character === '%' ? '%25' : '%2F'))
const refOf = (name) => name.replace(/%2F/gi, '/').replace(/%25/g, '%')

/** One repository: a `git cat-file --batch` that stays, and the trees that were read. */
class Repository {
  #directory
  #context
  #child
  #waiting = []
  #head = Buffer.alloc(0)
  #trees = new Map()

  constructor(directory, context) {
    // Directories that programs are run in are text.
    this.#directory = bytesOf(directory).toString()
    this.#context = context
    const options = {
      cwd: this.#directory,
      env: this.#environment(),
      stdio: ['pipe', 'pipe', 'pipe'],
    }
    this.#child = spawn('git', ['cat-file', '--batch'], options)
    let said = ''
    this.#child.stdout.on('data', (bytes) => this.#receive(bytes))
    this.#child.stderr.on('data', (bytes) => (said = `${said}${bytes}`.slice(-2000)))
    this.#child.stdin.on('error', () => {})
    this.#child.on('error', (error) => this.#end(failure('EIO', `git: ${error.message}`)))
    this.#child.on('close', () => this.#end(failure('EIO', said.trim() || 'git has ended')))
  }

  ended = false

  /** An object by anything that git understands as its name: its id, type and bytes. ENOENT where there is none. */
  object(name) {
    if (this.ended) return Promise.reject(failure('EIO', 'git has ended'))
    if (/[\0-\x20\x7f]/.test(name)) return Promise.reject(failure('ENOENT', 'not found'))
    const answer = new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
    this.#child.stdin.write(bytesOf(`${name}\n`))
    return answer
  }

  /** A commit: its id, tree, time and message. */
  async commit(name) {
    const { id, bytes } = await this.object(`${name}^{commit}`)
    const text = bytes.toString('latin1')
    const [head] = text.split('\n\n', 1)
    const tree = /^tree (\w+)$/m.exec(head)?.[1]
    const time = Number(/^committer .* (\d+) [+-]\d+$/m.exec(head)?.[1] ?? 0) * 1000
    return { id, tree, time, message: bytes.subarray(head.length + 2) }
  }

  /** The entries of a tree by their names. */
  async tree(id) {
    const known = this.#trees.get(id)
    if (known) return known
    const output = (await this.run('ls-tree', '-z', '-l', id)).toString('latin1')
    const entries = new Map()
    for (const line of output.split('\0').filter(Boolean)) {
      const [, mode, type, object, size, name] = /^(\d+) (\w+) (\w+) +(\S+)\t(.*)$/s.exec(line)
      entries.set(name, { mode, type, id: object, size: Number(size) || 0 })
    }
    if (this.#trees.size >= MAX_TREES) this.#trees.clear()
    this.#trees.set(id, entries)
    return entries
  }

  /** What git prints. */
  run(...args) {
    const options = {
      cwd: this.#directory,
      env: this.#environment(),
      maxBuffer: MAX_OUTPUT,
      encoding: 'buffer',
    }
    return new Promise((resolve, reject) =>
      execFile('git', args, options, (error, output, said) =>
        error ? reject(failure('EIO', said.toString().trim() || error.message)) : resolve(output),
      ),
    )
  }

  close() {
    this.#child.kill()
  }

  #environment() {
    return { ...this.#context.environment, GIT_OPTIONAL_LOCKS: '0', GIT_NO_LAZY_FETCH: '1', LC_ALL: 'C' }
  }

  /** `ID TYPE SIZE`, a newline, the bytes and a newline; or `NAME missing`. */
  #receive(bytes) {
    this.#head = this.#head.length > 0 ? Buffer.concat([this.#head, bytes]) : bytes
    for (;;) {
      const end = this.#head.indexOf(10)
      if (end < 0) return
      const [id, type, length] = this.#head.toString('latin1', 0, end).split(' ')
      const found = /^[\da-f]{40,64}$/.test(id) && /^\d+$/.test(length ?? '')
      const size = found ? Number(length) : -1
      const next = end + 1 + size + 1
      if (this.#head.length < next) return
      const content = Buffer.from(this.#head.subarray(end + 1, next - 1))
      this.#head = this.#head.subarray(next)
      const waiting = this.#waiting.shift()
      if (found) waiting?.resolve({ id, type, bytes: content })
      else waiting?.reject(failure('ENOENT', 'not found'))
    }
  }

  #end(error) {
    this.ended = true
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }
}

class GitService {
  #context
  #repositories = new Map()

  constructor(context) {
    this.#context = context
  }

  async stat(path) {
    return (await this.#find(path)).node
  }

  async list(path) {
    const found = await this.#find(path)
    if (found.node.type !== 'directory') throw failure('ENOTDIR', 'is not a directory')
    if (found.tree) {
      const { repository, fresh, time } = found
      const entries = await repository.tree(found.tree)
      return Promise.all(
        [...entries].map(async ([name, entry]) => ({
          name,
          node: await nodeOf(repository, entry, fresh, time),
        })),
      )
    }
    if (found.kind) return (await this.#names(found)).map((name) => ({ name }))
    if (found.repository) return Object.keys(KINDS).map((name) => ({ name, node: directory() }))
    if (found.place === undefined) return []
    const entries = readdirSync(bytesOf(found.place), { withFileTypes: true, encoding: 'buffer' })
    return entries
      .filter((entry) => entry.isDirectory())
      .map((entry) => ({ name: Buffer.from(entry.name).toString('latin1') }))
  }

  async open(path, access) {
    if (access.write) throw failure('EROFS', 'is read-only')
    const { node, repository, id } = await this.#find(path)
    if (node.type !== 'file') throw failure('EISDIR', 'is a directory')
    const { bytes } = await repository.object(id)
    return {
      node,
      read: async (position, length) => bytes.subarray(position, position + length),
      close: async () => {},
    }
  }

  async property(path, name) {
    const { message, segments } = await this.#find(path)
    return name === 'message' && message && segments.length === 2 ? message : undefined
  }

  async close() {
    for (const repository of this.#repositories.values()) repository.close()
  }

  /** What a path leads to: a directory of this host, a repository, one of its kinds, or something of a commit's tree. */
  async #find({ segments }) {
    let place = ''
    for (let i = 0; i <= segments.length; i++) {
      const rest = segments.slice(i)
      // In a repository that lies in another, the way goes on where the name is none of ours.
      if (isRepository(place) && (rest.length === 0 || rest[0] in KINDS))
        return this.#inRepository(place, rest)
      if (rest.length > 0) place += `/${rest[0]}`
    }
    if (!statSync(bytesOf(place || '/'), { throwIfNoEntry: false })?.isDirectory())
      throw failure('ENOENT', 'not found')
    return { node: directory(), place: place || '/' }
  }

  async #inRepository(place, segments) {
    const repository = this.#repository(place)
    const [kind, name, ...path] = segments
    if (kind === undefined) return { node: directory(), repository, segments }
    if (name === undefined) return { node: directory(), repository, segments, kind }
    if (kind === 'commits' && !/^[\da-f]{4,64}$/.test(name)) throw failure('ENOENT', 'not found')
    const commit = await repository.commit(kind === 'commits' ? name : `${KINDS[kind]}/${refOf(name)}`)
    const fresh = kind === 'commits' ? FOREVER : SOON
    const { time } = commit
    let entry = { mode: '040000', type: 'tree', id: commit.tree, size: 0 }
    for (const part of path) {
      if (entry.type !== 'tree') throw failure('ENOTDIR', 'is not a directory')
      entry = (await repository.tree(entry.id)).get(part)
      if (!entry) throw failure('ENOENT', 'not found')
    }
    const node = await nodeOf(repository, entry, fresh, time)
    const tree = entry.type === 'tree' ? entry.id : undefined
    return { node, repository, segments, tree, id: entry.id, fresh, time, message: commit.message }
  }

  async #names({ repository, kind }) {
    const args =
      kind === 'commits'
        ? ['rev-list', '--all', `--max-count=${MAX_COMMITS}`]
        : ['for-each-ref', '--format=%(refname)', `${KINDS[kind]}/`]
    const lines = (await repository.run(...args)).toString('latin1').split('\n').filter(Boolean)
    return kind === 'commits' ? lines : lines.map((ref) => nameOf(ref.slice(KINDS[kind].length + 1)))
  }

  #repository(place) {
    const known = this.#repositories.get(place)
    this.#repositories.delete(place)
    const repository = known && !known.ended ? known : new Repository(place, this.#context)
    this.#repositories.set(place, repository)
    if (this.#repositories.size > MAX_REPOSITORIES) {
      const [oldest, unused] = this.#repositories.entries().next().value
      this.#repositories.delete(oldest)
      unused.close()
    }
    return repository
  }
}

/** A directory with `.git` in it, or a bare repository. */
function isRepository(place) {
  const has = (name) => existsSync(bytesOf(`${place}/${name}`))
  return has('.git') || (has('HEAD') && has('objects') && has('refs'))
}

/** The node of a tree's entry; where a submodule is, its directory is empty. */
async function nodeOf(repository, { mode, type, id, size }, fresh, mtime) {
  const known = { fresh, mtime, generation: id }
  if (type !== 'blob') return { ...directory(known) }
  if (mode !== '120000') return { type: 'file', size, mode: mode === '100755' ? 0o555 : 0o444, ...known }
  const target = (await repository.object(id)).bytes.toString('latin1')
  return { type: 'link', size: target.length, target, ...known }
}

export default { open: (context) => new GitService(context) }
