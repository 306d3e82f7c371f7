import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { CosmosError } from '../errors.ts'

/** Where a host listens or is dialled: `192.0.2.7:4711`, `[2001:db8::7]:4711`, `gpubox:4711`. */
export interface Address {
  /** An IP address without brackets, a host name, or `*`: every address of the host. */
  readonly host: string
  readonly port: number
}

/** The port where none is named. */
const DEFAULT_PORT = 4711

/** The address that a text names; the port may be left out. Throws CosmosError EINVAL. */
export function parseAddress(text: string): Address {
  const found = /^(?:\[([^\]]+)\]|([\w.-]+|\*))(?::(\d{1,5}))?$/.exec(text)
  const host = found?.[1] ?? found?.[2] ?? (isIP(text) === 6 ? text : undefined)
  const port = found?.[3] === undefined ? DEFAULT_PORT : Number(found[3])
  if (!host || port > 65_535 || (found?.[1] !== undefined && isIP(found[1]) !== 6))
    throw new CosmosError(
      'EINVAL',
      text,
      'is not an address',
      '192.0.2.7:4711, [2001:db8::7]:4711 or host:4711',
    )
  return { host, port }
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** An IP address as people write it: one of IPv4 that an IPv6 socket saw without its `::ffff:` (RFC 4291 §2.5.5.2). */
export function plainIp(ip: string): string {
  return ip.replace(/^::ffff:(?=\d+\.)/i, '')
}

/** True where only this machine can reach the address. A host name other than `localhost` counts as not. */
export function isLoopback(host: string): boolean {
  const plain = plainIp(host)
  if (isIP(plain) === 4) return plain.startsWith('127.')
  return plain === '::1' || plain === 'localhost'
}

/** True for an address that stands for every address of the host. */
export function isWildcard(host: string): boolean {
  return host === '*' || host === '::' || host === '0.0.0.0'
}

/**
 * A host listens beyond loopback only while somebody may come (design §7).
 * Throws CosmosError EPERM where there is no peer and no open invite.
 */
export function checkListen(addresses: readonly Address[], may: { peers: number; invites: number }): void {
  const open = addresses.find(({ host }) => !isLoopback(host))
  if (open && may.peers + may.invites === 0)
    throw new CosmosError(
      'EPERM',
      formatAddress(open),
      'other machines could reach it, and no peer is known nor invited',
      'cosmos invite first, or listen on 127.0.0.1',
    )
}

/**
 * What a listening host tells others to dial: a wildcard becomes the addresses of the interfaces, and `*:port`, which
 * is to say `where you see me come from, this port`.
 */
export function advertised(listening: readonly Address[]): string[] {
  const told = new Set<string>()
  for (const { host, port } of listening) {
    if (!isWildcard(host)) {
      told.add(formatAddress({ host, port }))
      continue
    }
    told.add(`*:${port}`)
    for (const address of interfaceAddresses())
      if (host !== '0.0.0.0' || isIP(address) === 4) told.add(formatAddress({ host: address, port }))
  }
  return [...told]
}

/** The most addresses that are kept or read of one peer. */
export const MOST_ADDRESSES = 8

/**
 * The addresses that a peer told, as they can be dialled from here; `from` is the IP address it is seen at. A loopback
 * address means another machine here, and is dropped unless the peer is on this one. What is no address is dropped.
 */
export function understood(told: readonly string[], from: string): string[] {
  const plain = plainIp(from)
  const dialled = new Set<string>()
  for (const text of told.slice(0, MOST_ADDRESSES)) {
    let address: Address
    try {
      address = parseAddress(text)
    } catch {
      // Another version of cosmos may tell what this one does not know.
      continue
    }
    const host = isWildcard(address.host) ? plain : address.host
    if (address.port > 0 && (!isLoopback(host) || isLoopback(plain)))
      dialled.add(formatAddress({ host, port: address.port }))
  }
  return [...dialled]
}

function interfaceAddresses(): string[] {
  const found: string[] = []
  // A link-local address means nothing without the interface's name, which differs on the other host.
  for (const addresses of Object.values(networkInterfaces()))
    for (const { address, internal } of addresses ?? [])
      if (!internal && !/^fe[89ab]/i.test(address)) found.push(address)
  return found
}
