import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { moduleService } from './modules/service.ts'
import type { SourceContext } from './service.ts'
import type { Sources } from './sources.ts'

/** Sources that users add: modules in `lib/cosmos/services` of a cosm (docs/sources.md). */

const MODULE = /^([a-z][a-z0-9+-]*)\.m?js$/

/** Adds those of the layers, nearest first, whose scheme nothing has yet. */
export function addUserSources(
  sources: Sources,
  layers: readonly string[],
  contextOf: (scheme: string) => SourceContext,
): void {
  for (const layer of layers) {
    const directory = join(layer, 'lib/cosmos/services')
    for (const file of namesIn(directory)) {
      const scheme = MODULE.exec(file)?.[1]
      if (scheme === undefined || scheme === 'file' || sources.roots.includes(`${scheme}:`)) continue
      sources.add(`${scheme}:`, async () => moduleService(scheme, join(directory, file), contextOf(scheme)))
    }
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    // A layer without any.
    return []
  }
}
