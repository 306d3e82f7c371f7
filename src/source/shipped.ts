import type { SourceContext } from './service.ts'
import type { Sources } from './sources.ts'

/** The sources that ship with the package, and their settings. */

/**
 * Adds them, each loaded when it is first used. `settings` are the tables `[source.NAME]` of the configuration.
 */
export function addShippedSources(
  sources: Sources,
  context: Omit<SourceContext, 'settings'>,
  settings: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
): void {
  const contextOf = (scheme: string): SourceContext => ({ ...context, settings: settings[scheme] ?? {} })
  for (const scheme of ['http', 'https'])
    sources.add(`${scheme}:`, async () => (await import('./http/index.ts')).httpService(contextOf(scheme)))
  sources.add('ssh:', async () => (await import('./ssh/service.ts')).sshService(contextOf('ssh')))
}
