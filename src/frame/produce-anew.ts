import { CosmosError } from '../errors.ts'
import { hidePasswords } from '../source/passwords.ts'
import type { TreeCore } from './core.ts'
import { type Place, subjectOf, treePlace } from './queries.ts'
import { walk } from './walk.ts'

/** Questions of `cosmos produce`: what a path stands for is made anew. Paths have one character a byte. */

/** What was made, step by step. */
export interface Anew {
  readonly path: string
  readonly instruction: string
  readonly steps: readonly { instruction: string; size: number; milliseconds: number }[]
}

/**
 * Drops what was made for a path; answers host paths that are to be removed. Throws CosmosError EINVAL for a path that
 * stands for itself, and as a walk to its directory does.
 */
export function dropMade(core: TreeCore, place: Place): string[] {
  return withParent(core, place, (parent, name) => {
    const dropped = core.productions.drop(parent, name)
    if (dropped) return dropped
    throw new CosmosError('EINVAL', subjectOf(place), 'is not made of anything', 'cosmos inspect')
  })
}

/** What a path was made by. Throws CosmosError EINPROGRESS while it is being made, EIO where that has failed. */
export function madeAnew(core: TreeCore, place: Place): Anew {
  return withParent(core, place, (parent, name, path) => {
    const subject = subjectOf(place)
    const production = core.productions.find(parent, name)
    if (production?.state === 'pending') throw new CosmosError('EINPROGRESS', subject, 'is being made')
    if (production?.state === 'failed') throw new CosmosError('EIO', subject, production.why)
    const steps = core.productions.stepsOf(parent, name) ?? []
    return {
      path: hidePasswords(path),
      instruction: core.productions.describe(parent, name)?.split('\n')[0] ?? '',
      steps: steps.map(({ instruction, record }) => ({
        instruction,
        size: record?.size ?? 0,
        milliseconds: record?.milliseconds ?? 0,
      })),
    }
  })
}

/** Does something with the directory and the name of a path that names what is not there. */
function withParent<T>(
  core: TreeCore,
  place: Place,
  act: (parent: number, name: string, path: string) => T,
): T {
  const path = treePlace(core, place)
  const slash = path.lastIndexOf('/')
  const parent = walk(core, path.slice(0, slash) || '/', true, place.mount)
  try {
    const name = path.slice(slash + 1)
    if (name === '') throw new CosmosError('EINVAL', subjectOf(place), 'is not made of anything')
    return act(parent.node, name, path)
  } finally {
    parent.release()
  }
}
