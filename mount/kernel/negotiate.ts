import { STATE_DRIVER_OFFSET, STATE_DRIVER_SIZE } from '../../src/daemon/handover.ts'
import {
  INIT_ASYNC_DIO,
  INIT_ASYNC_READ,
  INIT_ATOMIC_O_TRUNC,
  INIT_AUTO_INVAL_DATA,
  INIT_BIG_WRITES,
  INIT_CACHE_SYMLINKS,
  INIT_DO_READDIRPLUS,
  INIT_DONT_MASK,
  INIT_EXT,
  INIT_HANDLE_KILLPRIV_V2,
  INIT_MAX_PAGES,
  INIT_NO_OPENDIR_SUPPORT,
  INIT_OUT_SIZE,
  INIT_PARALLEL_DIROPS,
  INIT_POSIX_ACL,
  INIT_SETXATTR_EXT,
  INIT2_DIRECT_IO_ALLOW_MMAP,
  INIT2_HAS_EXPIRE_ONLY,
  INIT2_HAS_RESEND,
  INIT2_PASSTHROUGH,
  MAJOR,
  MINOR,
  MINOR_LOWEST,
  NOTIFY_INC_EPOCH_MINOR,
} from './abi.ts'

/** Largest read and write request: 256 pages. */
export const MAX_WRITE = 1 << 20
const MAX_PAGES = 256

/**
 * Asynchronous requests (read-ahead, direct I/O, releases) that the kernel keeps under way, and how many of them
 * count as congestion. The kernel's own 12 leaves a parallel reader waiting.
 */
const MAX_BACKGROUND = 64
const CONGESTION_THRESHOLD = 48

/** The kernel rounds times to this many nanoseconds. */
const TIME_GRANULARITY = 1

/**
 * Wanted of what the kernel offers. Not wanted: locks (the kernel's own are right for one machine), the write-back
 * cache (what was acknowledged lies in the backing file), export support, security contexts.
 */
const WANTED =
  INIT_ASYNC_READ |
  INIT_ATOMIC_O_TRUNC |
  INIT_BIG_WRITES |
  INIT_DONT_MASK |
  INIT_AUTO_INVAL_DATA |
  INIT_DO_READDIRPLUS |
  INIT_ASYNC_DIO |
  INIT_PARALLEL_DIROPS |
  INIT_POSIX_ACL |
  INIT_MAX_PAGES |
  INIT_CACHE_SYMLINKS |
  INIT_NO_OPENDIR_SUPPORT |
  INIT_HANDLE_KILLPRIV_V2 |
  INIT_SETXATTR_EXT |
  INIT_EXT
const WANTED2 = INIT2_HAS_EXPIRE_ONLY | INIT2_DIRECT_IO_ALLOW_MMAP

/** What INIT settled for the life of the mount. */
export interface Negotiated {
  /** The protocol's minor version that both sides speak. */
  readonly minor: number
  /** The flags in force: low 32 bits and high 32 bits, unsigned. */
  readonly flags: number
  readonly flags2: number
  /** Bytes of the largest write. */
  readonly maxWrite: number
  /** Pending requests can be asked for again by the next daemon. */
  readonly resend: boolean
  /** Files can be handed to the kernel. */
  readonly passthrough: boolean
  /** A name can be expired without tearing its node out of the cache. */
  readonly expireOnly: boolean
  /** All names can be expired at once. */
  readonly epoch: boolean
  /** setxattr requests have the longer structure. */
  readonly longSetxattr: boolean
}

/** What the driver's user allows; `COSMOS_RESEND=off` and `COSMOS_PASSTHROUGH=off` forbid. */
export interface Allowed {
  resend: boolean
  passthrough: boolean
}

/** What this process may ask for: the kernel gives passthrough to root only. */
export function allowedByProcess(): Allowed {
  return {
    resend: process.env.COSMOS_RESEND !== 'off',
    passthrough: process.env.COSMOS_PASSTHROUGH !== 'off' && process.geteuid?.() === 0,
  }
}

/** Outcome of an INIT message: `negotiated` is undefined where the kernel must ask again or has been refused. */
export interface InitAnswer {
  negotiated: Negotiated | undefined
  /** Bytes of the reply after its header; -1 for an error (EPROTO). */
  size: number
  /** Why it was refused. */
  refusal: string | undefined
}

