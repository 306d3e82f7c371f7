import { randomBytes } from 'node:crypto'
import { createServer, type TLSSocket } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import { CosmosError } from '../../src/errors.ts'
import { JOIN_PROTOCOL, TLS_RULES } from '../../src/mesh/certificate.ts'
import { formatInvite, type Invite, Invites, parseInvite } from '../../src/mesh/invite.ts'
import { JoinAnswers, type JoinAnswersOptions, type Joined, join } from '../../src/mesh/join.ts'
import type { JoinDesk } from '../../src/mesh/listen.ts'
import { waitFor } from '../support/wait.ts'
import { cuttingProxy, newIdentity, TestClock, tls, untilClosed, WireHost } from './websocket-support.ts'

const GRANTS = [{ op: 'exec', path: '.cosm/bin' }]

/** A host that gives out invites. */
class Inviter extends WireHost {
  readonly clock = new TestClock()
  readonly invites = new Invites(this.clock)
  readonly joined: { peer: Joined; grants: readonly unknown[] }[] = []

  /** Listens and makes an invite. `answers` is put between the listener and the answers to joins. */
  async invite(
    options: Partial<JoinAnswersOptions> & { hosts?: string[]; patience?: number } = {},
    between: (answers: JoinDesk) => JoinDesk = (answers) => answers,
  ): Promise<Invite> {
    const { hosts = ['127.0.0.1'], patience = 10_000, ...rest } = options
    const answers = new JoinAnswers({
      identity: this.identity,
      name: 'me@inviter',
      invites: this.invites,
      refusals: this.refusals,
      audit: (event) => this.events.push(event),
      listens: () => this.addresses,
      joined: (peer, grants) => {
        this.joined.push({ peer, grants })
        this.peers.add(peer.peer)
      },
      ...rest,
    })
    await this.listen({ hosts, patience, join: between(answers) })
    // As a person would carry it.
    return parseInvite(formatInvite(this.invites.create(this.identity.id, this.addresses, GRANTS)))
  }
}

function joinAs(host: WireHost, invite: Invite): Promise<Joined> {
  const { identity, refusals } = host
  return join({
    identity,
    name: 'me@joiner',
    invite,
    gives: ['read:/srv'],
    refusals,
    listens: () => host.addresses,
  })
}

/** A connection that knows the invite's secret, and then does as it likes. */
function withSecret(port: number, { token, secret }: Invite): TLSSocket {
  return tls(port, {
    ALPNProtocols: [JOIN_PROTOCOL],
    pskCallback: () => ({ psk: secret, identity: token }),
    checkServerIdentity: () => undefined,
  })
}

