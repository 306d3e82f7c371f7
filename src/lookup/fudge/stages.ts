import { connect } from './connectors.ts'
import { type KnownSuffix, kindOf } from './modifiers.ts'
import type { Namespace } from './namespace.ts'
import type { Stage } from './reading.ts'

/**
 * What known suffixes do to a node of a form (undefined where it has none), from left to right. With `fudge`, what is
 * missing between two forms is completed over the connectors. Undefined where they do not fit.
 */
export function stagesOf(
  namespace: Namespace,
  suffixes: readonly KnownSuffix[],
  form: string | undefined,
  fudge: boolean,
): readonly Stage[] | undefined {
  const stages: Stage[] = []
  let current = form
  for (const suffix of suffixes) {
    const { kind, name, args } = suffix
    if (kind === 'directory') {
      const last = stages.at(-1)?.kind
      const mapper = current === undefined || last === 'map' ? undefined : namespace.mapperOf(current)
      if (mapper !== undefined) stages.push({ kind: 'map', mapper, args: [] })
      else if (last === undefined || last === 'property' || last === 'directory') return undefined
      stages.push({ kind: 'directory' })
      current = undefined
      continue
    }
    if (kind === 'call') {
      stages.push({ kind, library: args[0]!, symbol: args[1]! })
      current = undefined
      continue
    }
    const way = fudge || kind === 'form' ? wayTo(namespace, suffix, current) : undefined
    if (way) {
      for (const connector of way) stages.push(stageOf(namespace, connector.modifier, []))
      const last = way.at(-1)!.modifier
      if (last === name) stages[stages.length - 1] = stageOf(namespace, name, args)
      current = way.at(-1)!.to
      continue
    }
    if (kind === 'form') return undefined
    stages.push(
      kind === 'property'
        ? { kind, name }
        : kind === 'program'
          ? { kind: 'run', program: name, args }
          : stageOf(namespace, name, args),
    )
    current = kind === 'property' ? undefined : formBehind(namespace, name, current)
  }
  return stages
}

function wayTo(namespace: Namespace, { kind, name }: KnownSuffix, form: string | undefined) {
  if (form === undefined || kind === 'property' || kind === 'program') return undefined
  return connect(namespace.connectors, form, name, (modifier) => kindOf(namespace, modifier) !== undefined)
}

/** The form of what a modifier makes, as far as its connectors or its name tell. */
function formBehind(namespace: Namespace, modifier: string, form: string | undefined): string | undefined {
  const known = namespace.connectors.find((one) => one.modifier === modifier && one.from === form)
  return known?.to ?? (modifier.startsWith('to-') ? modifier.slice(3) : undefined)
}

function stageOf(namespace: Namespace, name: string, args: readonly string[]): Stage {
  return kindOf(namespace, name) === 'mapper'
    ? { kind: 'map', mapper: name, args }
    : { kind: 'transform', transformer: name, args }
}
