// A program that a peer runs, in a terminal of its own that the caller's shows.
import { test } from 'vitest'
import { RemoteWorld } from '../support/remote.ts'
import { waitFor } from '../support/wait.ts'
import { forBothIn, statusOf } from './launchers.ts'
import { launchTerminals } from './shell-terminal.ts'

forBothIn(
  () => RemoteWorld.start(),
  'a program of a peer in a terminal',
  (_name, file, world) => {
    const { terminal, script } = launchTerminals(() => ({
      file,
      control: world().control,
      directory: world().directory,
    }))

    const settings = `stty -a | grep -o -- '-\\?\\(icanon\\|echo\\|isig\\|opost\\)\\b' | tr '\\n' ' '; echo`

    test('it has one, of the caller’s size', async () => {
      const shell = await terminal()
      shell.type(
        `launch ${script('[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo a terminal; stty size; ps -o tpgid= $$')}; echo "code $?"\n`,
      )
      await shell.see(/a terminal\r\n/)
      await shell.see(/24 80\r\n/)
      await shell.see(/code 0/)
    })

    test('the caller’s is raw while it runs, and as before at the end', async () => {
      const shell = await terminal()
      const path = script('echo ready; read line; exit 5')
      shell.type(`${settings}\n`)
      await shell.see(/ isig icanon -echo opost|isig icanon -echo/)
      shell.type(`launch ${path}; echo "code $?"; ${settings}\n`)
      await shell.see(/ready\r\n/)
      shell.type('word\r')
      // The program's terminal echoes.
      await shell.see(/word\r\n/)
      await shell.see(/code 5\r\n/)
      await shell.see(/isig icanon/)
    })

    test('it is as before after a death by signal, and after an error', async () => {
      const shell = await terminal()
      shell.type(`launch ${script('kill -KILL $$')}; echo "code $?"; ${settings}\n`)
      await shell.see(/code 137\r\n/)
      await shell.see(/isig icanon/)
      shell.type(`launch ${script('echo ready; exec sleep 1000')}; echo "code $?"; ${settings}\n`)
      await shell.see(/ready/)
      world().cut()
      await shell.see(/cosmos: me@B: outcome unknown: /)
      await shell.see(/code 125\r\n/)
      await shell.see(/isig icanon/)
      await world().connect()
    })

    test('keys reach it as they come', async () => {
      const shell = await terminal()
      const path = script(
        'stty -icanon -echo; echo ready; while read -rn1 key; do printf "<%d>\\n" "\'$key"; [ "$key" = q ] && exit; done',
      )
      shell.type(`launch ${path}; echo "code $?"\n`)
      await shell.see(/ready\r\n/)
      shell.type('a')
      await shell.see(/<97>/)
      shell.type('\x02')
      await shell.see(/<2>/)
      shell.type('q')
      await shell.see(/code 0/)
    })

    test('another size of the window is told', async () => {
      const shell = await terminal()
      const path = script('trap "stty size; exit 4" WINCH; echo "tty $$"; while :; do sleep 0.02; done')
      shell.type(`tty; launch ${path}; echo "code $?"\n`)
      const [, device] = await shell.see(/(\/dev\/pts\/\d+)\r\n/)
      await shell.see(/tty \d+\r\n/)
      const other = await terminal()
      other.type(`stty cols 99 <${device}\n`)
      await shell.see(/24 99\r\ncode 4/)
    })

    test('Ctrl-C is for the program', async () => {
      const shell = await terminal()
      const path = script('trap "echo heard; exit 3" INT; echo ready; while :; do sleep 0.02; done')
      shell.type(`launch ${path}; echo "code $?"\n`)
      await shell.see(/ready\r\n/)
      shell.type('\x03')
      await shell.see(/heard\r\ncode 3/)
      shell.type(`launch ${script('echo ready; exec sleep 1000')}\n`)
      await shell.see(/ready\r\n/)
      shell.type('\x03')
      // What is typed while it runs is its input.
      await waitFor('the launcher to end', () => world().netrun.running === 0)
      shell.type('echo "code $?"\n')
      await shell.see(/code 130/)
    })

    test('Ctrl-Z stops both, fg lets both go on', async () => {
      const shell = await terminal()
      const path = script('echo "pid $$"; read line; echo "read $line"; exit 6')
      shell.type(`'${file}' '${world().control}' ${path}\n`)
      const [, pid] = await shell.see(/pid (\d+)\r\n/)
      shell.type('\x1a')
      await shell.see(/Stopped/)
      await waitFor('it to stop', () => statusOf(Number(pid), 'State').startsWith('T'))
      // The shell has its terminal as it was.
      shell.type(`${settings}\n`)
      await shell.see(/isig icanon/)
      shell.type('fg >/dev/null; echo "code $?"\n')
      await waitFor('it to go on', () => statusOf(Number(pid), 'State').startsWith('S'))
      shell.type('text\r')
      await shell.see(/read text\r\ncode 6/)
    })

    test('in the background it neither reads nor changes the terminal, until it is in front', async () => {
      const shell = await terminal()
      const path = script('echo "pid $$"; read line; echo "read $line"; exit 6')
      shell.type(`'${file}' '${world().control}' ${path} &\n`)
      await shell.see(/pid (\d+)/)
      shell.type(`${settings}\n`)
      await shell.see(/isig icanon/)
      shell.type('jobs\n')
      await shell.see(/Running/)
      shell.type('fg >/dev/null; echo "code $?"\n')
      // It finds that it is in front within a moment; what is typed before is read as well.
      shell.type('text\r')
      await shell.see(/read text\r\n/)
      await shell.see(/code 6/)
    })

    test('with stdout elsewhere there is none: keys and signals as ever', async () => {
      const shell = await terminal()
      const path = script(
        '[ -t 0 ] || echo none; read line; echo "read $line"; trap "echo heard; exit 3" INT; echo ready; while :; do sleep 0.02; done',
      )
      shell.type(`launch ${path} | (trap "" INT; exec cat); echo "code \${PIPESTATUS[0]}"\n`)
      await shell.see(/none\r\n/)
      shell.type('text\n')
      await shell.see(/read text\r\nready\r\n/)
      shell.type('\x03')
      await shell.see(/heard\r\ncode 3/)
    })

    test('a pipeline of two is stopped and goes on as one job', async () => {
      const shell = await terminal()
      const counter = script('echo begun >&2; for i in $(seq 1000); do echo $i; sleep 0.02; done')
      shell.type(
        `'${file}' '${world().control}' ${counter} | '${file}' '${world().control}' /bin/grep --line-buffered -x 50\n`,
      )
      await shell.see(/begun\r\n/)
      await waitFor('both to run', () => world().peer.children.size === 2)
      shell.type('\x1a')
      await shell.see(/Stopped/)
      shell.type('fg >/dev/null\n')
      await shell.see(/\n50\r\n/)
      shell.type('\x03')
      await waitFor('both to end', () => world().netrun.running === 0)
      shell.type('\necho "again $?"\n')
      await shell.see(/again \d+/)
    })
  },
)
