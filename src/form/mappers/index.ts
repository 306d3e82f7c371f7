import type { Mapper } from '../mapper.ts'
import { csv } from './csv.ts'
import { divine } from './divine.ts'
import { html } from './html.ts'
import { ini } from './ini.ts'
import { json } from './json.ts'
import { mbox } from './mbox.ts'
import { md } from './md.ts'
import { ox } from './ox.ts'
import { raymarks } from './raymarks.ts'
import { tar } from './tar.ts'
import { toml } from './toml.ts'
import { xml } from './xml.ts'
import { yaml } from './yaml.ts'
import { zip } from './zip.ts'

/** The mappers that ship. */
export const MAPPERS: readonly Mapper[] = [
  ox,
  json,
  yaml,
  toml,
  md,
  csv,
  html,
  xml,
  raymarks,
  divine,
  ini,
  mbox,
  tar,
  zip,
]

/** The mapper of this name. */
export function mapperNamed(name: string): Mapper | undefined {
  return MAPPERS.find((mapper) => mapper.name === name)
}

/** The mapper for files that are called so, by their extension: `data.json`, `src.tar.gz`. */
export function mapperFor(fileName: string): Mapper | undefined {
  const name = fileName.toLowerCase().replace(/\.tar\.gz$/, '.tgz')
  const extension = /\.([^./]+)$/.exec(name)?.[1]
  return MAPPERS.find(({ extensions }) => extension !== undefined && extensions.includes(extension))
}
