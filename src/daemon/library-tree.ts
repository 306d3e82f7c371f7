import { startFuseNative } from '../../mount/fuse-native/driver.ts'
import { buildTree } from './build-tree.ts'
import { answerTreeRequests, type TreeAsker, type TreeEvents, type TreePlaces } from './tree-requests.ts'

/**
 * The tree with the fuse-native driver: its library calls back on the main thread, so the tree is there too.
 * Nothing on this thread may touch the mount.
 */
export async function startLibraryTree(
  places: TreePlaces,
  mount: string,
  events: TreeEvents,
): Promise<TreeAsker> {
  const { tree } = buildTree(places)
  const requests = answerTreeRequests(tree)
  const driver = await startFuseNative({ tree, mount, onEnded: () => events.ended('unmounted') })
  return {
    async ask(name, ...args) {
      const ask = requests[name] as (...args: unknown[]) => unknown
      return ask(...args) as never
    },
    sourceAnswer: (key, answer) => tree.remotes.questions.answered(key, answer),
    stop() {
      driver.stop().then(
        () => events.ended('stopped'),
        (error: Error) => events.failed(error),
      )
    },
  }
}
