/**
 * Names of the mappers and transformers that ship, and the files that they are for: what a lookup needs of them. They
 * themselves are loaded by the VM that runs them only.
 */

/** Mappers, and the extensions of the files that each is for. */
export const MAPPER_EXTENSIONS: Readonly<Record<string, readonly string[]>> = {
  ox: ['ox'],
  json: ['json', 'geojson', 'webmanifest', 'ipynb'],
  yaml: ['yaml', 'yml'],
  toml: ['toml'],
  md: ['md', 'markdown'],
  csv: ['csv', 'tsv'],
  html: ['html', 'htm', 'xhtml'],
  xml: ['xml', 'svg', 'rss', 'atom', 'xsl', 'plist'],
  raymarks: ['raymarks', 'raymark'],
  divine: ['divine', 'div'],
  ini: ['ini', 'desktop', 'service', 'socket', 'timer', 'mount', 'gitconfig', 'editorconfig', 'properties'],
  mbox: ['mbox'],
  tar: ['tar', 'tgz'],
  zip: ['zip', 'jar', 'epub', 'docx', 'xlsx', 'pptx', 'odt', 'ods', 'odp', 'apk', 'whl'],
}

/** Mappers whose documents are written back when an entry is changed. */
export const EDITABLE: ReadonlySet<string> = new Set(['json', 'yaml', 'toml', 'ini', 'ox'])

/** Transformers. */
export const TRANSFORMER_NAMES: readonly string[] = [
  'to-json',
  'to-yaml',
  'to-toml',
  'to-csv',
  'to-html',
  'to-text',
  'to-ox',
  'to-divine',
  'grep',
  'head',
  'sort',
  'unzip',
  'gunzip',
  'sha256',
  'scale',
]
