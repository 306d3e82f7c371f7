// Support: what an ordinary user's daemon would do for a peer; prints what the program of the arguments left, as JSON.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PeerHost } from './peer-programs.ts'

const host = new PeerHost()
try {
  writeFileSync(join(host.secret, 'key'), 'THE KEY')
  const [script = '', ...rules] = process.argv.slice(2)
  const argv = ['/bin/sh', '-c', script, 'sh', host.base]
  const left = await host.run([...rules, `read:${host.base}`], { argv })
  process.stdout.write(`${JSON.stringify(left)}\n`)
} finally {
  await host.stop()
}
