/**
 * A small TCP proxy that delivers later what it takes: `node test/bench/delay-proxy.ts MS ADDRESS:PORT=ADDRESS:PORT…`,
 * milliseconds each way. Prints `ready`, and runs until it is killed. It stands where netem cannot be had.
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

const [milliseconds = '0', ...routes] = process.argv.slice(2)
const wait = Number(milliseconds)

/** Bytes come late by `wait`, in their order and at any rate: what is on its way is only bounded by the sender. */
function carry(from: Socket, to: Socket): void {
  const later = (step: () => void): void => void setTimeout(step, wait)
  from.setNoDelay(true)
  from.on('data', (bytes) =>
    later(() => {
      if (!to.writable || to.write(bytes)) return
      from.pause()
      to.once('drain', () => from.resume())
    }),
  )
  from.on('end', () => later(() => to.end()))
  from.on('error', () => to.destroy())
  from.on('close', () => later(() => to.destroy()))
}

function socketAddress(text: string): { host: string; port: number } {
  const [host = '', port] = text.split(':')
  return { host, port: Number(port) }
}

for (const route of routes) {
  const [here = '', there = ''] = route.split('=')
  const server = createServer((near) => {
    const far = connect(socketAddress(there))
    carry(near, far)
    carry(far, near)
  })
  server.listen(socketAddress(here))
  await once(server, 'listening')
}
console.log('ready')
