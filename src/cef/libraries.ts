import { CosmosError } from '../errors.ts'
import { readable } from '../frame/paths.ts'
import { HOST_ARCH, multiarchOf } from './arch.ts'
import { type Elf, parseElf } from './elf.ts'
import { HostFile, identityOf, placeOf, whyOf } from './host-file.ts'
import {
  configuredDirectories,
  defaultDirectories,
  isWide,
  linkerCache,
  muslDirectories,
  namesIn,
  processorLevels,
} from './linker.ts'

/** One library of the closure of what an ELF file is linked with. */
export interface LibraryNeed {
  /** As it is asked for: `libc.so.6`. */
  readonly name: string
  /** Where it was found, one character a byte; links are not followed. */
  readonly path?: string
  /** Names of the libraries that it needs itself. */
  readonly needs: readonly string[]
  /** Symbol versions that the program, or any of its libraries, wants of it. */
  readonly versions: readonly string[]
  /** Those that the found file does not define. */
  readonly missingVersions: readonly string[]
  /** Why the file that is there can't be used. */
  readonly problem?: string
}

/** Libraries of one program, and places looked at for them: more is no program but an attack. */
const MAX_LIBRARIES = 1024
const MAX_LOOKS = 10_000
/** Files of which the parsed headers are kept. */
const MAX_KNOWN = 2048

/** A library that was read, or why it could not be. */
type Read = Elf | CosmosError

const known = new Map<string, Read>()

/** What of an ELF file its libraries depend on. */
type Linked = Pick<
  Elf,
  'arch' | 'interpreter' | 'needed' | 'rpath' | 'runpath' | 'versionsNeeded' | 'noDefaultLibraries'
>

/** An ELF file of the closure, and what the search for its libraries depends on. */
interface Node {
  readonly elf: Linked
  /** $ORIGIN: its directory. */
  readonly origin: string
  /** Who needed it first; undefined for the program. */
  readonly loader: Node | undefined
}

interface Found {
  readonly path: string
  readonly read: Read
}

/**
 * The libraries that an ELF file at a host path is linked with, and theirs, each once, in the order in which the
 * dynamic linker loads them (ld.so(8)): DT_RPATH of the file and of who needed it, DT_RUNPATH, the linker's cache,
 * the default directories; only files of the same architecture. LD_LIBRARY_PATH is the caller's business and not
 * looked at. `extra` are names that it opens itself. Throws CosmosError ENOEXEC where that would take too long.
 */
export function resolveLibraries(path: string, elf: Elf, extra: readonly string[] = []): LibraryNeed[] {
  return new Closure(path, elf).resolve(extra)
}

/** Libraries that something without an ELF header says it needs, and theirs, as `resolveLibraries` has them. */
export function resolveDeclared(path: string, names: readonly string[], arch = HOST_ARCH): LibraryNeed[] {
  const elf = { arch, needed: names, versionsNeeded: [], noDefaultLibraries: false }
  return new Closure(path, elf).resolve([])
}

/**
 * Where the dynamic linker finds a library of this name (`libm.so.6`); an absolute path is its own answer.
 * Undefined where there is none of this architecture.
 */
export function findLibrary(name: string, arch = HOST_ARCH): string | undefined {
  if (name.startsWith('/')) return isOfArch(name, arch) ? name : undefined
  if (name === '' || name.includes('/')) return undefined
  const fromCache = linkerCache(processorLevels())
    ?.get(name)
    ?.find((path) => isOfArch(path, arch))
  if (fromCache !== undefined) return fromCache
  return lastDirectories(arch, undefined)
    .flatMap((directory) => candidatesIn(directory, levelsIn(directory), name))
    .find((path) => isOfArch(path, arch))
}

/** Names of the libraries that `findLibrary` may find, sorted: the linker's cache, or its directories. */
export function knownLibraries(): string[] {
  const cached = linkerCache(processorLevels())
  const names = cached
    ? cached.keys()
    : lastDirectories(HOST_ARCH, undefined).flatMap((directory) =>
        namesIn(directory).filter((name) => /^lib.*\.so(\.|$)/.test(name)),
      )
  return [...new Set(names)].sort()
}

/** A library by the names it is asked for, and has (DT_SONAME). */
interface Loaded {
  readonly name: string
  readonly found: Found | undefined
  listed: boolean
}

