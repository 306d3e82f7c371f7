import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { BlockingPool } from '../../mount/kernel/blocking.ts'
import { logToStandardError } from '../../mount/kernel/log.ts'
import { runKernelLoop } from '../../mount/kernel/loop.ts'
import { CosmosError } from '../errors.ts'
import type { AccessTree } from '../frame/tree.ts'
import { buildTree } from './build-tree.ts'
import { FUSE_FD } from './handover.ts'
import {
  answerTreeRequests,
  type FromTree,
  type ToTree,
  type TreePlaces,
  type TreeRequests,
  type TreeThreadData,
} from './tree-requests.ts'

/**
 * The tree thread: owns the access tree and the cosmosdb, and runs the driver's blocking loop (design §8).
 * It loads what it needs and waits for `start`; from then on the main thread's messages are taken when its eventfd
 * wakes the loop.
 */

const { wakeFd } = workerData as TreeThreadData
if (!parentPort) throw new Error('the tree thread is started by the daemon')
const port: MessagePort = parentPort

port.once('message', (message: ToTree) => {
  if (message.type === 'start') serve(message.places)
  else tell({ type: 'ended', how: 'stopped' })
})
/** Started before they are needed: a daemon that takes over has requests waiting for them. */
const pool = new BlockingPool(FUSE_FD)
pool.start()
tell({ type: 'loaded' })

/** Serves the mount; holds the thread until the daemon is to stop, or the mount is gone. */
function serve(places: TreePlaces): void {
  const { tree, memory } = buildTree(places, {
    produce: (request, vm) => tell({ type: 'produce', request, vm }),
    source: (message) => {
      const bytes = message.type === 'transfer' ? message.bytes : undefined
      port.postMessage({ type: 'source', message } satisfies FromTree, bytes ? [bytes.buffer] : [])
    },
    abandoned: (key) => tell({ type: 'abandoned', key }),
    edit: (request, vm) => tell({ type: 'edit', request, vm }),
  })
  const requests = answerTreeRequests(tree)
  const how = runKernelLoop({
    fuseFd: FUSE_FD,
    wakeFd,
    pool,
    state: memory,
    tree,
    onReady: ({ resend, passthrough }) => tell({ type: 'ready', resend, passthrough }),
    onWake: () => answerAll(tree, requests),
    everyName: () => tree.everyName(),
  })
  tell({ type: 'ended', how })
}

/** Answers what the main thread has asked; false when it wants the loop to end. */
function answerAll(tree: AccessTree, requests: TreeRequests): boolean {
  for (;;) {
    const received = receiveMessageOnPort(port) as { message: ToTree } | undefined
    if (!received) return true
    const { message } = received
    if (message.type === 'stop') return false
    if (message.type === 'ask') answer(requests, message)
    else if (message.type === 'sourceAnswer') tree.remotes.questions.answered(message.key, message.answer)
  }
}

function answer(requests: TreeRequests, message: Extract<ToTree, { type: 'ask' }>): void {
  const { id, name, args } = message
  try {
    const ask = requests[name] as (...args: unknown[]) => unknown
    tell({ type: 'answer', id, value: ask(...args) })
  } catch (error) {
    const known =
      error instanceof CosmosError ? error : new CosmosError('EIO', name, String(error), 'cosmos log')
    const { code, subject, hint, message: text } = known
    tell({ type: 'failure', id, error: { code, subject, why: text.slice(subject.length + 2), hint } })
    if (known !== error)
      logToStandardError(`${name}: ${error instanceof Error ? error.stack : String(error)}`)
  }
}

function tell(message: FromTree): void {
  port.postMessage(message)
}
