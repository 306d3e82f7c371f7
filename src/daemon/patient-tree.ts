import { setTimeout as sleep } from 'node:timers/promises'
import { CosmosError } from '../errors.ts'
import type { TreeAsker } from './tree-requests.ts'

/** How long somebody waits for what is being made, and how often it is looked at, milliseconds. */
export const PATIENCE_MS = 65_000
const AGAIN_MS = 5

/** A tree whose questions wait for what a path names and is still being made (EINPROGRESS). */
export function patientTree(tree: TreeAsker): TreeAsker {
  return {
    async ask(name, ...args) {
      const deadline = performance.now() + PATIENCE_MS
      for (;;) {
        try {
          return await tree.ask(name, ...args)
        } catch (error) {
          const isMade = error instanceof CosmosError && error.code === 'EINPROGRESS'
          if (!isMade || performance.now() > deadline) throw error
        }
        await sleep(AGAIN_MS)
      }
    },
    sourceAnswer: (key, answer) => tree.sourceAnswer(key, answer),
    stop: () => tree.stop(),
  }
}
