import { CosmosError } from '../../errors.ts'

/** The peer cannot be reached, and nothing was asked of it. */
export function hostDown(peer: string, why: string): CosmosError {
  return new CosmosError('EHOSTDOWN', peer, why)
}

/**
 * The peer was lost after a call had been sent: whether it has had its effect nobody here knows (design §7). Its code
 * is none that an operation of the peer answers.
 */
export function outcomeUnknown(peer: string, op: string, why: string): CosmosError {
  return new CosmosError('ECOMM', peer, `outcome unknown: ${op} was sent, and ${why}`)
}

/** The peer, or this side of the session, has as much to do as it may: EAGAIN, and when to ask again. */
export class OverloadError extends CosmosError {
  /** Milliseconds after which there may be room. */
  readonly retry: number

  constructor(subject: string, why: string, retry: number) {
    super('EAGAIN', subject, why, `try again in ${retry} ms`)
    this.name = 'OverloadError'
    this.retry = retry
  }
}

/** The peer does not keep to the protocol (docs/mesh-protocol.md): the link is ended with these words. */
export class Violation extends CosmosError {
  constructor(why: string) {
    super('EPROTO', 'message', why)
    this.name = 'Violation'
  }
}

/** Something is missing that the link has lost, or there twice: the link is ended, and the next one gets it again. */
export class Gap extends CosmosError {
  constructor(why: string) {
    super('EPROTO', 'message', why)
  }
}

/** As much of a text for people as is sent: whatever it is, a frame holds it. */
export function words(text: string): string {
  return text.length > 4000 ? `${text.slice(0, 4000)}…` : text
}

/** What a failure frame has of an error; one that is no CosmosError is EIO. */
export function failureOf(error: unknown): Record<string, unknown> {
  if (!(error instanceof CosmosError)) {
    const message = error instanceof Error ? error.message : String(error)
    return { code: 'EIO', subject: 'call', message: words(`call: ${message}`) }
  }
  return {
    code: error.code,
    subject: words(error.subject),
    message: words(error.message),
    hint: error.hint === undefined ? undefined : words(error.hint),
    retry: error instanceof OverloadError ? error.retry : undefined,
  }
}

/** The error that a failure frame tells. Throws Violation for what tells none. */
export function errorOf(failure: unknown): CosmosError {
  const { code, subject, message, hint, retry } = (failure ?? {}) as Record<string, unknown>
  if (typeof code !== 'string' || typeof subject !== 'string' || typeof message !== 'string')
    throw new Violation('a failure without code, subject and message')
  const why = message.startsWith(`${subject}: `) ? message.slice(subject.length + 2) : message
  if (code === 'EAGAIN' && typeof retry === 'number' && retry >= 0)
    return new OverloadError(subject, why, retry)
  return new CosmosError(code, subject, why, typeof hint === 'string' ? hint : undefined)
}