/**
 * Answers INIT: reads struct fuse_init_in from the words `from` of `input` (`inputSize` bytes, at least 16),
 * writes struct fuse_init_out to the words `to` of `output`.
 */
export function negotiate(
  input: Uint32Array,
  from: number,
  inputSize: number,
  output: Uint32Array,
  to: number,
  allowed: Allowed,
): InitAnswer {
  const major = input[from]!
  const kernelMinor = input[from + 1]!
  output.fill(0, to, to + INIT_OUT_SIZE / 4)
  output[to] = MAJOR
  output[to + 1] = MINOR
  // The kernel then asks again with our major version.
  if (major > MAJOR) return { negotiated: undefined, size: INIT_OUT_SIZE, refusal: undefined }
  if (major < MAJOR || kernelMinor < MINOR_LOWEST) {
    const refusal = `the kernel speaks FUSE ${major}.${kernelMinor}, at least ${MAJOR}.${MINOR_LOWEST} is needed (Linux 5.4)`
    return { negotiated: undefined, size: -1, refusal }
  }
  const offered = input[from + 3]!
  const offered2 = offered & INIT_EXT && inputSize >= 20 ? input[from + 4]! : 0
  const flags = (offered & WANTED) >>> 0
  let wanted2 = WANTED2
  if (allowed.resend) wanted2 |= INIT2_HAS_RESEND
  if (allowed.passthrough) wanted2 |= INIT2_PASSTHROUGH
  const flags2 = (offered2 & wanted2) >>> 0
  const maxWrite = flags & INIT_MAX_PAGES ? MAX_WRITE : 32 * 4096
  const minor = Math.min(kernelMinor, MINOR)

  output[to + 1] = minor
  output[to + 2] = input[from + 2]!
  output[to + 3] = flags
  output[to + 4] = MAX_BACKGROUND | (CONGESTION_THRESHOLD << 16)
  output[to + 5] = maxWrite
  output[to + 6] = TIME_GRANULARITY
  output[to + 7] = flags & INIT_MAX_PAGES ? MAX_PAGES : 0
  output[to + 8] = flags2
  // Passthrough to a file system that is itself stacked (overlayfs) is refused by the kernel at this depth.
  output[to + 9] = flags2 & INIT2_PASSTHROUGH ? 1 : 0
  return { negotiated: describe(minor, flags, flags2, maxWrite), size: INIT_OUT_SIZE, refusal: undefined }
}

function describe(minor: number, flags: number, flags2: number, maxWrite: number): Negotiated {
  return {
    minor,
    flags,
    flags2,
    maxWrite,
    resend: (flags2 & INIT2_HAS_RESEND) !== 0,
    passthrough: (flags2 & INIT2_PASSTHROUGH) !== 0,
    expireOnly: (flags2 & INIT2_HAS_EXPIRE_ONLY) !== 0,
    epoch: minor >= NOTIFY_INC_EPOCH_MINOR,
    longSetxattr: (flags & INIT_SETXATTR_EXT) !== 0,
  }
}

/** First word of the driver's part of the state memory once INIT is settled; changes with what follows. */
const SETTLED = 0xf05e0001

/** The driver's part of the state memory: settled mark, minor, flags, flags2, max write. */
export function driverPart(state: { readonly words: Uint32Array }): Uint32Array {
  return state.words.subarray(STATE_DRIVER_OFFSET / 4, (STATE_DRIVER_OFFSET + STATE_DRIVER_SIZE) / 4)
}

/** Keeps what was negotiated for the daemons after this one. */
export function storeNegotiated(part: Uint32Array, negotiated: Negotiated): void {
  part[1] = negotiated.minor
  part[2] = negotiated.flags
  part[3] = negotiated.flags2
  part[4] = negotiated.maxWrite
  part[0] = SETTLED
}

/** What an earlier daemon negotiated; undefined where INIT is still to come. */
export function loadNegotiated(part: Uint32Array): Negotiated | undefined {
  if (part[0] !== SETTLED) return undefined
  return describe(part[1]!, part[2]!, part[3]!, part[4]!)
}
