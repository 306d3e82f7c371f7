import { setTimeout as delay } from 'node:timers/promises'

/** How long a condition may take before the test fails. */
const PATIENCE_MS = 15_000

/**
 * Waits until a condition answers something true, and answers that. An error of the condition counts as
 * `not yet`. Throws what was waited for, and the last error, when it does not come.
 */
export async function waitFor<T>(
  what: string,
  condition: () => T | Promise<T>,
  patience = PATIENCE_MS,
): Promise<Exclude<NonNullable<T>, false>> {
  const deadline = performance.now() + patience
  let last: unknown
  for (;;) {
    try {
      const answer = await condition()
      if (answer) return answer as Exclude<NonNullable<T>, false>
      last = undefined
    } catch (error) {
      last = error
    }
    if (performance.now() > deadline)
      throw new Error(
        `waited ${patience} ms in vain for: ${what}${last instanceof Error ? ` (${last.message})` : ''}`,
      )
    await delay(10)
  }
}

/** The result of a promise, or an error that names what took too long. */
export async function within<T>(milliseconds: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${milliseconds} ms`)), milliseconds)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
