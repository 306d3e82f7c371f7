import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { CosmosError } from '../errors.ts'
import { toWire, type WireText } from '../form/wire.ts'
import type { Wanted } from '../frame/execution.ts'
import { readable, toBytesText } from '../frame/paths.ts'
import type { NetrunAnswer, NetrunOffer } from '../mesh/netrun/netrun.ts'
import type { VmRegistry } from '../vm/registry.ts'
import type { Route } from '../vm/route.ts'
import { type FoundPlan, RouteCache } from '../vm/route-cache.ts'
import { MAX_STREAM, type RunSummary, type Runs } from '../vm/runs.ts'
import { planOf } from '../vm/shipped.ts'
import type { ControlHandlers, LaunchArguments, PathArguments, RequestContext } from './handlers.ts'
import type { RunReport, WireRoute } from './results.ts'
import type { TreeAsker } from './tree-requests.ts'

/** The control socket's operations that VMs and their executions are had by. */
export type VmHandlers = Pick<
  ControlHandlers,
  'launch' | 'ran' | 'dlopen' | 'obituary' | 'vms' | 'accepts' | 'restartVm' | 'runs' | 'run'
>

/** What the handlers work on; `mount` is the tree's mount point, one character a byte. */
export interface VmPlaces {
  readonly tree: TreeAsker
  readonly mount: string
  readonly registry: VmRegistry
  readonly runs: Runs
  /** Where Node keeps compiled code. */
  readonly compileCache: string | undefined
  /** Prepares a program to be run by a peer. Throws CosmosError ENOENT for a host that is none. */
  remote(launch: RemoteLaunch): Promise<NetrunOffer>
}

/** A program for a peer to run; texts have one character a byte. */
export interface RemoteLaunch {
  readonly run: string
  /** Name of the peer, or its id. */
  readonly peer: string
  /** A name, or a path of its host. */
  readonly program: string
  readonly argv: readonly string[]
  readonly cwd: string
  readonly lend: readonly string[]
}

/** Handlers over the VM registry; what a path is the tree thread knows. */
export function vmHandlers({ tree, mount, registry, runs, compileCache, remote }: VmPlaces): VmHandlers {
  const place = (args: PathArguments) => ({ path: args.path, cwd: args.cwd, mount })
  /** Runs whose launcher has told how they ended. */
  const told = new Set<string>()
  const routes = new RouteCache(mount)

  async function findRoute(args: LaunchArguments, options: URLSearchParams): Promise<FoundPlan> {
    const library = options.get('library')
    const path = library === null ? args.path : toBytesText(library)
    const { vm, route } = await tree.ask('route', place({ ...args, path }), wantedBy(options))
    const found = { plan: planOf(vm, compileCache), route }
    if (library === null) routes.set(args.path, args.options, found)
    return found
  }

  /** All VMs are peers under the daemon (design §6). The programs that they run may launch others. */
  function refuseVm({ peer }: RequestContext): void {
    const name = peer && registry.nameOf(peer.pid)
    if (name !== undefined)
      throw new CosmosError('EPERM', `VM ${name}`, 'may not start VMs', 'docs/vm-protocol.md')
  }

  /** A program that a peer runs. Its run is over when the launcher has told so, or is gone. */
  async function netrun(
    args: LaunchArguments,
    peer: string,
    program: string,
    options: URLSearchParams,
    context: RequestContext,
  ): Promise<NetrunAnswer> {
    const { path, cwd, argv } = args
    const lend = options.getAll('lend').map(toBytesText)
    const start = { path, cwd, argv, env: undefined, vm: 'netrun', payload: program, peer }
    const id = runs.begin(start, options.has('record'))
    const end = (): void => {
      if (!told.delete(id)) runs.end(id, { lost: 'its launcher ended' })
    }
    try {
      const offer = await remote({ run: id, peer, program, argv, cwd, lend })
      context.onClose(() => {
        offer.withdraw()
        end()
      })
      return offer.answer
    } catch (error) {
      runs.end(id, { lost: error instanceof Error ? error.message : String(error) })
      throw error
    }
  }

  return {
    async launch(args, context) {
      refuseVm(context)
      const options = new URLSearchParams(args.options)
      const on = options.get('on')
      if (on !== null) return netrun(args, on, options.get('program') ?? args.path, options, context)
      const found = routes.get(args.path, args.options) ?? (await findRoute(args, options))
      const { peer } = found.route
      if (peer !== undefined) return netrun(args, peer, nameOf(args.path), options, context)
      const route = { ...found.route, ...lentBy(options, args.cwd) }
      const pool = registry.pool(found.plan)
      const lease = pool.lease()
      const isRecorded = options.has('record')
      const start = {
        path: args.path,
        cwd: args.cwd,
        argv: args.argv,
        env: args.env.length > 0 ? args.env : undefined,
        vm: found.plan.name,
        payload: route.payload,
      }
      const id = runs.begin(start, isRecorded)
      context.onClose(() => {
        lease.end()
        if (!told.delete(id)) runs.end(id, { lost: 'its launcher ended' })
      })
      return {
        vm: found.plan.name,
        socket: pool.socket,
        run: id,
        route: toWireRoute(route),
        ...(isRecorded && existsSync(runs.directory(id))
          ? { record: { directory: runs.directory(id), limit: MAX_STREAM } }
          : {}),
      }
    },
    async ran({ run, exit }) {
      told.add(run)
      runs.end(run, exit)
      return {}
    },
    async dlopen(args, context) {
      refuseVm(context)
      const { vm, library, prototypes } = await tree.ask('library', place(args))
      const pool = registry.pool(planOf(vm, compileCache))
      const lease = pool.lease()
      context.onClose(() => lease.end())
      return { vm: vm.name, socket: pool.socket, library: toWire(library), prototypes }
    },
    async obituary({ vm, pid }) {
      const exit = await registry.known(vm).obituary(pid)
      if (!exit) throw new CosmosError('ESRCH', `process ${pid} of ${vm}`, 'is not known, or has not ended')
      return 'code' in exit
        ? { code: exit.code }
        : { signal: constants.signals[exit.signal], name: exit.signal }
    },
    async vms() {
      const { vms, defaultName } = await tree.ask('vms')
      return vms.map((vm) => {
        const status = registry.status(vm.name)
        const state = vm.problem ? `failed: ${vm.problem}` : (status?.state ?? 'stopped')
        return {
          name: vm.name,
          state: status?.reason ? `${state}: ${status.reason}` : state,
          directory: toWire(vm.directory),
          description: vm.capabilities?.description ?? '',
          kinds: [...(vm.capabilities?.kinds ?? [])],
          pids: [...(status?.pids ?? [])],
          sessions: status?.leases ?? 0,
          launches: status?.launches ?? 0,
          restarts: status?.restarts ?? 0,
          default: vm.name === defaultName,
        }
      })
    },
    async accepts(args) {
      const found = await tree.ask('accepts', place(args))
      return { ...found, path: toWire(found.path) }
    },
    async restartVm({ name }) {
      const { vms } = await tree.ask('vms')
      if (!vms.some((vm) => vm.name === name))
        throw new CosmosError('ENOENT', `VM ${name}`, 'no layer of the cosm has it', 'cosmos vm list')
      if (registry.status(name)) await registry.known(name).restart()
      return {}
    },
    async runs() {
      return runs.list().map(toReport)
    },
    async run({ name }) {
      const found = runs.show(name)
      return {
        ...toReport(found),
        path: toWire(found.path),
        directory: runs.directory(name),
        ...(found.env ? { env: found.env.map(toWire) } : {}),
      }
    },
  }
}

