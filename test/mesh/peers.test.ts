import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openDatabase } from '../../src/cosmosdb/database.ts'
import { PeersStore } from '../../src/cosmosdb/peers-store.ts'
import { freeName, Peers } from '../../src/mesh/peers.ts'

const SELF = { id: '00'.repeat(32), name: 'me@laptop' }
const GPUBOX = 'ab'.repeat(32)
const NAS = 'abcdef'.padEnd(64, '0')

/** A list of peers in a database of its own, and how to open that again. */
function fresh(): { peers: Peers; reopen: () => Peers } {
  const directory = mkdtempSync(join(tmpdir(), 'cosmos-peers-'))
  const open: { close(): unknown }[] = []
  onTestFinished(() => {
    for (const database of open) database.close()
    rmSync(directory, { recursive: true })
  })
  let time = 1000
  const reopen = (): Peers => {
    const database = openDatabase(join(directory, 'cosmos.db'))
    open.push(database)
    return new Peers(new PeersStore(database), SELF, () => time++)
  }
  return { peers: reopen(), reopen }
}

const gpubox = { id: GPUBOX, name: 'me@gpubox', addresses: ['192.0.2.7:4711'], grants: [{ op: 'read' }] }

describe('the list of peers', () => {
  test('is what it was when the daemon comes back', () => {
    const { peers, reopen } = fresh()
    peers.add(gpubox)
    peers.add({ id: NAS, name: 'me@nas', addresses: [], grants: [] })
    expect(reopen().all()).toEqual([
      { ...gpubox, since: 1000 },
      { id: NAS, name: 'me@nas', addresses: [], grants: [], since: 1001 },
    ])
    expect(peers.remove(GPUBOX)).toBe(true)
    expect(peers.remove(GPUBOX)).toBe(false)
    expect(reopen().has(GPUBOX)).toBe(false)
    expect(reopen().size).toBe(1)
  })

  test('keeps name and time of a peer that joins again, and takes its new grants', () => {
    const { peers } = fresh()
    peers.add(gpubox)
    const again = peers.add({ ...gpubox, name: 'me@renamed', addresses: ['[2001:db8::7]:1'], grants: [] })
    expect(again).toEqual({
      id: GPUBOX,
      name: 'me@gpubox',
      since: 1000,
      addresses: ['[2001:db8::7]:1', '192.0.2.7:4711'],
      grants: [],
    })
  })

  test('has the address that worked last first, and is bounded', () => {
    const { peers, reopen } = fresh()
    peers.add({ ...gpubox, addresses: ['a:1', 'b:1'] })
    peers.remember(GPUBOX, 'b:1', ['c:1', 'a:1'])
    expect(peers.get(GPUBOX)?.addresses).toEqual(['b:1', 'c:1', 'a:1'])
    // It came by itself: what it tells is nearer to the truth than what was known, but the one that worked is kept.
    peers.remember(GPUBOX, undefined, ['d:1'])
    expect(peers.get(GPUBOX)?.addresses).toEqual(['b:1', 'd:1', 'c:1', 'a:1'])
    peers.remember(GPUBOX, 'z:1', ['1:1', '2:1', '3:1', '4:1', '5:1', '6:1'])
    expect(reopen().get(GPUBOX)?.addresses).toEqual(['z:1', '1:1', '2:1', '3:1', '4:1', '5:1', '6:1', 'b:1'])
  })

  test('tells of changes, and not of what stays as it is', () => {
    const { peers } = fresh()
    const told: string[] = []
    const stop = peers.watch((id, change) => told.push(`${id.slice(0, 2)} ${change} ${peers.has(id)}`))
    peers.add(gpubox)
    peers.remember(GPUBOX, '192.0.2.7:4711', [])
    peers.setGrants(GPUBOX, ['x'])
    peers.remember(NAS, 'a:1', [])
    peers.remove(GPUBOX)
    stop()
    peers.add(gpubox)
    expect(told).toEqual(['ab added true', 'ab changed true', 'ab removed false'])
    expect(() => peers.setGrants(NAS, [])).toThrow(/is no peer/)
  })

  test('never has this host itself', () => {
    const { peers } = fresh()
    expect(() => peers.add({ ...gpubox, id: SELF.id })).toThrow(/this host itself/)
  })
})

describe('names that collide stay apart', () => {
  test('by the first digits of the peer id, for good', () => {
    const { peers, reopen } = fresh()
    peers.add({ ...gpubox, id: NAS })
    expect(peers.add(gpubox).name).toBe('me@gpubox-abab')
    peers.remove(NAS)
    expect(reopen().get(GPUBOX)?.name).toBe('me@gpubox-abab')
    expect(peers.add({ ...gpubox, id: 'cd'.repeat(32), name: 'me@laptop' }).name).toBe('me@laptop-cdcd')
  })

  test('by more digits where those collide too', () => {
    const taken = new Set(['me@a', 'me@a-abab', 'me@a-ababa'])
    expect(freeName('me@a', GPUBOX, (name) => taken.has(name))).toBe('me@a-ababab')
  })

  test.each([
    ['me@gpubox', 'me@gpubox'],
    ['gpubox', 'gpubox@host'],
    ['', 'me@host'],
    ['../../etc@x/../y', '.._.._etc@x_.._y'],
    ['me@a@b', 'me@a-b'],
    ['me@\u001b[31mred\n', 'me@__31mred_'],
    [`me@${'x'.repeat(300)}`, `me@${'x'.repeat(64)}`],
    ['https:', 'https_@host'],
  ])('and what a peer calls itself does no harm: %j', (claimed, name) => {
    expect(freeName(claimed, GPUBOX, () => false)).toBe(name)
  })
})
