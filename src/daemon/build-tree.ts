import { thisHost } from '../cef/host.ts'
import { launcherLine } from '../cef/launcher.ts'
import { openDatabase } from '../cosmosdb/database.ts'
import { LayersStore } from '../cosmosdb/layers-store.ts'
import { Keep } from '../frame/keep.ts'
import { mapStateMemory, type StateMemory } from '../frame/state-memory.ts'
import { AccessTree } from '../frame/tree.ts'
import { ProgramsLayer } from '../source/programs.ts'
import { VmDefinitions } from '../vm/definitions.ts'
import { KEEP_RECEIVE_FD, KEEP_SEND_FD, STATE_FD } from './handover.ts'
import type { TreePlaces } from './tree-requests.ts'

/** Builds the access tree over the state memory and the keep that the supervisor handed over. */
export function buildTree(places: TreePlaces): { tree: AccessTree; memory: StateMemory } {
  const memory = mapStateMemory(STATE_FD)
  const programs = new ProgramsLayer(
    places.pathDirectories,
    new Map([['cosmos', places.program]]),
    places.mount,
  )
  const tree = new AccessTree({
    memory,
    keep: new Keep(KEEP_SEND_FD, KEEP_RECEIVE_FD),
    store: new LayersStore(openDatabase(places.database)),
    places: {
      home: places.home,
      root: places.root,
      shipped: places.shipped,
      state: places.state,
      runs: places.runs,
      programs,
    },
    executables: {
      vms: new VmDefinitions([places.home, '/.cosm', places.shipped, places.state]),
      host: thisHost(),
      launcherLine: launcherLine(places.controlSocket, places.launcher),
    },
    hostDirectory: places.hostDirectory,
  })
  return { tree, memory }
}
