import { readable, toBytesText } from '../frame/paths.ts'
import { placeOf, readSmallFile } from './host-file.ts'
import { type Limits, Table } from './table.ts'

/** What an executable's owner says that it needs (paths and names of files: one character a byte). */
export interface Declared {
  readonly vm?: string
  readonly arch?: string
  readonly interpreter?: string
  readonly libraries?: readonly string[]
  readonly files?: readonly string[]
  readonly devices?: readonly string[]
  readonly environment?: readonly string[]
  readonly limits?: Limits
}

/** What follows the name of the payload in the name of the file beside it. */
const SUFFIX = '.cef.toml'
const MAX_SIZE = 64 * 1024

/**
 * Parses declarations (TOML); relative paths are under `directory`, `file` is for messages. Throws CosmosError
 * EINVAL that names file, key and reason; a key that is unknown is an error.
 */
export function parseDeclared(text: string, directory: string, file: string): Declared {
  const table = Table.parse(text, file)
  const paths = (key: string): string[] | undefined =>
    table.texts(key)?.map((path) => {
      const bytes = toBytesText(path)
      return path.startsWith('/') ? bytes : `${directory}/${bytes}`
    })
  const vm = table.text('vm')
  const arch = table.text('arch')
  const interpreter = table.text('interpreter')
  const libraries = table.texts('libraries')?.map(toBytesText)
  const files = paths('files')
  const devices = paths('devices')
  const environment = table.texts('environment')
  const wrong = environment?.find((name) => name.includes('='))
  if (wrong !== undefined) throw table.invalid('environment', `has "${wrong}", which is no variable's name`)
  const limits = table.limits()
  table.end()
  return {
    ...(vm !== undefined && { vm }),
    ...(arch !== undefined && { arch }),
    ...(interpreter !== undefined && { interpreter: toBytesText(interpreter) }),
    ...(libraries && { libraries }),
    ...(files && { files }),
    ...(devices && { devices }),
    ...(environment && { environment }),
    ...(limits && { limits }),
  }
}

/**
 * What `NAME.cef.toml` beside a payload declares; undefined where there is no such file. Throws CosmosError:
 * EINVAL as `parseDeclared`, EFBIG over 64 KiB, errnos of the file.
 */
export function readDeclared(path: string): Declared | undefined {
  const file = path + SUFFIX
  const place = placeOf(file)
  // A name that is too long for the suffix has no such file.
  if (place === 'ENOENT' || place === 'ENAMETOOLONG') return undefined
  const text = Buffer.from(readSmallFile(file, MAX_SIZE), 'latin1').toString('utf8')
  return parseDeclared(text, path.slice(0, path.lastIndexOf('/')), readable(file))
}
