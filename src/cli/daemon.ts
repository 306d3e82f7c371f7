import { readFileSync, readlinkSync } from 'node:fs'
import { ControlClient } from '../daemon/client.ts'
import { findInstance, type Instance } from '../daemon/instance.ts'
import type { WireText } from '../form/wire.ts'

/** Runs an action with a client of this user's daemon. */
export async function withDaemon<T>(
  act: (client: ControlClient, instance: Instance) => Promise<T>,
): Promise<T> {
  const instance = findInstance()
  const client = new ControlClient(instance)
  try {
    return await act(client, instance)
  } finally {
    client.close()
  }
}

/** The working directory, its own bytes where they are not UTF-8. */
export function workingDirectory(): WireText {
  const text = process.cwd()
  return process.platform === 'linux' && isLossy(text) ? readlinkSync('/proc/self/cwd', 'buffer') : text
}

/** An argument's own bytes where they are not UTF-8: Node gives them as U+FFFD. */
export function argument(text: string): WireText {
  if (process.platform !== 'linux' || !isLossy(text)) return text
  const all = readFileSync('/proc/self/cmdline', 'latin1').split('\0')
  const found = all.map((each) => Buffer.from(each, 'latin1')).find((each) => each.toString('utf8') === text)
  return found ?? text
}

function isLossy(text: string): boolean {
  return text.includes('\ufffd')
}

/** Waits until a condition holds; false when it did not within the time. */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  milliseconds: number,
): Promise<boolean> {
  const deadline = performance.now() + milliseconds
  for (;;) {
    if (await condition()) return true
    if (performance.now() > deadline) return false
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
