import { hidePassword, hidePasswords } from '../source/passwords.ts'
import { ANCHOR_BIND, ANCHOR_COSM, ANCHOR_HOST, ANCHOR_OS, ANCHOR_PRODUCED } from '../source/stacks.ts'
import { ROOT_NODE, type TreeCore } from './core.ts'
import {
  ANCHOR,
  FUNCTION,
  HIDDEN_MOUNT,
  LIBRARY,
  PRODUCED,
  PROGRAM_LINK,
  PROPERTIES,
  PROPERTY,
  REMOTE,
} from './frames.ts'
import { programAt } from './lookup.ts'
import type { NodeId } from './operations.ts'
import { readable } from './paths.ts'
import { layersOf, productionOf } from './properties.ts'
import { rootOf, urlOf } from './remote/path.ts'
import type { WalkStage } from './walk.ts'

/** One stage of a lookup, for `cosmos lookup --trace`: who resolved a name, or made a step of it, and to what. */
export interface TraceStage {
  readonly stage: string
  /** `host`, `cascade`, `source https`, `fudge`, … */
  readonly by: string
  readonly answer: string
  readonly microseconds: number
}

/**
 * The stages of a walk that is not released yet, with how long each has waited, in milliseconds. Steps that were made
 * after `since` (Date.now()) took their time now.
 */
export function traceOf(
  core: TreeCore,
  stages: readonly WalkStage[],
  since: number,
  waited: readonly (number | undefined)[],
): TraceStage[] {
  return stages.flatMap((stage, index) => {
    const { by, answer } = resolution(core, stage.node)
    const { target } = stage
    const link = target === undefined || target === answer ? '' : `, a link to ${readable(target)}`
    const microseconds = stage.microseconds + Math.round((waited[index] ?? 0) * 1000)
    const isHost = core.frames.parent(core.frames.parent(stage.node)) === ROOT_NODE
    const name = core.frames.kind(stage.node) === REMOTE && isHost ? hidePassword(stage.name) : stage.name
    return [
      { stage: readable(name), by, answer: hidePasswords(readable(answer)) + link, microseconds },
      ...stepsOf(core, stage.node, since),
    ]
  })
}

/** Who has a node, and what it is there. */
function resolution(core: TreeCore, node: NodeId): { by: string; answer: string } {
  const { frames } = core
  const [kind, parent, name] = [frames.kind(node), frames.parent(node), frames.nameText(node)]
  switch (kind) {
    case REMOTE: {
      const path = core.treePath(node)
      const root = rootOf(path)
      return {
        by: root.endsWith(':') ? `source ${root.slice(0, -1)}` : 'peer',
        answer: parent === ROOT_NODE ? 'all that it reaches' : urlOf(path),
      }
    }
    case PRODUCED:
      return { by: 'fudge', answer: instructionOf(core, node) }
    case PROPERTY:
    case PROPERTIES:
      return { by: 'property', answer: propertyOf(core, node) }
    case LIBRARY:
    case FUNCTION:
      return { by: 'library', answer: layersOf(core, node)[0]?.path ?? '' }
    case PROGRAM_LINK:
      return { by: 'PATH', answer: programAt(core, parent, name) ?? '' }
    case HIDDEN_MOUNT:
      return { by: 'mount', answer: 'a cosmos mount, which shows as empty' }
    default:
      return {
        by: layerWord(core, node),
        answer: isMade(core, node) ? instructionOf(core, node) : pathsOf(core, node),
      }
  }
}

/** `mtime of name`, however it is written: `name:mtime`, `name:/mtime`, `name/:mtime`. */
function propertyOf(core: TreeCore, node: NodeId): string {
  const { frames } = core
  const [parent, name] = [frames.parent(node), frames.nameText(node)]
  if (frames.kind(node) === PROPERTIES) return `all of ${name.slice(0, -1)}`
  if (frames.kind(parent) === PROPERTIES) return `${name} of ${frames.nameText(parent).slice(0, -1)}`
  const colon = name.lastIndexOf(':')
  return `${name.slice(colon + 1)} of ${name.slice(0, colon) || frames.nameText(parent)}`
}

/** What holds a node of the layers. */
function layerWord(core: TreeCore, node: NodeId): string {
  if (isMade(core, node)) return 'fudge'
  switch (core.stackOf(node).type) {
    case ANCHOR_HOST:
    case ANCHOR_OS:
      return 'host'
    case ANCHOR_COSM:
      return 'cascade'
    case ANCHOR_BIND:
      return 'bind'
    case ANCHOR_PRODUCED:
      return 'store'
    default:
      return 'root'
  }
}

/** Host paths that a node is merged of. */
function pathsOf(core: TreeCore, node: NodeId): string {
  return layersOf(core, node)
    .map(({ path }) => path)
    .join(', ')
}

/** Whether a node is a directory that was made. */
function isMade(core: TreeCore, node: NodeId): boolean {
  return core.frames.kind(node) === ANCHOR && core.frames.layer(node) === ANCHOR_PRODUCED
}

function instructionOf(core: TreeCore, node: NodeId): string {
  return productionOf(core, node).split('\n')[0] ?? ''
}

/** The lookup module that read a name, and the steps by which it was made, or what was kept of them. */
function stepsOf(core: TreeCore, node: NodeId, since: number): TraceStage[] {
  const { frames } = core
  if (frames.kind(node) !== PRODUCED && !isMade(core, node)) return []
  const parent = frames.parent(node)
  const { module, file } = core.productions.domain(parent)
  const found = {
    stage: `  module ${module}`,
    by: file === undefined ? 'built in' : 'cascade',
    microseconds: 0,
  }
  const answer = file === undefined ? 'nobody names another' : readable(file)
  const steps = core.productions.stepsOf(parent, frames.nameText(node)) ?? []
  const made = steps.map(({ instruction, by, record }) => {
    const stage = `  ${readable(instruction)}`
    if (!record) return { stage, by, answer: 'not made', microseconds: 0 }
    const { madeAt, milliseconds, size } = record
    const what = `${size} ${instruction.startsWith('map ') ? 'entries' : 'bytes'}`
    return madeAt >= since
      ? { stage, by, answer: `${what}, made now`, microseconds: milliseconds * 1000 }
      : { stage, by, answer: `${what}, kept since ${new Date(madeAt).toISOString()}`, microseconds: 0 }
  })
  return [{ ...found, answer }, ...made]
}
