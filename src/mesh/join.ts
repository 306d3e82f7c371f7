import { createHash, createHmac, createPublicKey, sign, timingSafeEqual, verify } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { CosmosError } from '../errors.ts'
import { JOIN_PROTOCOL, peerIdOf, provenPeer, TLS_RULES } from './certificate.ts'
import { connectSecurely, firstOf } from './dial.ts'
import type { Identity } from './identity.ts'
import type { Invite, Invites } from './invite.ts'
import { type JoinDesk, PATIENCE_MS } from './listen.ts'
import { understood } from './listen-address.ts'
import type { Audit, RefusalLog } from './listen-audit.ts'

/*
 * A join is a TLS 1.3 connection whose pre-shared key is the invite's secret: whoever stands between and does not know
 * it gets no handshake, and what was recorded stays closed after the secret is known (psk_dhe_ke). TLS 1.3 has no
 * certificates beside a pre-shared key, so identities come after it, one message each way: each end signs the session's
 * exported keying material (RFC 8446 §7.5), which no other session has, together with its message. The message also
 * carries a proof of the secret, so that nothing hangs on how the TLS library chose the session's key.
 */

/** Who has joined, as the other end learns it. */
export interface Joined {
  readonly peer: string
  /** What it calls itself: `me@gpubox`. Not to be trusted as a name. */
  readonly name: string
  /** Where it can be dialled, the likeliest first. */
  readonly addresses: readonly string[]
  /** What it gives this host; what counts is what it checks itself. */
  readonly gives: readonly unknown[]
}

/** What one end says of itself. */
interface Introduction {
  readonly version: 1
  /** SPKI, base64. */
  readonly key: string
  readonly name: string
  readonly listens: readonly string[]
  readonly gives: readonly unknown[]
}

/** One line of JSON each way. */
type Message = { body: string; signature: string; proof: string } | { error: string }

type Role = 'joins' | 'invites'

const EXPORTER_LABEL = 'EXPORTER-cosmos-join'
const EXPORTER_BYTES = 32
const MOST_BYTES = 16 * 1024

export interface JoinOptions {
  readonly identity: Identity
  readonly name: string
  readonly invite: Invite
  /** What the inviter is given. */
  readonly gives: readonly unknown[]
  readonly refusals: RefusalLog
  readonly patience?: number
  listens(): readonly string[]
}

/**
 * Joins by an invite: afterwards the inviter has this host as a peer, and the caller adds the inviter as its own.
 * Throws CosmosError: EACCES where the invite is not open there or another host answers, EHOSTUNREACH, ETIMEDOUT,
 * EPROTO where the other end does not keep to the protocol, ECONNRESET where the answer was lost: the inviter may have
 * added this host, and a new invite is needed.
 */
export async function join(options: JoinOptions): Promise<Joined> {
  const { invite, identity } = options
  if (invite.peer === identity.id)
    throw new CosmosError('EINVAL', 'the invite', 'is of this host itself', 'run cosmos join on another host')
  const signal = AbortSignal.timeout(options.patience ?? PATIENCE_MS)
  const { socket, address } = await firstOf(invite.addresses, signal, async (address, signal) => {
    const socket = await connectSecurely(
      address,
      {
        ...TLS_RULES,
        ALPNProtocols: [JOIN_PROTOCOL],
        pskCallback: () => ({ psk: invite.secret, identity: invite.token }),
      },
      signal,
    )
    checkInviter(socket, address, options)
    return socket
  })
  const abort = (): void => {
    socket.destroy()
  }
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()
  try {
    socket.write(introduce(socket, 'joins', invite, options))
    const answer = understand(socket, 'invites', invite, await readLine(socket, address))
    if (answer.id !== invite.peer)
      throw new CosmosError('EACCES', address, 'answers with another key than the invite names')
    const from = socket.remoteAddress ?? ''
    return {
      peer: answer.id,
      name: answer.name,
      addresses: [...new Set([address, ...understood(answer.listens, from), ...invite.addresses])],
      gives: answer.gives,
    }
  } finally {
    signal.removeEventListener('abort', abort)
    socket.destroy()
  }
}

