import { existsSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AwayReply } from '../../mount/kernel/away-reply.ts'
import { raiseReadahead } from '../../mount/kernel/readahead.ts'
import { packageVersion } from '../cli/version.ts'
import { describeError } from '../errors.ts'
import { toWire, toWireError } from '../form/wire.ts'
import { toBytesText } from '../frame/paths.ts'
import type { SourceContext } from '../source/service.ts'
import { addShippedSources } from '../source/shipped.ts'
import { Sources } from '../source/sources.ts'
import { addUserSources } from '../source/user-sources.ts'
import { Producer } from '../vm/producer.ts'
import { VmRegistry } from '../vm/registry.ts'
import { Runs } from '../vm/runs.ts'
import { launcherLink, prepareState } from '../vm/state-files.ts'
import { findBusy } from './busy.ts'
import { type Configuration, readConfiguration } from './configuration.ts'
import { ControlServer } from './control-server.ts'
import type { ControlHandlers } from './handlers.ts'
import { FUSE_FD, type StartMessage, type ToDaemon, type ToSupervisor } from './handover.ts'
import { findInstance, prepareInstance } from './instance.ts'
import { meshHandlers } from './mesh-handlers.ts'
import { MeshHost } from './mesh-host.ts'
import { patientTree } from './patient-tree.ts'
import { TreeClient } from './tree-client.ts'
import { treeHandlers } from './tree-handlers.ts'
import type { TreeAsker, TreeEvents, TreePlaces } from './tree-requests.ts'
import { vmHandlers } from './vm-handlers.ts'
import { WordsWatch } from './words-watch.ts'

/**
 * The daemon's main thread: what waits (control socket). The tree thread owns the tree. It is spawned by the
 * supervisor with the descriptors of `handover.ts`, and ends with it.
 */

const instance = findInstance()
const version = packageVersion()
const startedAt = Math.floor(Date.now() / 1000)
/** How long others have to come who wait for what an interrupted reader wanted, milliseconds. */
const ABANDONED_MS = 100
let tree: TreeAsker | undefined
let served: StartMessage | undefined
let registry: VmRegistry
let producer: Producer
let runs: Runs | undefined
let meshHost: MeshHost | undefined
/** What this host is called. */
let hostName = 'me@localhost'
/** What waits for other machines; it answers the kernel's reads and writes of them itself. */
const sources = new Sources(new AwayReply(FUSE_FD), (key, answer) => tree?.sourceAnswer(key, answer))

// Without its supervisor the mount is lost. An exit would wait for the threads, which may be in a system call.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
process.on('message', (message: ToDaemon) => {
  if (message.type === 'start') start(message).catch((error: unknown) => fail('start', error))
  else if (tree) tree.stop()
  else process.exit(0)
})
// Ctrl-C in the terminal reaches the whole process group; the supervisor decides what it means.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => tell({ type: 'down' }))
// It is for this process, its threads and its VMs, not for programs that they start.
const compileCache = process.env.NODE_COMPILE_CACHE
delete process.env.NODE_COMPILE_CACHE
prepareInstance(instance)

const events: TreeEvents = {
  ready: (resend, passthrough) => {
    if (served) raiseReadahead(served.mount)
    listen(passthrough).then(
      () => {
        tell({ type: 'ready', resend, passthrough })
        // A daemon that is killed would never write what it compiled.
        flushCompileCache()
      },
      (error: unknown) => fail('control socket', error),
    )
  },
  ended: (how) => {
    // Exits of the last moments.
    runs?.flush()
    if (how === 'unmounted') tell({ type: 'unmounted' })
    void Promise.all([meshHost?.close(), sources.close()]).finally(() => process.exit(0))
  },
  failed: (error) => fail('tree', error),
  source: (message) => sources.take(message),
  produce: (request, vm) => {
    void producer.produce(request, vm).then((end) => tree?.ask('produced', request.key, end))
  },
  edit: (request, vm) => {
    void producer.edit(request, vm).then((result) => tree?.ask('edited', request.key, result))
  },
  abandoned: (key) => {
    setTimeout(async () => {
      if (await tree?.ask('isAbandoned', key)) producer.cancel(key)
    }, ABANDONED_MS)
  },
}
/** Loaded before it is needed, so that a spare daemon takes over at once and a broken one never does. */
const kernelTree = new TreeClient(events)
kernelTree.loaded.then(() => tell({ type: 'loaded' }))

async function start(message: StartMessage): Promise<void> {
  served = message
  const configuration = readConfiguration(instance, packagePath('cosm'))
  prepareState(instance.runtime)
  registry = new VmRegistry(instance.runtime)
  producer = new Producer({
    registry,
    store: join(instance.state, 'store'),
    compileCache,
    deadline: configuration.deadline,
    fetch: (path, output, signal) => sources.fetch(path, output, signal),
    begun: (key, pid) => void tree?.ask('producing', key, pid),
  })
  hostName = `me@${configuration.host}`
  addSources(configuration)
  const places = treePlaces(message, configuration)
  if (message.driver === 'kernel') {
    tree = kernelTree
    kernelTree.start(places)
    return
  }
  await kernelTree.terminate()
  const { startLibraryTree } = await import('./library-tree.ts')
  tree = await startLibraryTree(places, message.mount, events)
  events.ready(false, false)
}

