import { workerData } from 'node:worker_threads'
import { EINTR, EINVAL } from '../../src/os/errno.ts'
import { fallocate, fdatasync, fsync, pread, write } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { OUT_HEADER_SIZE } from './abi.ts'
import {
  type BlockingThreadData,
  BOX_FD,
  BOX_KIND,
  BOX_LENGTH,
  BOX_MODE,
  BOX_OTHER_FD,
  BOX_OTHER_POSITION,
  BOX_POSITION,
  BOX_RESULT,
  BOX_STATE,
  BOX_UNIQUE_HIGH,
  BOX_UNIQUE_LOW,
  JOB_KINDS,
  STATE_DONE,
  STATE_POSTED,
} from './blocking.ts'
import { FileCopier } from './copy.ts'
import { logToStandardError } from './log.ts'
import { MAX_WRITE } from './negotiate.ts'
import { ReplyWriter } from './reply.ts'

/** A thread that runs jobs whose system calls may block (see `BlockingPool`). */

const { fuseFd, doneFd, box } = workerData as BlockingThreadData
const words = new Int32Array(box)
const doubles = new Float64Array(box)
const reply = new ReplyWriter(fuseFd, logToStandardError)
const copier = new FileCopier(reply.buffer.address + OUT_HEADER_SIZE, MAX_WRITE)
const one = allocateNative(8)
one.bytes[0] = 1

function run(): number {
  const fd = words[BOX_FD]!
  const position = doubles[BOX_POSITION]!
  const length = doubles[BOX_LENGTH]!
  switch (JOB_KINDS[words[BOX_KIND]!]) {
    case 'fsync':
      return fsync(fd)
    case 'fdatasync':
      return fdatasync(fd)
    case 'read':
      return answerRead(pread(fd, reply.address, Math.min(length, reply.capacity), position))
    case 'fallocate':
      return fallocate(fd, words[BOX_MODE]!, position, length)
    case 'copyRange':
      return copier.copyRange(fd, position, words[BOX_OTHER_FD]!, doubles[BOX_OTHER_POSITION]!, length)
    case 'copyUp':
      return copier.copyFile(fd, words[BOX_OTHER_FD]!, length)
    default:
      return -EINVAL
  }
}

/** A read is answered here: its data would only be copied otherwise. */
function answerRead(result: number): number {
  const low = words[BOX_UNIQUE_LOW]! >>> 0
  const high = words[BOX_UNIQUE_HIGH]! >>> 0
  if (low !== 0 || high !== 0) reply.send(low, high, result)
  return result
}

for (;;) {
  const state = Atomics.load(words, BOX_STATE)
  if (state !== STATE_POSTED) {
    Atomics.wait(words, BOX_STATE, state)
    continue
  }
  let result = run()
  while (result === -EINTR) result = run()
  doubles[BOX_RESULT] = result
  Atomics.store(words, BOX_STATE, STATE_DONE)
  write(doneFd, one.address, 8)
}
