import { type Job, PENDING, type TreeOperations } from '../../src/frame/operations.ts'
import { EINTR, EINVAL } from '../../src/os/errno.ts'
import { fallocate, fdatasync, fsync, pread } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { FileCopier } from '../kernel/copy.ts'

const buffer = allocateNative(128 * 1024)
const copier = new FileCopier(buffer.address, buffer.bytes.length)

/**
 * Does an operation to its end: work that it leaves for another thread is done here, since the library's operations
 * have only this one. Data that such work reads is put at `address`.
 */
export function finish(tree: TreeOperations, operation: () => number, address = 0): number {
  for (;;) {
    const result = operation()
    if (result !== PENDING) return result
    const { again, token } = tree.job
    const done = run(tree.job, address)
    if (!again) return done
    tree.jobEnded(token, done)
  }
}

function run(job: Job, address: number): number {
  let result: number
  do result = runOnce(job, address)
  while (result === -EINTR)
  return result
}

function runOnce(job: Job, address: number): number {
  switch (job.kind) {
    case 'fsync':
      return fsync(job.descriptor)
    case 'fdatasync':
      return fdatasync(job.descriptor)
    case 'read':
      return address === 0 ? -EINVAL : pread(job.descriptor, address, job.length, job.position)
    case 'fallocate':
      return fallocate(job.descriptor, job.mode, job.position, job.length)
    case 'copyRange':
      return copier.copyRange(
        job.descriptor,
        job.position,
        job.otherDescriptor,
        job.otherPosition,
        job.length,
      )
    case 'copyUp':
      return copier.copyFile(job.descriptor, job.otherDescriptor, job.length)
  }
}
