import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { createConnection } from 'node:net'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { unmountFuse } from '../../mount/kernel/mounting.ts'
import { COSMOS_TYPE, cosmosMountOf, mountOf, readMountinfo } from '../../mount/mountinfo.ts'
import { removeMountPoint, resolveMountPoint } from '../../mount/mountpoint.ts'
import { CosmosError } from '../errors.ts'
import { fromWireError } from '../form/wire.ts'
import type { DriverName } from './handover.ts'
import { type Instance, prepareInstance } from './instance.ts'
import { isLocked, waitForLock } from './lock.ts'
import {
  EXIT_LOCKED,
  type InstanceRecord,
  readRecord,
  type StartReport,
  type SupervisorOrder,
  supervisorFiles,
} from './record.ts'

/** What `cosmos up` may ask for. */
export interface StartOptions {
  /** Where to mount: absolute. By default the instance's own place. */
  readonly mount?: string
  readonly driver?: DriverName
  /** The instance ends with this process. */
  readonly foreground?: boolean
}

/** A running instance. */
export interface StartedInstance {
  /** False when it ran already. */
  readonly started: boolean
  readonly mount: string
  readonly driver: DriverName
  /** The daemon. */
  readonly pid: number
  readonly supervisor: number
  /** Settles when the instance has ended; only of one that was started in the foreground. */
  readonly ended?: Promise<void>
}

/** How long to wait for another `up`, and for an instance that is starting or ending. */
const PATIENCE_MS = 30_000
const START_PATIENCE_MS = 60_000
const RETRY_MS = 15
/** A log that is longer becomes `cosmos.log.1` at the next start. */
const MAX_LOG_BYTES = 8 * 1024 * 1024

/**
 * Starts the instance unless it runs, and answers when its tree does. Any number may ask at once: one starts it, the
 * others find it. Cleans up after one that was killed. Throws CosmosError: EBUSY when it runs and is mounted
 * elsewhere or by another driver, else why it cannot be started.
 */
export async function startInstance(
  instance: Instance,
  options: StartOptions = {},
): Promise<StartedInstance> {
  prepareInstance(instance)
  const files = supervisorFiles(instance)
  const lock = await waitForLock(files.upLock, PATIENCE_MS + START_PATIENCE_MS)
  if (!lock)
    throw new CosmosError('EAGAIN', instance.home, 'another cosmos up does not come to an end', 'cosmos log')
  try {
    const running = await findRunning(instance)
    if (running) return attach(instance, running, options)
    await cleanUp(instance)
    const order = {
      mount: options.mount ?? instance.defaultMount,
      driver: options.driver ?? (process.platform === 'linux' ? 'kernel' : 'fuse-native'),
      foreground: options.foreground ?? false,
    } as const
    return await startSupervisor(instance, order)
  } finally {
    lock.release()
  }
}

function attach(instance: Instance, record: InstanceRecord, options: StartOptions): StartedInstance {
  const { mount, driver, daemon, supervisor } = record
  const elsewhere = options.mount !== undefined && resolveMountPoint(options.mount) !== mount
  if (elsewhere || (options.driver !== undefined && options.driver !== driver)) {
    const how = elsewhere ? '' : ` by the ${driver} driver`
    throw new CosmosError(
      'EBUSY',
      instance.home,
      `is already mounted at ${mount}${how}`,
      'first: cosmos down',
    )
  }
  return { started: false, mount, driver, pid: daemon, supervisor }
}

/** The instance that runs and answers; waits for one that starts or ends. */
async function findRunning(instance: Instance): Promise<InstanceRecord | undefined> {
  const { lock } = supervisorFiles(instance)
  const deadline = performance.now() + PATIENCE_MS
  while (isLocked(lock)) {
    const record = readRecord(instance)
    if (record?.state === 'running' && (await answers(instance.controlSocket))) {
      if (isMounted(record)) return record
      // Detached from outside, and somebody still uses it: that one is given up for a new mount.
      signal(record.supervisor, 'SIGTERM')
    }
    if (performance.now() > deadline)
      throw new CosmosError(
        'ETIMEDOUT',
        instance.home,
        'its supervisor runs, its daemon does not answer',
        record ? `kill ${record.supervisor}; cosmos log` : 'cosmos log',
      )
    await sleep(RETRY_MS)
  }
  return undefined
}