/** What is lent beside the working directory, which is lent anyway. */
function lentBy(options: URLSearchParams, cwd: string): Pick<Route, 'lend'> {
  const lent = options.getAll('lend').map(toBytesText)
  if (lent.length === 0) return {}
  return { lend: [[cwd, '.'], ...[cwd, ...lent].map((each) => [each, each] as const)] }
}

/** The name of a program by its path. */
function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

function wantedBy(options: URLSearchParams): Wanted {
  const [vm, prototype, seconds] = ['vm', 'function', 'seconds'].map((name) => options.get(name))
  return {
    ...(vm == null ? {} : { vm }),
    ...(prototype == null ? {} : { prototype }),
    ...(seconds == null ? {} : { seconds: Number(seconds) }),
  }
}

function toReport(run: RunSummary): RunReport {
  const { id, argv, cwd, vm, since, exit } = run
  return {
    id,
    argv: argv.map(toWire),
    cwd: toWire(cwd),
    vm: readable(vm),
    since,
    ...(exit === undefined ? {} : { exit }),
  }
}

function toWireRoute(route: Route): WireRoute {
  const {
    path,
    payload,
    kind,
    interpreter,
    interpreterArguments,
    library,
    prototype,
    lend,
    modules,
    limits,
  } = route
  return {
    path: toWire(path),
    payload: toWire(payload),
    kind,
    ...(interpreter === undefined ? {} : { interpreter: toWire(interpreter) }),
    ...(interpreterArguments === undefined ? {} : { interpreterArguments: interpreterArguments.map(toWire) }),
    ...(library === undefined ? {} : { library: toWire(library) }),
    ...(prototype === undefined ? {} : { prototype }),
    ...(lend === undefined
      ? {}
      : { lend: lend.map(([host, guest]): [WireText, WireText] => [toWire(host), toWire(guest)]) }),
    ...(modules === undefined ? {} : { modules: modules.map(toWire) }),
    ...(limits === undefined ? {} : { limits }),
  }
}
