import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cosmos, run } from './run.ts'

let directory: string
const scripts = new Map<string, string>()

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'cosmos-completion-'))
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { code, stdout } = await cosmos(['completion', shell])
    expect(code).toBe(0)
    scripts.set(shell, join(directory, `cosmos.${shell}`))
    writeFileSync(join(directory, `cosmos.${shell}`), stdout, 'latin1')
  }
  writeFileSync(join(directory, 'some file'), '')
})
afterAll(() => rmSync(directory, { recursive: true }))

const has = (shell: string): boolean => spawnSync(shell, ['-c', 'exit 0']).status === 0

test.each(['bash', 'zsh', 'fish'])('the script of %s parses', async (shell) => {
  if (!has(shell)) return
  expect(await run(shell, ['-n', scripts.get(shell) ?? ''])).toEqual({ code: 0, stdout: '', stderr: '' })
})

describe('bash', () => {
  /** What is offered for the last word. */
  async function offered(...words: string[]): Promise<string[]> {
    const program = `source "$1"; shift; COMP_WORDS=(cosmos "$@"); COMP_CWORD=$#; _cosmos; printf '%s\\n' "\${COMPREPLY[@]}"`
    const { stdout } = await run('bash', ['-c', program, 'bash', scripts.get('bash') ?? '', ...words])
    return stdout
      .trim()
      .split('\n')
      .filter((word) => word !== '')
  }

  test('completes commands, options and choices', async () => {
    expect(await offered('st')).toEqual(['status'])
    expect(await offered('')).toEqual(expect.arrayContaining(['up', 'down', 'ls', 'completion', 'help']))
    expect(await offered('--v')).toEqual(['--version'])
    expect(await offered('up', '--')).toEqual(expect.arrayContaining(['--mount', '--driver', '--help']))
    expect(await offered('up', '--driver', '')).toEqual(['kernel', 'fuse-native'])
    expect(await offered('completion', 'z')).toEqual(['zsh'])
    expect(await offered('help', 'unb')).toEqual(['unbind'])
    expect(await offered('which', 'bas')).toContain('bash')
    expect(await offered('status', '')).toEqual([])
  })

  test('completes paths on a terminal', async () => {
    // Types into an interactive bash, and prints what it showed.
    const typist = [
      'import os, pty, sys',
      'pid, fd = pty.fork()',
      'if pid == 0: os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])',
      'os.write(fd, sys.argv[1].encode())',
      'try:',
      '  while part := os.read(fd, 4096): sys.stdout.buffer.write(part)',
      'except OSError: pass',
    ].join('\n')
    const print = 'cosmos() { printf \'<%s>\' "$@"; }'
    const typed = `source ${scripts.get('bash')}; cd ${directory}; ${print}\ncosmos cat so\t\ncosmos sta\t\nexit\n`
    const { stdout } = await run('python3', ['-c', typist, typed], { ...process.env, TERM: 'dumb' })
    expect(stdout).toContain('<cat><some file>')
    expect(stdout).toContain('<status>')
  })
})
