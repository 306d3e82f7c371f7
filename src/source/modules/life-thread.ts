import { Socket } from 'node:net'

/**
 * Ends the process of a module when its daemon is gone, whatever the module itself is at: a loop that never ends has no
 * turn in which it could hear of it. What the module started ends with it, being of its process group.
 */
const LIFE = 4

const life = new Socket({ fd: LIFE, readable: true, writable: false })
const end = () => process.kill(-process.pid, 'SIGKILL')
life.on('end', end).on('close', end).on('error', end)
life.resume()
