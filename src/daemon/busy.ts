import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { isWithin } from '../../mount/mountinfo.ts'
import type { BusyProcess } from './results.ts'

/** Processes that are looked at before others get their turn. */
const BATCH = 16

/**
 * The processes that use a mount: what links and maps in /proc say, by their texts. Nothing of the mount itself is
 * touched. Another user's processes are seen by root only. To be asked before the mount is detached.
 */
export async function findBusy(mount: string): Promise<BusyProcess[]> {
  const busy: BusyProcess[] = []
  let looked = 0
  for (const name of namesIn('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    if (++looked % BATCH === 0) await setImmediate()
    const uses = usesOf(pid, mount)
    const first = uses[0]
    if (first === undefined) continue
    const what = uses.length > 1 ? `${first} and ${uses.length - 1} more` : first
    busy.push({ pid, name: nameOf(pid), what })
  }
  return busy
}

const LINKS = [
  ['cwd', 'working directory'],
  ['root', 'root directory'],
  ['exe', 'program'],
] as const

/** What a process has in the mount, each thing once. */
function usesOf(pid: number, mount: string): string[] {
  const uses = new Set<string>()
  for (const [link, what] of LINKS) {
    const path = linkOf(`/proc/${pid}/${link}`)
    if (path !== undefined && isWithin(path, mount)) uses.add(link === 'exe' ? `${what} ${path}` : what)
  }
  for (const fd of namesIn(`/proc/${pid}/fd`)) {
    const path = linkOf(`/proc/${pid}/fd/${fd}`)
    if (path !== undefined && isWithin(path, mount)) uses.add(`open file ${path}`)
  }
  for (const path of mapsOf(pid))
    if (isWithin(path, mount) && !uses.has(`program ${path}`)) uses.add(`mapped file ${path}`)
  return [...uses]
}

/** Files that a process has mapped (proc_pid_maps(5)): a newline in a name is `\012`, nothing else is escaped. */
function mapsOf(pid: number): string[] {
  const paths: string[] = []
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const at = line.indexOf('/')
      if (at > 0) paths.push(line.slice(at).replaceAll('\\012', '\n'))
    }
  } catch {
    // It has ended, or is somebody else's.
  }
  return paths
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd()
  } catch {
    return '?'
  }
}
