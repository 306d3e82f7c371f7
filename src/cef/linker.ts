import { readdirSync, readFileSync } from 'node:fs'
import { pathBytes } from '../frame/paths.ts'
import { HOST_ARCH, multiarchOf } from './arch.ts'
import { identityOf, placeOf, readSmallFile } from './host-file.ts'

/** Directories of 32-bit libraries on a 64-bit system are `lib` and this. */
const SMALL_SUFFIXES = new Map([
  ['i386', '32'],
  ['x32', 'x32'],
])

/** What the dynamic linker's cache (ldconfig(8)) knows: where the libraries of a name are, in its order. */
type LinkerCache = ReadonlyMap<string, readonly string[]>

const CACHE = '/etc/ld.so.cache'
const CONFIGURATION = '/etc/ld.so.conf'
const MAX_CACHE = 32 * 1024 * 1024
const MAX_CONFIGURATION = 256 * 1024
/** Files that one configuration may include. */
const MAX_INCLUDES = 256

/** glibc's dl-cache.h: the format of today, and the sections behind it. */
const MAGIC = Buffer.from('glibc-ld.so.cache1.1')
const HEADER_SIZE = 48
const ENTRY_SIZE = 24
const EXTENSION_MAGIC = 0xeaa42174
const EXTENSION_HWCAPS = 1
/** In the high half of an entry's hwcap: the low half is an index into the list of subdirectories. */
const HWCAP_EXTENSION = 0x40000000

let cache: { identity: string; libraries: LinkerCache } | undefined

/**
 * The linker's cache as it is now, for a processor of these levels (`x86-64-v3`); undefined where there is none,
 * or none that can be read. It is read again when it changed.
 */
export function linkerCache(levels: readonly string[]): LinkerCache | undefined {
  const place = placeOf(CACHE)
  if (typeof place === 'string') return undefined
  const identity = identityOf(place.stats)
  if (cache?.identity === identity) return cache.libraries
  try {
    const libraries = parseLinkerCache(Buffer.from(readSmallFile(CACHE, MAX_CACHE), 'latin1'), levels)
    cache = libraries && { identity, libraries }
  } catch {
    // A cache that may not be read, or is cut off, is none: so it is for the dynamic linker.
    cache = undefined
  }
  return cache?.libraries
}

/** Parses ld.so.cache: undefined for another format. Throws RangeError for one that is cut off. */
export function parseLinkerCache(bytes: Buffer, levels: readonly string[]): LinkerCache | undefined {
  // Older ones have the former format before it.
  const start = bytes.indexOf(MAGIC)
  if (start < 0) return undefined
  const table = bytes.subarray(start)
  const order = new Map(levels.map((level, i) => [level, i]))
  const subdirectories = hwcapSubdirectories(table)
  const count = Math.min(table.readUInt32LE(20), Math.floor((table.length - HEADER_SIZE) / ENTRY_SIZE))
  const found = new Map<string, { path: string; rank: number }[]>()
  for (let i = 0; i < count; i++) {
    const at = HEADER_SIZE + i * ENTRY_SIZE
    const [low, high] = [table.readUInt32LE(at + 16), table.readUInt32LE(at + 20)]
    // Better levels come first; what has none comes last; levels this processor lacks, and former ones, are left out.
    let rank: number | undefined = levels.length
    if (high === HWCAP_EXTENSION) rank = order.get(subdirectories[low] ?? '')
    else if (low !== 0 || high !== 0) rank = undefined
    if (rank === undefined) continue
    const name = textAt(table, table.readUInt32LE(at + 4))
    const entry = { path: textAt(table, table.readUInt32LE(at + 8)), rank }
    const entries = found.get(name)
    if (entries) entries.push(entry)
    else found.set(name, [entry])
  }
  return new Map(
    [...found].map(([name, entries]) => [
      name,
      entries.sort((a, b) => a.rank - b.rank).map(({ path }) => path),
    ]),
  )
}

function hwcapSubdirectories(table: Buffer): string[] {
  const at = table.readUInt32LE(32)
  if (at === 0 || at + 8 > table.length || table.readUInt32LE(at) !== EXTENSION_MAGIC) return []
  const sections = Math.min(table.readUInt32LE(at + 4), 16)
  for (let i = 0; i < sections; i++) {
    const section = at + 8 + i * 16
    if (table.readUInt32LE(section) !== EXTENSION_HWCAPS) continue
    const offset = table.readUInt32LE(section + 8)
    const count = Math.min(table.readUInt32LE(section + 12) / 4, 256)
    return Array.from({ length: Math.floor(count) }, (_, k) =>
      textAt(table, table.readUInt32LE(offset + k * 4)),
    )
  }
  return []
}

