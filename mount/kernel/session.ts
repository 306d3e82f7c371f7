import { IN_HEADER_SIZE, OUT_HEADER_SIZE } from './abi.ts'
import { type Context, NO_REPLY } from './context.ts'
import { negotiate } from './negotiate.ts'

/** Refusal of INIT (asm-generic/errno.h). */
const EPROTO = 71

/** Operations of the connection itself. */

const FORGET_ONE_SIZE = 16
const BATCH_FORGET_SIZE = 8

export function init(c: Context): number {
  const { request, reply } = c
  const answer = negotiate(
    request.buffer.words,
    IN_HEADER_SIZE / 4,
    request.size - IN_HEADER_SIZE,
    reply.buffer.words,
    OUT_HEADER_SIZE / 4,
    c.allowed,
  )
  if (answer.refusal !== undefined) c.log(answer.refusal)
  if (answer.size < 0) return -EPROTO
  if (answer.negotiated) c.settled(answer.negotiated)
  return answer.size
}

export function destroy(): number {
  return 0
}

export function forget(c: Context): number {
  c.tree.forget(c.request.node, c.request.u64(0))
  return NO_REPLY
}

/** struct fuse_batch_forget_in, then `count` times fuse_forget_one: node, lookups. */
export function batchForget(c: Context): number {
  const { request, tree } = c
  const count = request.u32(0)
  if (count * FORGET_ONE_SIZE > request.left) {
    c.log(`BATCH_FORGET of ${count} nodes has only ${request.left} bytes`)
    return NO_REPLY
  }
  for (let at = BATCH_FORGET_SIZE, i = 0; i < count; i++, at += FORGET_ONE_SIZE) {
    tree.forget(request.u64(at), request.u64(at + 8))
  }
  return NO_REPLY
}

/**
 * The request that is interrupted has been answered by now, or waits for a production, or another thread is at it: a
 * disk's work is not broken off, as in the kernel.
 */
export function interrupt(c: Context): number {
  c.interrupted(c.request.u32(0), c.request.u32(4))
  return NO_REPLY
}
