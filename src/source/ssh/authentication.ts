import { readFile } from 'node:fs/promises'
import ssh2, {
  type BaseAgent as Agent,
  type AnyAuthMethod,
  type OpenSSHAgent as LibraryAgent,
  type ParsedKey,
} from 'ssh2'
import type { HostSettings } from './configuration.ts'

// A CommonJS module: Node finds none of its names but the default.
const { BaseAgent, OpenSSHAgent, utils } = ssh2

/** How a user is authenticated: by the agent's keys, then by those of files. Nobody is asked for anything. */
export interface Authentication {
  readonly methods: readonly AnyAuthMethod[]
  /** Files whose keys are encrypted: only the agent can use them. */
  readonly encrypted: readonly string[]
}

/** Finds the keys of a user. Files that are not there, or are no keys, are passed over. */
export async function authentication(settings: HostSettings): Promise<Authentication> {
  const { user: username } = settings
  const methods: AnyAuthMethod[] = [{ type: 'none', username }]
  const encrypted: string[] = []
  if (settings.agent !== undefined)
    methods.push({ type: 'agent', username, agent: await orderedAgent(settings.agent, settings) })
  for (const path of settings.keys) {
    const text = await contents(path)
    if (!text) continue
    const key = utils.parseKey(text)
    if (!(key instanceof Error)) methods.push({ type: 'publickey', username, key: text })
    else if (/passphrase|encrypted/i.test(key.message)) encrypted.push(path)
  }
  return { methods, encrypted }
}

/** The agent with the keys first that the configuration names, or with these only. */
async function orderedAgent(socket: string, settings: HostSettings): Promise<Agent> {
  if (!settings.named && !settings.keysOnly) return new OpenSSHAgent(socket)
  const wanted = await Promise.all(settings.keys.map(publicPart))
  return new OrderedAgent(
    socket,
    wanted.filter((key) => key !== undefined),
    settings.keysOnly,
  )
}

class OrderedAgent extends BaseAgent<ParsedKey> {
  readonly #agent: LibraryAgent
  readonly #wanted: readonly Buffer[]
  readonly #only: boolean

  constructor(socket: string, wanted: readonly Buffer[], only: boolean) {
    super()
    this.#agent = new OpenSSHAgent(socket)
    this.#wanted = wanted
    this.#only = only
  }

  override getIdentities(callback: Parameters<LibraryAgent['getIdentities']>[0]): void {
    this.#agent.getIdentities((error, keys = []) => {
      if (error) return callback(error)
      // The agent of the library answers keys that are read already.
      const all = keys as ParsedKey[]
      const isWanted = (key: ParsedKey) => this.#wanted.some((wanted) => wanted.equals(key.getPublicSSH()))
      const rest = this.#only ? [] : all.filter((key) => !isWanted(key))
      callback(null, [...all.filter(isWanted), ...rest])
    })
  }

  override sign(...request: unknown[]): void {
    Reflect.apply(this.#agent.sign, this.#agent, request)
  }
}

/** The public key of a private key's file: of `KEY.pub`, or of itself where that can be read. */
async function publicPart(path: string): Promise<Buffer | undefined> {
  for (const file of [`${path}.pub`, path]) {
    const text = await contents(file)
    const key = text ? utils.parseKey(text) : undefined
    if (key && !(key instanceof Error)) return key.getPublicSSH()
  }
  return undefined
}

async function contents(path: string): Promise<Buffer | undefined> {
  return readFile(path).catch(() => undefined)
}
