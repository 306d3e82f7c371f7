import { workerData } from 'node:worker_threads'
import type { FetchAnswer, FetchRequest, FetchThreadData } from './fetch.ts'

/** The thread that fetches. Answers every request, whatever happens. */

const { port, answered } = workerData as FetchThreadData

port.on('message', async (request: FetchRequest) => {
  const answer = await get(request).catch(describe)
  port.postMessage(answer)
  Atomics.add(answered, 0, 1)
  Atomics.notify(answered, 0)
})

async function get({ url, seconds, limit }: FetchRequest): Promise<FetchAnswer> {
  const response = await fetch(url, { signal: AbortSignal.timeout(1000 * seconds) })
  if (!response.ok) {
    await response.body?.cancel()
    return { code: codeOf(response.status), why: `the server answers ${response.status}` }
  }
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of response.body ?? []) {
    size += part.length
    if (size > limit) return { code: 'EFBIG', why: `more than ${limit} bytes` }
    parts.push(part)
  }
  return { body: Buffer.concat(parts) }
}

function codeOf(status: number): string {
  if (status === 404 || status === 410) return 'ENOENT'
  return status === 401 || status === 403 ? 'EACCES' : 'EIO'
}

function describe(error: Error): FetchAnswer {
  if (error.name === 'TimeoutError') return { code: 'ETIMEDOUT', why: 'no whole answer in time' }
  const cause = error.cause as NodeJS.ErrnoException | undefined
  return { code: cause?.code ?? 'EIO', why: cause?.message || error.message }
}
