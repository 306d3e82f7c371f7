import { MAPPER_EXTENSIONS } from '../../form/known.ts'

/** A modifier that makes one form of another: `dir` → ox → `ox`. Forms are named as file extensions are. */
export interface Connector {
  readonly from: string
  readonly modifier: string
  readonly to: string
}

/** Forms that a transformer makes of any other: what ends the name of what it makes. */
const MADE: readonly (readonly [modifier: string, form: string])[] = [
  ['to-json', 'json'],
  ['to-yaml', 'yaml'],
  ['to-yaml', 'yml'],
  ['to-toml', 'toml'],
  ['to-csv', 'csv'],
  ['to-html', 'html'],
  ['to-html', 'htm'],
  ['to-text', 'txt'],
  ['to-ox', 'ox'],
  ['to-divine', 'divine'],
]

/** What the shipped transformers make of the files that the shipped mappers are for. */
export const CONNECTORS: readonly Connector[] = Object.keys(MAPPER_EXTENSIONS).flatMap((from) =>
  MADE.flatMap(([modifier, to]) => (to === from ? [] : [{ from, modifier, to }])),
)

/**
 * The shortest way from a form over connectors to a modifier or a form of that name, the earlier connector of the table
 * first; undefined where there is none. `dir` to `html` is ox, divine, html (design §4).
 */
export function connect(
  connectors: readonly Connector[],
  from: string,
  target: string,
  isUsable: (modifier: string) => boolean,
): readonly Connector[] | undefined {
  const seen = new Set([from])
  let ways: { form: string; way: readonly Connector[] }[] = [{ form: from, way: [] }]
  while (ways.length > 0) {
    const longer: typeof ways = []
    for (const { form, way } of ways) {
      for (const connector of connectors) {
        if (connector.from !== form || !isUsable(connector.modifier)) continue
        if (connector.modifier === target || connector.to === target) return [...way, connector]
        if (seen.has(connector.to)) continue
        seen.add(connector.to)
        longer.push({ form: connector.to, way: [...way, connector] })
      }
    }
    ways = longer
  }
  return undefined
}
