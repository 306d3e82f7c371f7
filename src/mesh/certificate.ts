import { createHash, type KeyObject, sign, X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'

/** ALPN name of the link between two peers. */
export const LINK_PROTOCOL = 'cosmos/1'
/** ALPN name of a join by invite, on the same port. */
export const JOIN_PROTOCOL = 'cosmos-join/1'

/**
 * What both ends of every connection insist on. The cipher suites all hash with SHA-256: a pre-shared key given by
 * Node's callback is a SHA-256 one, and a suite with another hash would make OpenSSL pass over it and on to the next
 * key that the client offers.
 */
export const TLS_RULES = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256',
  sigalgs: 'ed25519',
} as const

/** The peer id of a public key: SHA-256 of its SPKI (DER), hexadecimal (design §7). */
export function peerIdOf(spki: Uint8Array): string {
  return createHash('sha256').update(spki).digest('hex')
}

/** The peer id that the other end has proven to hold the key of; undefined where it showed no certificate. */
export function provenPeer(socket: TLSSocket): string | undefined {
  const certificate = socket.getPeerX509Certificate()
  return certificate && peerIdOf(certificate.publicKey.export({ type: 'spki', format: 'der' }))
}

/**
 * A self-signed certificate of an Ed25519 key, PEM (RFC 5280, RFC 8410). It says nothing but the key: peers compare
 * the key's hash and nothing else. It never expires, so that a host whose clock is wrong is still known, and the same
 * key gives the same certificate, so that it need not be kept.
 */
export function certificateOf(privateKey: KeyObject, spki: Uint8Array): string {
  const name = sequence(der(SET, sequence(COMMON_NAME, der(UTF8_STRING, Buffer.from('cosmos')))))
  const validity = sequence(time('20000101000000Z'), time('99991231235959Z'))
  const body = sequence(VERSION_3, SERIAL, ED25519, name, validity, name, spki)
  const signature = der(BIT_STRING, Buffer.of(0), sign(null, body, privateKey))
  return new X509Certificate(sequence(body, ED25519, signature)).toString()
}

const BIT_STRING = 0x03
const UTF8_STRING = 0x0c
const GENERALIZED_TIME = 0x18
const SET = 0x31
const VERSION_3 = Buffer.from('a003020102', 'hex')
const SERIAL = Buffer.from('020101', 'hex')
/** AlgorithmIdentifier of Ed25519, 1.3.101.112, without parameters. */
const ED25519 = Buffer.from('300506032b6570', 'hex')
/** Object identifier of commonName, 2.5.4.3. */
const COMMON_NAME = Buffer.from('0603550403', 'hex')

function time(text: string): Buffer {
  return der(GENERALIZED_TIME, Buffer.from(text))
}

function sequence(...parts: Uint8Array[]): Buffer {
  return der(0x30, ...parts)
}

/** One DER value: tag, length in its shortest form, content (X.690 §8.1.3). */
function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const header =
    length < 128 ? [tag, length] : length < 256 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from(header), content])
}
