import { CosmosError, describeError } from '../../src/errors.ts'
import { fetchNow } from './fetch.ts'
import type { GuestBuffers } from './guest-api.ts'

/** `api://input`, `api://output` and `http(s)://…` as files of a WASI program. See docs/guest-api.md. */

/** Results of WASI functions (wasi_snapshot_preview1, `errno`). */
export const SUCCESS = 0
export const EACCES = 2
export const EBADF = 8
export const EFAULT = 21
export const EINVAL = 28
const EIO = 29
const ENOENT = 44
const ENOSPC = 51
export const ENOTSUP = 58
const EROFS = 69
const ESPIPE = 70

/** Names of the directories that such paths begin with, as a C library resolves them. */
export const SCHEMES = ['api:', 'http:', 'https:']
/** Where this program's descriptors of such files begin; those of real files are small. */
export const FIRST_VIRTUAL = 0x4000_0000
const MOST_OPEN = 1024

const FILE_TYPE_UNKNOWN = 0
const FILE_TYPE_REGULAR = 4
/** fd_read, fd_seek, fd_tell, fd_advise, fd_filestat_get. */
const READ_RIGHTS = 0x2000a6n
/** fd_write, fd_filestat_get. */
const WRITE_RIGHTS = 0x200040n
const RIGHT_WRITE = 0x40n

/** An open file: content that is there, or a buffer's end. */
type VirtualFile = { readonly content: Buffer; position: number } | { readonly buffer: number }
type Memory = () => WebAssembly.Memory | undefined
/** A WASI function; 64-bit integers come as bigint. */
export type WasiFunction = (...args: never[]) => unknown

/** The files of one instance. */
export class VirtualFiles {
  readonly #buffers: GuestBuffers
  readonly #memory: Memory
  readonly #open = new Map<number, VirtualFile>()

  constructor(buffers: GuestBuffers, memory: Memory) {
    this.#buffers = buffers
    this.#memory = memory
  }

