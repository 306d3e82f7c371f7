import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { CosmosError } from '../../src/errors.ts'

/** HTTP for a guest, which cannot wait for anything but a call: a thread of its own fetches, this one sleeps. */

/** What the thread is asked. */
export interface FetchRequest {
  readonly url: string
  /** Seconds, of the whole exchange. */
  readonly seconds: number
  /** Bytes of the body. */
  readonly limit: number
}

/** What it answers. */
export type FetchAnswer = { readonly body: Uint8Array } | { readonly code: string; readonly why: string }

/** What it is started with. */
export interface FetchThreadData {
  readonly port: MessagePort
  /** Counts the answers. */
  readonly answered: Int32Array<SharedArrayBuffer>
}

const SECONDS = 30
const LIMIT = 64 * 1024 * 1024

/** Seconds beyond those of an exchange after which the thread itself must have failed. */
const PATIENCE = 30

let thread: (FetchThreadData & { readonly worker: Worker }) | undefined

/**
 * The body that a GET of an http or https URL answers, redirects followed. Throws CosmosError: ENOENT for 404 and
 * 410, EACCES for 401 and 403, EIO for other statuses than 2xx, ETIMEDOUT after 30 seconds, EFBIG above 64 MiB,
 * EINVAL for what is no such URL, and the network's own.
 */
export function fetchNow(url: string): Uint8Array {
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) throw new CosmosError('EINVAL', url, 'no http(s) URL')
  thread ??= startThread()
  const { port, answered, worker } = thread
  const before = Atomics.load(answered, 0)
  const request: FetchRequest = { url, seconds: SECONDS, limit: LIMIT }
  port.postMessage(request)
  if (Atomics.wait(answered, 0, before, 1000 * (SECONDS + PATIENCE)) === 'timed-out') {
    worker.terminate()
    thread = undefined
    throw new CosmosError('EIO', url, 'the thread that fetches does not answer')
  }
  const answer = receiveMessageOnPort(port)?.message as FetchAnswer
  if ('body' in answer) return answer.body
  throw new CosmosError(answer.code, url, answer.why)
}

function startThread(): NonNullable<typeof thread> {
  const { port1, port2 } = new MessageChannel()
  const answered = new Int32Array(new SharedArrayBuffer(4))
  const workerData: FetchThreadData = { port: port2, answered }
  const worker = new Worker(new URL('./fetch-thread.ts', import.meta.url), {
    workerData,
    transferList: [port2],
  })
  worker.unref()
  port1.unref()
  return { port: port1, answered, worker }
}
