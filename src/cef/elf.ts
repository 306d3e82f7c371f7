import { archOf, type ElfMachine } from './arch.ts'
import { DT_STRTAB, ET_DYN, ET_EXEC, Image, MAX_ENTRIES } from './elf-image.ts'
import { HostFile } from './host-file.ts'

/** Versions of symbols that a file wants of one library (SHT_GNU_verneed). */
export interface VersionNeed {
  readonly library: string
  /** Those that must be there; weak ones are left out, as the dynamic linker does not insist on them. */
  readonly versions: readonly string[]
}

/** What cosmos wants to know of an ELF file (elf(5)). Names and paths have one character a byte. */
export interface Elf extends ElfMachine {
  /** As uname(1) has it: `x86_64`. Two files with the same can be linked. */
  readonly arch: string
  /** Whether the kernel can run it: an executable, or a shared object that is a program (PIE, static or not). */
  readonly isProgram: boolean
  /** A shared object: what other files can be linked with, if it is no program. */
  readonly isShared: boolean
  /** PT_INTERP: the dynamic linker that it names. */
  readonly interpreter?: string
  readonly needed: readonly string[]
  readonly rpath?: string
  readonly runpath?: string
  readonly soname?: string
  /** DF_1_NODEFLIB: the linker's cache and default directories are not for it. */
  readonly noDefaultLibraries: boolean
  readonly versionsNeeded: readonly VersionNeed[]
  /** Symbol versions it defines; undefined where it has no versions at all. */
  readonly versionsDefined?: readonly string[]
  /** The system it was built for, and the oldest kernel (NT_GNU_ABI_TAG). */
  readonly abi?: { readonly system: string; readonly atLeast: string }
}

const PT_INTERP = 3
const PT_NOTE = 4

const DT_HASH = 4
const DT_SYMTAB = 6
const DT_STRSZ = 10
const DT_SONAME = 14
const DT_RPATH = 15
const DT_RUNPATH = 29
const DT_GNU_HASH = 0x6ffffef5
const DT_VERSYM = 0x6ffffff0
const DT_FLAGS_1 = 0x6ffffffb
const DT_VERDEF = 0x6ffffffc
const DT_VERNEED = 0x6ffffffe
const DF_1_NODEFLIB = 0x800
const DF_1_PIE = 0x08000000
const VER_FLG_BASE = 1
const VER_FLG_WEAK = 2

/** Symbols, and buckets of their hash table. */
const MAX_SYMBOLS = 1 << 21
const MAX_NOTES = 64 * 1024

/** Systems of NT_GNU_ABI_TAG, and of EI_OSABI where that names one. */
const ABI_SYSTEMS = ['linux', 'hurd', 'solaris', 'freebsd', 'netbsd', 'syllable', 'nacl']
const OSABI_SYSTEMS: Readonly<Record<number, string>> = {
  2: 'netbsd',
  4: 'hurd',
  6: 'solaris',
  9: 'freebsd',
  12: 'openbsd',
}

/**
 * Reads what a host file says of itself as ELF, from its program headers, as the kernel and the dynamic linker do.
 * Throws CosmosError: ENOEXEC for what is no ELF, can't be loaded or is truncated; errnos of the file.
 */
export function readElf(path: string): Elf {
  return HostFile.use(path, parseElf)
}

/** `readElf` for an open file. */
export function parseElf(file: HostFile): Elf {
  return describe(new Image(file))
}

/**
 * Names of the functions that a library offers, sorted: global and weak ones that it defines, in their default
 * version. Throws as `readElf`.
 */
export function exportedFunctions(path: string): string[] {
  return HostFile.use(path, (file) => functionsOf(new Image(file)))
}

