import type { ExecutionLimits } from './grants.ts'

/** Of any program for a peer. */
const MAX_OPEN_FILES = 1024

/**
 * A line of shell that sets bounds and becomes the program of its arguments. The daemon cannot set them itself: they
 * would be its own for a moment, and those of processes have to be counted in the sandbox.
 */
export function shellFor({ memory, filesize }: ExecutionLimits, processes: number | undefined): string {
  const bounds = [`umask 022; ulimit -c 0; ulimit -n ${MAX_OPEN_FILES}`]
  // bash and dash have different names for it.
  if (processes !== undefined)
    bounds.push(`ulimit -u ${processes} 2>/dev/null || ulimit -p ${processes} || exit 125`)
  if (memory !== undefined) bounds.push(`ulimit -v ${Math.max(1, Math.floor(memory / 1024))} || exit 125`)
  if (filesize !== undefined) bounds.push(`ulimit -f ${Math.floor(filesize / 512)} || exit 125`)
  return `${bounds.join('; ')}; exec "$@"`
}

/** What both bounds allow: the least of each, and a network only where neither denies it. */
export function leastOf(a: ExecutionLimits, b: ExecutionLimits): ExecutionLimits {
  const limits: { -readonly [K in keyof ExecutionLimits]: ExecutionLimits[K] } = {
    network: (a.network ?? false) && b.network !== false,
  }
  for (const name of ['memory', 'processes', 'time', 'filesize'] as const) {
    const least = Math.min(a[name] ?? Infinity, b[name] ?? Infinity)
    if (Number.isFinite(least)) limits[name] = Math.max(1, Math.floor(least))
  }
  return limits
}
