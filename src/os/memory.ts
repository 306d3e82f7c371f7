import koffi from 'koffi'

/**
 * Memory that native code and JavaScript both see: a Buffer whose address is
 * known, so that a system call is handed `address + offset` as a number and
 * nothing is allocated for it.
 */
export interface NativeMemory {
  readonly bytes: Buffer
  readonly view: DataView
  /** Address of the first byte; user space addresses fit a double exactly. */
  readonly address: number
}

/** Allocates zeroed native memory of `size` bytes. It never moves: the store of an ArrayBuffer is off the heap. */
export function allocateNative(size: number): NativeMemory {
  const bytes = Buffer.from(new ArrayBuffer(size))
  return { bytes, view: new DataView(bytes.buffer), address: addressOf(bytes) }
}

/** The address of a buffer's first byte. The buffer must be kept alive while it is used. */
export function addressOf(bytes: Uint8Array): number {
  return Number(koffi.address(bytes))
}

/** A NUL-terminated copy of a string or of bytes, for a call that takes a path. */
export function cString(text: string | Uint8Array): NativeMemory {
  const source = typeof text === 'string' ? Buffer.from(text) : text
  const memory = allocateNative(source.length + 1)
  memory.bytes.set(source)
  return memory
}

/** An ArrayBuffer over mapped memory, without a copy. */
export function viewOf(address: number, size: number): ArrayBuffer {
  return koffi.view(BigInt(address), size)
}

const memcpy = koffi.load(null).func('uintptr_t memcpy(uintptr_t, uintptr_t, size_t)')

/** Copies `length` bytes of a buffer to a native address. */
export function copyToAddress(bytes: Uint8Array, offset: number, address: number, length: number): void {
  if (length > 0) memcpy(address, addressOf(bytes) + offset, length)
}

/** A copy of `length` bytes at a native address. */
export function copyFromAddress(address: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length)
  if (length > 0) memcpy(addressOf(bytes), address, length)
  return bytes
}
