import { CosmosError } from '../../errors.ts'
import type { PeerLimits } from './conversation.ts'
import { Violation } from './errors.ts'
import { FRAGMENT, type SessionSettings } from './settings.ts'

/** Version of the protocol (docs/mesh-protocol.md). Another major one is another language. */
export const MAJOR = 1
export const MINOR = 0

/** What the two sides tell each other first on each link. */
export interface Hello {
  readonly version: readonly [major: number, minor: number]
  /** Name and version of the program, for people. */
  readonly software: string
  /** Random, of this life of the process: another one is one that was restarted. Hexadecimal, like the next two. */
  readonly epoch: string
  /** Random, of this hello. */
  readonly nonce: string
  /** The conversation that this side has with the peer, where it has one. */
  readonly resume: string | undefined
  /** Number of the last message of it that has come. */
  readonly received: number
  readonly limits: PeerLimits
}

/** The map of a hello frame. */
export function helloMap(hello: Hello): Record<string, unknown> {
  const { calls, streams, window, frame } = hello.limits
  return {
    version: hello.version,
    software: hello.software,
    epoch: Buffer.from(hello.epoch, 'hex'),
    nonce: Buffer.from(hello.nonce, 'hex'),
    resume: hello.resume === undefined ? null : Buffer.from(hello.resume, 'hex'),
    received: hello.received,
    calls,
    streams,
    window,
    frame,
  }
}

/**
 * The hello of a frame's map. Of another major version only the version is looked at: CosmosError EPROTONOSUPPORT.
 * Throws Violation for what is no hello.
 */
export function parseHello(value: unknown, peer: string): Hello {
  const map = (value ?? {}) as Record<string, unknown>
  const version = Array.isArray(map.version) ? map.version : []
  const [major, minor] = [whole(version[0]), whole(version[1])]
  const software = typeof map.software === 'string' ? map.software.slice(0, 100) : ''
  if (major !== MAJOR)
    throw new CosmosError(
      'EPROTONOSUPPORT',
      peer,
      `it speaks version ${major} of the mesh protocol${software && ` (${software})`}, and this is version ${MAJOR}`,
      'install the same version of cosmos on both hosts',
    )
  const resume = map.resume === null || map.resume === undefined ? undefined : hex(map.resume, 32)
  return {
    version: [major, minor],
    software,
    epoch: hex(map.epoch, 16),
    nonce: hex(map.nonce, 16),
    resume,
    received: whole(map.received),
    limits: {
      calls: whole(map.calls),
      streams: whole(map.streams),
      window: atLeast(whole(map.window), FRAGMENT),
      frame: atLeast(whole(map.frame), FRAGMENT),
    },
  }
}

/** The limits of it that the peer has to know. */
export function limitsOf({ calls, streams, window, frame }: SessionSettings): PeerLimits {
  return { calls, streams, window, frame }
}

function whole(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw new Violation('a hello with a wrong number')
  return value as number
}

function atLeast(value: number, least: number): number {
  if (value < least || value > 0x7fffffff) throw new Violation(`a hello with a limit of ${value}`)
  return value
}

function hex(value: unknown, size: number): string {
  if (!(value instanceof Uint8Array) || value.length !== size)
    throw new Violation('a hello with a wrong identifier')
  return Buffer.from(value).toString('hex')
}
