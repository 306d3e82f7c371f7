// A program in a terminal, started by an interactive bash: as if bash had started it itself.
import { test } from 'vitest'
import { waitFor } from '../support/wait.ts'
import { forBoth, statusOf } from './launchers.ts'
import { launchTerminals } from './shell-terminal.ts'

forBoth('in a terminal', (subject) => {
  const { terminal, script } = launchTerminals(() => ({
    file: subject.file,
    control: subject.world.control,
    directory: subject.world.directory,
  }))

  test('the program has it, and leaves it as it sets it', async () => {
    const shell = await terminal()
    shell.type(`launch ${script('[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo a terminal')}\n`)
    await shell.see(/a terminal\r\n/)
    shell.type(`launch ${script('stty raw; stty -a | grep -o -- -icanon; stty sane -echo')}\n`)
    await shell.see(/-icanon/)
    shell.type('launch /bin/stty intr ^G; stty -a | grep -o "intr = ^."\n')
    await shell.see(/intr = \^G/)
  })

  test('keys reach the program as they come', async () => {
    const shell = await terminal()
    const path = script(
      'stty -icanon; echo ready; while read -rn1 key; do echo "<$key>"; [ "$key" = q ] && exit; done',
    )
    shell.type(`launch ${path}; echo "code $?"\n`)
    await shell.see(/ready\r\n/)
    shell.type('a')
    await shell.see(/<a>/)
    shell.type('q')
    await shell.see(/code 0/)
  })

  test('another size of the window is told', async () => {
    const shell = await terminal()
    const path = script('trap "stty size; exit 4" WINCH; stty cols 99; while :; do sleep 0.05; done')
    shell.type(`launch ${path}; echo "code $?"\n`)
    await shell.see(/24 99\r\ncode 4/)
  })

  test('Ctrl-C is for the whole program', async () => {
    const shell = await terminal()
    const path = script(
      'trap "wait; exit 3" INT; (trap "echo child; exit" INT; echo ready; while :; do sleep 0.05; done) & wait',
    )
    shell.type(`launch ${path}; echo "code $?"\n`)
    await shell.see(/ready\r\n/)
    shell.type('\x03')
    await shell.see(/child\r\ncode 3/)
  })

  test('Ctrl-C ends a program that does nothing about it', async () => {
    const shell = await terminal()
    shell.type(`launch ${script('echo ready; exec sleep 1000')}\n`)
    await shell.see(/ready\r\n/)
    shell.type('\x03')
    shell.type('echo "code $?"\n')
    await shell.see(/code 130/)
  })

  test('Ctrl-Z stops it, fg goes on, all its processes', async () => {
    const shell = await terminal()
    const path = script('sleep 1000 & echo "pids $$ $!"; read line; echo "read $line"; kill $!; exit 6')
    shell.type(`'${subject.file}' '${subject.world.control}' ${path}\n`)
    const [, parent, child] = await shell.see(/pids (\d+) (\d+)\r\n/)
    shell.type('\x1a')
    await shell.see(/Stopped/)
    for (const pid of [parent, child])
      await waitFor('it to stop', () => statusOf(Number(pid), 'State').startsWith('T'))
    shell.type('fg >/dev/null; echo "code $?"\n')
    for (const pid of [parent, child])
      await waitFor('it to go on', () => statusOf(Number(pid), 'State').startsWith('S'))
    shell.type('text\n')
    await shell.see(/read text\r\ncode 6/)
  })

  test('a pipeline of two is stopped and goes on as one job', async () => {
    const shell = await terminal()
    const counter = script('echo begun >&2; for i in $(seq 1000); do echo $i; sleep 0.02; done')
    shell.type(
      `'${subject.file}' '${subject.world.control}' ${counter} | '${subject.file}' '${subject.world.control}' /bin/grep --line-buffered -x 50\n`,
    )
    await shell.see(/begun\r\n/)
    await waitFor('both to run', () => subject.world.running().length === 2)
    shell.type('\x1a')
    await shell.see(/Stopped/)
    shell.type('fg >/dev/null\n')
    await shell.see(/\n50\r\n/)
    shell.type('\x03')
    await waitFor('both to end', () => subject.world.running().length === 0)
    shell.type('\necho "again $?"\n')
    await shell.see(/again \d+/)
  })
})