class Closure {
  readonly #path: string
  readonly #program: Node
  readonly #loaded = new Map<string, Loaded>()
  readonly #order: Loaded[] = []
  readonly #nodes: Node[]
  /** What `levelsIn` told of directories. */
  readonly #levels = new Map<string, readonly string[]>()
  #looks = 0

  constructor(path: string, elf: Linked) {
    this.#path = path
    const place = placeOf(path)
    const origin = directoryOf(typeof place === 'string' ? path : place.path)
    this.#program = { elf, origin, loader: undefined }
    this.#nodes = [this.#program]
    const { interpreter } = elf
    // The linker is there before anything is searched, under its own name.
    const linker = interpreter === undefined ? undefined : this.#look(interpreter)
    if (linker && isElf(linker.read)) this.#know(baseName(linker.path), linker)
  }

  resolve(extra: readonly string[]): LibraryNeed[] {
    // Breadth first: the list grows while it is read.
    for (const node of this.#nodes) {
      const { needed } = node.elf
      for (const name of node === this.#program ? [...needed, ...extra] : needed) this.#load(name, node)
    }
    return this.#needs()
  }

  #load(name: string, node: Node): void {
    const loaded = this.#loaded.get(name) ?? this.#know(name, this.#search(expand(name, node), node))
    if (loaded.listed) return
    loaded.listed = true
    this.#order.push(loaded)
    if (this.#order.length > MAX_LIBRARIES) throw this.#tooMany()
    const { found } = loaded
    if (found && isElf(found.read))
      this.#nodes.push({ elf: found.read, origin: directoryOf(found.path), loader: node })
  }

  #know(name: string, found: Found | undefined): Loaded {
    // One file that is found by two names is loaded once.
    const same = found && [...this.#loaded.values()].find((one) => one.found?.read === found.read)
    const loaded = same ?? { name, found, listed: false }
    this.#loaded.set(name, loaded)
    const soname = found && isElf(found.read) ? found.read.soname : undefined
    if (soname !== undefined && !this.#loaded.has(soname)) this.#loaded.set(soname, loaded)
    return loaded
  }

  #search(name: string, node: Node): Found | undefined {
    if (name.includes('/')) return name.startsWith('/') ? this.#look(name) : undefined
    const { elf } = node
    const found = this.#lookAll(this.#candidates(ownDirectories(node), name))
    if (found || elf.noDefaultLibraries) return found
    const musl = muslArch(this.#program.elf.interpreter)
    const cached = musl === undefined ? linkerCache(processorLevels())?.get(name) : undefined
    return (
      this.#lookAll(cached ?? []) ?? this.#lookAll(this.#candidates(lastDirectories(elf.arch, musl), name))
    )
  }

  *#candidates(directories: Iterable<string>, name: string): Generator<string> {
    for (const directory of directories) {
      let levels = this.#levels.get(directory)
      if (!levels) {
        levels = levelsIn(directory)
        this.#levels.set(directory, levels)
      }
      yield* candidatesIn(directory, levels, name)
    }
  }

  #lookAll(paths: Iterable<string>): Found | undefined {
    for (const path of paths) {
      const found = this.#look(path)
      if (found) return found
    }
    return undefined
  }

  /** What is at a path; undefined for nothing, and for a file of another architecture: the search goes on. */
  #look(path: string): Found | undefined {
    if (++this.#looks > MAX_LOOKS) throw this.#tooMany()
    const read = readLibrary(path)
    if (read === undefined) return undefined
    return !isElf(read) || read.arch === this.#program.elf.arch ? { path, read } : undefined
  }

  #needs(): LibraryNeed[] {
    const wanted = new Map<Loaded, Set<string>>()
    for (const { elf } of this.#nodes)
      for (const { library, versions } of elf.versionsNeeded) {
        const loaded = this.#loaded.get(library)
        if (!loaded) continue
        const all = wanted.get(loaded) ?? new Set()
        for (const version of versions) all.add(version)
        wanted.set(loaded, all)
      }
    return this.#order.map((loaded) => needOf(loaded, [...(wanted.get(loaded) ?? [])].sort()))
  }

