import { isIP } from 'node:net'
import { plainIp } from './listen-address.ts'

/** How many connections may be open that are no link yet. */
export interface HalfOpenLimits {
  readonly total: number
  /** From one IPv4 address, or one /64 of IPv6, which is one customer. */
  readonly perNetwork: number
}

/**
 * Counts connections that have not proven who they are. Whoever opens many and says nothing fills its own share and
 * costs no memory beyond; established links are not counted.
 */
export class HalfOpen {
  readonly #limits: HalfOpenLimits
  readonly #networks = new Map<string, number>()
  #total = 0

  constructor(limits: HalfOpenLimits) {
    this.#limits = limits
  }

  /** Takes a place; the answer gives it back (once, however often it is called). Undefined where there is none. */
  enter(ip: string): (() => void) | undefined {
    const network = networkOf(ip)
    const here = this.#networks.get(network) ?? 0
    if (this.#total >= this.#limits.total || here >= this.#limits.perNetwork) return undefined
    this.#total++
    this.#networks.set(network, here + 1)
    let inside = true
    return () => {
      if (!inside) return
      inside = false
      this.#total--
      const left = (this.#networks.get(network) ?? 1) - 1
      if (left > 0) this.#networks.set(network, left)
      else this.#networks.delete(network)
    }
  }
}

/** The network whose connections are counted together: an IPv4 address, or the first 64 bits of an IPv6 one. */
export function networkOf(ip: string): string {
  const plain = plainIp(ip)
  if (isIP(plain) !== 6) return plain
  const [head = '', tail = ''] = plain.split('::')
  const first = head === '' ? [] : head.split(':')
  const last = tail === '' ? [] : tail.split(':')
  const groups = plain.includes('::')
    ? [...first, ...Array<string>(Math.max(0, 8 - first.length - last.length)).fill('0'), ...last]
    : first
  return groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')
}
