import { CosmosError } from '../../errors.ts'

/** Whom `ssh://user@host:port` names. */
export interface SshAddress {
  readonly user: string | undefined
  /** A host's name, its address (without brackets), or an alias of the user's ssh configuration. */
  readonly host: string
  readonly port: number | undefined
}

/**
 * Reads `user@host:port`; an IPv6 address stands in brackets where a port follows it. Throws CosmosError EINVAL for what
 * is none, and for a password: it would stay in paths, shell histories and logs. No message repeats one.
 */
export function parseAddress(authority: string): SshAddress {
  const at = authority.lastIndexOf('@')
  const place = authority.slice(at + 1)
  const wrong = (why: string) => new CosmosError('EINVAL', `ssh://${place}`, why)
  const user = at < 0 ? undefined : readUser(authority.slice(0, at), wrong)
  const match = /^(?:\[([\da-fA-F:.]+(?:%[\w.-]+)?)\]|([^:[\]]+))(?::(\d+))?$/.exec(place)
  // An IPv6 address as it is: more than one colon.
  const bare = /^[\da-fA-F:.]*:[\da-fA-F:.]*:[\da-fA-F:.]*$/.test(place) ? place : undefined
  const host = bare ?? match?.[1] ?? match?.[2]
  if (host === undefined || !isHost(host)) throw wrong('is not USER@HOST:PORT')
  const port = bare === undefined && match?.[3] !== undefined ? Number(match[3]) : undefined
  if (port !== undefined && (port < 1 || port > 65535)) throw wrong('has no such port')
  return { user, host, port }
}

function readUser(text: string, wrong: (why: string) => CosmosError): string {
  if (text.includes(':')) throw wrong('a password in a URL is not used: keys and ssh-agent are')
  let user: string
  try {
    user = decodeURIComponent(text)
  } catch {
    throw wrong('the user is not to be read')
  }
  if (user === '' || hasControl(user)) throw wrong('has no user before the @')
  return user
}

function isHost(text: string): boolean {
  return !text.startsWith('-') && !/[\s/\\,;'"`$<>|&*?!#]/.test(text) && !hasControl(text)
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 32 || text.charCodeAt(i) === 127) return true
  return false
}
