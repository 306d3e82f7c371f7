import { CosmosError } from '../errors.ts'
import { covers, formatPattern, leads, type Pattern, parsePattern, splitPath } from './grants-pattern.ts'

/**
 * What peers may do on this host (design §7): ordered rules, denied by default. Of the rules that match, the last one
 * decides, so that what is typed later refines what was typed before:
 *
 *     read:/srv
 *     deny:/srv/private
 *
 * Rules are about resolved paths: no `.`, no `..`, no symbolic links. See docs/mesh-security.md.
 */

/** What can be granted, in the order in which it is printed. */
const OPERATIONS = ['list', 'lookup', 'read', 'write', 'exec', 'exec-bare', 'bind', 'control'] as const
export type Operation = (typeof OPERATIONS)[number]

/** What an operation is of no use without: who grants it grants these too. */
const INCLUDED: Readonly<Record<Operation, readonly Operation[]>> = {
  list: ['lookup'],
  lookup: [],
  read: ['list', 'lookup'],
  write: ['list', 'lookup', 'read'],
  exec: ['list', 'lookup'],
  'exec-bare': ['list', 'lookup', 'exec'],
  bind: ['lookup'],
  control: ['lookup'],
}

/** Bounds of one execution. What is left out is not bounded by this grant. */
export interface ExecutionLimits {
  /** Address space of each process, bytes. */
  readonly memory?: number
  /** Processes and threads at a time. */
  readonly processes?: number
  /** Time from start to end, seconds. */
  readonly time?: number
  /** Size of a file that is written, bytes. */
  readonly filesize?: number
  /** Whether the program reaches the network; left out: no. */
  readonly network?: boolean
}

/** One rule. */
export interface GrantRule {
  /** Peer id, name in this host's list of peers (`me@laptop`), or `*` for every peer. */
  readonly visitor: string
  readonly effect: 'allow' | 'deny'
  /** In the order of printing, with all that they include. */
  readonly operations: readonly Operation[]
  /** Pattern of paths, in its one spelling. */
  readonly path: string
  /** Of `exec` and `exec-bare` only. */
  readonly limits: ExecutionLimits
}

/** Who asks. */
export interface Visitor {
  /** Peer id: 64 hexadecimal digits. */
  readonly id: string
  /** What this host calls it; never what it calls itself. */
  readonly name?: string
}

