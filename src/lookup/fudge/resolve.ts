import { CosmosError } from '../../errors.ts'
import { malformedEscape, readEscapes, unwrapOperand } from './escape.ts'
import { SCHEMES, type Schemes } from './grammar.ts'
import { type KnownSuffix, suffixReader } from './modifiers.ts'
import type { Namespace } from './namespace.ts'
import { parse, split, splitBinds } from './parse.ts'
import { peel } from './peel.ts'
import type { Chain, Reading } from './reading.ts'
import { stagesOf } from './stages.ts'

/** How a segment is read. */
export interface ResolveOptions {
  /** Inside a URL, or where a cosm says so: programs are modifiers, and what is missing is completed. */
  readonly fudge?: boolean
  readonly schemes?: Schemes
}

/**
 * What a segment means in a directory (design §4); undefined: there is no such thing, ENOENT. A name that exists is
 * never read in another way. Throws CosmosError ELOOP for aliases that lead in a circle.
 */
export function resolve(
  namespace: Namespace,
  segment: string,
  options: ResolveOptions = {},
): Reading | undefined {
  return namespace.exists(segment) ? { kind: 'literal', name: segment } : reread(namespace, segment, options)
}

/** What a segment means that does not exist as it is written: `resolve` behind a lookup that missed. */
export function reread(
  namespace: Namespace,
  segment: string,
  { fudge = false, schemes = SCHEMES }: ResolveOptions = {},
): Reading | undefined {
  if (segment.endsWith(':') && namespace.isScheme(segment.slice(0, -1)))
    return { kind: 'source', scheme: segment.slice(0, -1) }
  if (segment.includes('%') && malformedEscape(segment) === -1) {
    const reading = escapedUrl(segment, schemes) ?? escapedName(namespace, segment, fudge)
    if (reading) return reading
  }
  return (
    modified(namespace, segment, fudge) ??
    bound(namespace, segment, { fudge, schemes }) ??
    (fudge ? baseMatch(namespace, segment) : undefined)
  )
}

/** `https:%2F%2Fh%2Fp`: a URL in one segment. */
function escapedUrl(segment: string, schemes: Schemes): Reading | undefined {
  const text = unwrapOperand(segment)
  if (!text.includes('/')) return undefined
  const { scheme, authority, segments } = split(text, schemes)
  if (scheme === undefined) return undefined
  return { kind: 'url', scheme, authority: authority?.text, path: segments.map((one) => one.text) }
}

function escapedName(namespace: Namespace, segment: string, fudge: boolean): Reading | undefined {
  const name = readEscapes(segment)
  return isAskable(name, fudge) && namespace.exists(name) ? { kind: 'literal', name } : undefined
}

function modified(namespace: Namespace, segment: string, fudge: boolean): Reading | undefined {
  for (const { base, suffixes } of peel(segment, suffixReader(namespace, fudge))) {
    if (base === '') {
      const stages = stagesOf(namespace, suffixes, undefined, fudge)
      return stages && { kind: 'set', stages }
    }
    const name = existing(namespace, base, fudge)
    if (name !== undefined) return chain(namespace, name, suffixes, fudge)
  }
  return undefined
}

function chain(
  namespace: Namespace,
  base: string,
  suffixes: readonly KnownSuffix[],
  fudge: boolean,
): Chain | undefined {
  const stages = stagesOf(namespace, suffixes, namespace.formOf(base), fudge)
  return stages && { kind: 'chain', base, stages }
}

function bound(namespace: Namespace, segment: string, options: ResolveOptions): Reading | undefined {
  const [{ text }, ...rest] = splitBinds({ text: segment, at: 0 })
  if (rest.length === 0 || !isWellFormed(segment, options.schemes)) return undefined
  const left = boundLeft(namespace, text, options)
  const binds = rest.map((one) => ({ operator: one.operator, right: unwrapOperand(one.text) }))
  return left && { kind: 'bind', left, binds }
}

/** The left side of a bind: without a name the current set. */
function boundLeft(namespace: Namespace, text: string, options: ResolveOptions): Reading | undefined {
  if (text === '') return { kind: 'set', stages: [] }
  return text === '.' || text === '..' ? undefined : resolve(namespace, text, options)
}

/** `pacman.json` for all `pacman.*` (design §4), and what is done to that: `pacman.json.d`. */
function baseMatch(namespace: Namespace, segment: string): Reading | undefined {
  for (const { base, suffixes } of peel(segment, suffixReader(namespace, true))) {
    const [first, ...rest] = suffixes
    if (base === '' || !first || first.args.length > 0) continue
    const start = readEscapes(`${base}.`)
    const wanted: KnownSuffix[] = [{ kind: 'form', name: first.name, args: [] }, ...rest]
    const chains: Chain[] = []
    for (const name of namespace.names()) {
      const found = name.startsWith(start) ? chain(namespace, name, wanted, true) : undefined
      if (found) chains.push(found)
    }
    chains.sort((a, b) => a.stages.length - b.stages.length || (a.base < b.base ? -1 : 1))
    if (chains.length > 0) return { kind: 'match', chains }
  }
  return undefined
}

/** The name of a child that exists: as it is written, else with its escapes read. */
function existing(namespace: Namespace, base: string, fudge: boolean): string | undefined {
  if (isAskable(base, fudge) && namespace.exists(base)) return base
  const name = readEscapes(base)
  return name !== base && isAskable(name, fudge) && namespace.exists(name) ? name : undefined
}

/** An escape may not lead out of a directory; only in a URL may a name have a slash. */
function isAskable(name: string, fudge: boolean): boolean {
  return name !== '.' && name !== '..' && (fudge || !name.includes('/'))
}

function isWellFormed(segment: string, schemes: Schemes | undefined): boolean {
  try {
    parse(segment, schemes)
    return true
  } catch (error) {
    if (error instanceof CosmosError) return false
    throw error
  }
}
