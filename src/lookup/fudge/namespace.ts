import type { Alias } from '../aliases.ts'
import type { Connector } from './connectors.ts'

/**
 * What a segment is read against: a directory and its working cosm. All names have one character a byte; every answer
 * is given on the spot.
 */
export interface Namespace {
  /** Whether the directory has a child. Asked with `/` in a name only inside a URL. */
  exists(name: string): boolean
  /** The directory's names: asked only for a base match. */
  names(): Iterable<string>
  /** The form of a child that exists: `dir`, or what its name or its content says. */
  formOf(name: string): string | undefined
  isProperty(name: string): boolean
  /** Whether `name:` is a source in this directory; only the root of the tree has some. */
  isScheme(name: string): boolean
  isMapper(name: string): boolean
  isTransformer(name: string): boolean
  alias(name: string): Alias | undefined
  /** Whether a program of that name is on the frame's PATH, and may be run as `isNamed` says: an alias names it. */
  isExecutable(name: string, isNamed: boolean): boolean
  /** The mapper of a form or a file extension, for `.d` without a mapper's name. */
  mapperOf(form: string): string | undefined
  /** Whether a mapper is named as files are: `foo.json` beside `foo` is then not read as a mapped `foo`. */
  isExtension(name: string): boolean
  readonly connectors: readonly Connector[]
}