const VISITOR = /^(?:\*|[0-9a-f]{64}|[^\s:/*@]+@[^\s:/*@]+)$/

/**
 * The rule that a person types: `OPERATION[,OPERATION…]:PATH[:LIMIT=VALUE[,…]]`, or `deny:[OPERATION,…:]PATH`.
 * Throws CosmosError EINVAL.
 */
export function parseGrant(text: string, visitor = '*'): GrantRule {
  if (!VISITOR.test(visitor))
    throw new CosmosError('EINVAL', visitor, 'is no peer: an id, a name as in me@laptop, or *')
  const parts = text.split(':')
  const denies = parts[0] === 'deny'
  if (denies) parts.shift()
  const named = denies && isPath(parts[0]) ? [...OPERATIONS] : parseOperations(parts.shift() ?? '', text)
  const path = parts.shift()
  if (!isPath(path))
    throw new CosmosError('EINVAL', text, 'a rule is OPERATIONS:PATH', 'as in read:/srv or exec:.cosm/bin')
  if (parts.length > 1 || (parts.length === 1 && !parts[0]?.includes('=')))
    throw new CosmosError('EINVAL', text, 'has a colon too many', 'write %3A for one in a name')
  const limits = parts[0] === undefined ? {} : parseLimits(parts[0], text)
  const operations = denies ? withoutUse(named) : withIncluded(named)
  if (parts[0] !== undefined && (denies || !operations.includes('exec')))
    throw new CosmosError('EINVAL', text, 'limits belong to exec and exec-bare')
  if (operations.includes('exec-bare') && (limits.processes !== undefined || limits.network !== undefined))
    throw new CosmosError('EINVAL', text, 'only a sandbox can bound processes and network')
  return {
    visitor,
    effect: denies ? 'deny' : 'allow',
    operations,
    path: formatPattern(parsePattern(path ?? '')),
    limits,
  }
}

/** The text of a rule without its visitor, in one spelling: `parseGrant` of it is the same rule. */
export function formatGrant({ effect, operations, path, limits }: GrantRule): string {
  const bounds = formatLimits(limits)
  if (effect === 'deny')
    return operations.length === OPERATIONS.length ? `deny:${path}` : `deny:${operations.join(',')}:${path}`
  const least = operations.filter((each) => !operations.some((other) => INCLUDED[other].includes(each)))
  return `${least.join(',')}:${path}${bounds && `:${bounds}`}`
}

function isPath(text: string | undefined): boolean {
  return text !== undefined && /^(?:\/|\.cosm(?:\/|$))/.test(text)
}

function isOperation(word: string): word is Operation {
  return (OPERATIONS as readonly string[]).includes(word)
}

function parseOperations(words: string, text: string): Operation[] {
  return words.split(',').map((word) => {
    if (isOperation(word)) return word
    throw new CosmosError('EINVAL', text, `${word || 'nothing'} is no operation`, OPERATIONS.join(', '))
  })
}

function withIncluded(named: readonly Operation[]): Operation[] {
  return OPERATIONS.filter((each) => named.some((name) => name === each || INCLUDED[name].includes(each)))
}

/** Without lookup nothing can be reached; everything else can be denied by itself. */
function withoutUse(named: readonly Operation[]): Operation[] {
  return OPERATIONS.filter((each) => named.includes('lookup') || named.includes(each))
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }
const WHOLE = ['processes', 'time'] as const
const SIZES = ['memory', 'filesize'] as const

function parseLimits(words: string, text: string): ExecutionLimits {
  const limits: { -readonly [K in keyof ExecutionLimits]: ExecutionLimits[K] } = {}
  for (const word of words.split(',')) {
    const [, name = '', value = ''] = /^([a-z]+)=(.+)$/.exec(word) ?? []
    const [, digits, unit = ''] = /^([1-9][0-9]{0,14})([KMGT]?)$/.exec(value) ?? []
    const amount = Number(digits) * (UNITS[unit] ?? Number.NaN)
    const whole = WHOLE.find((each) => each === name)
    const size = SIZES.find((each) => each === name)
    if (name === 'network' && (value === 'yes' || value === 'no')) limits.network = value === 'yes'
    else if (whole && unit === '' && Number.isSafeInteger(amount)) limits[whole] = amount
    else if (size && Number.isSafeInteger(amount)) limits[size] = amount
    else
      throw new CosmosError(
        'EINVAL',
        text,
        `${word || 'nothing'} is no limit`,
        'memory=2G,processes=64,time=600,filesize=1G,network=yes',
      )
  }
  return limits
}

function formatLimits(limits: ExecutionLimits): string {
  const { memory, processes, time, filesize, network } = limits
  const words: string[] = []
  if (memory !== undefined) words.push(`memory=${formatSize(memory)}`)
  if (processes !== undefined) words.push(`processes=${processes}`)
  if (time !== undefined) words.push(`time=${time}`)
  if (filesize !== undefined) words.push(`filesize=${formatSize(filesize)}`)
  if (network !== undefined) words.push(`network=${network ? 'yes' : 'no'}`)
  return words.join(',')
}

function formatSize(bytes: number): string {
  const [unit, factor] = Object.entries(UNITS).findLast(([, each]) => bytes % each === 0) ?? ['', 1]
  return `${bytes / factor}${unit}`
}

/** How a program may be run. */
export interface ExecutionGrant {
  /** Without a sandbox. */
  readonly bare: boolean
  readonly limits: ExecutionLimits
}

interface CompiledRule {
  readonly rule: GrantRule
  readonly operations: ReadonlySet<Operation>
  readonly pattern: Pattern
}

/** What one visitor may do. Paths are resolved ones of this host, or `.cosm/…`; one character a byte. */
export class Grants {
  /** The last one first, as they are asked. */
  readonly #rules: readonly CompiledRule[]

  /** Throws CosmosError EINVAL for a rule that `parseGrant` would not have made. */
  constructor(rules: readonly GrantRule[], visitor: Visitor) {
    this.#rules = rules
      .filter((rule) => [visitor.id, visitor.name, '*'].includes(rule.visitor))
      .map((rule) => ({ rule, operations: new Set(rule.operations), pattern: parsePattern(rule.path) }))
      .reverse()
  }

  /**
   * Whether the operation is allowed. What leads to a granted path may be looked up and listed as far as that: of a
   * directory, those entries are shown whose own path may be listed.
   */
  allows(operation: Operation, path: string): boolean {
    if (this.#deciding(operation, [path])?.rule.effect === 'allow') return true
    return (operation === 'lookup' || operation === 'list') && this.#leads(operation, path)
  }

  /**
   * How a program may be run; undefined: not at all. `names` are all of its paths: the resolved one, and the one in
   * the cosm that stands for it on this host.
   */
  execution(names: readonly string[]): ExecutionGrant | undefined {
    for (const bare of [true, false]) {
      const { rule } = this.#deciding(bare ? 'exec-bare' : 'exec', names) ?? {}
      if (rule?.effect === 'allow') return { bare, limits: rule.limits }
    }
    return undefined
  }

  /**
   * Whether what has one path may get another: nothing may be done by the new one that may not be done by the old one,
   * and no rule is about something below either, where it would be about something else afterwards.
   */
  moves(from: string, to: string): boolean {
    const may = (operation: Operation, path: string) =>
      this.#deciding(operation, [path])?.rule.effect === 'allow'
    if (OPERATIONS.some((operation) => may(operation, to) && !may(operation, from))) return false
    const directories = [splitPath(from), splitPath(to)]
    return !this.#rules.some(({ pattern }) => directories.some((each) => leads(pattern, each)))
  }

  /**
   * The patterns of rules about an operation on paths of the host, in their order: what a sandbox is built from. Later
   * ones stand over earlier ones.
   */
  patterns(operation: Operation): { readonly effect: 'allow' | 'deny'; readonly pattern: Pattern }[] {
    return this.#rules
      .filter(({ operations, pattern }) => operations.has(operation) && pattern.root === '/')
      .map(({ rule: { effect }, pattern }) => ({ effect, pattern }))
      .reverse()
  }

  #deciding(operation: Operation, names: readonly string[]): CompiledRule | undefined {
    const paths = names.map(splitPath)
    return this.#rules.find(
      ({ operations, pattern }) => operations.has(operation) && paths.some((path) => covers(pattern, path)),
    )
  }

  /** Whether something below may be had, as far as the rules alone tell. */
  #leads(operation: Operation, path: string): boolean {
    const directory = splitPath(path)
    for (const { rule, operations, pattern } of this.#rules) {
      if (!operations.has(operation)) continue
      if (rule.effect === 'deny') {
        if (covers(pattern, directory)) return false
      } else if (leads(pattern, directory)) {
        const { literal } = pattern
        if (literal === undefined || this.#deciding(operation, [literal])?.rule.effect === 'allow')
          return true
      }
    }
    return false
  }
}
