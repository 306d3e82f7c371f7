import { constants } from 'node:fs'
import { open, rename, rm, writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { FunctionSession, type Obituary } from '../api/functions.ts'
import type { CallResult } from '../cef/ctypes.ts'
import { CosmosError } from '../errors.ts'
import type { VmPool } from './pool.ts'

/**
 * A library function as a transformer: `int f(const uint8_t *in, size_t n, uint8_t *out, size_t *out_n)`. `*out_n` is
 * the room at `out` when it is called and how many bytes it has made when it returns 0. What is more than the room is
 * asked for once more with as much room as it says.
 */

/** Largest input, and largest output: one message holds both. */
const MAX_BYTES = 7 * 1024 * 1024
/** Room at first: so much, or so many times the input. */
const ROOM = 64 * 1024
const GROWTH = 4

/** A call that makes a file of a file; host paths. */
export interface LibraryCall {
  readonly library: string
  readonly symbol: string
  readonly input: string
  /** Device and inode that the input must have. */
  readonly identity: string | undefined
  readonly output: string
  /** Seconds. */
  readonly deadline: number
}

/**
 * Calls a function in a process of a VM and keeps what it makes. Throws CosmosError: EINVAL for a symbol that is no
 * name, EFBIG for too much, EIO where the function fails, ECONNABORTED where it crashes, ETIMEDOUT.
 */
export async function callLibrary(call: LibraryCall, pool: VmPool, signal: AbortSignal): Promise<number> {
  const { library, symbol, output, deadline } = call
  if (!/^[A-Za-z_]\w*$/.test(symbol)) throw new CosmosError('EINVAL', symbol, 'is no name of a function')
  const input = await readInput(call)
  const session = new FunctionSession({
    connect: async () => {
      const socket = createConnection(pool.socket)
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', (error) => reject(new CosmosError('EIO', library, error.message)))
      })
      return socket
    },
    obituary: async (pid) => obituaryOf(await pool.obituary(pid)),
    deadline,
  })
  const stop = (): void => session.close()
  signal.addEventListener('abort', stop)
  try {
    signal.throwIfAborted()
    const opened = await session.open(library)
    let room = Math.min(MAX_BYTES, Math.max(ROOM, GROWTH * input.length))
    for (;;) {
      const prototype = `int ${symbol}(const uint8_t in[n], size_t n, out uint8_t made[${room}], size_t *made_n)`
      const called = await opened.dlsym(prototype)
      const { size, bytes } = resultOf(await called.result(input, input.length, room), symbol)
      if (size > room && size <= MAX_BYTES) room = size
      else if (size > room) throw new CosmosError('EFBIG', symbol, `makes more than ${MAX_BYTES} bytes`)
      else {
        const part = `${output}.part`
        await writeFile(part, bytes.subarray(0, size))
        await rename(part, output)
        return size
      }
    }
  } finally {
    signal.removeEventListener('abort', stop)
    session.close()
    await rm(`${output}.part`, { force: true })
  }
}

/** What a function has made. Throws CosmosError EIO where it says that it failed. */
function resultOf({ value, out }: CallResult, symbol: string): { size: number; bytes: Uint8Array } {
  const [made, count] = out ?? []
  const size = Number(count)
  const bytes = made instanceof Uint8Array ? made : Uint8Array.from(made as number[])
  if (Number(value) !== 0 && size <= bytes.length)
    throw new CosmosError('EIO', symbol, `returned ${String(value)}`)
  return { size, bytes }
}

async function readInput({ input, identity }: LibraryCall): Promise<Buffer> {
  const flags = identity === undefined ? constants.O_RDONLY : constants.O_RDONLY | constants.O_NOFOLLOW
  const file = await open(input, flags)
  try {
    const { dev, ino, size } = await file.stat({ bigint: true })
    if (identity !== undefined && `${dev}:${ino}` !== identity)
      throw new CosmosError('ESTALE', input, 'was replaced meanwhile')
    if (size > BigInt(MAX_BYTES))
      throw new CosmosError(
        'EFBIG',
        input,
        `is more than ${MAX_BYTES} bytes, which no function is called with`,
      )
    return await file.readFile()
  } finally {
    await file.close()
  }
}

function obituaryOf(exit: { code: number } | { signal: string } | undefined): Obituary {
  return exit ?? {}
}
