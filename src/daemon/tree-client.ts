import { Worker } from 'node:worker_threads'
import { CosmosError } from '../errors.ts'
import { eventfd, write } from '../os/libc.ts'
import { allocateNative } from '../os/memory.ts'
import type { SourceAnswer } from '../source/requests.ts'
import type {
  FromTree,
  ToTree,
  TreeAsker,
  TreeEvents,
  TreePlaces,
  TreeRequestName,
  TreeRequests,
  TreeThreadData,
} from './tree-requests.ts'

const EFD_CLOEXEC_NONBLOCK = 0o2004000

/** The main thread's end of the tree thread: it blocks in its loop, so every message rings an eventfd too. */
export class TreeClient implements TreeAsker {
  readonly #worker: Worker
  readonly #wakeFd: number
  readonly #one = allocateNative(8)
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  #lastId = 0
  #loaded: () => void = () => {}
  readonly loaded = new Promise<void>((resolve) => {
    this.#loaded = resolve
  })

  /** Starts the thread, which loads what it needs and then waits for `start`: `loaded` resolves. */
  constructor(events: TreeEvents) {
    this.#wakeFd = eventfd(0, EFD_CLOEXEC_NONBLOCK)
    this.#one.view.setBigUint64(0, 1n, true)
    this.#worker = new Worker(new URL('./tree-thread.ts', import.meta.url), {
      workerData: { wakeFd: this.#wakeFd } satisfies TreeThreadData,
    })
    this.#worker.on('message', (message: FromTree) => this.#receive(message, events))
    this.#worker.on('error', (error: Error) => events.failed(error))
  }

  /** The thread serves the mount from now on. */
  start(places: TreePlaces): void {
    this.#send({ type: 'start', places })
  }

  /** The thread is not needed. */
  async terminate(): Promise<void> {
    this.#worker.removeAllListeners()
    await this.#worker.terminate()
  }

  ask<N extends TreeRequestName>(
    name: N,
    ...args: Parameters<TreeRequests[N]>
  ): Promise<ReturnType<TreeRequests[N]>> {
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.#send({ type: 'ask', id, name, args })
    })
  }

  sourceAnswer(key: string, answer: SourceAnswer): void {
    this.#send({ type: 'sourceAnswer', key, answer })
  }

  stop(): void {
    this.#send({ type: 'stop' })
  }

  #send(message: ToTree): void {
    this.#worker.postMessage(message)
    write(this.#wakeFd, this.#one.address, 8)
  }

  #receive(message: FromTree, events: TreeEvents): void {
    switch (message.type) {
      case 'loaded':
        this.#loaded()
        return
      case 'ready':
        events.ready(message.resend, message.passthrough)
        return
      case 'ended':
        events.ended(message.how)
        return
      case 'source':
        events.source(message.message)
        return
      case 'produce':
        events.produce(message.request, message.vm)
        return
      case 'edit':
        events.edit(message.request, message.vm)
        return
      case 'abandoned':
        events.abandoned(message.key)
        return
      case 'answer':
        this.#waiting.get(message.id)?.resolve(message.value)
        break
      case 'failure': {
        const { code, subject, why, hint } = message.error
        this.#waiting.get(message.id)?.reject(new CosmosError(code, subject, why, hint))
        break
      }
    }
    this.#waiting.delete(message.id)
  }
}
