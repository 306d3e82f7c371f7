import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Token, Tokenizer, TokenizerMode } from 'parse5'
import { toBytesText } from '../../frame/paths.ts'

/** A name of a page's directory. */
export interface Link {
  /** One segment, one character a byte; looked up it leads where the link does. */
  readonly name: string
  /** The link ends with a slash. */
  readonly directory: boolean
}

/** Longest name that readdir(3) can return. */
const NAME_MAX = 255
/** Characters that are parsed before others have their turn. */
const PIECE = 64 * 1024

/** Elements whose text is no markup (HTML, §13.2.6: the tree builder tells the tokenizer). */
const TEXT_OF: Record<string, Tokenizer['state']> = {
  title: TokenizerMode.RCDATA,
  textarea: TokenizerMode.RCDATA,
  style: TokenizerMode.RAWTEXT,
  xmp: TokenizerMode.RAWTEXT,
  iframe: TokenizerMode.RAWTEXT,
  noembed: TokenizerMode.RAWTEXT,
  noframes: TokenizerMode.RAWTEXT,
  script: TokenizerMode.SCRIPT_DATA,
  plaintext: TokenizerMode.PLAINTEXT,
}

/**
 * The links of a page that lead directly below it, each name once, in the page's order. `url` is where the page came
 * from. The page is read tag by tag and never becomes a tree: whatever it is, that takes linear time.
 */
export async function linksOf(page: string, url: URL): Promise<Link[]> {
  const found = new Map<string, Link>()
  let base = url
  let hasBase = false
  const onStartTag = ({ tagName, attrs }: Token.TagToken) => {
    tokenizer.state = TEXT_OF[tagName] ?? tokenizer.state
    const href = attrs.find((attribute) => attribute.name === 'href')?.value
    if (href === undefined) return
    if (tagName === 'base' && !hasBase) {
      hasBase = true
      base = URL.parse(href, url.href) ?? url
    } else if (tagName === 'a' || tagName === 'area') {
      const link = linkBelow(href, base, url)
      if (link && (link.directory || !found.has(link.name))) found.set(link.name, link)
    }
  }
  const ignore = () => {}
  const tokenizer = new Tokenizer(
    { sourceCodeLocationInfo: false },
    {
      onStartTag,
      onEndTag: ignore,
      onComment: ignore,
      onDoctype: ignore,
      onEof: ignore,
      onCharacter: ignore,
      onNullCharacter: ignore,
      onWhitespaceCharacter: ignore,
    },
  )
  for (let at = 0; at < page.length; at += PIECE) {
    if (at > 0) await nextTurn()
    tokenizer.write(page.slice(at, at + PIECE), at + PIECE >= page.length)
  }
  return [...found.values()]
}

/** The name that a link has below a page, if it leads there. */
function linkBelow(href: string, base: URL, page: URL): Link | undefined {
  const url = URL.parse(href, base.href)
  if (url?.origin !== page.origin) return undefined
  const directory = page.pathname.endsWith('/') ? page.pathname : `${page.pathname}/`
  if (!url.pathname.startsWith(directory)) return undefined
  const [segment = '', ...more] = url.pathname.slice(directory.length).split('/')
  if (!segment || more.length > 1 || more[0]) return undefined
  const isDirectory = more.length === 1
  if (isDirectory && url.search) return undefined
  const name = plain(segment) + url.search.replaceAll('/', '%2F')
  return name.length > NAME_MAX ? undefined : { name, directory: isDirectory }
}

/** Spaces and letters of other alphabets as people write them; every other escape stays as it is. */
function plain(segment: string): string {
  return segment.replace(/%20|(?:%[89a-f][0-9a-f])+/gi, (escapes) => {
    try {
      return toBytesText(decodeURIComponent(escapes))
    } catch {
      return escapes // Not UTF-8: the escapes are its only text.
    }
  })
}
