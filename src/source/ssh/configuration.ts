import { glob, readFile } from 'node:fs/promises'
import { hostname, userInfo } from 'node:os'
import { isAbsolute, join } from 'node:path'
import SSHConfig from 'ssh-config'
import { CosmosError } from '../../errors.ts'
import type { SourceContext } from '../service.ts'
import { parseAddress, type SshAddress } from './address.ts'
import { knownName } from './known-hosts.ts'

/** How a host is reached: its address and what ssh_config(5) says of it. Paths are absolute. */
export interface HostSettings {
  /** As the user wrote it, without the user: what `ssh` is told too. */
  readonly alias: string
  readonly host: string
  readonly port: number
  readonly user: string
  /** Private keys; `named` where the configuration says so, and not the usual ones. */
  readonly keys: readonly string[]
  readonly named: boolean
  /** Only these keys, also of what the agent has. */
  readonly keysOnly: boolean
  /** Socket of ssh-agent. */
  readonly agent: string | undefined
  readonly knownHosts: readonly string[]
  /** The name that the host has in them, its port in it. */
  readonly knownAs: string
  /** Hosts between, nearest first. */
  readonly jumps: readonly SshAddress[]
}

const USUAL_KEYS = ['id_ed25519', 'id_ecdsa', 'id_rsa']
const USUAL_KNOWN_HOSTS = ['~/.ssh/known_hosts', '~/.ssh/known_hosts2']
const SYSTEM_KNOWN_HOSTS = ['/etc/ssh/ssh_known_hosts', '/etc/ssh/ssh_known_hosts2']
const SYSTEM_CONFIGURATION = '/etc/ssh/ssh_config'
/** Files that include each other, inside each other (ssh's own bound). */
const MAX_INCLUDES = 16

/**
 * What the user's and the system's configuration say of an address. What is read of it: HostName, Port, User,
 * IdentityFile, IdentitiesOnly, IdentityAgent, ProxyJump, UserKnownHostsFile, GlobalKnownHostsFile, HostKeyAlias, Include,
 * in Host and in Match blocks (those with `exec` never match: nothing is run to look something up). Throws CosmosError
 * EINVAL for a file that cannot be read as one, EOPNOTSUPP for a ProxyCommand.
 */
