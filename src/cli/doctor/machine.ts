import { accessSync, constants, readFileSync, statSync } from 'node:fs'
import { userInfo } from 'node:os'
import { asRoot, type Check, type Finding, fail, isRoot, ok, warn } from './check.ts'

/** Devices and limits of the machine. */
export const MACHINE: readonly Check[] = [
  { name: '/dev/fuse', run: fuseDevice },
  { name: 'inotify watches', run: inotifyWatches },
  { name: 'inotify instances', run: inotifyInstances },
  { name: 'open files', run: openFiles },
]

function fuseDevice(): Finding {
  if (process.platform !== 'linux') return ok('not needed here')
  const found = statSync('/dev/fuse', { throwIfNoEntry: false })
  if (!found) {
    const known = readFileSync('/proc/filesystems', 'utf8').includes('\tfuse\n')
    return known
      ? fail('is missing', asRoot('mknod -m 0666 /dev/fuse c 10 229'))
      : fail('is missing: the kernel has no FUSE loaded', asRoot('modprobe fuse'))
  }
  if (!found.isCharacterDevice())
    return fail('is no device', asRoot('sh -c "rm /dev/fuse && mknod -m 0666 /dev/fuse c 10 229"'))
  const mode = `0${(found.mode & 0o777).toString(8)}`
  const fix = asRoot('chmod 0666 /dev/fuse')
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
  } catch {
    return fail(`mode ${mode}: ${userInfo().username} may not open it (Debian's mode is 0666)`, fix)
  }
  if ((found.mode & 0o006) === 0o006) return ok(`mode ${mode}`)
  const why = `mode ${mode}: an ordinary user may not open it (Debian's mode is 0666)`
  return isRoot() ? warn(why, fix) : ok(`mode ${mode}`)
}

const ENOUGH_WATCHES = 65_536

function inotifyWatches(): Finding {
  const limit = sysctl('fs/inotify/max_user_watches')
  if (limit === undefined) return ok('not needed here')
  if (limit >= ENOUGH_WATCHES) return ok(String(limit))
  const fix = asRoot(`sysctl -w fs.inotify.max_user_watches=${8 * ENOUGH_WATCHES}`)
  return warn(`${limit}: directories beyond it are cached for a second only`, fix)
}

function inotifyInstances(): Finding {
  const limit = sysctl('fs/inotify/max_user_instances')
  if (limit === undefined) return ok('not needed here')
  if (limit >= 64) return ok(String(limit))
  return warn(`${limit}: a daemon may get none`, asRoot('sysctl -w fs.inotify.max_user_instances=128'))
}

function openFiles(): Finding {
  if (process.platform !== 'linux') return ok('not known here')
  const row = readFileSync('/proc/self/limits', 'utf8').match(/^Max open files\s+(\S+)\s+(\S+)/m)
  const hard = row?.[2] === 'unlimited' ? Number.POSITIVE_INFINITY : Number(row?.[2] ?? 0)
  // Root's supervisor raises it by itself.
  if (hard >= 65_536 || isRoot()) return ok(`${row?.[1]}, at most ${row?.[2]}`)
  const fix = `echo '${userInfo().username} hard nofile 524288' | sudo tee -a /etc/security/limits.conf`
  return warn(`at most ${row?.[2]}: programs that open many files may get EMFILE`, fix)
}

function sysctl(name: string): number | undefined {
  try {
    return Number(readFileSync(`/proc/sys/${name}`, 'utf8'))
  } catch {
    return undefined
  }
}
