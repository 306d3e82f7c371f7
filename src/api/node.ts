import { resolve } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { ControlClient } from '../daemon/client.ts'
import { findInstance } from '../daemon/instance.ts'
import type { InspectResult } from '../daemon/results.ts'

/** What a path or URL of the tree leads to. */
export interface OpenedNode {
  /** Its content, as it comes. */
  stream(): AsyncGenerator<Uint8Array>
  bytes(): Promise<Buffer>
  text(): Promise<string>
  /** Its access frame: inode, dcel, layers, profile. */
  inspect(): Promise<InspectResult>
}

/** Opens a path or URL, without the kernel. Nothing is asked before it is used; throws CosmosError then. */
export function open(path: string): OpenedNode {
  const place = { path, cwd: resolve('.') }
  async function* stream(): AsyncGenerator<Uint8Array> {
    const client = new ControlClient(findInstance())
    try {
      yield* client.stream('read', place)
    } finally {
      client.close()
    }
  }
  const bytes = (): Promise<Buffer> => buffer(stream())
  return {
    stream,
    bytes,
    text: async () => (await bytes()).toString(),
    async inspect() {
      const client = new ControlClient(findInstance())
      try {
        return await client.call('inspect', place)
      } finally {
        client.close()
      }
    },
  }
}
