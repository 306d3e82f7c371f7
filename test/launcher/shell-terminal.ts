import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import { waitFor } from '../support/wait.ts'

/** A terminal with a bash in it, by script(1). */
export class Terminal {
  #shown = ''
  readonly #script: ChildProcess

  constructor() {
    const shell = 'PS1="" PS2="" HISTFILE= exec bash --norc --noprofile --noediting -i'
    this.#script = spawn('script', ['-qfc', shell, '/dev/null'], { stdio: ['pipe', 'pipe', 'ignore'] })
    this.#script.stdout?.on('data', (bytes: Buffer) => {
      this.#shown += bytes.toString()
    })
    this.type('stty -echo cols 80 rows 24; bind "set enable-bracketed-paste off"; echo begun\n')
  }

  type(text: string): void {
    this.#script.stdin?.write(text)
  }

  /** Waits for a line of output that matches. */
  async see(pattern: RegExp): Promise<RegExpMatchArray> {
    const found = await waitFor(`${pattern} in ${JSON.stringify(this.#shown)}`, () =>
      this.#shown.match(pattern),
    )
    this.#shown = this.#shown.slice((found.index ?? 0) + found[0].length)
    return found
  }

  close(): void {
    this.#script.kill('SIGKILL')
  }
}

/** The launcher that a terminal has, the control socket it is given, and a directory for scripts. */
interface Launched {
  readonly file: string
  readonly control: string
  readonly directory: string
}

/** Terminals in which `launch` is the launcher, closed after each test, and scripts to be launched. */
export function launchTerminals(launched: () => Launched): {
  terminal(): Promise<Terminal>
  script(text: string): string
} {
  const open: Terminal[] = []
  afterEach(() => {
    for (const terminal of open.splice(0)) terminal.close()
  })
  return {
    async terminal() {
      const made = new Terminal()
      open.push(made)
      await made.see(/begun\r\n/)
      const { file, control } = launched()
      made.type(`launch() { '${file}' '${control}' "$@"; }\n`)
      return made
    },
    script(text) {
      const path = join(launched().directory, `script-${Math.random().toString(36).slice(2)}`)
      writeFileSync(path, `#!/bin/bash\n${text}\n`, { mode: 0o755 })
      return path
    },
  }
}
