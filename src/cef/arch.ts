import { existsSync } from 'node:fs'
import { endianness } from 'node:os'

/** What an ELF file says of the machine it is for. */
export interface ElfMachine {
  readonly bits: 32 | 64
  readonly littleEndian: boolean
  /** e_machine of elf.h. */
  readonly machine: number
}

/** Names by e_machine (elf.h); where they differ by size or byte order the function below has them. */
const NAMES: Readonly<Record<number, string>> = {
  2: 'sparc',
  3: 'i386',
  4: 'm68k',
  15: 'hppa',
  20: 'ppc',
  42: 'sh4',
  43: 'sparc64',
  50: 'ia64',
  190: 'cuda',
  224: 'amdgpu',
  247: 'bpf',
  258: 'loongarch64',
  36902: 'alpha',
}

/** Debian's multiarch directories by architecture. */
const TRIPLES: Readonly<Record<string, readonly string[]>> = {
  x86_64: ['x86_64-linux-gnu'],
  x32: ['x86_64-linux-gnux32'],
  i386: ['i386-linux-gnu'],
  aarch64: ['aarch64-linux-gnu'],
  arm: ['arm-linux-gnueabihf', 'arm-linux-gnueabi'],
  riscv64: ['riscv64-linux-gnu'],
  ppc64le: ['powerpc64le-linux-gnu'],
  s390x: ['s390x-linux-gnu'],
  loongarch64: ['loongarch64-linux-gnu'],
}

const OF_NODE: Readonly<Record<string, string>> = {
  x64: 'x86_64',
  ia32: 'i386',
  arm64: 'aarch64',
  loong64: 'loongarch64',
  ppc64: endianness() === 'LE' ? 'ppc64le' : 'ppc64',
}

/** The name of an architecture as uname(1) has it; it tells machine, size and byte order apart. */
export function archOf({ bits, littleEndian, machine }: ElfMachine): string {
  switch (machine) {
    case 8:
      return `mips${bits === 64 ? '64' : ''}${littleEndian ? 'el' : ''}`
    case 21:
      return littleEndian ? 'ppc64le' : 'ppc64'
    case 22:
      return bits === 64 ? 's390x' : 's390'
    case 40:
      return littleEndian ? 'arm' : 'armeb'
    case 62:
      return bits === 64 ? 'x86_64' : 'x32'
    case 183:
      return littleEndian ? 'aarch64' : 'aarch64_be'
    case 243:
      return `riscv${bits}`
    default:
      return NAMES[machine] ?? `machine ${machine}`
  }
}

/** This machine's architecture: that of this process. */
export const HOST_ARCH = OF_NODE[process.arch] ?? process.arch

/**
 * Architectures whose programs this kernel runs, its own first. A 32-bit one is there where the kernel has the
 * setting that comes with it (arch/x86/entry/vdso, arch/arm64/kernel/armv8_deprecated.c).
 */
export function kernelArchs(): string[] {
  if (HOST_ARCH === 'x86_64' && existsSync('/proc/sys/abi/vsyscall32')) return ['x86_64', 'i386']
  if (HOST_ARCH === 'aarch64' && existsSync('/proc/sys/abi/cp15_barrier')) return ['aarch64', 'arm']
  return [HOST_ARCH]
}

/** Debian's names of an architecture's library directories. */
export function multiarchOf(arch: string): readonly string[] {
  return (Object.hasOwn(TRIPLES, arch) && TRIPLES[arch]) || []
}
