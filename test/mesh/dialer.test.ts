import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openDatabase } from '../../src/cosmosdb/database.ts'
import { PeersStore } from '../../src/cosmosdb/peers-store.ts'
import { dialLink } from '../../src/mesh/dial.ts'
import { backoff } from '../../src/mesh/dial-backoff.ts'
import { Dialer, type DialledLink } from '../../src/mesh/dialer.ts'
import type { LinkReceiver } from '../../src/mesh/link.ts'
import { Peers } from '../../src/mesh/peers.ts'
import { waitFor } from '../support/wait.ts'
import { TestClock, WireHost } from './websocket-support.ts'

function newPeers(self: string): Peers {
  const directory = mkdtempSync(join(tmpdir(), 'cosmos-dialer-'))
  const database = openDatabase(join(directory, 'cosmos.db'))
  onTestFinished(() => {
    database.close()
    rmSync(directory, { recursive: true })
  })
  return new Peers(new PeersStore(database), { id: self, name: 'me@self' })
}

/** The promises that have been settled are heard. */
async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await Promise.resolve()
}

describe('pauses', () => {
  test('double up to half a minute, and half of each is chance', () => {
    expect([0, 1, 2, 3].map((failures) => backoff(failures, 0))).toEqual([125, 250, 500, 1000])
    expect([0, 1, 2, 3].map((failures) => backoff(failures, 1))).toEqual([250, 500, 1000, 2000])
    for (const failures of [7, 20, 1_000_000]) {
      expect(backoff(failures, 0)).toBe(15_000)
      expect(backoff(failures, 1)).toBe(30_000)
    }
  })
})

/** A link that a test holds both ends of. */
class TestLink implements DialledLink {
  readonly buffered = 0
  readonly gone: Promise<string>
  receiver: LinkReceiver | undefined
  closed: string | undefined
  end: (why: string) => void = () => {}
  readonly peer: string
  readonly dialled: boolean
  readonly address: string
  readonly listens: readonly string[]

  constructor(peer: string, dialled: boolean, address = 'a:1', listens: readonly string[] = []) {
    this.peer = peer
    this.dialled = dialled
    this.address = address
    this.listens = listens
    this.gone = new Promise((resolve) => {
      this.end = resolve
    })
  }

  send(): void {}

  close(why = ''): void {
    this.closed ??= why
    this.end(why)
  }
}

interface Dialling {
  readonly addresses: readonly string[]
  readonly signal: AbortSignal
  readonly answer: (link: DialledLink) => void
  readonly fail: (error: Error) => void
}

const PEER = '88'.repeat(32)
const SMALLER = '11'.repeat(32)
const LARGER = 'ee'.repeat(32)

/** A dialer whose network and time are the test's; it knows PEER. */
function bench(self = LARGER, addresses: string[] = ['a:1', 'b:1']) {
  const clock = new TestClock()
  const peers = newPeers(self)
  peers.add({ id: PEER, name: 'me@peer', addresses, grants: [] })
  const diallings: Dialling[] = []
  const links: DialledLink[] = []
  const states: string[] = []
  const dialer: Dialer = new Dialer({
    self,
    peers,
    clock,
    random: () => 1,
    dial: ({ addresses }, signal) =>
      new Promise((answer, fail) => diallings.push({ addresses, signal, answer, fail })),
    link: (link) => links.push(link),
    changed: (id) => states.push(dialer.state(id)?.state ?? 'none'),
  })
  dialer.start()
  const last = (): Dialling => {
    const dialling = diallings.at(-1)
    if (!dialling) throw new Error('nothing was dialled')
    return dialling
  }
  return { clock, peers, diallings, links, states, dialer, last }
}

