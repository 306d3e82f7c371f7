/**
 * The source `ssh` beside Debian's sshfs, on one sshd: a file is read from its start to its end, in turns, and the figure
 * is the median of the ratios of each round. `node test/bench/ssh.ts [ROUNDS] [MEBIBYTES]`, as root.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { sshService } from '../../src/source/ssh/service.ts'
import { never, Sshd, whyNoSshd } from '../source/sshd.ts'
import { whyNotInstalled } from '../support/packages.ts'
import { has, succeed } from '../support/run.ts'
import { median } from './figures.ts'

const MIB = 1024 * 1024
const rounds = Number(process.argv[2] ?? 7)
const size = Number(process.argv[3] ?? 256) * MIB

const missing = (await whyNoSshd()) ?? (await whyNotInstalled(['sshfs'], () => has('sshfs')))
if (missing !== undefined) throw new Error(missing)
const sshd = await Sshd.start()
const mount = sshd.at('mount')
mkdirSync(mount)
writeFileSync(`${sshd.files}/big`, randomBytes(size))
const service = sshService(sshd.context())

/** Mebibytes a second of a reader that is done when it says so. */
async function rate(read: () => Promise<void>): Promise<number> {
  const start = performance.now()
  await read()
  return size / MIB / ((performance.now() - start) / 1000)
}

async function readSource(step: number): Promise<void> {
  const file = await service.open(sshd.path('big'), { read: true, write: false, truncate: false }, never)
  for (let at = 0; at < size; at += step) await file.read(at, step, never)
  await file.close()
}

async function readMount(): Promise<void> {
  const file = await open(`${mount}/big`)
  const buffer = Buffer.alloc(MIB)
  while ((await file.read(buffer, 0, MIB)).bytesRead > 0);
  await file.close()
}

/** sshfs with its pages let go, as the source has none. */
async function withSshfs(cipher: string[], work: () => Promise<number>): Promise<number> {
  const options = ['-p', `${sshd.port}`, '-o', `IdentityFile=${sshd.key('id_ed25519')}`]
  const trust = ['-o', `UserKnownHostsFile=${sshd.key('known_hosts')}`]
  await succeed('sshfs', [`${sshd.user}@127.0.0.1:${sshd.files}`, mount, ...options, ...trust, ...cipher])
  try {
    return await work()
  } finally {
    await succeed('fusermount3', ['-u', mount])
  }
}

const names = ['sshfs', 'sshfs, aes128-gcm', 'source, 128 KiB', 'source, 1 MiB'] as const
const samples = new Map<string, number[]>(names.map((name) => [name, []]))
try {
  readFileSync(`${sshd.files}/big`)
  await readSource(MIB)
  for (let round = 0; round < rounds; round++) {
    const measured = [
      await withSshfs([], () => rate(readMount)),
      await withSshfs(['-o', 'Ciphers=aes128-gcm@openssh.com'], () => rate(readMount)),
      await rate(() => readSource(MIB / 8)),
      await rate(() => readSource(MIB)),
    ]
    for (const [i, name] of names.entries()) samples.get(name)?.push(measured[i] ?? 0)
  }
} finally {
  await service.close?.()
  await sshd.stop()
}
const base = samples.get('sshfs') ?? []
for (const [name, rates] of samples) {
  const ratios = rates.map((value, round) => value / (base[round] ?? value))
  console.log(
    `${name.padEnd(18)} ${median(rates).toFixed(0).padStart(5)} MiB/s  ${median(ratios).toFixed(2)} of sshfs`,
  )
}
