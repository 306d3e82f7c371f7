import { logToStandardError } from '../../mount/kernel/log.ts'
import { thisHost } from '../cef/host.ts'
import { launcherLine } from '../cef/launcher.ts'
import { openDatabase } from '../cosmosdb/database.ts'
import { LayersStore } from '../cosmosdb/layers-store.ts'
import { ProductionsStore } from '../cosmosdb/productions-store.ts'
import { Keep } from '../frame/keep.ts'
import type { EditRequest } from '../frame/production/edits.ts'
import type { ProductionRequest } from '../frame/production/request.ts'
import { mapStateMemory, type StateMemory } from '../frame/state-memory.ts'
import { AccessTree } from '../frame/tree.ts'
import { ProgramsLayer } from '../source/programs.ts'
import type { ToSources } from '../source/requests.ts'
import { type VmDefinition, VmDefinitions } from '../vm/definitions.ts'
import { KEEP_RECEIVE_FD, KEEP_SEND_FD, STATE_FD } from './handover.ts'
import type { TreePlaces } from './tree-requests.ts'

/** What the tree has others do. */
export interface TreeHelpers {
  /** Has something made. */
  readonly produce: (request: ProductionRequest, vm: VmDefinition | undefined) => void
  /** Nobody waits for what is made any more. */
  readonly abandoned: (key: string) => void
  /** Has a document changed. */
  readonly edit: (request: EditRequest, vm: VmDefinition | undefined) => void
  /** Asks the sources. */
  readonly source: (message: ToSources) => void
}

/**
 * Builds the access tree over the state memory and the keep that the supervisor handed over. Without helpers nothing is
 * made and there are no sources, because the driver cannot let a request wait.
 */
export function buildTree(
  places: TreePlaces,
  helpers?: TreeHelpers,
): { tree: AccessTree; memory: StateMemory } {
  const memory = mapStateMemory(STATE_FD)
  const programs = new ProgramsLayer(
    places.pathDirectories,
    new Map([['cosmos', places.program]]),
    places.mount,
  )
  const database = openDatabase(places.database)
  const vms = new VmDefinitions([places.home, '/.cosm', places.shipped, places.state])
  const tree = new AccessTree({
    memory,
    keep: new Keep(KEEP_SEND_FD, KEEP_RECEIVE_FD),
    store: new LayersStore(database),
    places: {
      home: places.home,
      root: places.root,
      shipped: places.shipped,
      state: places.state,
      runs: places.runs,
      peers: places.peers,
      programs,
    },
    productions: {
      store: places.store,
      records: new ProductionsStore(database),
      log: logToStandardError,
      fudge: places.fudge,
      layers: [places.home, '/.cosm', places.shipped],
      aliases: [
        `${places.home}/etc/cosmos`,
        '/.cosm/etc/cosmos',
        '/etc/cosmos',
        `${places.shipped}/etc/cosmos`,
      ],
      produce:
        helpers &&
        ((request) =>
          helpers.produce(
            request,
            vms.all().find(request.step.kind === 'call' ? callsFunctions : producesForms),
          )),
      abandoned: (key) => helpers?.abandoned(key),
      edit: (request) => helpers?.edit(request, vms.all().find(producesForms)),
    },
    remotes: { roots: places.sources, mount: places.mount, send: helpers?.source },
    executables: {
      vms,
      host: thisHost(),
      launcherLine: launcherLine(places.controlSocket, places.launcher),
    },
    hostDirectory: places.hostDirectory,
  })
  return { tree, memory }
}

function producesForms({ capabilities }: VmDefinition): boolean {
  return capabilities?.produces === true
}

function callsFunctions({ capabilities }: VmDefinition): boolean {
  return capabilities?.kinds.includes('library') === true
}
