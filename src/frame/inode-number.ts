/**
 * Inode numbers of the mount (design §8): stable over remounts, unique over layers, one for all hard links.
 * A file of the host's root device keeps its own number. Every other one is a 62-bit hash of its space,
 * device and inode, with bit 62 set, which no root device uses: two of ten million files agree with a chance
 * of 1 in 10^5. Bit 63 is never set: many programs keep inode numbers in signed words.
 */

/** Results of `hashNumber`, unsigned halves. */
export const number = { low: 0, high: 0 }

/** Hashes (space, device, inode) into `number`; bit 62 is set. */
export function hashNumber(space: number, device: number, inoLow: number, inoHigh: number): void {
  number.low = lane(0x9747b28c, space, device, inoLow, inoHigh) >>> 0
  number.high = (lane(0x3c6ef372, inoHigh, inoLow, device, space) & 0x7fffffff) | 0x40000000
}

/** MurmurHash3 (32 bits, public domain) of four words. */
function lane(seed: number, a: number, b: number, c: number, d: number): number {
  let hash = mix(mix(mix(mix(seed, a), b), c), d) ^ 16
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}

function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51)
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593)
  const mixed = hash ^ k
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0
}

/** A 32-bit hash of a text, for a space's name. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return lane(hash >>> 0, text.length, 0, 0, 0) >>> 0
}

/** A 52-bit hash of a name: the place of an entry in a merged listing, the same in every daemon's life. */
export function hashName(bytes: Uint8Array, offset: number, length: number): number {
  let low = 0x811c9dc5
  let high = 0x2545f491
  for (let i = 0; i < length; i++) {
    const byte = bytes[offset + i]!
    low = Math.imul(low ^ byte, 0x01000193)
    high = Math.imul(high ^ byte, 0x85ebca6b) ^ (high >>> 15)
  }
  low = lane(low, length, 0, 0, 0) >>> 0
  return (lane(high, length, low, 0, 0) >>> 12) * 0x100000000 + low
}
