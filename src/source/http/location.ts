import { CosmosError } from '../../errors.ts'
import { readable } from '../../frame/paths.ts'
import type { SourcePath } from '../service.ts'

/** A path of the tree as a URL (RFC 3986): what is asked of whom. */
export interface Location {
  /** `https://host:port`. */
  readonly origin: string
  /** Path and query as they are sent. */
  readonly target: string
  /** The Authorization header for the origin (RFC 7617), and for nobody else. */
  readonly authorization: string | undefined
  /** Nothing but the host: always a directory. */
  readonly root: boolean
  /** The name says that it is a file (design §4): it has an extension, a query or an escaped slash. */
  readonly file: boolean
  /** The name may be a property of another: `page:body`, `page:`, `:body`. */
  readonly property: boolean
  /** For people: without credentials and without the query, which may have some. */
  readonly display: string
}

/** The location of a path. Throws CosmosError ENOENT for what is no host, ENOTDIR for what is below a query. */
export function locate({ scheme, segments }: SourcePath): Location {
  const [authority = '', ...path] = segments
  const at = authority.lastIndexOf('@')
  const { origin } = hostOf(scheme, authority.slice(at + 1))
  const last = path.at(-1)
  const target = `/${path.map(encodeSegment).join('/')}`
  const display = origin + target.replace(/\?.*/s, '?...')
  if (path.slice(0, -1).some((segment) => segment.includes('?')))
    throw new CosmosError('ENOTDIR', display, 'what has a query is a file', 'write a slash in a query as %2F')
  return {
    origin,
    target,
    authorization: at < 0 ? undefined : basic(authority.slice(0, at)),
    root: last === undefined,
    file: last !== undefined && namesFile(last),
    property: last !== undefined && /:[a-z]*$/.test(last),
    display,
  }
}

/**
 * Whether a segment is a file by its name: `a.txt`, `p?q=1`, `a%2Fb`; `a.txt.grep-x` too, so that a server which has none
 * leaves it to be a modifier. An extension has a letter: `v1.0` has none.
 */
export function namesFile(segment: string): boolean {
  if (segment.includes('?') || /%2f/i.test(segment)) return true
  const extension = /[^/]\.([^./]{1,40})$/i.exec(segment)?.[1]
  return extension !== undefined && /[a-z]/i.test(extension)
}

/** A segment as it is sent: escapes stay, what a URL cannot have is escaped byte by byte. */
function encodeSegment(segment: string): string {
  return segment.replace(/%(?![0-9a-f]{2})|[^A-Za-z0-9\-._~!$&'()*+,;=:@%?/]/gi, escapeByte)
}

function escapeByte(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}

function hostOf(scheme: string, host: string): URL {
  const no = () =>
    new CosmosError(
      'ENOENT',
      `${scheme}:/${readable(host)}`,
      'is no name of a host',
      `ls ${scheme}:/example.com`,
    )
  if (/[\0- /?#\\\x7f]/.test(host) || !URL.canParse(`${scheme}://${readable(host)}`)) throw no()
  const url = new URL(`${scheme}://${readable(host)}`)
  if (/^\.|\.\./.test(url.hostname)) throw no()
  return url
}

function basic(userinfo: string): string {
  const [user = '', ...password] = userinfo.split(':')
  const bytes = Buffer.from(`${unescapeBytes(user)}:${unescapeBytes(password.join(':'))}`, 'latin1')
  return `Basic ${bytes.toString('base64')}`
}

function unescapeBytes(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
}