describe('a dialer', () => {
  test('dials again after ever longer pauses, and says what is wrong and when it tries next', async () => {
    const { clock, diallings, dialer, last, links, states } = bench()
    const pauses: number[] = []
    for (let failures = 1; failures <= 9; failures++) {
      expect(dialer.state(PEER)?.state).toBe('connecting')
      last().fail(new Error(`no ${failures}`))
      await settled()
      const { state, next = 0, error } = dialer.state(PEER) ?? {}
      expect([state, error]).toEqual(['waiting', `no ${failures}`])
      pauses.push(next - clock.now())
      clock.pass(next - clock.now() - 1)
      expect(diallings).toHaveLength(failures)
      clock.pass(1)
      expect(diallings).toHaveLength(failures + 1)
    }
    expect(pauses).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
    const link = new TestLink(PEER, true)
    last().answer(link)
    await settled()
    expect(dialer.state(PEER)).toEqual({ state: 'connected', since: clock.now(), address: 'a:1' })
    expect(links).toEqual([link])
    expect(dialer.linkOf(PEER)).toBe(link)
    expect(states.slice(0, 3)).toEqual(['connecting', 'waiting', 'connecting'])
    expect(clock.timers).toBe(0)
  })

  test('comes back soon after a link that was good, and later after one that was not', async () => {
    const { clock, dialer, last } = bench()
    const pauses: number[] = []
    for (const lasted of [60_000, 5, 5, 60_000]) {
      const link = new TestLink(PEER, true)
      last().answer(link)
      await settled()
      clock.pass(lasted)
      link.end('the connection was lost')
      await settled()
      const { state, next = 0, error, since } = dialer.state(PEER) ?? {}
      expect([state, error, since]).toEqual(['waiting', 'the connection was lost', clock.now()])
      pauses.push(next - clock.now())
      clock.pass(next - clock.now())
    }
    expect(pauses).toEqual([250, 500, 1000, 250])
  })

  test('waits for a peer that has no address, and takes the link it opens', async () => {
    const { clock, dialer, diallings, links, peers } = bench(LARGER, [])
    expect(dialer.state(PEER)?.state).toBe('awaited')
    const link = new TestLink(PEER, false, '192.0.2.7:50000', ['192.0.2.7:4711'])
    dialer.accept(link)
    expect(links).toEqual([link])
    expect(diallings).toEqual([])
    // From now on it can be dialled.
    expect(peers.get(PEER)?.addresses).toEqual(['192.0.2.7:4711'])
    link.end('lost')
    await settled()
    clock.pass(500)
    expect(diallings).toMatchObject([{ addresses: ['192.0.2.7:4711'] }])
  })

  test('only waits after the link of a host that can only dial out', async () => {
    const { clock, dialer, diallings } = bench(LARGER, [])
    const link = new TestLink(PEER, false)
    dialer.accept(link)
    link.end('lost')
    await settled()
    expect(dialer.state(PEER)).toMatchObject({ state: 'awaited', error: 'lost' })
    expect([clock.timers, diallings.length]).toEqual([0, 0])
  })

  test('takes note of the address that worked and of those that the peer tells', async () => {
    const { last, peers } = bench()
    last().answer(new TestLink(PEER, true, 'b:1', ['c:1']))
    await settled()
    expect(peers.get(PEER)?.addresses).toEqual(['b:1', 'c:1', 'a:1'])
  })

  test('dials at once when it is asked to, or when it learns of a first address', async () => {
    const { clock, dialer, diallings, last, peers } = bench()
    last().fail(new Error('no'))
    await settled()
    dialer.retry()
    expect([diallings.length, clock.timers]).toEqual([2, 0])
    dialer.retry(PEER)
    expect(diallings).toHaveLength(2)
    peers.add({ id: SMALLER, name: 'me@new', addresses: [], grants: [] })
    expect(dialer.state(SMALLER)?.state).toBe('awaited')
    peers.remember(SMALLER, undefined, ['n:1'])
    expect(last().addresses).toEqual(['n:1'])
  })

  test('ends the link, the dialling and the waiting of a peer that is one no more', async () => {
    const { clock, dialer, last, peers, states } = bench()
    const link = new TestLink(PEER, false)
    dialer.accept(link)
    peers.remove(PEER)
    expect(link.closed).toBe('not a peer any more')
    expect(last().signal.aborted).toBe(true)
    expect(dialer.state(PEER)).toBeUndefined()
    await settled()
    const late = new TestLink(PEER, true)
    last().answer(late)
    await settled()
    expect(late.closed).toBe('not needed any more')
    const stranger = new TestLink(PEER, false)
    dialer.accept(stranger)
    expect(stranger.closed).toBe('not a peer')
    expect(clock.timers).toBe(0)
    expect(states.at(-1)).toBe('none')
  })

  test('stops altogether when it is closed', async () => {
    const { clock, dialer, diallings, last, peers } = bench()
    last().fail(new Error('no'))
    await settled()
    dialer.close()
    const link = new TestLink(PEER, false)
    dialer.accept(link)
    peers.remember(PEER, 'x:1', [])
    clock.pass(100_000)
    expect([clock.timers, diallings.length, link.closed]).toEqual([0, 1, 'not a peer'])
  })
})

