import { describeError } from '../errors.ts'
import { raiseDescriptorLimit } from './inheritance.ts'
import { findInstance, prepareInstance } from './instance.ts'
import { tryLock } from './lock.ts'
import { EXIT_LOCKED, type StartReport, type SupervisorOrder, supervisorFiles } from './record.ts'
import { Supervisor } from './supervision.ts'

/**
 * The supervisor's process: small, without tree state. It holds the mount and the descriptors that its daemons
 * inherit (design §8), and lives until the mount ends. Arguments: the home (for `ps`), and a SupervisorOrder as JSON.
 * Standard error is the log. Whoever started it hears by IPC how that went.
 */

const instance = findInstance()
const order = JSON.parse(process.argv[3] ?? '{}') as SupervisorOrder
const supervisor = new Supervisor(instance, order, { log, report, exit: (code) => process.exit(code) })

process.on('uncaughtException', (error) => {
  log(`internal error: ${error.stack ?? error.message}`)
  void supervisor.end({ force: true, code: 1 })
})
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
  process.on(signal, () => {
    log(`${signal}: ends`)
    void supervisor.end()
  })
process.on('disconnect', () => {
  if (order.foreground) void supervisor.end()
})

prepareInstance(instance)
// Held, and never let go of but by this process's end.
if (!tryLock(supervisorFiles(instance).lock)) process.exit(EXIT_LOCKED)
raiseDescriptorLimit()
void supervisor.start()

function log(line: string): void {
  process.stderr.write(`${new Date().toISOString()} supervisor: ${line}\n`)
}

function report(message: StartReport): void {
  if (message.type === 'failed') log(describeError(new Error(message.error.message)))
  if (!process.connected) return
  process.send?.(message, () => {
    // From now on it may go its own way.
    if (!order.foreground && process.connected) process.disconnect()
  })
}
