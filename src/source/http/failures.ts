import { CosmosError } from '../../errors.ts'

/** What a status says that is neither content nor a directory (RFC 9110, §15). `display` has no credentials. */
export function failureOfStatus(status: number, display: string, who = 'the server'): CosmosError {
  const answered = (why: string) => `${who} answered ${status}: ${why}`
  if (status === 401)
    return new CosmosError(
      'EACCES',
      display,
      answered('it wants a name and a password'),
      'write them before the host: user:password@host',
    )
  if (status === 404 || status === 410) return new CosmosError('ENOENT', display, answered('not found'))
  if (status === 408 || status === 504)
    return new CosmosError('ETIMEDOUT', display, answered('it took too long'))
  if (status === 414) return new CosmosError('ENAMETOOLONG', display, answered('the URL is too long'))
  if (status === 429)
    return new CosmosError('EBUSY', display, answered('too many requests'), 'try again later')
  if (status === 402 || status === 403 || status === 407 || status === 451)
    return new CosmosError('EACCES', display, answered('not allowed'))
  return new CosmosError('EIO', display, answered(status >= 500 ? 'it failed' : 'it does not serve this'))
}

/** The error of a request or a connection. Texts of libraries are not repeated: they may quote what is secret. */
export function failureOfConnection(error: unknown, display: string): CosmosError {
  if (error instanceof CosmosError) return error
  const code = codeOf(error)
  const fail = (errno: string, why: string, hint?: string) =>
    new CosmosError(errno, display, why, hint, { cause: code })
  if (code === 'ECONNREFUSED')
    return fail('EHOSTUNREACH', 'the connection was refused: nothing listens there')
  if (code === 'ENOTFOUND') return fail('EHOSTUNREACH', 'no host has this name')
  if (code === 'EAI_AGAIN')
    return fail('EHOSTUNREACH', 'the name could not be resolved', 'is the network up?')
  if (UNREACHABLE.has(code)) return fail('EHOSTUNREACH', 'the host cannot be reached')
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT')
    return fail('ETIMEDOUT', 'the connection took too long')
  if (code === 'UND_ERR_HEADERS_TIMEOUT') return fail('ETIMEDOUT', 'the server did not answer in time')
  if (code === 'UND_ERR_BODY_TIMEOUT') return fail('ETIMEDOUT', 'the server fell silent')
  const refusal =
    code === 'UND_ERR_ABORTED' || code === 'UND_ERR_INVALID_ARG' ? proxyStatus(error) : undefined
  if (refusal) return failureOfStatus(refusal, display, 'the proxy')
  const certificate = CERTIFICATE[code]
  if (certificate)
    return fail(
      'EACCES',
      `the server is not trusted: ${certificate}`,
      'name the certificate of who signed it in [source.https] ca, if that is right',
    )
  if (/^(CERT_|CRL_|UNABLE_|INVALID_CA|ERR_TLS_CERT|HOSTNAME_MISMATCH)/.test(code))
    return fail('EACCES', `the server is not trusted: ${code}`)
  if (code === 'EPROTO' || code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS'))
    return fail('EIO', `no TLS connection: ${code}`, 'is it http?')
  if (code.startsWith('HPE_')) return fail('EIO', `the server does not speak HTTP: ${code}`)
  if (LOSS.has(code)) return fail('EIO', 'the connection was lost')
  return fail('EIO', `the request failed${code ? `: ${code}` : ''}`)
}

/**
 * Whether a connection ended before it answered, or what came over it was the rest of something else (a body after
 * HEAD): the same may be asked again over another.
 */
export function isStale(error: unknown): boolean {
  const code = codeOf(error)
  return LOSS.has(code) || code.startsWith('HPE_')
}

const LOSS = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])

const UNREACHABLE = new Set([
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'ENETDOWN',
  'EADDRNOTAVAIL',
  'ECONNABORTED',
  'EINVAL',
])

const CERTIFICATE: Record<string, string> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'it signed its certificate itself',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate was signed by an authority that nobody here knows',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'nobody who is known here signed its certificate',
  UNABLE_TO_GET_ISSUER_CERT: 'nobody who is known here signed its certificate',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'nobody who is known here signed its certificate',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
}

/** What a proxy answered: undici tells it in words only. */
function proxyStatus(error: unknown): number | undefined {
  const status = error instanceof Error && /^Proxy .*\((\d{3})\)/.exec(error.message)?.[1]
  return status ? Number(status) : undefined
}

/** The code of an error, or of the first of its causes that has one (several addresses of a host, a proxy). */
function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return ''
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]) || code
  // A proxy's agent wraps what its TLS said.
  return (error.cause instanceof Error && codeOf(error.cause)) || code
}