export interface JoinAnswersOptions {
  readonly identity: Identity
  readonly name: string
  readonly invites: Invites
  readonly refusals: RefusalLog
  readonly audit: Audit
  listens(): readonly string[]
  /** Adds the peer, with the grants of the invite. What it throws refuses the join; the invite is used up all the same. */
  joined(peer: Joined, grants: readonly unknown[]): void
}

/** The inviter's end of joins. */
export class JoinAnswers implements JoinDesk {
  readonly #options: JoinAnswersOptions

  constructor(options: JoinAnswersOptions) {
    this.#options = options
  }

  secret(token: string): Buffer | undefined {
    return this.#options.invites.secret(token)
  }

  async answer(socket: TLSSocket, token: string, address: string): Promise<void> {
    const { refusals } = this.#options
    const from = socket.remoteAddress ?? ''
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    let line: Message
    try {
      const text = await readLine(socket, address)
      line = this.#admit(socket, token, address, from, text)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      refusals.report({ reason: error instanceof UsedInvite ? 'invite' : 'join', address, detail: why })
      line = { error: error instanceof CosmosError ? why : 'it failed there' }
    }
    socket.end(`${JSON.stringify(line)}\n`)
    // The listener's deadline ends it where the other end does not.
    await closed
  }

  /** Checks who joins, uses the invite up, adds the peer; what to answer. In one turn, so that of two one is first. */
  #admit(socket: TLSSocket, token: string, address: string, from: string, text: string): Message {
    const { identity, invites, audit } = this.#options
    const secret = invites.secret(token)
    if (!secret) throw new UsedInvite()
    const invite = { token, secret: Buffer.from(secret) }
    const { id, name, listens, gives } = understand(socket, 'joins', invite, text)
    if (id === identity.id) throw new CosmosError('EINVAL', address, 'joins with this host’s own key')
    const grants = invites.take(token)
    if (!grants) throw new UsedInvite()
    this.#options.joined({ peer: id, name, addresses: understood(listens, from), gives }, grants)
    audit({ kind: 'joined', address, peer: id, detail: name })
    const answer = introduce(socket, 'invites', invite, { ...this.#options, gives: grants })
    return JSON.parse(answer) as Message
  }
}

class UsedInvite extends CosmosError {
  constructor() {
    super('EACCES', 'the invite', 'has expired or was used by another', 'ask for a new one')
  }
}

/** Nothing is said to a host that has not proven to know the invite's secret. */
function checkInviter(socket: TLSSocket, address: string, { invite, refusals }: JoinOptions): void {
  const found = provenPeer(socket)
  // Without the pre-shared key the session would be a new one, with a certificate.
  if (socket.isSessionReused() && found === undefined && socket.alpnProtocol === JOIN_PROTOCOL) return
  socket.destroy()
  if (found === invite.peer)
    throw new CosmosError(
      'EACCES',
      address,
      'the invite is not open there: it has expired or was used',
      'ask for a new one',
    )
  refusals.report({ reason: 'wrong-peer', address, peer: found, detail: `dialled as ${invite.peer} to join` })
  throw new CosmosError(
    'EACCES',
    address,
    'another host than the inviter answers there',
    'ask for a new invite',
  )
}

/** This end's message, one line. */
function introduce(
  socket: TLSSocket,
  role: Role,
  invite: Pick<Invite, 'token' | 'secret'>,
  self: { identity: Identity; name: string; gives: readonly unknown[]; listens(): readonly string[] },
): string {
  const introduction: Introduction = {
    version: 1,
    key: self.identity.spki.toString('base64'),
    name: self.name,
    listens: self.listens(),
    gives: self.gives,
  }
  const body = JSON.stringify(introduction)
  const bound = transcript(socket, role, invite.token, body)
  const message: Message = {
    body,
    signature: sign(null, bound, self.identity.privateKey).toString('base64'),
    proof: proofOf(invite.secret, bound).toString('base64'),
  }
  return `${JSON.stringify(message)}\n`
}

/** What the other end says, once its signature and proof are right. Throws CosmosError EPROTO, EACCES. */
function understand(
  socket: TLSSocket,
  role: Role,
  invite: Pick<Invite, 'token' | 'secret'>,
  text: string,
): Introduction & { id: string } {
  const message = fields(text)
  if (typeof message.error === 'string')
    throw new CosmosError('EACCES', 'the inviter', `refuses: ${message.error}`)
  const body = textOf(message, 'body')
  const bound = transcript(socket, role, invite.token, body)
  const proof = Buffer.from(textOf(message, 'proof'), 'base64')
  const right = proofOf(invite.secret, bound)
  if (proof.length !== right.length || !timingSafeEqual(proof, right)) throw wrong('does not know the secret')
  const introduction = fields(body)
  const { version, listens, gives } = introduction
  if (version !== 1) throw wrong('speaks another version of joining')
  if (!Array.isArray(listens) || !listens.every((one) => typeof one === 'string') || !Array.isArray(gives))
    throw wrong('sent lists that are none')
  const key = textOf(introduction, 'key')
  const spki = Buffer.from(key, 'base64')
  if (!isSignedBy(spki, bound, Buffer.from(textOf(message, 'signature'), 'base64')))
    throw wrong('its signature is wrong')
  return { version, key, name: textOf(introduction, 'name'), listens, gives, id: peerIdOf(spki) }
}

function isSignedBy(spki: Buffer, signed: Buffer, signature: Buffer): boolean {
  try {
    const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    return key.asymmetricKeyType === 'ed25519' && verify(null, signed, key, signature)
  } catch {
    // No key at all.
    return false
  }
}

/** What is signed: this session, this invite, who says it, what is said. */
function transcript(socket: TLSSocket, role: Role, token: string, body: string): Buffer {
  const exported = socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER_LABEL, Buffer.from(token, 'hex'))
  const digest = createHash('sha256').update(body).digest()
  return Buffer.concat([Buffer.from(`${JOIN_PROTOCOL} ${role} ${token}\n`), exported, digest])
}