describe('of two links that cross', () => {
  test.each([
    ['the smaller peer’s stays', LARGER, true, false, 'second'],
    ['the smaller peer’s stays, though it was second', LARGER, false, true, 'first'],
    ['ours stays where we are the smaller', SMALLER, true, false, 'first'],
    ['ours stays where we are the smaller, though it was second', SMALLER, false, true, 'second'],
  ])('%s', async (_, self, firstDialled, secondDialled, stays) => {
    const { clock, dialer, last, links } = bench(self)
    const [first, second] = [new TestLink(PEER, firstDialled), new TestLink(PEER, secondDialled)]
    const { signal } = last()
    for (const link of [first, second]) {
      if (link.dialled) last().answer(link)
      else dialer.accept(link)
      await settled()
      clock.pass(100)
    }
    // Ours is called off where the peer's comes first and is to stay.
    const calledOff = signal.aborted
    expect(calledOff).toBe(self === LARGER && !firstDialled)
    const stayed = stays === 'first' ? first : second
    expect(dialer.linkOf(PEER)).toBe(stayed)
    expect(stayed.closed).toBeUndefined()
    expect((stays === 'first' ? second : first).closed).toBe(
      calledOff ? 'not needed any more' : 'another link is in use',
    )
    expect(links.at(-1)).toBe(stayed)
    expect(dialer.state(PEER)?.state).toBe('connected')
    expect(clock.timers).toBe(0)
  })

  test('both ends choose the same one, in whatever order they see them', async () => {
    for (const [atSmaller, atLarger] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ] as const) {
      const kept = [
        [SMALLER, atSmaller],
        [LARGER, atLarger],
      ].map(async ([self, order]) => {
        const { dialer, last } = bench(self as string)
        const own = new TestLink(PEER, true)
        const theirs = new TestLink(PEER, false)
        const offers = [() => last().answer(own), () => dialer.accept(theirs)]
        for (const offer of order === 0 ? offers : offers.reverse()) {
          offer()
          await settled()
        }
        return dialer.linkOf(PEER)?.dialled
      })
      expect(await Promise.all(kept)).toEqual([true, false])
    }
  })

  test('a later one is the better: its peer dials only because it has lost the older one', async () => {
    for (const [self, firstDialled] of [
      [LARGER, false],
      [SMALLER, true],
    ] as const) {
      const { clock, dialer, last } = bench(self)
      const first = new TestLink(PEER, firstDialled)
      if (firstDialled) last().answer(first)
      else dialer.accept(first)
      await settled()
      clock.pass(10_001)
      const second = new TestLink(PEER, false)
      dialer.accept(second)
      expect([first.closed, dialer.linkOf(PEER)]).toEqual(['another link is in use', second])
      await settled()
      expect(dialer.state(PEER)?.state).toBe('connected')
    }
  })
})

/** A host with the whole wire: it listens where it is told to, and keeps links to its peers. */
class MeshHost extends WireHost {
  readonly list = newPeers(this.identity.id)
  readonly links: DialledLink[] = []
  readonly dialer: Dialer

  constructor() {
    super()
    this.dialer = new Dialer({
      self: this.identity.id,
      peers: this.list,
      dial: ({ id, addresses }, signal) =>
        dialLink({
          identity: this.identity,
          peer: id,
          addresses,
          signal,
          refusals: this.refusals,
          listens: () => this.addresses,
        }),
      link: (link) => {
        this.links.push(link)
        link.receiver = { message() {}, drained() {}, ended() {} }
      },
    })
    this.dialer.start()
    onTestFinished(() => this.dialer.close())
  }

  open(): Promise<string[]> {
    return this.listen({ isPeer: (id) => this.list.has(id), link: (link) => this.dialer.accept(link) })
  }

  knows(other: MeshHost, addresses: string[] = other.addresses): void {
    this.list.add({ id: other.identity.id, name: 'me@other', addresses, grants: [] })
  }

  linked(other: MeshHost): DialledLink | undefined {
    return this.dialer.linkOf(other.identity.id)
  }
}

describe('two hosts', () => {
  test('that dial each other at once end with one link, the same at both', async () => {
    const [a, b] = [new MeshHost(), new MeshHost()]
    await Promise.all([a.open(), b.open()])
    a.knows(b)
    b.knows(a)
    const smaller = a.identity.id < b.identity.id ? a : b
    await waitFor('one link', () => {
      const [atA, atB] = [a.linked(b), b.linked(a)]
      return atA && atB && atA.dialled === (a === smaller) && atB.dialled === (b === smaller)
    })
    expect([...a.reasons, ...b.reasons]).toEqual([])
  })

  test('of which one can only dial out have a link, and have it again after it was cut', async () => {
    const [a, b] = [new MeshHost(), new MeshHost()]
    await b.open()
    b.knows(a)
    a.knows(b)
    const first = await waitFor('the link', () => b.linked(a))
    expect(first.dialled).toBe(false)
    first.close('cut')
    const second = await waitFor('another link', () => b.linked(a) !== first && b.linked(a))
    expect(second.dialled).toBe(false)
    expect(b.dialer.state(a.identity.id)?.state).toBe('connected')
  })

  test('find each other again when one has another address', async () => {
    const [a, b] = [new MeshHost(), new MeshHost()]
    await Promise.all([a.open(), b.open()])
    a.knows(b)
    b.knows(a)
    await waitFor('the link', () => a.linked(b) && b.linked(a))
    const [old] = b.addresses
    await b.listeners[0]?.close()
    b.listeners = []
    const [now = ''] = await b.open()
    expect(now).not.toBe(old)
    // Whoever dials, the addresses that b listens at now are told with the link.
    a.linked(b)?.close('cut')
    await waitFor('the new address', () => a.linked(b) && a.list.get(b.identity.id)?.addresses.includes(now))
    expect(a.reasons).toEqual([])
  })

  test('lose the link when one takes the other off its list, and it is not let in again', async () => {
    const [a, b] = [new MeshHost(), new MeshHost()]
    await b.open()
    b.knows(a)
    a.knows(b)
    await waitFor('the link', () => a.linked(b) && b.linked(a))
    b.list.remove(a.identity.id)
    await waitFor('the refusal', () => b.reasons.includes('not-a-peer'))
    await waitFor('the reason', () =>
      a.dialer.state(b.identity.id)?.error?.includes('may not know this host'),
    )
    expect(a.linked(b)).toBeUndefined()
    expect(b.linked(a)).toBeUndefined()
  })
})