export async function hostSettings(address: SshAddress, context: SourceContext): Promise<HostSettings> {
  const user = `${context.home}/.ssh/config`
  const text = `${await included(user, context, 0)}\nHost *\n${await included(SYSTEM_CONFIGURATION, context, 0)}`
  const options = new Options(compute(text, address), address, context)
  const command = options.one('proxycommand')
  if (command !== undefined)
    throw new CosmosError(
      'EOPNOTSUPP',
      `ssh://${address.host}`,
      'its configuration has a ProxyCommand, which is not run for a lookup',
      'use ProxyJump',
    )
  const named = options.all('identityfile')
  const port = address.port ?? Number(options.one('port') ?? 22)
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw new CosmosError(
      'EINVAL',
      `ssh://${address.host}`,
      `~/.ssh/config: ${options.one('port')} is no port`,
    )
  return {
    alias: address.host,
    host: options.host,
    port,
    user: options.user,
    keys: (named.length > 0 ? named : USUAL_KEYS.map((name) => `~/.ssh/${name}`)).map((path) =>
      options.path(path),
    ),
    named: named.length > 0,
    keysOnly: options.one('identitiesonly')?.toLowerCase() === 'yes',
    agent: options.agent(),
    knownHosts: [
      ...options.files('userknownhostsfile', USUAL_KNOWN_HOSTS),
      ...options.files('globalknownhostsfile', SYSTEM_KNOWN_HOSTS),
    ],
    knownAs: options.one('hostkeyalias')?.toLowerCase() ?? knownName(options.host, port),
    jumps: (options.one('proxyjump') ?? '')
      .split(',')
      .filter(Boolean)
      .map((jump) => parseAddress(jump.trim().replace(/^ssh:\/\//, ''))),
  }
}

/** What was computed for a host, with `~` and the tokens of ssh_config(5) in it. */
class Options {
  readonly #values: Record<string, string | string[]>
  readonly #context: SourceContext
  readonly #port: number | undefined
  readonly host: string
  readonly user: string

  constructor(values: Record<string, string | string[]>, address: SshAddress, context: SourceContext) {
    this.#values = values
    this.#context = context
    this.#port = address.port
    this.host = (this.one('hostname') ?? address.host).replaceAll('%%', '%').replaceAll('%h', address.host)
    this.user = address.user ?? this.one('user') ?? localUser(context)
  }

  /** The words of an option. */
  all(name: string): string[] {
    const value = this.#values[name]
    return value === undefined ? [] : [value].flat()
  }

  /** An option's text; undefined for `none` too. */
  one(name: string): string | undefined {
    const text = this.all(name).join(' ')
    return text === '' || text.toLowerCase() === 'none' ? undefined : text
  }

  files(name: string, usual: readonly string[]): string[] {
    const named = this.all(name)
    return (named.length > 0 ? named : usual)
      .filter((path) => path.toLowerCase() !== 'none')
      .map((path) => this.path(path))
  }

  path(path: string): string {
    const { home } = this.#context
    const tokens: Record<string, string> = {
      '%': '%',
      d: home,
      h: this.host,
      l: hostname(),
      p: String(this.#port ?? this.one('port') ?? 22),
      r: this.user,
      u: localUser(this.#context),
    }
    const expanded = path
      .replace(/^~(?=\/|$)/, home)
      .replace(/%(.)/g, (token, letter: string) => tokens[letter] ?? token)
      .replace(/\$\{(\w+)\}/g, (_, name: string) => this.#context.environment[name] ?? '')
    return isAbsolute(expanded) ? expanded : join(home, expanded)
  }

  agent(): string | undefined {
    const named = this.all('identityagent')[0]
    if (named?.toLowerCase() === 'none') return undefined
    if (named === undefined || named === 'SSH_AUTH_SOCK')
      return this.#context.environment.SSH_AUTH_SOCK || undefined
    return named.startsWith('$') && !named.startsWith('${')
      ? this.#context.environment[named.slice(1)]
      : this.path(named)
  }
}

function localUser(context: SourceContext): string {
  return context.environment.USER || context.environment.LOGNAME || userInfo().username
}

function compute(text: string, { host, user }: SshAddress): Record<string, string | string[]> {
  try {
    const query = user === undefined ? { Host: host } : { Host: host, User: user }
    return SSHConfig.parse(text).compute(query, { ignoreCase: true, matchExec: false })
  } catch (error) {
    throw new CosmosError(
      'EINVAL',
      `ssh://${host}`,
      `~/.ssh/config: ${(error as Error).message}`,
      undefined,
      {
        cause: error,
      },
    )
  }
}

/**
 * A configuration's text with what it includes in its place; none where there is no file. Lines that would have a
 * program run are left out. After an included file the block that it stands in goes on.
 */
async function included(path: string, context: SourceContext, depth: number): Promise<string> {
  const text = await textOf(path)
  if (text === undefined) return ''
  const lines: string[] = []
  let block = 'Host *'
  for (const line of text.split('\n')) {
    const [, word = '', rest = ''] = /^\s*([A-Za-z]+)(?:\s*=\s*|\s+)(.*)$/.exec(line) ?? []
    const keyword = word.toLowerCase()
    if (keyword === 'host' || keyword === 'match') block = line
    if (keyword.startsWith('canonical')) continue
    if (keyword !== 'include') lines.push(line)
    else {
      if (depth === MAX_INCLUDES) continue
      for (const file of await includes(rest, path, context))
        lines.push(await included(file, context, depth + 1), block)
    }
  }
  return lines.join('\n')
}

/** The files that an Include names: patterns, which start where the configuration of its kind is. */
async function includes(words: string, from: string, context: SourceContext): Promise<string[]> {
  const base = from.startsWith('/etc/ssh/') ? '/etc/ssh' : `${context.home}/.ssh`
  const files: string[] = []
  for (const [, quoted, plain] of words.matchAll(/"([^"]*)"|(\S+)/g)) {
    const pattern = (quoted ?? plain ?? '').replace(/^~(?=\/)/, context.home)
    const found: string[] = []
    for await (const file of glob(isAbsolute(pattern) ? pattern : join(base, pattern))) found.push(file)
    files.push(...found.sort())
  }
  return files
}

/** A file's text; undefined where there is none, or none that this user may read. */
export async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code && ['ENOENT', 'ENOTDIR', 'EACCES', 'EISDIR'].includes(code)) return undefined
    throw error
  }
}
