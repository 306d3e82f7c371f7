import { connect as connectSocket } from 'node:net'
import type { Duplex } from 'node:stream'
import ssh2, { type AnyAuthMethod, type Client, type ServerHostKeyAlgorithm } from 'ssh2'
import { CosmosError } from '../../errors.ts'
import type { SourceContext } from '../service.ts'
import { authentication } from './authentication.ts'
import { type HostSettings, hostSettings, textOf } from './configuration.ts'
import { judgeKey, knownKeys, preferKnown } from './known-hosts.ts'
import { SftpSession } from './session.ts'

/** How patient connections are, milliseconds. */
export interface Patience {
  /** From the first packet to the last of authentication. */
  readonly connect: number
  /** Between two questions whether a silent host is there; three without an answer, and it is lost. */
  readonly keepalive: number
  /** How long SFTP may say nothing to what it is asked, while the host itself is there. */
  readonly silence: number
}

/** Jumps over hosts that name each other. */
const MAX_JUMPS = 8
const KEEPALIVE_COUNT = 2

/** What we can verify, best first. */
const HOST_KEYS: readonly ServerHostKeyAlgorithm[] = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'rsa-sha2-512',
  'rsa-sha2-256',
]

/**
 * Connects to a host, over those between, and starts SFTP. Throws CosmosError ETIMEDOUT, EHOSTUNREACH, and EACCES for a
 * host whose key is not known or for a user that is not let in.
 */
export async function openSession(
  settings: HostSettings,
  context: SourceContext,
  patience: Patience,
): Promise<SftpSession> {
  const subject = `ssh://${settings.alias}`
  const clients: Client[] = []
  const endAll = () => {
    for (const client of clients.toReversed()) client.destroy()
  }
  try {
    const client = await connectOver(settings, undefined, { context, patience, clients })
    const channel = await answerOf<Duplex>(subject, patience.connect, (done) => client.subsys('sftp', done))
    const session = await SftpSession.start(channel, subject, patience.silence)
    const lose = (error?: Error) => {
      const dead = error !== undefined && Reflect.get(error, 'level') === 'client-timeout'
      session.end(
        dead
          ? new CosmosError('ETIMEDOUT', subject, 'the host does not answer any more')
          : new CosmosError('EHOSTDOWN', subject, 'the connection is lost'),
      )
    }
    for (const each of clients) each.on('error', lose).on('close', () => lose())
    session.onLost = endAll
    return session
  } catch (error) {
    endAll()
    throw error
  }
}

/**
 * Connects to the hosts between, one over the other, and to this one over the last; what is connected is put into
 * `clients`. The first host between may be behind others itself; what lies behind it is reached from there.
 */
async function connectOver(
  settings: HostSettings,
  over: Client | undefined,
  world: { readonly context: SourceContext; readonly patience: Patience; readonly clients: Client[] },
  depth = 0,
): Promise<Client> {
  if (depth > MAX_JUMPS) throw new CosmosError('ELOOP', `ssh://${settings.alias}`, 'too many jumps')
  let last = over
  for (const jump of settings.jumps) {
    const between = await hostSettings(jump, world.context)
    last = await connectOver(last ? { ...between, jumps: [] } : between, last, world, depth + 1)
  }
  const client = await connect(settings, last, world.patience)
  world.clients.push(client)
  return client
}