  #tooMany(): CosmosError {
    const why = 'its libraries are too many, or looked for in too many places'
    return new CosmosError('ENOEXEC', readable(this.#path), why)
  }
}

function needOf({ name, found }: Loaded, versions: readonly string[]): LibraryNeed {
  if (!found) return { name, needs: [], versions, missingVersions: [] }
  const { path, read } = found
  if (!isElf(read)) return { name, path, needs: [], versions, missingVersions: [], problem: whyOf(read) }
  // A library without any versions satisfies all: the linker warns at most.
  const defined = read.versionsDefined && new Set(read.versionsDefined)
  const missingVersions = defined ? versions.filter((version) => !defined.has(version)) : []
  return { name, path, needs: read.needed, versions, missingVersions }
}

function isElf(read: Read): read is Elf {
  return !(read instanceof CosmosError)
}

/**
 * What a file is as a library: undefined for nothing or what is no file; the error of one that can't be read.
 * Headers are kept, and read again when the file is another.
 */
function readLibrary(path: string): Read | undefined {
  const place = placeOf(path)
  if (typeof place === 'string' || !place.stats.isFile()) return undefined
  const identity = identityOf(place.stats)
  let read = known.get(identity)
  if (read === undefined) {
    try {
      read = HostFile.use(place.path, parseElf)
    } catch (error) {
      if (!(error instanceof CosmosError)) throw error
      // What the system denies today is not a property of the file.
      if (error.code !== 'ENOEXEC') return error
      read = error
    }
    // The oldest goes; a Map has its keys in the order of their coming.
    if (known.size === MAX_KNOWN) known.delete(known.keys().next().value!)
    known.set(identity, read)
  }
  return read
}

function isOfArch(path: string, arch: string): boolean {
  const read = readLibrary(path)
  return read !== undefined && isElf(read) && read.arch === arch
}

/** The subdirectories of a directory that this processor may use. */
function levelsIn(directory: string): readonly string[] {
  const levels = processorLevels()
  return levels.length > 0 && typeof placeOf(`${directory}/glibc-hwcaps`) !== 'string' ? levels : []
}

/** The paths of a library in a directory, those for this processor's levels first. */
function candidatesIn(directory: string, levels: readonly string[], name: string): string[] {
  return [...levels.map((level) => `${directory}/glibc-hwcaps/${level}/${name}`), `${directory}/${name}`]
}

/** Where the linker looks when nothing else tells: the configured directories too where it has no cache. */
function lastDirectories(arch: string, musl: string | undefined): string[] {
  if (musl !== undefined) return muslDirectories(musl)
  const configured = linkerCache(processorLevels()) ? [] : configuredDirectories()
  return [...new Set([...configured, ...defaultDirectories(arch)])]
}

/** Directories that a file names: DT_RUNPATH, or DT_RPATH of its own and of those who needed it. */
function* ownDirectories(node: Node): Generator<string> {
  if (node.elf.runpath !== undefined) return yield* directoriesOf(node, 'runpath')
  for (let one: Node | undefined = node; one; one = one.loader) yield* directoriesOf(one, 'rpath')
}

/** DT_RPATH, which DT_RUNPATH turns off, or DT_RUNPATH: absolute directories, the others depend on the caller. */
function directoriesOf(node: Node, kind: 'rpath' | 'runpath'): string[] {
  const { elf } = node
  const text = kind === 'rpath' && elf.runpath !== undefined ? undefined : elf[kind]
  if (!text) return []
  return text
    .split(':')
    .map((directory) => expand(directory, node))
    .filter((directory) => directory.startsWith('/'))
}

/** Dynamic string tokens of ld.so(8). */
function expand(text: string, { origin, elf: { arch } }: Node): string {
  return text.replace(/\$(?:(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_])|\{(ORIGIN|LIB|PLATFORM)\})/g, (_, a, b) => {
    const token = a ?? b
    if (token === 'ORIGIN') return origin
    return token === 'LIB' ? libraryDirectory(arch) : platformOf(arch)
  })
}

/** $LIB: Debian's multiarch directory where the machine has it, else `lib64` or `lib`. */
function libraryDirectory(arch: string): string {
  const multiarch = multiarchOf(arch).find((triple) => typeof placeOf(`/lib/${triple}`) !== 'string')
  if (multiarch !== undefined) return `lib/${multiarch}`
  return isWide(arch) && typeof placeOf('/lib64') !== 'string' ? 'lib64' : 'lib'
}

/** $PLATFORM: what the kernel tells programs in AT_PLATFORM. */
function platformOf(arch: string): string {
  if (arch === 'i386') return 'i686'
  return arch === 'arm' ? 'v7l' : arch
}

function muslArch(interpreter: string | undefined): string | undefined {
  return interpreter && /\/ld-musl-([^/]+)\.so\.1$/.exec(interpreter)?.[1]
}

function directoryOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/'
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