describe('joining by an invite', () => {
  test.each([['127.0.0.1'], ['::1']])('makes each a peer of the other, over %s', async (host) => {
    const a = new WireHost()
    const b = new Inviter()
    await a.listen({ hosts: [host] })
    const invite = await b.invite({ hosts: [host] })
    const inviter = await joinAs(a, invite)
    expect(inviter).toEqual({
      peer: b.identity.id,
      name: 'me@inviter',
      addresses: b.addresses,
      gives: GRANTS,
    })
    expect(b.joined).toEqual([
      {
        peer: { peer: a.identity.id, name: 'me@joiner', addresses: a.addresses, gives: ['read:/srv'] },
        grants: GRANTS,
      },
    ])
    expect(b.events).toEqual([
      { kind: 'joined', address: expect.any(String), peer: a.identity.id, detail: 'me@joiner' },
    ])
    expect(b.invites.size).toBe(0)
    // The ordinary link, dialled by either.
    a.peers.add(b.identity.id)
    expect((await a.dial(b, [...inviter.addresses])).link.peer).toBe(b.identity.id)
    expect((await b.dial(a)).link.peer).toBe(a.identity.id)
  })

  test('finds the address of the inviter that answers', async () => {
    const a = new WireHost()
    const b = new Inviter()
    const invite = await b.invite()
    const joined = await joinAs(a, { ...invite, addresses: ['127.0.0.1:1', ...invite.addresses] })
    expect(joined.addresses[0]).toBe(b.addresses[0])
  })

  test('works once: neither another host nor the same one joins by it again', async () => {
    const [a, c] = [new WireHost(), new WireHost()]
    const b = new Inviter()
    const invite = await b.invite()
    await joinAs(a, invite)
    for (const host of [c, a]) {
      b.events.length = 0
      await expect(joinAs(host, invite)).rejects.toMatchObject({
        code: 'EACCES',
        message: expect.stringContaining('expired or was used'),
      })
      // Nothing against the inviter, who is who it should be.
      expect(host.events).toEqual([])
    }
    expect(b.joined).toHaveLength(1)
    await expect(c.dial(b)).rejects.toMatchObject({ code: 'EACCES' })
  })

  test('a replay is told of once', async () => {
    const b = new Inviter()
    const invite = await b.invite()
    await joinAs(new WireHost(), invite)
    b.events.length = 0
    await expect(joinAs(new WireHost(), invite)).rejects.toThrow()
    await waitFor('the report', () => b.events.length > 0)
    expect(b.events).toMatchObject([{ kind: 'refused', reason: 'invite', times: 1 }])
  })

  test('one of two that both know the secret at the same time joins', async () => {
    const [a, c] = [new WireHost(), new WireHost()]
    const b = new Inviter()
    let waiting: (() => void)[] = []
    const invite = await b.invite({}, (answers) => ({
      secret: (token) => answers.secret(token),
      async answer(socket, token, address) {
        // Both have passed the handshake before either is listened to.
        await new Promise<void>((resolve) => {
          waiting.push(resolve)
          if (waiting.length === 2) for (const go of waiting) go()
        })
        waiting = []
        await answers.answer(socket, token, address)
      },
    }))
    const outcomes = await Promise.allSettled([joinAs(a, invite), joinAs(c, invite)])
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    const lost = outcomes.find((outcome) => outcome.status === 'rejected')
    expect(lost?.reason).toMatchObject({ code: 'EACCES' })
    expect(b.joined).toHaveLength(1)
    expect(b.reasons.sort()).toEqual(['invite', 'joined'])
  })

  test.each([
    ['ten minutes pass', (clock: TestClock) => clock.pass(10 * 60_000)],
    ['the machine sleeps for an hour', (clock: TestClock) => clock.sleep(3_600_000)],
  ])('is over when %s', async (_, passes) => {
    const a = new WireHost()
    const b = new Inviter()
    const invite = await b.invite()
    passes(b.clock)
    await expect(joinAs(a, invite)).rejects.toMatchObject({ code: 'EACCES' })
    await waitFor('the report', () => b.events.length === 1)
    expect(b.reasons).toEqual(['invite'])
    expect(b.joined).toEqual([])
  })

  test('is still open one second before', async () => {
    const b = new Inviter()
    const invite = await b.invite()
    b.clock.pass(10 * 60_000 - 1000)
    await joinAs(new WireHost(), invite)
    expect(b.clock.timers).toBe(0)
  })

  test('is refused by the host that made it', async () => {
    const b = new Inviter()
    const invite = await b.invite()
    await expect(joinAs(b, invite)).rejects.toMatchObject({ code: 'EINVAL' })
    expect(b.invites.size).toBe(1)
  })

  test('leaves a named error and no half of an invite when the answer is lost', async () => {
    const a = new WireHost()
    const b = new Inviter()
    const sockets: TLSSocket[] = []
    const invite = await b.invite({}, (answers) => ({
      secret: (token) => answers.secret(token),
      answer(socket, token, address) {
        sockets.push(socket)
        socket.end = () => socket.destroy()
        return answers.answer(socket, token, address)
      },
    }))
    await expect(joinAs(a, invite)).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(sockets).toHaveLength(1)
    expect(b.joined).toHaveLength(1)
    expect(b.invites.size).toBe(0)
  })

  test('is either whole or a named error, wherever the connection is cut', async () => {
    let [whole, failed] = [0, 0]
    for (let pieces = 0; whole < 2; pieces++) {
      const b = new Inviter()
      const invite = await b.invite()
      const through = { ...invite, addresses: [await cuttingProxy(b.port, pieces)] }
      const [outcome] = await Promise.allSettled([joinAs(new WireHost(), through)])
      if (outcome.status === 'fulfilled') whole++
      else {
        failed++
        expect(outcome.reason).toBeInstanceOf(CosmosError)
        expect(['EHOSTUNREACH', 'ECONNRESET']).toContain(outcome.reason.code)
      }
      // Used by whom it let in, else open.
      expect([b.invites.size, b.joined.length]).toEqual(b.joined.length ? [0, 1] : [1, 0])
      if (outcome.status === 'fulfilled') expect(b.joined).toHaveLength(1)
    }
    expect(failed).toBeGreaterThan(2)
  })

  test('fails at the inviter when it cannot keep the peer, and says so', async () => {
    const b = new Inviter()
    const invite = await b.invite({
      joined() {
        throw new Error('the database at /some/path is full')
      },
    })
    const failure = joinAs(new WireHost(), invite)
    await expect(failure).rejects.toMatchObject({ code: 'EACCES' })
    await expect(failure).rejects.not.toThrow('/some/path')
    expect(b.reasons).toEqual(['join'])
  })
})

