import { workerData } from 'node:worker_threads'
import { EINVAL } from '../../src/os/errno.ts'
import { write } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { JobRunner, type JobWork } from '../jobs.ts'
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
  STATE_IDLE,
  STATE_POSTED,
  STATE_STARTING,
} from './blocking.ts'
import { logToStandardError } from './log.ts'
import { MAX_WRITE } from './negotiate.ts'
import { ReplyWriter } from './reply.ts'

/** A thread that runs jobs whose system calls may block (see `BlockingPool`). */

const { fuseFd, doneFd, box } = workerData as BlockingThreadData
const words = new Int32Array(box)
const doubles = new Float64Array(box)
const reply = new ReplyWriter(fuseFd, logToStandardError)
const runner = new JobRunner(reply.buffer.address + OUT_HEADER_SIZE, MAX_WRITE)
const one = allocateNative(8)
one.bytes[0] = 1

const work: JobWork = {
  kind: 'fsync',
  descriptor: -1,
  otherDescriptor: -1,
  mode: 0,
  position: 0,
  otherPosition: 0,
  length: 0,
}

function run(): number {
  const kind = JOB_KINDS[words[BOX_KIND]!]
  if (kind === undefined) return -EINVAL
  work.kind = kind
  work.descriptor = words[BOX_FD]!
  work.otherDescriptor = words[BOX_OTHER_FD]!
  work.mode = words[BOX_MODE]!
  work.position = doubles[BOX_POSITION]!
  work.otherPosition = doubles[BOX_OTHER_POSITION]!
  work.length = doubles[BOX_LENGTH]!
  const result = runner.run(work, reply.address, reply.capacity)
  return kind === 'read' ? answerRead(result) : result
}

/** A read is answered here: its data would only be copied otherwise. */
function answerRead(result: number): number {
  const low = words[BOX_UNIQUE_LOW]! >>> 0
  const high = words[BOX_UNIQUE_HIGH]! >>> 0
  if (low !== 0 || high !== 0) reply.send(low, high, result)
  return result
}

Atomics.compareExchange(words, BOX_STATE, STATE_STARTING, STATE_IDLE)
for (;;) {
  const state = Atomics.load(words, BOX_STATE)
  if (state !== STATE_POSTED) {
    Atomics.wait(words, BOX_STATE, state)
    continue
  }
  doubles[BOX_RESULT] = run()
  Atomics.store(words, BOX_STATE, STATE_DONE)
  write(doneFd, one.address, 8)
}
