import { type ChildProcess, spawn } from 'node:child_process'
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