function proofOf(secret: Buffer, bound: Buffer): Buffer {
  return createHmac('sha256', secret).update(bound).digest()
}

function fields(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw wrong('sent what is no JSON')
  }
  if (typeof value !== 'object' || value === null) throw wrong('sent what is no message')
  return value as Record<string, unknown>
}

function textOf(from: Record<string, unknown>, field: string): string {
  const value = from[field]
  if (typeof value !== 'string') throw wrong(`sent no ${field}`)
  return value
}

function wrong(why: string): CosmosError {
  return new CosmosError('EPROTO', 'the other end', why)
}

/** The first line that arrives. Throws CosmosError EPROTO when it is too long, ECONNRESET when it does not come. */
function readLine(socket: TLSSocket, address: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    let length = 0
    const take = (part: Buffer): void => {
      parts.push(part)
      length += part.length
      if (length > MOST_BYTES) finish(wrong('sent more than a join needs'))
      else if (part.includes(0x0a)) finish()
    }
    const lost = (): void => {
      const why = 'the connection was lost before the answer came'
      finish(new CosmosError('ECONNRESET', address, why, 'see cosmos peers there, and ask for a new invite'))
    }
    const finish = (error?: CosmosError): void => {
      socket.off('data', take)
      socket.off('close', lost)
      socket.off('end', lost)
      // Keeps reading, so that the other end's close is seen.
      socket.resume()
      const text = Buffer.concat(parts).toString()
      if (error) reject(error)
      else resolve(text.slice(0, text.indexOf('\n')))
    }
    socket.on('data', take)
    socket.once('close', lost)
    socket.once('end', lost)
    if (socket.destroyed) lost()
  })
}
