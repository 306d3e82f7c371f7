import { Worker } from 'node:worker_threads'

/**
 * Starts a thread of this driver by its module's name. It needs no turn of this thread's event loop, and is given
 * a small heap: it only moves bytes between system calls.
 */
export function startThread(module: string, data: object): Worker {
  const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'))
  const worker = new Worker(new URL(`./${module}${extension}`, import.meta.url), {
    workerData: data,
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4, stackSizeMb: 1 },
  })
  worker.unref()
  return worker
}
