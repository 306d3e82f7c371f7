import { readdirSync, readFileSync } from 'node:fs'

/**
 * Ends the programs that a VM's process has left when it was killed: the leaders of process groups in its session, which
 * it made for them, and their groups. What a program had left in the background when it ended is none of them.
 */
export function endLeftovers(session: number): void {
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === session) continue
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1')
      // After the name in brackets (proc(5)): state, parent, process group, session.
      const [, , group, of] = stat
        .slice(stat.lastIndexOf(')') + 2)
        .split(' ')
        .map(Number)
      if (of === session && group === pid) process.kill(-pid, 'SIGKILL')
    } catch {
      // It has ended meanwhile.
    }
  }
}
