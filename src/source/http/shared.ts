/** Work that several ask for at the same time is done once. It is given up when nobody waits for it any more. */
export class Shared<T> {
  readonly #running = new Map<string, { promise: Promise<T>; work: AbortController; waiting: number }>()

  /** What `start` comes to, or what another call with the same key is coming to. Rejects when `signal` is aborted. */
  run(key: string, signal: AbortSignal, start: (signal: AbortSignal) => Promise<T>): Promise<T> {
    let running = this.#running.get(key)
    if (!running) {
      const work = new AbortController()
      const promise = start(work.signal).finally(() => {
        if (this.#running.get(key)?.work === work) this.#running.delete(key)
      })
      running = { promise, work, waiting: 0 }
      this.#running.set(key, running)
    }
    const { promise, work } = running
    running.waiting++
    return new Promise<T>((resolve, reject) => {
      const leave = () => {
        if (--running.waiting === 0) {
          if (this.#running.get(key) === running) this.#running.delete(key)
          work.abort(signal.reason)
        }
        reject(signal.reason)
      }
      if (signal.aborted) leave()
      else signal.addEventListener('abort', leave, { once: true })
      promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
    })
  }
}
