import { createHmac, timingSafeEqual } from 'node:crypto'

/** What known_hosts files say of a host (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). */

/** A line that names a host. */
export interface KnownKey {
  readonly revoked: boolean
  /** `ssh-ed25519` … */
  readonly type: string
  /** The public key as it is sent (RFC 4253, 6.6). */
  readonly key: Buffer
}

/** What a key that a host shows is to us. */
export type Verdict = 'known' | 'unknown' | 'changed' | 'revoked'

/**
 * The keys that files have for a host's name, in lower case, hashed entries and patterns too. Lines of certificate authorities and those that
 * cannot be read are passed over.
 */
export function knownKeys(files: readonly string[], name: string): KnownKey[] {
  return files.flatMap((text) => text.split('\n')).flatMap((line) => readLine(line, name) ?? [])
}

/** The name that a host has in known_hosts: `[host]:port` where the port is not the usual one. */
export function knownName(host: string, port: number): string {
  const name = host.toLowerCase()
  return port === 22 ? name : `[${name}]:${port}`
}

/** Judges the key that a host shows. */
export function judgeKey(known: readonly KnownKey[], shown: Buffer): Verdict {
  const same = known.filter(({ key }) => key.equals(shown))
  if (same.some(({ revoked }) => revoked)) return 'revoked'
  if (same.length > 0) return 'known'
  return known.some(({ revoked }) => !revoked) ? 'changed' : 'unknown'
}

/** The algorithms to be asked for, those of keys that are known first: a host has keys of several types. */
export function preferKnown(algorithms: readonly string[], known: readonly KnownKey[]): string[] {
  const types = new Set(known.filter(({ revoked }) => !revoked).map(({ type }) => type))
  const isKnown = (algorithm: string) => types.has(algorithm.startsWith('rsa-sha2-') ? 'ssh-rsa' : algorithm)
  return [...algorithms.filter(isKnown), ...algorithms.filter((algorithm) => !isKnown(algorithm))]
}

function readLine(line: string, name: string): KnownKey | undefined {
  const fields = line.trim().split(/\s+/)
  if (fields[0] === '' || fields[0]?.startsWith('#')) return undefined
  const marker = fields[0]?.startsWith('@') ? fields.shift() : undefined
  if (marker !== undefined && marker !== '@revoked') return undefined
  const [hosts, type, key] = fields
  if (hosts === undefined || type === undefined || key === undefined || !names(hosts, name)) return undefined
  return { revoked: marker === '@revoked', type, key: Buffer.from(key, 'base64') }
}

/** Whether a line's first field names a host. */
function names(hosts: string, name: string): boolean {
  if (hosts.startsWith('|')) return isHashOf(hosts, name)
  let found = false
  for (const pattern of hosts.toLowerCase().split(',')) {
    if (pattern.startsWith('!')) {
      if (matches(pattern.slice(1), name)) return false
    } else found ||= matches(pattern, name)
  }
  return found
}

function isHashOf(hashed: string, name: string): boolean {
  const [, version, salt, hash] = hashed.split('|')
  if (version !== '1' || salt === undefined || hash === undefined) return false
  const expected = createHmac('sha1', Buffer.from(salt, 'base64')).update(name).digest()
  const written = Buffer.from(hash, 'base64')
  return written.length === expected.length && timingSafeEqual(written, expected)
}

function matches(pattern: string, name: string): boolean {
  const source = pattern.replace(/[^*?]/g, (character) => character.replace(/[\\^$.|+()[\]{}]/, '\\$&'))
  return new RegExp(`^${source.replaceAll('*', '.*').replaceAll('?', '.')}$`).test(name)
}
