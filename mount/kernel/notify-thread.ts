import { workerData } from 'node:worker_threads'
import { ENODEV, ENOENT, ENOTCONN, ENOTDIR, errnoName } from '../../src/os/errno.ts'
import { write } from '../../src/os/libc.ts'
import {
  EXPIRE_ONLY,
  NOTIFY_INC_EPOCH,
  NOTIFY_INVAL_ENTRY,
  NOTIFY_INVAL_INODE,
  OUT_HEADER_SIZE,
} from './abi.ts'
import { logToStandardError } from './log.ts'
import { allocateMessage } from './message-buffer.ts'
import { KIND_DATA, KIND_NAME, RingReader } from './notification-ring.ts'
import type { NotifyThreadData } from './notifier.ts'

/** The thread that writes notifications (see `Notifier`). */

const { fuseFd, ring: memory, expireOnly } = workerData as NotifyThreadData
const message = allocateMessage(4096, 0)
const { bytes, words } = message
const BODY = OUT_HEADER_SIZE / 4
/** struct fuse_notify_inval_entry_out: parent 0, namelen 8, flags 12; the name follows. */
const ENTRY_SIZE = 16
/** struct fuse_notify_inval_inode_out: ino 0, off 8, len 16. */
const INODE_SIZE = 24
const ring = new RingReader(memory, bytes.subarray(OUT_HEADER_SIZE + ENTRY_SIZE))

/** A notification is a reply to no request, whose error field has the code. */
function send(code: number, size: number): void {
  words[0] = OUT_HEADER_SIZE + size
  words[1] = code
  words[2] = 0
  words[3] = 0
  const result = write(fuseFd, message.address, OUT_HEADER_SIZE + size)
  // The kernel does not have the node or name (any more), or the mount is gone: nothing to forget.
  if (result >= 0 || result === -ENOENT || result === -ENOTDIR) return
  if (result === -ENODEV || result === -ENOTCONN) return
  logToStandardError(`notification ${code} was not taken: ${errnoName(-result)}`)
}

function sendRecord(): void {
  words[BODY] = ring.node
  words[BODY + 1] = 0
  if (ring.kind === KIND_NAME) {
    words[BODY + 2] = ring.length
    words[BODY + 3] = expireOnly ? EXPIRE_ONLY : 0
    ring.name[ring.length] = 0
    send(NOTIFY_INVAL_ENTRY, ENTRY_SIZE + ring.length + 1)
    return
  }
  // All data from 0 on; a negative offset is for the attributes alone.
  const offset = ring.kind === KIND_DATA ? 0 : -1
  words[BODY + 2] = offset
  words[BODY + 3] = offset
  words[BODY + 4] = 0
  words[BODY + 5] = 0
  send(NOTIFY_INVAL_INODE, INODE_SIZE)
}

for (;;) {
  const mark = ring.mark()
  if (ring.takeEverything()) send(NOTIFY_INC_EPOCH, 0)
  while (ring.take()) sendRecord()
  ring.sleep(mark)
}