  /** path_open of a URL: the descriptor is stored at `result`. Answers a WASI errno. */
  open(url: string, rights: bigint, result: number): number {
    const view = this.#view()
    if (view === undefined || result + 4 > view.byteLength) return EFAULT
    if (this.#open.size >= MOST_OPEN) return ENOSPC
    const file = this.#find(url, (rights & RIGHT_WRITE) !== 0n)
    if (typeof file === 'number') return file
    let fd = FIRST_VIRTUAL
    while (this.#open.has(fd)) fd++
    this.#open.set(fd, file)
    // Reading the input may have taken long, but nothing of the guest ran: its memory is the same.
    view.setUint32(result, fd, true)
    return SUCCESS
  }

  #find(url: string, writing: boolean): VirtualFile | number {
    if (url === 'api://output') {
      const buffer = this.#buffers.output()
      return buffer < 0 ? ENOSPC : { buffer }
    }
    if (url.startsWith('api:') && url !== 'api://input') return ENOENT
    if (writing) return EROFS
    if (url === 'api://input') {
      const content = this.#buffers.contents(this.#buffers.input())
      return content === undefined ? EIO : { content, position: 0 }
    }
    try {
      return { content: Buffer.from(fetchNow(url)), position: 0 }
    } catch (error) {
      console.error(describeError(error))
      const code = error instanceof CosmosError ? error.code : ''
      return { ENOENT, EACCES, EINVAL }[code] ?? EIO
    }
  }

  /** The functions on descriptors that such files have; each answers a WASI errno. */
  readonly functions: Readonly<Record<string, WasiFunction>> = {
    fd_read: (fd: number, vectors: number, count: number, result: number) => {
      const file = this.#open.get(fd)
      if (file === undefined || 'buffer' in file) return EBADF
      return this.#transfer(vectors, count, result, (bytes) => {
        const size = file.content.copy(bytes, 0, file.position)
        file.position += size
        return size
      })
    },
    fd_pread: (fd: number, vectors: number, count: number, offset: bigint, result: number) => {
      const file = this.#open.get(fd)
      if (file === undefined || 'buffer' in file) return EBADF
      let position = Number(BigInt.asUintN(52, offset))
      return this.#transfer(vectors, count, result, (bytes) => {
        const size = position < file.content.length ? file.content.copy(bytes, 0, position) : 0
        position += size
        return size
      })
    },
    fd_write: (fd: number, vectors: number, count: number, result: number) => {
      const file = this.#open.get(fd)
      if (file === undefined || 'content' in file) return EBADF
      return this.#transfer(vectors, count, result, (bytes) =>
        this.#buffers.append(file.buffer, bytes) ? bytes.length : -1,
      )
    },
    fd_seek: (fd: number, offset: bigint, whence: number, result: number) => {
      const file = this.#open.get(fd)
      if (file === undefined) return EBADF
      if ('buffer' in file) return ESPIPE
      const from = [0, file.position, file.content.length][whence]
      const position = (from ?? -1) + Number(offset)
      if (from === undefined || position < 0) return EINVAL
      file.position = position
      return this.#store64(result, position)
    },
    fd_tell: (fd: number, result: number) => {
      const file = this.#open.get(fd)
      if (file === undefined) return EBADF
      return 'buffer' in file ? ESPIPE : this.#store64(result, file.position)
    },
    fd_fdstat_get: (fd: number, result: number) => {
      const file = this.#open.get(fd)
      const view = this.#view()
      if (file === undefined) return EBADF
      if (view === undefined || result + 24 > view.byteLength) return EFAULT
      const isOutput = 'buffer' in file
      view.setUint8(result, isOutput ? FILE_TYPE_UNKNOWN : FILE_TYPE_REGULAR)
      view.setUint16(result + 2, 0, true)
      view.setBigUint64(result + 8, isOutput ? WRITE_RIGHTS : READ_RIGHTS, true)
      view.setBigUint64(result + 16, 0n, true)
      return SUCCESS
    },
    fd_filestat_get: (fd: number, result: number) => {
      const file = this.#open.get(fd)
      const all = this.#memory()?.buffer
      if (file === undefined) return EBADF
      if (all === undefined || result + 64 > all.byteLength) return EFAULT
      const isOutput = 'buffer' in file
      new Uint8Array(all, result, 64).fill(0)
      const view = new DataView(all, result, 64)
      view.setUint8(16, isOutput ? FILE_TYPE_UNKNOWN : FILE_TYPE_REGULAR)
      view.setBigUint64(24, 1n, true)
      view.setBigUint64(32, BigInt(isOutput ? 0 : file.content.length), true)
      return SUCCESS
    },
    fd_close: (fd: number) => (this.#open.delete(fd) ? SUCCESS : EBADF),
    fd_sync: () => SUCCESS,
    fd_datasync: () => SUCCESS,
    fd_advise: () => SUCCESS,
    fd_fdstat_set_flags: () => SUCCESS,
  }

  #view(): DataView | undefined {
    const all = this.#memory()?.buffer
    return all && new DataView(all)
  }

  #store64(at: number, value: number): number {
    const view = this.#view()
    if (view === undefined || at + 8 > view.byteLength) return EFAULT
    view.setBigUint64(at, BigInt(value), true)
    return SUCCESS
  }

  /** Does something with each of the vectors until one is not done wholly; -1 stands for no room. */
  #transfer(vectors: number, count: number, result: number, each: (bytes: Uint8Array) => number): number {
    const view = this.#view()
    if (view === undefined || result + 4 > view.byteLength) return EFAULT
    if (vectors + 8 * count > view.byteLength) return EFAULT
    let total = 0
    for (let i = 0; i < count; i++) {
      const start = view.getUint32(vectors + 8 * i, true)
      const length = view.getUint32(vectors + 8 * i + 4, true)
      if (start + length > view.byteLength) return EFAULT
      const size = each(new Uint8Array(view.buffer, start, length))
      if (size < 0) return ENOSPC
      total += size
      if (size < length) break
    }
    view.setUint32(result, total, true)
    return SUCCESS
  }
}
