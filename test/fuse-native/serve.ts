import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { startFuseNative } from '../../mount/fuse-native/driver.ts'
import { thisHost } from '../../src/cef/host.ts'
import { openDatabase } from '../../src/cosmosdb/database.ts'
import { LayersStore } from '../../src/cosmosdb/layers-store.ts'
import { ProductionsStore } from '../../src/cosmosdb/productions-store.ts'
import { Keep } from '../../src/frame/keep.ts'
import { toBytesText } from '../../src/frame/paths.ts'
import { mapStateMemory } from '../../src/frame/state-memory.ts'
import { AccessTree } from '../../src/frame/tree.ts'
import { memfdCreate } from '../../src/os/libc.ts'
import { cString } from '../../src/os/memory.ts'
import { ProgramsLayer } from '../../src/source/programs.ts'
import { VmDefinitions } from '../../src/vm/definitions.ts'

/**
 * A daemon for tests: mounts an access tree at `mnt` in the directory of its first argument, beside its layers
 * `home` (the local one) and `shipped`. `plain` as second argument: without the library's request records.
 * Ends when its standard input does; says what happens a line each.
 */
const [base = '', mode] = process.argv.slice(2)
const place = (name: string): string => {
  mkdirSync(join(base, name), { recursive: true })
  return join(base, name)
}
const database = openDatabase(join(base, 'cosmosdb'))
const tree = new AccessTree({
  memory: mapStateMemory(memfdCreate(cString('state').address, 0)),
  keep: new Keep(-1, -1),
  store: new LayersStore(database),
  places: {
    home: toBytesText(place('home')),
    root: toBytesText(place('root')),
    shipped: toBytesText(place('shipped')),
    state: toBytesText(place('state')),
    runs: toBytesText(place('runs')),
    peers: toBytesText(place('peers')),
    programs: new ProgramsLayer(['/usr/bin'], new Map(), place('mnt')),
  },
  remotes: { roots: [], mount: '', send: undefined },
  productions: {
    store: toBytesText(place('store')),
    records: new ProductionsStore(database),
    aliases: [],
    layers: [],
    fudge: false,
    log: () => {},
    produce: undefined,
    abandoned: () => {},
    edit: () => {},
  },
  executables: {
    vms: new VmDefinitions([toBytesText(place('home')), toBytesText(place('shipped'))]),
    host: thisHost(),
    launcherLine: Buffer.from('#!/bin/false\n'),
  },
  hostDirectory: 'me@test',
})
const driver = await startFuseNative({
  tree,
  mount: place('mnt'),
  plain: mode === 'plain',
  onEnded: () => {
    console.log('ended')
    process.exit(0)
  },
})
console.log('ready')
process.stdin.resume().on('end', async () => {
  await driver.stop()
  console.log(`stopped ${tree.frames.live}`)
  process.exit(0)
})