/** One connection, over another's forwarding where one is given. */
async function connect(
  settings: HostSettings,
  over: Client | undefined,
  patience: Patience,
): Promise<Client> {
  const { alias, host, port } = settings
  const subject = `ssh://${alias}`
  const files = await Promise.all(settings.knownHosts.map(textOf))
  const known = knownKeys(
    files.filter((text) => text !== undefined),
    settings.knownAs,
  )
  const { methods, encrypted } = await authentication(settings)
  const socket = over
    ? await answerOf<Duplex>(subject, patience.connect, (done) =>
        over.forwardOut('127.0.0.1', 0, host, port, done),
      )
    : connectSocket({ host, port, noDelay: true, autoSelectFamily: true })

  const client = new ssh2.Client()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  promise.catch(() => {})
  let refused: CosmosError | undefined
  const late = setTimeout(
    () =>
      reject(new CosmosError('ETIMEDOUT', subject, `does not answer within ${patience.connect / 1000} s`)),
    patience.connect,
  )
  client.on('ready', resolve)
  client.on('error', (error) => {
    if (!isPassing(error)) reject(refused ?? explain(error, settings, encrypted))
  })
  client.on('close', () =>
    reject(refused ?? new CosmosError('EHOSTUNREACH', subject, 'ended the connection')),
  )
  const remaining: AnyAuthMethod[] = [...methods]
  try {
    client.connect({
      sock: socket as never,
      username: settings.user,
      readyTimeout: 0,
      keepaliveInterval: patience.keepalive,
      keepaliveCountMax: KEEPALIVE_COUNT,
      // Node's own AES-GCM is far the fastest of what the library has.
      algorithms: {
        cipher: {
          prepend: ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com'],
          append: [],
          remove: [],
        },
        serverHostKey: preferKnown(HOST_KEYS, known) as ServerHostKeyAlgorithm[],
      },
      hostVerifier: (key: Buffer) => {
        refused = judge(settings, judgeKey(known, key))
        return refused === undefined
      },
      authHandler: (_left, _partial, next) => next((remaining.shift() ?? false) as never),
    })
    await promise
    return client
  } catch (error) {
    socket.destroy()
    throw error
  } finally {
    clearTimeout(late)
    // What comes later is for whoever uses the connection; until then nothing may be thrown.
    client.on('error', () => {})
  }
}

/** Why a host's key is not accepted; undefined for a known one. */
function judge(settings: HostSettings, verdict: ReturnType<typeof judgeKey>): CosmosError | undefined {
  const { alias, knownAs, knownHosts } = settings
  const subject = `ssh://${alias}`
  const file = knownHosts[0] ?? 'known_hosts'
  switch (verdict) {
    case 'known':
      return undefined
    case 'unknown':
      return new CosmosError(
        'EACCES',
        subject,
        'the key of this host is not known',
        `${sshCommand(settings)} once, and look at the key that it shows`,
      )
    case 'changed':
      return new CosmosError(
        'EACCES',
        subject,
        'the key of this host has CHANGED: it is another host, or somebody is in between',
        `if the change is right: ssh-keygen -f ${file} -R '${knownAs}'`,
      )
    case 'revoked':
      return new CosmosError('EACCES', subject, `the key of this host is revoked in ${knownHosts.join(', ')}`)
  }
}

/** What a person types to reach the same host. */
function sshCommand({ alias, port, user }: HostSettings): string {
  return port === 22 ? `ssh ${user}@${alias}` : `ssh -p ${port} ${user}@${alias}`
}

/** An error after which the library goes on with the next key. */
function isPassing(error: Error): boolean {
  return Reflect.get(error, 'level') === 'agent' || error.message.startsWith('Error signing data')
}

function explain(error: Error, settings: HostSettings, encrypted: readonly string[]): CosmosError {
  const { alias, host, port, user } = settings
  const subject = `ssh://${alias}`
  const cause = { cause: error }
  const level: unknown = Reflect.get(error, 'level')
  const code: unknown = Reflect.get(error, 'code')
  if (level === 'client-authentication')
    return new CosmosError(
      'EACCES',
      subject,
      encrypted.length > 0
        ? `${user} is not let in: the key ${encrypted[0]} is encrypted, and ssh-agent does not have it`
        : `${user} is not let in: the host accepts none of the keys`,
      encrypted.length > 0 ? `ssh-add ${encrypted[0]}` : sshCommand(settings),
      cause,
    )
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return new CosmosError('EHOSTUNREACH', subject, `there is no address of ${host}`, undefined, cause)
  if (code === 'ECONNREFUSED')
    return new CosmosError('EHOSTUNREACH', subject, `nothing listens on port ${port}`, undefined, cause)
  if (code === 'ETIMEDOUT') return new CosmosError('ETIMEDOUT', subject, 'does not answer', undefined, cause)
  return new CosmosError('EHOSTUNREACH', subject, error.message || String(code), undefined, cause)
}

/** The answer to a callback, unless it takes too long. */
async function answerOf<T>(
  subject: string,
  patience: number,
  ask: (done: (error: Error | undefined, answer: T) => void) => void,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const late = setTimeout(() => reject(new CosmosError('ETIMEDOUT', subject, 'does not answer')), patience)
  try {
    ask((error, answer) => {
      if (error) reject(new CosmosError('EHOSTUNREACH', subject, error.message, undefined, { cause: error }))
      else resolve(answer)
    })
    return await promise
  } finally {
    clearTimeout(late)
  }
}
