import { accessSync, constants, existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { CosmosError } from '../errors.ts'

/**
 * The file that stands for an executable which the kernel does not run itself: a `#!` line that names the launcher
 * (design §5, execve(2)).
 */

/** Size of such a file: the same for every executable, and all that the kernel reads of it (BINPRM_BUF_SIZE). */
export const LAUNCHER_FILE_SIZE = 256
/** Longest first line, its line break included: a longer one the kernel cuts. */
const MAX_LINE = 255

/** The launcher's path: the one that was compiled here, or the one in Node. */
export function launcherPath(): string {
  const compiled = packageFile('build/launcher')
  try {
    accessSync(compiled, constants.X_OK)
    return compiled
  } catch {
    return packageFile('bin/cosmos-launcher')
  }
}

/**
 * What the kernel reads of an executable that the launcher runs. After the line comes a comment, so that a shell that
 * is made to read it does nothing, and a pager shows text. Throws CosmosError ENAMETOOLONG, or EINVAL for a launcher
 * whose path has white space, which ends it for the kernel.
 */
export function launcherLine(controlSocket: string, launcher = launcherPath()): Buffer {
  if (/[ \t\n]/.test(launcher))
    throw new CosmosError(
      'EINVAL',
      launcher,
      'has white space, and stands in a #! line',
      'install cosmos elsewhere',
    )
  if (/\n|[ \t]$/.test(controlSocket))
    throw new CosmosError('EINVAL', controlSocket, 'ends in white space', 'set another XDG_RUNTIME_DIR')
  const line = Buffer.from(`#!${launcher} ${controlSocket}\n`)
  if (line.length > MAX_LINE)
    throw new CosmosError(
      'ENAMETOOLONG',
      controlSocket,
      `with the launcher ${launcher} it is ${line.length - MAX_LINE} bytes longer than a #! line may be`,
      'set a shorter XDG_RUNTIME_DIR, or install cosmos nearer to /',
    )
  const file = Buffer.alloc(LAUNCHER_FILE_SIZE, '#')
  line.copy(file)
  file[LAUNCHER_FILE_SIZE - 1] = 0x0a
  return file
}

function packageFile(path: string): string {
  // The directory with the package.json: in a checkout two directories up, in dist/ three.
  let at = new URL('.', import.meta.url)
  while (!existsSync(new URL('package.json', at)) && at.pathname !== '/') at = new URL('..', at)
  return fileURLToPath(new URL(path, at))
}
