import { PENDING, type TreeOperations } from '../../src/frame/operations.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { JobRunner } from '../jobs.ts'

const buffer = allocateNative(128 * 1024)
const runner = new JobRunner(buffer.address, buffer.bytes.length)

/**
 * Does an operation to its end: work that it leaves for another thread is done here, since the library's operations
 * have only this one. Data that such work reads is put at `address`.
 */
export function finish(tree: TreeOperations, operation: () => number, address = 0): number {
  for (;;) {
    const result = operation()
    if (result !== PENDING) return result
    const { again, token } = tree.job
    const done = runner.run(tree.job, address, tree.job.length)
    if (!again) return done
    tree.jobEnded(token, done)
  }
}
