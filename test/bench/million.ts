import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pause, run } from './children.ts'
import { dropCaches } from './measures.ts'
import { type Bench, Cosmos } from './mounts.ts'

const shape = { dirs: 1000, files: 1000 }

/** What a walk of a million files costs the daemon. */
export interface Memory {
  /** Files and directories that the kernel got to know. */
  frames: number
  /** Resident bytes a frame right after the walk, and what of them is left when the kernel has forgotten. */
  held: number
  kept: number
}

/** Goals: bytes a frame while the kernel knows them, and the share that may stay after it forgets. */
export const memoryGoals = { held: 300, kept: 0.2 }

/** Walks 1,000,000 empty files through a new instance and reads the daemon's memory from /proc. */
export async function million(bench: Bench, program: string): Promise<Memory> {
  const root = join(bench.base, 'million')
  await mkdir(root)
  await run(bench.probe, ['tree', root, `${shape.dirs}`, `${shape.files}`, '0'], { seconds: 900 })
  const cosmos = await Cosmos.make(bench, program, 'cosmos-million')
  await cosmos.up()
  const walk = async (dir: string) => {
    const out = await run(bench.probe, ['walk', await cosmos.path(dir), '1'], { seconds: 900 })
    return Number(out.split(/\s/)[1])
  }
  // Code is compiled and heaps have their usual size before the first reading.
  await walk(join(bench.data, 'tree'))
  await forget()
  const pid = await cosmos.pid()
  const before = await resident(pid)
  const frames = await walk(root)
  if (frames !== shape.dirs * (shape.files + 1))
    throw new Error(`cosmos lists ${frames} entries of the million`)
  const after = await settled(pid)
  await forget()
  const left = await settled(pid)
  await cosmos.down()
  return { frames, held: (after - before) / frames, kept: Math.max(0, left - before) / frames }
}

async function forget(): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await dropCaches()
    await pause(1)
  }
}

/** The memory once it no longer falls: at most 20 s. */
async function settled(pid: number): Promise<number> {
  let last = await resident(pid)
  for (let i = 0; i < 10; i++) {
    await pause(2)
    const now = await resident(pid)
    if (now > last * 0.99) return now
    last = now
  }
  return last
}

/** RssAnon and RssShmem of a process, in bytes. */
async function resident(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  let sum = 0
  for (const [, kilobytes] of status.matchAll(/^Rss(?:Anon|Shmem):\s+(\d+) kB$/gm))
    sum += Number(kilobytes) * 1024
  return sum
}