describe('whoever does not know the secret', () => {
  test('is refused with the name of an invite and another secret; the invite stays open', async () => {
    const b = new Inviter()
    const invite = await b.invite()
    await untilClosed(withSecret(b.port, { ...invite, secret: randomBytes(32) }))
    await waitFor('the report', () => b.events.length === 1)
    expect(b.reasons).toEqual(['invite'])
    await joinAs(new WireHost(), invite)
  })

  test('is refused with an invite that was never made', async () => {
    const b = new Inviter()
    const invite = await b.invite()
    await untilClosed(withSecret(b.port, { ...invite, token: '00'.repeat(16) }))
    await waitFor('the report', () => b.events.length === 1)
    expect(b.reasons).toEqual(['invite'])
  })

  test('is refused without any, with and without a certificate', async () => {
    const a = new WireHost()
    const b = new Inviter()
    await b.invite()
    const { key, cert } = a.identity.pem
    for (const options of [{}, { key, cert }])
      await untilClosed(tls(b.port, { ALPNProtocols: [JOIN_PROTOCOL], ...options }))
    b.refusals.close()
    expect(b.events).toMatchObject([
      { reason: 'invite', times: 1 },
      { reason: 'invite', times: 1 },
    ])
  })

  test('gets no byte from a host that joins, when it answers in the inviter’s place', async () => {
    const a = new WireHost()
    const b = new Inviter()
    const invite = await b.invite()
    const impostor = newIdentity()
    let received = 0
    const server = createServer({ ...TLS_RULES, ...impostor.pem, ALPNProtocols: [JOIN_PROTOCOL] })
    server.on('secureConnection', (socket) => {
      socket.on('error', () => {})
      socket.on('data', (data: Buffer) => {
        received += data.length
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      server.close()
    })
    const { port } = server.address() as { port: number }
    const closed = new Promise((resolve) =>
      server.once('connection', (socket) => socket.once('close', resolve)),
    )
    await expect(joinAs(a, { ...invite, addresses: [`127.0.0.1:${port}`] })).rejects.toMatchObject({
      code: 'EACCES',
    })
    await closed
    expect(received).toBe(0)
    expect(a.events).toMatchObject([{ reason: 'wrong-peer', peer: impostor.id, times: 1 }])
    expect(b.invites.size).toBe(1)
  })
})

describe('whoever knows the secret', () => {
  test('and stands between gets nothing signed for its own sessions', async () => {
    const a = new WireHost()
    const b = new Inviter()
    const invite = await b.invite()
    // Ends the session of the one, opens another to the other, and passes on what each says.
    const server = createServer({
      ...TLS_RULES,
      ...newIdentity().pem,
      ALPNProtocols: [JOIN_PROTOCOL],
      pskCallback: () => invite.secret,
    })
    server.on('secureConnection', (socket) => {
      socket.on('error', () => {})
      const onward = withSecret(b.port, invite)
      socket.pipe(onward).pipe(socket)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      server.close()
    })
    const { port } = server.address() as { port: number }
    await expect(joinAs(a, { ...invite, addresses: [`127.0.0.1:${port}`] })).rejects.toMatchObject({
      code: 'EACCES',
    })
    expect(b.joined).toEqual([])
    expect(b.reasons).toEqual(['join'])
    expect(b.invites.size).toBe(1)
  })

  test.each([
    ['garbage', 'hello\n'],
    ['nothing of a message', '{}\n'],
    ['no message', 'null\n'],
    ['a wrong proof', `${JSON.stringify({ body: '{}', signature: '', proof: 'AAAA' })}\n`],
    ['too much', 'x'.repeat(20_000)],
  ])('and sends %s is refused; the invite stays open', async (_, text) => {
    const b = new Inviter()
    const invite = await b.invite()
    const socket = withSecret(b.port, invite)
    socket.write(text)
    const answer = await untilClosed(socket)
    expect(JSON.parse(answer.toString())).toEqual({ error: expect.any(String) })
    expect(b.reasons).toEqual(['join'])
    await joinAs(new WireHost(), invite)
  })

  test('and says nothing is cut off in time', async () => {
    const b = new Inviter()
    const invite = await b.invite({ patience: 200 })
    const socket = withSecret(b.port, invite)
    await untilClosed(socket)
    await waitFor('the report', () => b.events.length === 1)
    expect(b.invites.size).toBe(1)
  })
})

describe('an invite', () => {
  const invite: Invite = {
    addresses: ['192.0.2.7:4711', '[2001:db8::7]:4712'],
    peer: 'ab'.repeat(32),
    token: '01'.repeat(16),
    secret: randomBytes(32),
  }

  test('is one word that says all of it', () => {
    const text = formatInvite(invite)
    expect(text).toMatch(/^cosmos:\/\/192\.0\.2\.7:4711,\[2001:db8::7\]:4712\/join\/[\w-]+$/)
    expect(parseInvite(`  ${text}\n`)).toEqual(invite)
  })

  test.each([
    ['', /is not cosmos/],
    ['cosmos://me@host/etc/passwd', /is not cosmos/],
    [formatInvite(invite).slice(0, -3), /not whole/],
    [`${formatInvite(invite)}AAAA`, /not whole/],
    [formatInvite(invite).replace('/join/A', '/join/B'), /another version/],
    [formatInvite(invite).replace(':4711', ':99999'), /is not an address/],
  ])('that was not copied whole is told: %s', (text, why) => {
    expect(() => parseInvite(text)).toThrow(why)
    expect(() => parseInvite(text)).not.toThrow(invite.secret.toString('base64url').slice(0, 20))
  })

  test('is forgotten with its secret once it is used, expired or called off', () => {
    const clock = new TestClock()
    let expired = 0
    const invites = new Invites(clock, () => expired++)
    const [used, late, off] = [1, 2, 3].map(
      (grant) => invites.create('ab'.repeat(32), [], [grant]).token,
    ) as [string, string, string]
    const kept = invites.secret(used)
    expect(invites.take(used)).toEqual([1])
    expect(kept).toEqual(Buffer.alloc(32))
    expect(invites.take(used)).toBeUndefined()
    clock.sleep(10 * 60_000)
    expect(invites.take(late)).toBeUndefined()
    expect(invites.secret(off)).toBeUndefined()
    invites.clear()
    expect([invites.size, clock.timers, expired]).toEqual([0, 0, 0])
    invites.create('ab'.repeat(32), [], [])
    clock.pass(10 * 60_000)
    expect([invites.size, expired]).toEqual([0, 1])
  })

  test('is not made without end', () => {
    const invites = new Invites(new TestClock())
    for (let made = 0; made < 64; made++) invites.create('ab'.repeat(32), [], [])
    expect(() => invites.create('ab'.repeat(32), [], [])).toThrow(/64 invites are open/)
  })
})
