import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** Why nothing can be compiled here; undefined where it can. */
export const noCompiler =
  spawnSync('cc', ['--version']).status === 0 ? undefined : 'there is no C compiler (apt-get install gcc)'

/** A directory of its own, in which files are made and programs compiled. */
export class Workshop {
  readonly directory = realpathSync(mkdtempSync(join(tmpdir(), 'cosmos-cef-')))

  /** A path in it. */
  at(name: string): string {
    return join(this.directory, name)
  }

  /** Writes a file, directories included; answers its path. */
  write(name: string, content: string | Uint8Array, mode = 0o644): string {
    const path = this.at(name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, content)
    chmodSync(path, mode)
    return path
  }

  /** Compiles C into a file; `flags` are cc's, relative paths in them are in the directory. */
  compile(name: string, source: string, ...flags: string[]): string {
    const path = this.at(name)
    mkdirSync(dirname(path), { recursive: true })
    const args = ['-x', 'c', '-', '-x', 'none', '-o', path, ...flags]
    const { status, stderr } = spawnSync('cc', args, { cwd: this.directory, input: source })
    if (status !== 0) throw new Error(`cc ${args.join(' ')}: ${stderr}`)
    return path
  }

  close(): void {
    rmSync(this.directory, { recursive: true })
  }
}

/** A program that does nothing. */
export const MAIN = 'int main(void) { return 0; }'
