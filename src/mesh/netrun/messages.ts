import { CosmosError } from '../../errors.ts'
import { decodePayload, isMap, MAX_FRAME_SIZE, protocolError } from '../../form/msgpack.ts'
import { fromWire } from '../../form/wire.ts'

/** What a launcher and the daemon say to each other about a program that a peer runs: docs/netrun.md. */

export const NETRUN_VERSION = 1

/** What a connection is for. */
export type StreamName = 'control' | 'stdin' | 'stdout' | 'stderr'
const STREAMS: readonly string[] = ['control', 'stdin', 'stdout', 'stderr'] satisfies StreamName[]

/** Rows and columns of a terminal. */
export interface WindowSize {
  readonly rows: number
  readonly columns: number
}

/** The first frame of every connection. */
export interface Greeting {
  readonly token: string
  readonly stream: StreamName
  /** `NAME=value`, one character a byte; of `control` only. */
  readonly env: readonly string[]
  /** The caller has a terminal of this size, and the program is to have one; of `control` only. */
  readonly terminal: WindowSize | undefined
}

/** What a launcher says later, on `control`. */
export type LauncherMessage =
  | { readonly end: true }
  | { readonly signal: number; readonly group: boolean }
  | { readonly resize: WindowSize }

/** How a program has ended. */
export type NetrunExit =
  | { readonly code: number }
  | { readonly signal: number; readonly core?: boolean | undefined }

/** Reads a greeting. Throws CosmosError EPROTO. */
export function greetingOf(payload: Buffer): Greeting {
  const { version, token, stream, env = [], terminal } = decodePayload(payload)
  if (version !== NETRUN_VERSION)
    throw protocolError(`version ${NETRUN_VERSION} is spoken here, not ${String(version)}`)
  if (typeof token !== 'string') throw protocolError('a greeting without a token')
  if (typeof stream !== 'string' || !STREAMS.includes(stream)) throw protocolError('a stream without a name')
  if (!Array.isArray(env)) throw protocolError('an environment that is no list')
  return {
    token,
    stream: stream as StreamName,
    env: env.map((each: unknown) => {
      if (typeof each === 'string' || each instanceof Uint8Array) return fromWire(each)
      throw protocolError('an environment that is no list of texts')
    }),
    terminal: terminal == null ? undefined : sizeOf(terminal),
  }
}

/** Reads a message. Throws CosmosError EPROTO; undefined for one that is of a later version. */
export function messageOf(payload: Buffer): LauncherMessage | undefined {
  const { end, signal, group, resize } = decodePayload(payload)
  if (end === 'stdin') return { end: true }
  if (typeof signal === 'number') {
    if (!isSignal(signal)) throw protocolError(`a signal ${signal}`)
    return { signal, group: group === true }
  }
  return resize == null ? undefined : { resize: sizeOf(resize) }
}

/** Reads what a peer answers. Throws CosmosError EPROTO. */
export function exitOf(answer: unknown): NetrunExit {
  const { code, signal, core } = isMap(answer) ? answer : {}
  if (Number.isInteger(code) && (code as number) >= 0 && (code as number) <= 255)
    return { code: code as number }
  if (isSignal(signal)) return { signal, core: core === true }
  throw new CosmosError('EPROTO', 'peer', 'answered nothing that a program ends by')
}

/** Whether it is the number of a signal. */
export function isSignal(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 64
}

function sizeOf(value: unknown): WindowSize {
  const { rows, columns } = isMap(value) ? value : {}
  const isSide = (side: unknown): side is number =>
    Number.isInteger(side) && (side as number) >= 0 && (side as number) <= 0xffff
  if (!isSide(rows) || !isSide(columns)) throw protocolError('a size that no window has')
  return { rows, columns }
}

/** The first frame of a connection, and the bytes after it; undefined while it is not whole. Throws CosmosError EPROTO. */
export function firstFrame(bytes: Buffer): { payload: Buffer; rest: Buffer } | undefined {
  if (bytes.length < 4) return undefined
  const size = bytes.readUInt32BE()
  if (size === 0 || size > MAX_FRAME_SIZE) throw protocolError(`a frame of ${size} bytes`)
  if (bytes.length < size + 4) return undefined
  return { payload: bytes.subarray(4, size + 4), rest: bytes.subarray(size + 4) }
}
