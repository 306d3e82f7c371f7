import type { Transformer } from '../transformer.ts'
import { grep } from './grep.ts'
import { gunzip } from './gunzip.ts'
import { head } from './head.ts'
import { scale } from './scale.ts'
import { sha256 } from './sha256.ts'
import { sort } from './sort.ts'
import { toCsv } from './to-csv.ts'
import { toDivine } from './to-divine.ts'
import { toHtml } from './to-html.ts'
import { toJson } from './to-json.ts'
import { toOx } from './to-ox.ts'
import { toText } from './to-text.ts'
import { toToml } from './to-toml.ts'
import { toYaml } from './to-yaml.ts'
import { unzip } from './unzip.ts'

/** The transformers that ship. */
export const TRANSFORMERS: readonly Transformer[] = [
  toJson,
  toYaml,
  toToml,
  toCsv,
  toHtml,
  toText,
  toOx,
  toDivine,
  grep,
  head,
  sort,
  unzip,
  gunzip,
  sha256,
  scale,
]

/** The transformer of this name. */
export function transformerNamed(name: string): Transformer | undefined {
  return TRANSFORMERS.find((transformer) => transformer.name === name)
}
