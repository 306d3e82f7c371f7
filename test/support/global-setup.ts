// For vitest's `globalSetup`: ordinary-user tests need /dev/fuse as Debian has it, 0666. Where root runs the
// tests and it is otherwise, it is so while they run, and as it was afterwards.
import { chmodSync, existsSync, statSync } from 'node:fs'

const device = '/dev/fuse'

/** Opens the device; what it answers closes it again. */
export default function setup(): (() => void) | undefined {
  if (process.getuid?.() !== 0 || !existsSync(device)) return undefined
  const mode = statSync(device).mode & 0o7777
  if (mode === 0o666) return undefined
  chmodSync(device, 0o666)
  return () => chmodSync(device, mode)
}