/** Whether the supervisor still has its mount, as it sees the mounts: another namespace's show is no matter. */
function isMounted({ supervisor, mount }: InstanceRecord): boolean {
  try {
    return cosmosMountOf(mount, readMountinfo(supervisor)) !== undefined
  } catch {
    return true
  }
}

/** Whether somebody takes connections at a socket. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    const settle = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
    socket.on('connect', () => settle(true))
    socket.on('error', () => settle(false))
  })
}

/** Takes away what a killed supervisor left: its daemons, its dead mount, its files. */
async function cleanUp(instance: Instance): Promise<void> {
  const record = readRecord(instance)
  if (record) {
    for (const pid of [record.daemon, record.spare]) await endOrphan(pid, instance)
    const found = mountOf(record.mount, readMountinfo())
    const isLeft = found?.path === record.mount && found.type === COSMOS_TYPE
    if (isLeft && found.device === record.device) await unmountFuse(record.mount, true)
    if (record.made !== undefined) removeMountPoint({ path: record.mount, made: record.made })
  }
  rmSync(instance.controlSocket, { force: true })
  rmSync(supervisorFiles(instance).record, { force: true })
}

async function endOrphan(pid: number, instance: Instance): Promise<void> {
  while (isOwnDaemon(pid, instance)) {
    signal(pid, 'SIGKILL')
    await sleep(RETRY_MS)
  }
}

/** Whether a process is a daemon of this instance: a number alone may be somebody else's by now. */
function isOwnDaemon(pid: number, instance: Instance): boolean {
  if (pid <= 0) return false
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    return words.includes(instance.home) && words.some((word) => /\/daemon\/main\.[jt]s$/.test(word))
  } catch {
    return false
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has just ended.
  }
}

/** Starts a supervisor in a session of its own and waits for its report. */
async function startSupervisor(instance: Instance, order: SupervisorOrder): Promise<StartedInstance> {
  const log = openLog(instance.log)
  const program = fileURLToPath(new URL('./supervisor.ts', import.meta.url))
  const child = spawn(process.execPath, [program, instance.home, JSON.stringify(order)], {
    detached: true,
    cwd: '/',
    env: environmentOf(instance),
    stdio: ['ignore', log, log, 'ipc'],
  })
  closeSync(log)
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const timer = setTimeout(() => child.kill('SIGKILL'), START_PATIENCE_MS)
  const report = await reportOf(child, exited)
  clearTimeout(timer)
  if (report === undefined) {
    const code = await exited
    if (code === EXIT_LOCKED)
      throw new CosmosError('EBUSY', instance.home, 'another supervisor has just started', 'cosmos up')
    throw new CosmosError(
      'EIO',
      'supervisor',
      `ended (${code}) before the tree answered`,
      `see ${instance.log}`,
    )
  }
  if (report.type === 'failed') {
    await exited
    throw fromWireError(report.error)
  }
  const { mount, driver, daemon, supervisor } = report.record
  const started: StartedInstance = { started: true, mount, driver, pid: daemon, supervisor }
  if (order.foreground) return { ...started, ended: exited.then(() => {}) }
  if (child.connected) child.disconnect()
  child.unref()
  return started
}

/** What the supervisor tells; undefined when it ends without a word. */
function reportOf(child: ChildProcess, exited: Promise<unknown>): Promise<StartReport | undefined> {
  return new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(message as StartReport))
    child.once('error', (error) =>
      reject(new CosmosError('EIO', 'supervisor', `cannot be started: ${error.message}`)),
    )
    void exited.then(() => resolve(undefined))
  })
}

/** The environment of an instance's processes: their working directory is `/`, so paths in it are absolute. */
function environmentOf(instance: Instance): NodeJS.ProcessEnv {
  const { XDG_CACHE_HOME, HOME, NODE_COMPILE_CACHE, COSMOS_DB_FILE } = process.env
  return {
    ...process.env,
    COSMOS_HOME: instance.home,
    ...(COSMOS_DB_FILE ? { COSMOS_DB_FILE: resolve(COSMOS_DB_FILE) } : {}),
    // The same as bin/cosmos.mjs's.
    NODE_COMPILE_CACHE:
      NODE_COMPILE_CACHE || join(XDG_CACHE_HOME || join(HOME || homedir(), '.cache'), 'cosmos/compile'),
  }
}

function openLog(path: string): number {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (size > MAX_LOG_BYTES) renameSync(path, `${path}.1`)
  return openSync(path, 'a', 0o600)
}