function addSources({ sources: settings }: Configuration): void {
  const contextOf = (scheme: string): SourceContext => ({
    home: homedir(),
    environment: process.env,
    log: (line) => console.error(line),
    settings: settings[scheme] ?? {},
  })
  addShippedSources(sources, contextOf)
  addUserSources(sources, [instance.home, '/.cosm', packagePath('cosm')], contextOf)
}

function treePlaces(message: StartMessage, { root, fudge }: Configuration): TreePlaces {
  const shipped = packagePath('cosm')
  return {
    home: toBytesText(instance.home),
    root: toBytesText(root),
    fudge,
    database: instance.database,
    mount: toBytesText(message.mount),
    hostDirectory: toBytesText(hostName),
    pathDirectories: programDirectories(message.mount).map(toBytesText),
    shipped: toBytesText(shipped),
    state: toBytesText(join(instance.runtime, 'cosm')),
    runs: toBytesText(join(instance.state, 'run')),
    peers: toBytesText(join(instance.runtime, 'peers')),
    store: toBytesText(join(instance.state, 'store')),
    sources: sources.roots,
    controlSocket: instance.controlSocket,
    launcher: launcherLink(instance.runtime),
    program: toBytesText(packagePath('bin/cosmos')),
  }
}

async function listen(passthrough: boolean): Promise<void> {
  if (!tree || !served) throw new Error('nothing is served yet')
  const client = patientTree(tree)
  const message = served
  runs = new Runs(join(instance.state, 'run'))
  new WordsWatch([instance.home, '/.cosm'], () => void client.ask('wordsChanged'))
  const mount = toBytesText(message.mount)
  const mesh = new MeshHost({
    ...{ instance, tree: client, sources, mount, name: hostName, software: `cosmos/${version}` },
    programDirectories: [
      toBytesText(join(instance.home, 'bin')),
      '/.cosm/bin',
      ...programDirectories(message.mount).map(toBytesText),
    ],
  })
  meshHost = mesh
  if (mesh.isWanted) mesh.get().catch((error: Error) => console.error(`mesh: ${error.message}`))
  const handlers: ControlHandlers = {
    ...meshHandlers(mesh, toBytesText(hostName)),
    ...treeHandlers(client, sources, mount),
    ...vmHandlers({
      tree: client,
      mount,
      registry,
      runs,
      compileCache,
      remote: (launch) => mesh.launch(launch),
    }),
    async status() {
      const running = await mesh.running?.catch(() => undefined)
      return {
        pid: process.pid,
        supervisor: message.supervisor,
        home: toWire(toBytesText(instance.home)),
        version,
        since: startedAt,
        mounts: [{ path: toWire(toBytesText(message.mount)), driver: message.driver, passthrough }],
        vms: registry.names().map((name) => ({ name, state: registry.status(name)?.state ?? 'stopped' })),
        peers: running?.peers().map(({ id, name, state }) => ({ id, name, state })) ?? [],
        listening: running?.listening ?? { addresses: [], waiting: [] },
        frames: await client.ask('frames'),
        log: toWire(toBytesText(instance.log)),
      }
    },
    async down({ force }) {
      const busy = force ? [] : await findBusy(message.mount)
      setImmediate(() => tell({ type: 'down', force }))
      return { busy }
    },
    async reload() {
      setImmediate(() => tell({ type: 'reload' }))
      return { pid: 0, former: process.pid }
    },
  }
  await ControlServer.listen(instance.controlSocket, handlers, {
    software: `cosmos/${version}`,
    log: (line) => console.error(line),
  })
}

/**
 * Directories of the PATH, without those of the tree itself (a program's link must not lead back to it) and those
 * that npm puts there for the scripts it runs.
 */
function programDirectories(mount: string): string[] {
  const directories = (process.env.PATH ?? '').split(':').concat('/usr/local/bin', '/usr/bin', '/bin')
  const npm = /\/node_modules\/\.bin$|node-gyp-bin/
  return [...new Set(directories)].filter(
    (each) => each.startsWith('/') && !npm.test(each) && !`${each}/`.startsWith(`${mount}/`),
  )
}

/** A path in the package: the directory above with its package.json, in a checkout and in dist/ alike. */
function packagePath(path: string): string {
  let at = new URL('.', import.meta.url)
  while (!existsSync(new URL('package.json', at)) && at.pathname !== '/') at = new URL('..', at)
  return fileURLToPath(new URL(path, at))
}

function tell(message: ToSupervisor): void {
  process.send?.(message)
}

/** Tells why, and ends at once, whatever the threads wait for; the supervisor sees to the next daemon. */
function fail(what: string, error: unknown): void {
  console.error(`${what}: ${error instanceof Error && error.stack ? error.stack : describeError(error)}`)
  const end = (): void => {
    process.kill(process.pid, 'SIGKILL')
  }
  if (!process.send?.({ type: 'failed', error: toWireError(error) } satisfies ToSupervisor, end)) end()
}