function describe(image: Image): Elf {
  const { machine, type, entry, dynamic } = image
  const interpreter = interpreterOf(image)
  const flags = dynamic.get(DT_FLAGS_1) ?? 0
  // One without the flag: linked before there was one, or a dynamic linker, which the kernel runs as well.
  const standsAlone = image.needed.length === 0 && entry !== 0
  const isPie = (flags & DF_1_PIE) !== 0 || interpreter !== undefined || standsAlone
  const [rpath, runpath] = [image.textOf(DT_RPATH), image.textOf(DT_RUNPATH)]
  const soname = image.textOf(DT_SONAME)
  const versionsDefined = readVersionsDefined(image)
  const abi = abiOf(image)
  return {
    ...machine,
    arch: archOf(machine),
    isProgram: type === ET_EXEC || isPie,
    isShared: type === ET_DYN && (flags & DF_1_PIE) === 0,
    needed: image.needed.map((index) => image.text(index)),
    noDefaultLibraries: (flags & DF_1_NODEFLIB) !== 0,
    versionsNeeded: readVersionsNeeded(image),
    ...(interpreter !== undefined && { interpreter }),
    ...(rpath !== undefined && { rpath }),
    ...(runpath !== undefined && { runpath }),
    ...(soname !== undefined && { soname }),
    ...(versionsDefined && { versionsDefined }),
    ...(abi && { abi }),
  }
}

function interpreterOf({ segments, file }: Image): string | undefined {
  const segment = segments.find(({ type }) => type === PT_INTERP)
  if (!segment) return undefined
  // What the kernel demands: PATH_MAX bytes at most, the last one zero.
  if (segment.size < 2 || segment.size > 4096)
    throw file.invalid(`has an interpreter's name of ${segment.size} bytes`)
  const bytes = file.at(segment.offset, segment.size)
  if (bytes.at(-1) !== 0) throw file.invalid("has an interpreter's name without an end")
  return bytes.toString('latin1', 0, bytes.indexOf(0))
}

/** SHT_GNU_verneed, reached as the dynamic linker reaches it: a chain of libraries, each with a chain of names. */
function readVersionsNeeded(image: Image): VersionNeed[] {
  const needs: VersionNeed[] = []
  let at = image.dynamic.get(DT_VERNEED)
  for (let left = MAX_ENTRIES; at !== undefined; ) {
    const need = image.mapped(at, 16)
    const versions: string[] = []
    let auxAt: number | undefined = at + image.u32(need, 8)
    for (let names = image.u16(need, 2); names > 0 && auxAt !== undefined; names--) {
      if (--left < 0) throw image.file.invalid('has too many symbol versions')
      const aux = image.mapped(auxAt, 16)
      if ((image.u16(aux, 4) & VER_FLG_WEAK) === 0) versions.push(image.text(image.u32(aux, 8)))
      const next: number = image.u32(aux, 12)
      auxAt = next === 0 ? undefined : auxAt + next
    }
    if (--left < 0) throw image.file.invalid('has too many symbol versions')
    needs.push({ library: image.text(image.u32(need, 4)), versions })
    const next: number = image.u32(need, 12)
    at = next === 0 ? undefined : at + next
  }
  return needs
}

/** SHT_GNU_verdef; its base entry is the file's own name, no version. */
function readVersionsDefined(image: Image): string[] | undefined {
  let at = image.dynamic.get(DT_VERDEF)
  if (at === undefined) return undefined
  const versions: string[] = []
  for (let left = MAX_ENTRIES; at !== undefined; left--) {
    if (left === 0) throw image.file.invalid('has too many symbol versions')
    const definition = image.mapped(at, 20)
    if ((image.u16(definition, 2) & VER_FLG_BASE) === 0) {
      const aux = image.mapped(at + image.u32(definition, 12), 8)
      versions.push(image.text(image.u32(aux, 0)))
    }
    const next: number = image.u32(definition, 16)
    at = next === 0 ? undefined : at + next
  }
  return versions
}

/** NT_GNU_ABI_TAG: system and kernel version; else the system that the header names. */
function abiOf(image: Image): Elf['abi'] {
  for (const { type, offset, size } of image.segments) {
    if (type !== PT_NOTE || size > MAX_NOTES) continue
    const notes = image.file.at(offset, size)
    for (let at = 0; at + 12 <= notes.length; ) {
      const [nameSize, descriptionSize] = [image.u32(notes, at), image.u32(notes, at + 4)]
      const description = at + 12 + align4(nameSize)
      const isAbiTag =
        image.u32(notes, at + 8) === 1 &&
        notes.toString('latin1', at + 12, at + 12 + Math.min(nameSize, 8)) === 'GNU\0'
      if (isAbiTag && descriptionSize >= 16 && description + 16 <= notes.length) {
        const [system, ...version] = [0, 4, 8, 12].map((i) => image.u32(notes, description + i))
        return { system: ABI_SYSTEMS[system!] ?? `system ${system}`, atLeast: version.join('.') }
      }
      at = description + align4(descriptionSize)
    }
  }
  const system = OSABI_SYSTEMS[image.osAbi]
  return system === undefined ? undefined : { system, atLeast: '0.0.0' }
}

