import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { CosmosError } from '../errors.ts'
import { certificateOf, peerIdOf } from './certificate.ts'

/** Who this host is in the mesh: an Ed25519 key per cosmos home (design §7). */
export interface Identity {
  /** Peer id: 64 hexadecimal digits. */
  readonly id: string
  readonly privateKey: KeyObject
  /** The public key, DER. */
  readonly spki: Buffer
  /** What TLS takes: the private key and the self-signed certificate, PEM. */
  readonly pem: { readonly key: string; readonly cert: string }
}

/**
 * The identity whose key is `identity.key` in an instance's state directory; made there at first use.
 * Throws CosmosError: EACCES when others can read the key, EPERM when it is not a file of this user, EINVAL when it
 * is no Ed25519 key, and the errno of what else failed.
 */
export function loadIdentity(stateDirectory: string): Identity {
  const path = join(stateDirectory, 'identity.key')
  const found = readKey(path)
  if (found) return identityOf(found)
  makeKey(path)
  // Read back: another process may have been first, and both must have the same identity.
  const made = readKey(path)
  if (!made) throw new CosmosError('ENOENT', path, 'was removed as soon as it was made')
  return identityOf(made)
}

/** The identity of a private key. */
export function identityOf(privateKey: KeyObject): Identity {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' })
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  return { id: peerIdOf(spki), privateKey, spki, pem: { key, cert: certificateOf(privateKey, spki) } }
}

/** The key in a file; undefined where there is no file. The checks are made on the file that is read. */
function readKey(path: string): KeyObject | undefined {
  let descriptor: number
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    if (code === 'ELOOP')
      throw new CosmosError('EPERM', path, 'is a symbolic link', `put the key itself there`)
    throw new CosmosError(code ?? 'EIO', path, 'this host’s key cannot be read', `chmod 600 ${path}`, {
      cause: error,
    })
  }
  try {
    checkPrivate(path, fstatSync(descriptor))
    return parseKey(path, readFileSync(descriptor))
  } finally {
    closeSync(descriptor)
  }
}

function checkPrivate(path: string, found: { isFile(): boolean; uid: number; mode: number }): void {
  const uid = process.getuid?.()
  if (!found.isFile()) throw new CosmosError('EPERM', path, 'is not a file', `mv ${path} ${path}.old`)
  if (found.uid !== uid)
    throw new CosmosError('EPERM', path, 'this host’s key belongs to another user', `chown ${uid} ${path}`)
  // By the mode's bits, not by trying: root would be let in by any mode.
  if (found.mode & 0o077)
    throw new CosmosError('EACCES', path, 'this host’s key is open to other users', `chmod 600 ${path}`)
}

function parseKey(path: string, pem: Buffer): KeyObject {
  let why: unknown
  try {
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch (error) {
    why = error
  }
  throw new CosmosError(
    'EINVAL',
    path,
    'is not an Ed25519 private key in PEM',
    `restore it, or mv ${path} ${path}.old: this host is then a new peer`,
    { cause: why },
  )
}

/** Makes a key in a file that exists whole or not at all; one that is there already is left alone. */
function makeKey(path: string): void {
  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' })
  const fresh = `${path}.${randomBytes(6).toString('hex')}.new`
  try {
    const descriptor = openSync(fresh, 'wx', 0o600)
    try {
      writeSync(descriptor, pem.toString())
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
    try {
      // A link and not a rename: it does not replace a key that another process has just made.
      linkSync(fresh, path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    } finally {
      unlinkSync(fresh)
    }
    const directory = openSync(dirname(path), 'r')
    fsyncSync(directory)
    closeSync(directory)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new CosmosError(code ?? 'EIO', path, 'this host’s key cannot be made', undefined, { cause: error })
  }
}
