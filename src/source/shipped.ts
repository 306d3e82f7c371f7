import type { SourceContext } from './service.ts'
import type { Sources } from './sources.ts'

/** The sources that ship with the package. */

/** Adds them, each loaded when it is first used. */
export function addShippedSources(sources: Sources, contextOf: (scheme: string) => SourceContext): void {
  for (const scheme of ['http', 'https'])
    sources.add(`${scheme}:`, async () => (await import('./http/index.ts')).httpService(contextOf(scheme)))
  sources.add('ssh:', async () => (await import('./ssh/service.ts')).sshService(contextOf('ssh')))
}
