import { createHash } from 'node:crypto'
import type { Stage } from './fudge/reading.ts'

/** What is made of a file, step by step (design §2, production instruction). Names have one character a byte. */

/** One step: an input becomes an output in the store. */
export interface Step {
  readonly kind: 'source' | 'map' | 'transform' | 'run' | 'call'
  /** Of the mapper or transformer (`d`: the mapper of what the input is), the program, the library, or the scheme. */
  readonly name: string
  readonly args: readonly string[]
  /** What the input is: a mapper's name. Undefined: what its own name says. */
  readonly form: string | undefined
}

/**
 * The steps of a chain's stages; undefined for a chain that makes nothing that could be shown: a mapped stream is shown
 * as a directory (`.d`), or by a transformer that takes it.
 */
export function stepsOf(stages: readonly Stage[], form: string | undefined): Step[] | undefined {
  const steps: Step[] = []
  let is = form
  for (const [index, stage] of stages.entries()) {
    const next = stages[index + 1]
    switch (stage.kind) {
      case 'map':
        is = stage.mapper
        if (next?.kind === 'directory') break
        if (next?.kind !== 'transform') return undefined
        break
      case 'directory':
        steps.push({ kind: 'map', name: is ?? 'd', args: [], form: is })
        // A directory has children, and a name no more suffixes.
        return index === stages.length - 1 ? steps : undefined
      case 'transform':
        steps.push({ kind: 'transform', name: stage.transformer, args: stage.args, form: is })
        is = stage.transformer.startsWith('to-') ? stage.transformer.slice(3) : undefined
        break
      case 'run':
        steps.push({ kind: 'run', name: stage.program, args: stage.args, form: undefined })
        is = undefined
        break
      case 'call':
        steps.push({ kind: 'call', name: stage.library, args: [stage.symbol], form: undefined })
        is = undefined
        break
      default:
        return undefined
    }
  }
  return steps.length > 0 ? steps : undefined
}

/** Names a step's result in the store: the same whenever input, step and what makes it (`makers`) are the same. */
export function keyOf(input: string, step: Step, makers: string): string {
  const text = JSON.stringify([input, step.kind, step.name, step.args, step.form ?? null, makers])
  return createHash('sha256').update(text, 'latin1').digest('hex').slice(0, 40)
}

/** A step as people read it: `to-yaml`, `grep word i`. */
export function describeStep(step: Step): string {
  if (step.kind === 'source') return 'copy'
  return step.kind === 'map' ? `map ${step.name}` : [step.kind, step.name, ...step.args].join(' ')
}

/** Who does a step. */
export function makerOf({ kind, name }: Step): string {
  if (kind === 'source') return `source ${name}`
  if (kind === 'run') return 'program'
  return kind === 'map' ? 'mapper' : kind === 'call' ? 'library' : 'transformer'
}
