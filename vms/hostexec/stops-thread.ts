import { workerData } from 'node:worker_threads'
import { EINTR } from '../../src/os/errno.ts'
import { read, write } from '../../src/os/libc.ts'
import { allocateNative } from '../../src/os/memory.ts'
import { P_ALL, WSTOPPED, waitId } from '../../src/os/processes.ts'
import { INFO_SIZE, type StopsPipes } from './stops.ts'

// Waits for stops of children, and tells each: the siginfo_t that waitid(2) gives. See stops.ts.
const { bell, told } = workerData as StopsPipes
const info = allocateNative(INFO_SIZE)
const rung = allocateNative(8)
for (;;) {
  const result = waitId(P_ALL, 0, info.address, WSTOPPED)
  if (result === 0) write(told, info.address, INFO_SIZE)
  // No child is there: until the next.
  else if (result !== -EINTR) read(bell, rung.address, 8)
}
