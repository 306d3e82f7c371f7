import { Worker } from 'node:worker_threads'

/** What the watching thread is given. */
export interface WatchData {
  /** Readable when the daemon is gone. */
  readonly life: number
  readonly connection: number
  /** A program is executed: what the client sends are signals for it. */
  readonly executes: boolean
  /** Odd while the main thread is at a request, and another number for each. */
  readonly progress: Int32Array<SharedArrayBuffer>
}

/** How far the main thread is; see {@link WatchData}. */
export const progress = new Int32Array(new SharedArrayBuffer(4))

/** Starts the thread that watches while functions run; it needs no turn of this thread's event loop. */
export function startWatching(life: number, connection: number, executes: boolean): void {
  const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'))
  const workerData: WatchData = { life, connection, executes, progress }
  new Worker(new URL(`./watch-thread${extension}`, import.meta.url), {
    workerData,
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4, stackSizeMb: 1 },
  }).unref()
}
