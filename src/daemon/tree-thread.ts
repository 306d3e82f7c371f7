import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { runKernelLoop } from '../../mount/kernel/loop.ts'
import { CosmosError } from '../errors.ts'
import { buildTree } from './build-tree.ts'
import { FUSE_FD } from './handover.ts'
import { answerTreeRequests, type FromTree, type ToTree, type TreeThreadData } from './tree-requests.ts'

/**
 * The tree thread: owns the access tree and the cosmosdb, and runs the driver's blocking loop (design §8).
 * The main thread's messages are taken when its eventfd wakes the loop.
 */

const data = workerData as TreeThreadData
const port = parentPort
if (!port) throw new Error('the tree thread is started by the daemon')

const { tree, memory } = buildTree(data.places)
const requests = answerTreeRequests(tree)

const how = runKernelLoop({
  fuseFd: FUSE_FD,
  wakeFd: data.wakeFd,
  state: memory,
  tree,
  onReady: ({ resend, passthrough }) => tell({ type: 'ready', resend, passthrough }),
  onWake: answerAll,
  everyName: () => tree.everyName(),
})
tell({ type: 'ended', how })

/** Answers what the main thread has asked; false when it wants the loop to end. */
function answerAll(): boolean {
  for (let got = receiveMessageOnPort(port as NonNullable<typeof port>); got; ) {
    const message = got.message as ToTree
    if (message.type === 'stop') return false
    answer(message)
    got = receiveMessageOnPort(port as NonNullable<typeof port>)
  }
  return true
}

function answer(message: Extract<ToTree, { type: 'ask' }>): void {
  const { id, name, args } = message
  try {
    const ask = requests[name] as (...args: unknown[]) => unknown
    tell({ type: 'answer', id, value: ask(...args) })
  } catch (error) {
    const known =
      error instanceof CosmosError ? error : new CosmosError('EIO', name, String(error), 'cosmos log')
    const { code, subject, hint, message: text } = known
    tell({ type: 'failure', id, error: { code, subject, why: text.slice(subject.length + 2), hint } })
    if (known !== error) console.error(error)
  }
}

function tell(message: FromTree): void {
  port?.postMessage(message)
}
