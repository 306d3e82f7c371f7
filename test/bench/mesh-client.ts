/**
 * A client that runs, as a daemon does: it joins by an invite, and calls. `node test/bench/mesh-client.ts INVITE STATE
 * PROGRAM TIMES` prints one JSON document: milliseconds of running a program, one after the other, how many a second with
 * eight in flight, and how many calls a second with 64.
 */
import { mkdirSync } from 'node:fs'
import { dialLink } from '../../src/mesh/dial.ts'
import { loadIdentity } from '../../src/mesh/identity.ts'
import { parseInvite } from '../../src/mesh/invite.ts'
import { join } from '../../src/mesh/join.ts'
import { RefusalLog } from '../../src/mesh/listen-audit.ts'
import { Session, type SessionState } from '../../src/mesh/session/session.ts'

/** What is printed. */
export interface ClientFigures {
  /** Milliseconds of each run. */
  readonly times: readonly number[]
  readonly runs: number
  readonly calls: number
}

const RUNS = 8
const CALLS = 64
const CALL_SECONDS = 3

async function main(): Promise<ClientFigures> {
  const [text = '', state = '', program = '', times = '0'] = process.argv.slice(2)
  mkdirSync(state, { mode: 0o700 })
  const identity = loadIdentity(state)
  const refusals = new RefusalLog(() => {})
  const listens = (): string[] => []
  const invite = parseInvite(text)
  const { peer, addresses } = await join({
    ...{ identity, refusals, listens, invite },
    name: 'me@client',
    gives: [],
  })
  const link = await dialLink({ identity, peer, addresses, refusals, listens })
  const session = await new Promise<Session>((resolve) => {
    const changed = (state: SessionState): void => {
      if (state === 'open') resolve(made)
    }
    const made = new Session({ self: identity.id, peer, software: 'bench', report: console.error, changed })
    made.attach(link)
  })
  const run = async (): Promise<void> => {
    const call = session.open(
      'exec',
      { program, argv: [program], env: [], lent: [] },
      { sends: 1, receives: 2 },
    )
    call.writers[0]?.end()
    for (const reader of call.readers)
      reader.read({ data: (bytes) => reader.consumed(bytes.length), end() {} })
    const { code } = (await call.result) as { code: number }
    if (code !== 0) throw new Error(`${program} ended with ${code}`)
  }
  const count = Number(times)
  for (let i = 0; i < 20; i++) await run()
  const taken: number[] = []
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    await run()
    taken.push(performance.now() - start)
  }
  const runs = await rate(RUNS, 1, run)
  // Nothing is done for it: what is not open needs no closing.
  const ask = () => session.call('files.close', { file: 1 }, { deadline: 30_000 })
  await rate(CALLS, 0.5, ask)
  const calls = await rate(CALLS, CALL_SECONDS, ask)
  session.close()
  return { times: taken, runs, calls }
}

/** How many a second, with so many in flight. */
async function rate(flights: number, seconds: number, once: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  const end = start + seconds * 1000
  let done = 0
  const repeat = async (): Promise<void> => {
    while (performance.now() < end) {
      await once()
      done++
    }
  }
  await Promise.all(Array.from({ length: flights }, repeat))
  return (done / (performance.now() - start)) * 1000
}

console.log(JSON.stringify(await main()))
process.exit()
