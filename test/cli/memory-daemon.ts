import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ControlServer } from '../../src/daemon/control-server.ts'
import { type ControlHandlers, OPERATIONS } from '../../src/daemon/handlers.ts'
import { findInstance, type Instance, prepareInstance } from '../../src/daemon/instance.ts'
import type { ListEntry } from '../../src/daemon/results.ts'
import { CosmosError } from '../../src/errors.ts'
import { toWire } from '../../src/form/wire.ts'

/** Support: a control server over a directory in memory, in an instance of its own. */
export interface MemoryDaemon {
  readonly instance: Instance
  /** Everything of it is below. */
  readonly directory: string
  /** Environment of a client of this instance. */
  readonly environment: NodeJS.ProcessEnv
  readonly files: Map<string, Buffer>
  /** Lines that the server logged. */
  readonly log: string[]
  /** Names of operations whose signal was aborted. */
  readonly aborted: string[]
  server: ControlServer
  stop(): Promise<void>
}

/** Starts one; `override` replaces handlers. */
export async function startMemoryDaemon(override: Partial<ControlHandlers> = {}): Promise<MemoryDaemon> {
  const directory = mkdtempSync(join(tmpdir(), 'cosmos-cli-'))
  const environment = { ...process.env, HOME: directory, XDG_RUNTIME_DIR: join(directory, 'run') }
  delete (environment as NodeJS.ProcessEnv).COSMOS_HOME
  mkdirSync(environment.XDG_RUNTIME_DIR)
  const instance = findInstance(environment)
  prepareInstance(instance)
  writeFileSync(instance.log, 'first\nsecond\nthird\n')
  const files = new Map<string, Buffer>([
    ['hello', Buffer.from('hello, world\n')],
    ['.hidden', Buffer.from('hidden\n')],
    ['caf\xc3\xa9', Buffer.from('utf8\n')],
    ['\xff\xfe', Buffer.from('no text\n')],
  ])
  const aborted: string[] = []
  const log: string[] = []
  const handlers = { ...memoryHandlers(instance, files, aborted), ...override }
  const options = { software: 'test/0', log: (line: string) => log.push(line) }
  const server = await ControlServer.listen(instance.controlSocket, handlers, options)
  const daemon: MemoryDaemon = {
    instance,
    directory,
    environment,
    files,
    log,
    aborted,
    server,
    async stop() {
      await daemon.server.close()
      rmSync(directory, { recursive: true })
    },
  }
  return daemon
}

function memoryHandlers(instance: Instance, files: Map<string, Buffer>, aborted: string[]): ControlHandlers {
  const binds = new Map<string, { kind: 'bind' | 'cascade'; layers: string[] }>()
  const find = (path: string): Buffer => {
    const found = files.get(path)
    if (!found) throw CosmosError.fromErrno(-2, Buffer.from(path, 'latin1').toString())
    return found
  }
  const entry = (name: string, bytes: Buffer): ListEntry => ({
    name: toWire(name),
    inode: '18446744073709551615',
    type: 'file',
    mode: 0o4755,
    size: bytes.length,
    mtime: 1_000_000_000.5,
    nlink: 1,
    uid: 0,
    gid: 0,
  })
  return {
    ...noHandlers(),
    async status() {
      return {
        pid: process.pid,
        supervisor: process.pid,
        home: instance.home,
        version: '0.0.0',
        since: Date.now() / 1000 - 61,
        mounts: [{ path: '/somewhere/cosmos', driver: 'kernel', passthrough: true }],
        vms: [],
        peers: [],
        listening: { addresses: [], waiting: [] },
        frames: 7,
        log: instance.log,
      }
    },
    async inspect({ path }) {
      const { name, mode = 0, size = 0, mtime = 0, ...rest } = entry(path, find(path))
      return {
        ...rest,
        mode,
        size,
        mtime,
        path: name,
        node: 3,
        dcel: 'memory:1',
        production: 'source memory',
        layers: [{ path: '/upper', kind: 'directory', local: true }],
        context: '/',
        properties: { mapper: 'none' },
      }
    },
    async which({ name }) {
      return files.has(name) ? [{ path: toWire(`/bin/${name}`), layer: '/bin', kind: 'programs' }] : []
    },
    async *list({ path }) {
      if (path !== '/' && path !== '.') {
        find(path)
        throw CosmosError.fromErrno(-20, path)
      }
      for (const [name, bytes] of files) yield [entry(name, bytes)]
    },
    async *read({ path }, { signal }) {
      signal.addEventListener('abort', () => aborted.push(`read ${path}`))
      if (path === 'endless') for (;;) yield Buffer.alloc(64 * 1024, 'x')
      yield find(path)
    },
    async lookup({ path, trace }) {
      find(path)
      const stages = trace ? [{ stage: path, by: 'host', answer: `/${path}`, microseconds: 12 }] : []
      return { path: toWire(`/${path}`), kind: 'file', stages }
    },
    async bind({ kind, urls, path }) {
      binds.set(path, { kind, layers: urls })
      return { path: toWire(path), layers: urls.map(toWire) }
    },
    async unbind({ path }) {
      if (!binds.delete(path)) throw new CosmosError('ENOENT', path, 'nothing is bound here', 'cosmos bind')
      return { path: toWire(path), layers: [] }
    },
    async binds() {
      return [...binds].map(([path, { kind, layers }]) => ({
        path: toWire(path),
        kind,
        layers: layers.map(toWire),
      }))
    },
    async down() {
      return { busy: [{ pid: 1, name: 'init', what: 'working directory' }] }
    },
    async reload() {
      return { pid: 0, former: process.pid }
    },
  }
}

/** Handlers that answer every operation ENOSYS. */
export function noHandlers(): ControlHandlers {
  const never = (): never => {
    throw new CosmosError('ENOSYS', 'test', 'is not here')
  }
  const all = Object.fromEntries(Object.keys(OPERATIONS).map((name) => [name, never]))
  return all as unknown as ControlHandlers
}
