import { CosmosError } from '../errors.ts'
import { readable } from '../frame/paths.ts'
import type { CType, Prototype } from './ctypes.ts'
import { identityOf, placeOf, readSmallFile } from './host-file.ts'
import type { Idl } from './parser.ts'
import { parseIdl } from './prototype.ts'

/** Extension of the file beside a library that has the prototypes of its functions. */
export const IDL_SUFFIX = '.idl'
const MAX_SIZE = 1024 * 1024
/** Files that are remembered. */
const CAPACITY = 64

const known = new Map<string, { identity: string; idl: Idl }>()

/**
 * What the files `NAME.idl` of several directories say of a library, the nearest first; paths have one character a
 * byte. A file that is not there says nothing. Throws CosmosError EINVAL for one that is wrong.
 */
export function readIdl(library: string, directories: readonly string[]): Idl {
  const prototypes = new Map<string, Prototype>()
  const types = new Map<string, CType>()
  for (const directory of new Set(directories)) {
    const idl = readFile(`${directory}/${library}${IDL_SUFFIX}`)
    if (!idl) continue
    for (const [name, prototype] of idl.prototypes) if (!prototypes.has(name)) prototypes.set(name, prototype)
    for (const [name, type] of idl.types) if (!types.has(name)) types.set(name, type)
  }
  return { prototypes, types }
}

/** What says that there is no file: a name that is too long for the suffix has none. */
const ABSENT = ['ENOENT', 'ENOTDIR', 'EACCES', 'ENAMETOOLONG']

function readFile(path: string): Idl | undefined {
  const place = placeOf(path)
  if (typeof place === 'string') {
    if (ABSENT.includes(place)) return undefined
    throw new CosmosError(place, readable(path), 'can not be read')
  }
  const identity = identityOf(place.stats)
  const cached = known.get(path)
  if (cached?.identity === identity) return cached.idl
  const idl = parseIdl(Buffer.from(readSmallFile(path, MAX_SIZE), 'latin1').toString('utf8'), readable(path))
  known.delete(path)
  known.set(path, { identity, idl })
  if (known.size > CAPACITY) known.delete(known.keys().next().value as string)
  return idl
}
