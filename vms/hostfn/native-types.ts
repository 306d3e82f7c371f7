import koffi, { type TypeObject } from 'koffi'
import type { CType } from '../../src/cef/ctypes.ts'

/** Types as koffi has them. What is pointed to is an address for it: it passes registers only. */

const integers = {
  1: [koffi.types.uint8_t, koffi.types.int8_t],
  2: [koffi.types.uint16_t, koffi.types.int16_t],
  4: [koffi.types.uint32_t, koffi.types.int32_t],
  8: [koffi.types.uint64_t, koffi.types.int64_t],
} as const
const structs = new WeakMap<CType, TypeObject>()

/** koffi's type for what is passed as it is. */
export function nativeType(type: CType): TypeObject {
  switch (type.kind) {
    case 'void':
      return koffi.types.void
    case 'bool':
      return koffi.types.bool
    case 'integer':
      return integers[type.size][type.signed ? 1 : 0]
    case 'float':
      return type.size === 8 ? koffi.types.double : koffi.types.float
    case 'string':
    case 'address':
      return koffi.types.uintptr_t
    case 'array':
      return koffi.array(nativeType(type.of), type.length, 'Array')
    case 'struct': {
      const known = structs.get(type)
      if (known) return known
      const made = koffi.struct(
        Object.fromEntries(type.fields.map((field) => [field.name, nativeType(field.type)])),
      )
      structs.set(type, made)
      return made
    }
  }
}
