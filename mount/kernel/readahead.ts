import { writeFileSync } from 'node:fs'
import { mountOf, readMountinfo } from '../mountinfo.ts'

/** As much as one request can carry; without it the kernel asks for 128 KiB at a time. */
const READAHEAD_KB = 1024

/**
 * Has the kernel read ahead of whoever reads a mounted file in order, a whole request at a time. INIT may only lower what
 * the kernel has (fuse_init_out.max_readahead), so it is told when that is over; only root may. What an ordinary user
 * reads comes in smaller pieces.
 */
export function raiseReadahead(mountPoint: string): void {
  if (process.getuid?.() !== 0) return
  const device = mountOf(mountPoint, readMountinfo())?.device
  if (device === undefined) return
  try {
    writeFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, String(READAHEAD_KB))
  } catch (error) {
    // A container's /sys is read-only.
    console.error(`readahead: ${(error as Error).message}`)
  }
}
