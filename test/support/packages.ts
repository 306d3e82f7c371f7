import { isRoot } from './instance.ts'
import { run } from './run.ts'

/** Support: programs of Debian's packages that tests run beside cosmos. */

const INSTALL_MS = 600_000
const LOCK = ['-o', 'DPkg::Lock::Timeout=300']
const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }

/**
 * Why what packages bring is not there; undefined when it is: `works` tells. Where root runs the tests, the packages are
 * installed first, and `size` says how much that is where it is much.
 */
export async function whyNotInstalled(
  packages: readonly string[],
  works: () => Promise<boolean>,
  size = '',
): Promise<string | undefined> {
  if (await works()) return undefined
  const wanted = `needs Debian's ${packages.join(', ')}`
  if (!isRoot) return wanted
  process.stderr.write(`installing ${packages.join(' ')} for the tests${size && `: ${size}`}\n`)
  const apt = (...args: string[]) =>
    run('apt-get', [...LOCK, '-qq', ...args], { timeout: INSTALL_MS, env: environment })
  const install = () => apt('install', '-y', '--no-install-recommends', ...packages)
  try {
    if ((await install()).code !== 0) {
      await apt('update')
      await install()
    }
  } catch {
    return `${wanted}; there is no apt-get`
  }
  return (await works()) ? undefined : `${wanted}, which cannot be installed here`
}