function align4(size: number): number {
  return Math.ceil(size / 4) * 4
}

const STB_GLOBAL = 1
const STB_WEAK = 2
const STT_FUNC = 2
const STT_GNU_IFUNC = 10
const STV_PROTECTED = 3
/** The bit of a version that is not the default one. */
const VERSYM_HIDDEN = 0x8000

function functionsOf(image: Image): string[] {
  const { dynamic, file, machine } = image
  const symbolsAt = dynamic.get(DT_SYMTAB)
  const textAt = dynamic.get(DT_STRTAB)
  const count = symbolsAt === undefined || textAt === undefined ? 0 : symbolCount(image)
  if (count === 0) return []
  const wide = machine.bits === 64
  const size = wide ? 24 : 16
  const symbols = image.mapped(symbolsAt!, count * size)
  const texts = image.mapped(textAt!, dynamic.get(DT_STRSZ) ?? 0)
  const versionsAt = dynamic.get(DT_VERSYM)
  const versions = versionsAt === undefined ? undefined : image.mapped(versionsAt, count * 2)
  const names = new Set<string>()
  for (let i = 1; i < count; i++) {
    const at = i * size
    const info = symbols[at + (wide ? 4 : 12)]!
    const visibility = symbols[at + (wide ? 5 : 13)]! & 3
    const [binding, type] = [info >> 4, info & 15]
    if (type !== STT_FUNC && type !== STT_GNU_IFUNC) continue
    if (binding !== STB_GLOBAL && binding !== STB_WEAK) continue
    if (visibility !== 0 && visibility !== STV_PROTECTED) continue
    if (image.u16(symbols, at + (wide ? 6 : 14)) === 0) continue
    const version = versions ? image.u16(versions, i * 2) : 1
    // Version 0 is local, 1 none at all; a hidden one is kept for programs that were linked with it (dlsym(3)).
    if (version === 0 || version > VERSYM_HIDDEN + 1) continue
    const start = image.u32(symbols, at)
    const end = texts.indexOf(0, start)
    if (start >= texts.length || end < 0) throw file.invalid('has a symbol without a name')
    if (end > start) names.add(texts.toString('latin1', start, end))
  }
  return [...names].sort()
}

/** The dynamic section has no number of symbols: its hash tables tell. */
function symbolCount(image: Image): number {
  const { dynamic, file } = image
  const hash = dynamic.get(DT_HASH)
  const gnuHash = dynamic.get(DT_GNU_HASH)
  let count = 0
  if (gnuHash !== undefined) count = gnuSymbolCount(image, gnuHash)
  else if (hash !== undefined) count = image.u32(image.mapped(hash, 8), 4)
  if (count > MAX_SYMBOLS) throw file.invalid(`has ${count} symbols`)
  return count
}

/** Buckets have the first symbol of each chain; the last symbol of a chain has its lowest bit set. */
function gnuSymbolCount(image: Image, address: number): number {
  const header = image.mapped(address, 16)
  const [buckets, first, bloom] = [0, 4, 8].map((i) => image.u32(header, i)) as [number, number, number]
  if (buckets > MAX_SYMBOLS || bloom > MAX_SYMBOLS) throw image.file.invalid('has an absurd hash table')
  const bucketsAt = address + 16 + bloom * (image.machine.bits / 8)
  const table = image.mapped(bucketsAt, buckets * 4)
  let last = 0
  for (let i = 0; i < buckets; i++) last = Math.max(last, image.u32(table, i * 4))
  if (last < first) return first
  const chains = bucketsAt + buckets * 4
  for (; last < MAX_SYMBOLS; last++)
    if ((image.u32(image.mapped(chains + (last - first) * 4, 4), 0) & 1) !== 0) break
  return last + 1
}
