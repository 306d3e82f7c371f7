// Support: a daemon of its own that runs a program for a peer, for tests of other users and of a daemon's death. Runs the
// shell script of its first argument, by the rules of the others, and prints what it left, as JSON.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PeerHost } from './peer-programs.ts'

const host = new PeerHost(process.env.PEER_BASE)
try {
  writeFileSync(join(host.secret, 'key'), 'THE KEY')
  const [script = '', ...rules] = process.argv.slice(2)
  const argv = ['/bin/sh', '-c', script, 'sh', host.base]
  const left = await host.run([...rules, `read:${host.base}`], { argv })
  process.stdout.write(`${JSON.stringify(left)}\n`)
} finally {
  await host.stop()
}