function textAt(table: Buffer, at: number): string {
  const end = table.indexOf(0, at)
  return table.toString('latin1', at, end < 0 ? at : end)
}

/**
 * The directories of a configuration of ldconfig, its includes in their places. What can't be read has none: that
 * is how ldconfig takes it.
 */
export function configuredDirectories(file = CONFIGURATION): string[] {
  const directories = new Set<string>()
  const seen = new Set<string>()
  const read = (path: string): void => {
    if (seen.has(path) || seen.size === MAX_INCLUDES) return
    seen.add(path)
    for (const line of linesOf(path)) {
      const include = /^include\s+(.*)$/.exec(line)
      if (include) for (const pattern of include[1]!.split(/\s+/)) matching(path, pattern).forEach(read)
      else if (line.startsWith('/')) directories.add(line.replace(/\/+$/, ''))
    }
  }
  read(file)
  return [...directories]
}

function linesOf(path: string): string[] {
  try {
    const text = readSmallFile(path, MAX_CONFIGURATION)
    return text.split('\n').flatMap((line) => line.split('#', 1)[0]!.trim() || [])
  } catch {
    return []
  }
}

/** Files of a pattern with `*` and `?` in the last part, as in `ld.so.conf.d/*.conf`. */
function matching(from: string, pattern: string): string[] {
  const path = pattern.startsWith('/') ? pattern : `${from.slice(0, from.lastIndexOf('/'))}/${pattern}`
  const directory = path.slice(0, path.lastIndexOf('/')) || '/'
  const name = path.slice(path.lastIndexOf('/') + 1)
  if (!/[*?]/.test(name)) return [path]
  const source = name
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '[^]*')
    .replaceAll('?', '[^]')
  const expression = new RegExp(`^${source}$`)
  return namesIn(directory)
    .filter((entry) => expression.test(entry) && !entry.startsWith('.'))
    .sort()
    .map((entry) => `${directory}/${entry}`)
}

/** Names in a host directory, one character a byte; none where it can't be read or is in a cosmos mount. */
export function namesIn(directory: string): string[] {
  const place = placeOf(directory)
  if (typeof place === 'string') return []
  try {
    return readdirSync(pathBytes(place.path), { encoding: 'latin1' })
  } catch {
    return []
  }
}

/** Directories that the dynamic linker looks in at last, multiarch ones first, as Debian's does. */
export function defaultDirectories(arch: string): string[] {
  const multiarch = multiarchOf(arch).flatMap((triple) => [`/lib/${triple}`, `/usr/lib/${triple}`])
  const suffix = isWide(arch) ? '64' : (SMALL_SUFFIXES.get(arch) ?? '')
  return [...new Set([...multiarch, `/lib${suffix}`, `/usr/lib${suffix}`, '/lib', '/usr/lib'])]
}

/** Whether an architecture's libraries are in `lib64` where directories are told apart by size. */
export function isWide(arch: string): boolean {
  return arch.includes('64') || arch === 's390x'
}

/** musl's linker has no cache: directories of a file of its own, or three. */
export function muslDirectories(arch: string): string[] {
  const listed = linesOf(`/etc/ld-musl-${arch}.path`).flatMap((line) => line.split(':').filter(Boolean))
  return listed.length > 0 ? listed : ['/lib', '/usr/local/lib', '/usr/lib']
}

/** Processor flags of Linux (/proc/cpuinfo) that make the x86-64 levels of the psABI, the highest level first. */
const LEVELS: readonly (readonly [string, readonly string[]])[] = [
  ['x86-64-v4', ['avx512f', 'avx512bw', 'avx512cd', 'avx512dq', 'avx512vl']],
  ['x86-64-v3', ['avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'abm', 'movbe', 'xsave']],
  ['x86-64-v2', ['cx16', 'lahf_lm', 'popcnt', 'pni', 'sse4_1', 'sse4_2', 'ssse3']],
]

let levelsOfHost: readonly string[] | undefined

/** Subdirectories of glibc-hwcaps that this processor may use, best first; only x86-64 has them here. */
export function processorLevels(): readonly string[] {
  levelsOfHost ??= HOST_ARCH === 'x86_64' ? levelsOf(processorFlags()) : []
  return levelsOfHost
}

/** The levels of a processor of these flags: each level includes the lower ones. */
export function levelsOf(flags: ReadonlySet<string>): string[] {
  const levels: string[] = []
  for (const [level, needed] of LEVELS.toReversed()) {
    if (!needed.every((flag) => flags.has(flag))) break
    levels.unshift(level)
  }
  return levels
}

function processorFlags(): Set<string> {
  try {
    const line = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))
    return new Set(line?.[1]?.trim().split(' '))
  } catch {
    // Without /proc the libraries for every processor are found.
    return new Set()
  }
}
