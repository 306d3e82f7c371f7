/** What reading a URL as a path costs, beside Debian's curl and sshfs, in one run and of the same servers. */
import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, linkSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Sshd, whyNoSshd } from '../source/sshd.ts'
import { CosmosInstance } from '../support/instance.ts'
import { whyNotInstalled } from '../support/packages.ts'
import { has, shell, succeed } from '../support/run.ts'
import type { Figure } from './figures.ts'
import { dropPages } from './measures.ts'
import { beside, inTurn, seconds } from './turns.ts'

/** Goals of issue 4: our rate by theirs. */
const GOALS = { http: 0.7, ssh: 0.9 }
const MIB = 1024 * 1024
const HTTP_BYTES = 1024 * MIB
const SSH_BYTES = 256 * MIB

/** All figures; `say` tells progress. */
export async function sourceFigures(rounds: number, say: (text: string) => void): Promise<Figure[]> {
  const instance = await CosmosInstance.start()
  try {
    say('http …')
    const http = await httpFigure(instance, rounds)
    say('ssh …')
    return [http, await sshFigure(instance, rounds)]
  } finally {
    await instance.stop()
  }
}

/** Reads a file to its end, as a person does. */
async function read(path: string): Promise<number> {
  return seconds(() => shell('cat "$1" >/dev/null', [path]))
}

async function httpFigure(instance: CosmosInstance, rounds: number): Promise<Figure> {
  const missing = await whyNotInstalled(['curl'], () => has('curl'))
  if (missing !== undefined) throw new Error(missing)
  const server: ChildProcess = fork(import.meta.filename, ['serve'])
  try {
    const [port] = (await once(server, 'message')) as [number]
    // Another file each time: nothing of it is known yet, to the kernel neither.
    const name = (round: number): string => `127.0.0.1:${port}/1GiB?${round}`
    const samples = await inTurn(rounds, {
      curl: (round) => seconds(() => succeed('curl', ['-sfo', '/dev/null', `http://${name(round)}`])),
      cosmos: async (round) => {
        await dropPages()
        return read(join(instance.mount, 'http:', name(round)))
      },
    })
    const bound = { name: 'sources', what: 'cat of 1 GiB over http', of: 'curl', goal: GOALS.http } as const
    return beside({ ...bound, as: 'rate' }, samples.cosmos, samples.curl)
  } finally {
    server.kill()
  }
}

/** The server's process: files of one size, in whole and in ranges. */
async function serve(): Promise<void> {
  const chunk = Buffer.alloc(MIB, 'cosmos ')
  const server = createServer((request, response) => {
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
    const first = Number(range?.[1] ?? 0)
    const last = Math.min(range?.[2] ? Number(range[2]) : HTTP_BYTES - 1, HTTP_BYTES - 1)
    response.writeHead(range ? 206 : 200, {
      'content-type': 'application/octet-stream',
      'content-length': last - first + 1,
      'accept-ranges': 'bytes',
      etag: '"one"',
      ...(range && { 'content-range': `bytes ${first}-${last}/${HTTP_BYTES}` }),
    })
    if (request.method === 'HEAD') response.end()
    else send(response, chunk, last - first + 1)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  process.send?.((server.address() as AddressInfo).port)
}

function send(response: ServerResponse, chunk: Buffer, bytes: number): void {
  let left = bytes
  const more = (): void => {
    while (left > 0) {
      const size = Math.min(left, chunk.length)
      left -= size
      if (!response.write(chunk.subarray(0, size))) return
    }
    response.end()
  }
  response.on('drain', more)
  more()
}

async function sshFigure(instance: CosmosInstance, rounds: number): Promise<Figure> {
  const missing = (await whyNoSshd()) ?? (await whyNotInstalled(['sshfs'], () => has('sshfs')))
  if (missing !== undefined) throw new Error(missing)
  const sshd = await Sshd.start()
  const mount = sshd.at('mount')
  try {
    mkdirSync(mount)
    mkdirSync(join(instance.home, '.ssh'), { mode: 0o700 })
    for (const name of ['id_ed25519', 'known_hosts'])
      copyFileSync(sshd.key(name), join(instance.home, '.ssh', name))
    writeFileSync(join(sshd.files, 'big'), randomBytes(SSH_BYTES))
    for (let round = 0; round <= rounds; round++)
      linkSync(join(sshd.files, 'big'), join(sshd.files, `big${round}`))
    const options = ['-p', `${sshd.port}`, '-o', `IdentityFile=${sshd.key('id_ed25519')}`]
    const trust = ['-o', `UserKnownHostsFile=${sshd.key('known_hosts')}`]
    await succeed('sshfs', [`${sshd.user}@127.0.0.1:${sshd.files}`, mount, ...options, ...trust])
    const shown = join(instance.mount, 'ssh:', `${sshd.user}@127.0.0.1:${sshd.port}`, sshd.files)
    const samples = await inTurn(rounds, {
      sshfs: (round) => read(join(mount, `big${round}`)),
      cosmos: (round) => read(join(shown, `big${round}`)),
    })
    const what = `cat of ${SSH_BYTES / MIB} MiB over ssh`
    const bound = { name: 'sources', what, of: 'sshfs', as: 'rate', goal: GOALS.ssh } as const
    return beside(bound, samples.cosmos, samples.sshfs)
  } finally {
    await succeed('fusermount3', ['-uq', mount]).catch(() => {})
    await sshd.stop()
  }
}

if (import.meta.main && process.argv[2] === 'serve') await serve()
