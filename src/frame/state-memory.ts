import { STATE_HEADER_SIZE } from '../daemon/handover.ts'
import { CosmosError } from '../errors.ts'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../os/constants.ts'
import { ftruncate, mmap } from '../os/libc.ts'
import { viewOf } from '../os/memory.ts'

/**
 * The state memory: a memory file that outlives the daemon (design §8), mapped as a whole and sparse.
 * header page · journal · handles · frames. Every access is by 32-bit word.
 */
export interface StateMemory {
  readonly words: Uint32Array
  readonly bytes: Buffer
  /** Native address of the first byte. */
  readonly address: number
  /** An earlier daemon has used it: frames and handles are those that the kernel still knows. */
  readonly inherited: boolean
}

/** Changes with the layout of what follows: a daemon never takes over a memory that it cannot read. */
const LAYOUT = 0xc0501001

export const JOURNAL_OFFSET = STATE_HEADER_SIZE
export const JOURNAL_SIZE = 64 * 64
export const HANDLES_OFFSET = JOURNAL_OFFSET + JOURNAL_SIZE
/** 16 bytes a handle. */
export const MAX_HANDLES = 1 << 20
export const FRAMES_OFFSET = HANDLES_OFFSET + MAX_HANDLES * 16
/** 128 bytes a frame. */
export const MAX_FRAMES = 1 << 24
const TOTAL_SIZE = FRAMES_OFFSET + MAX_FRAMES * 128

/**
 * Maps the memory file of descriptor `fd`, growing it to its (sparse) size first.
 * Throws CosmosError: EPROTO when another layout's daemon has used it, else the system call's.
 */
export function mapStateMemory(fd: number): StateMemory {
  const grown = ftruncate(fd, TOTAL_SIZE)
  if (grown < 0) throw CosmosError.fromErrno(grown, 'state memory')
  const address = mmap(0, TOTAL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
  if (address < 0) throw CosmosError.fromErrno(address, 'state memory')
  const buffer = viewOf(address, TOTAL_SIZE)
  const words = new Uint32Array(buffer)
  const layout = words[0] as number
  if (layout !== 0 && layout !== LAYOUT)
    throw new CosmosError('EPROTO', 'state memory', 'was made by another version', 'cosmos down; cosmos up')
  words[0] = LAYOUT
  return { words, bytes: Buffer.from(buffer), address, inherited: layout === LAYOUT }
}
