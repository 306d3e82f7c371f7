import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { type buildConnector, type Dispatcher, EnvHttpProxyAgent, Pool } from 'undici'
import { CosmosError, describeError } from '../../errors.ts'
import type { SourceContext } from '../service.ts'
import { discard } from './body.ts'
import { askDirectly } from './direct.ts'
import { type Answer, ask, type Question } from './exchange.ts'
import { failureOfConnection, isStale } from './failures.ts'
import type { Location } from './location.ts'
import type { HttpSettings } from './settings.ts'

/** Redirects that are followed. */
const REDIRECTS = 10

/** What a location answers in the end, redirects followed. */
export interface Reply extends Answer {
  /** Where it came from. Has no credentials. */
  readonly url: URL
  /** It was redirected to a name that ends with a slash: to the same name with a slash, or to any. */
  readonly slash: 'same' | 'other' | undefined
}

/** How something is asked. */
export interface Wish {
  readonly method: 'GET' | 'HEAD'
  readonly headers?: Readonly<Record<string, string>>
  /** The body will be long: it gets a connection of its own. */
  readonly long?: boolean
}

/** HTTP as a client that only reads: connections, proxies, credentials, redirects. */
export class HttpClient {
  readonly #settings: HttpSettings
  readonly #context: SourceContext
  #dispatcher: Dispatcher | undefined
  #connect: buildConnector.BuildOptions | undefined

  constructor(context: SourceContext, settings: HttpSettings) {
    this.#context = context
    this.#settings = settings
  }

  /**
   * Asks, and follows redirects; statuses are the caller's to judge. Credentials go to the location's own origin
   * only. Rejects with CosmosError EHOSTUNREACH, ETIMEDOUT, EACCES (not trusted, a redirect from https to http),
   * ELOOP (too many redirects), EIO.
   */
  async ask(location: Location, wish: Wish, signal: AbortSignal): Promise<Reply> {
    let url = { origin: location.origin, target: location.target }
    let slash: Reply['slash']
    for (let redirects = 0; ; redirects++) {
      const answer = await this.#once(location, url, wish, signal)
      const to = REDIRECTING.has(answer.status) ? answer.headers.get('location') : undefined
      if (to === undefined) return { ...answer, url: new URL(url.origin + url.target), slash }
      discard(answer.body)
      if (redirects >= REDIRECTS)
        throw new CosmosError('ELOOP', location.display, `it redirects more than ${REDIRECTS} times`)
      const next = follow(location, url.origin + url.target, to)
      const target = next.pathname + next.search
      if (next.pathname.endsWith('/') && target !== '/')
        slash = next.pathname === `${url.target.replace(/\?.*/s, '')}/` ? 'same' : (slash ?? 'other')
      url = { origin: next.origin, target }
    }
  }

  /** Ends the connections that nobody uses, and the others with them. */
  async close(): Promise<void> {
    await this.#dispatcher?.destroy()
    this.#dispatcher = undefined
  }

  async #once(
    location: Location,
    url: { origin: string; target: string },
    wish: Wish,
    signal: AbortSignal,
  ): Promise<Answer> {
    const { headerTimeout, idleTimeout } = this.#settings
    const { authorization } = location
    const question: Question = {
      ...url,
      method: wish.method,
      display: location.display,
      headerTimeout,
      idleTimeout,
      headers: {
        accept: '*/*',
        'accept-encoding': 'identity',
        'user-agent': 'cosmos',
        ...wish.headers,
        ...(authorization && url.origin === location.origin ? { authorization } : {}),
      },
    }
    const dispatcher = this.#dispatch()
    for (let attempt = 0; ; attempt++) {
      try {
        return (wish.long || attempt > 0) && !this.#isProxied
          ? await askDirectly(question, this.#options(), signal)
          : await ask(dispatcher, question, signal)
      } catch (error) {
        // A server may end a connection that waited for the next request just as that comes: others that wait may
        // have ended too, a new one has not.
        if (attempt === 0 && isStale(error) && !signal.aborted) continue
        throw failureOfConnection(error, location.display)
      }
    }
  }

  #dispatch(): Dispatcher {
    if (this.#dispatcher) return this.#dispatcher
    const { headerTimeout: headersTimeout } = this.#settings
    const connect = this.#options()
    const options = {
      connect,
      // Through a proxy: plain http is asked of the proxy itself, as most of them want it.
      proxyTunnel: false,
      requestTls: connect,
      proxyTls: connect,
      clientFactory: (origin: URL, more: object) => new Pool(origin, { ...more, headersTimeout }),
      httpProxy: this.#proxies.http,
      httpsProxy: this.#proxies.https,
      noProxy: this.#variable('no_proxy'),
    }
    try {
      this.#dispatcher = new EnvHttpProxyAgent(options)
    } catch {
      throw new CosmosError('EINVAL', 'http_proxy', 'is no URL of a proxy', 'set it to http://host:port')
    }
    return this.#dispatcher
  }

  get #isProxied(): boolean {
    return this.#proxies.http !== '' || this.#proxies.https !== ''
  }

  get #proxies(): { http: string; https: string } {
    const http = this.#variable('http_proxy')
    return { http, https: this.#variable('https_proxy') || http }
  }

  #variable(name: string): string {
    const { environment } = this.#context
    return environment[name] ?? environment[name.toUpperCase()] ?? ''
  }

  #options(): buildConnector.BuildOptions {
    this.#connect ??= {
      timeout: this.#settings.connectTimeout,
      ...(this.#settings.ca
        ? { secureContext: trusting(resolve(this.#context.home, this.#settings.ca)) }
        : {}),
    }
    return this.#connect
  }
}

const REDIRECTING = new Set([301, 302, 303, 307, 308])

/** Where a redirect leads. Credentials in it are nobody's wish. */
function follow(location: Location, from: string, to: string): URL {
  // Header values are Latin-1 to undici and UTF-8 to those who write such URLs.
  const next = URL.parse(Buffer.from(to, 'latin1').toString('utf8'), from)
  if (next?.protocol !== 'http:' && next?.protocol !== 'https:')
    throw new CosmosError('EIO', location.display, 'it redirects to what is no http URL')
  if (next.protocol === 'http:' && from.startsWith('https:'))
    throw new CosmosError(
      'EACCES',
      location.display,
      'it redirects from https to http, where everybody can read and change it',
      'look it up below http:/ if that is all right',
    )
  return next
}

/** TLS that trusts who Node trusts, and the certificates of a PEM file. Throws CosmosError EINVAL where it is none. */
function trusting(file: string): SecureContext {
  try {
    return createSecureContext({ ca: [...getCACertificates('default'), readFileSync(file, 'utf8')] })
  } catch (error) {
    throw new CosmosError(
      'EINVAL',
      file,
      `no certificates can be read: ${describeError(error)}`,
      'set [source.https] ca',
    )
  }
}
