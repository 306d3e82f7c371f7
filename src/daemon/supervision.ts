import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { isConnected, unmountFuse } from '../../mount/kernel/mounting.ts'
import { cosmosMountOf, readMountinfo } from '../../mount/mountinfo.ts'
import { type MountPoint, prepareMountPoint, removeMountPoint } from '../../mount/mountpoint.ts'
import { CosmosError } from '../errors.ts'
import type { WireError } from '../form/wire.ts'
import { findBusy } from './busy.ts'
import { CrashPolicy } from './crash-policy.ts'
import { DaemonProcess, type Exit } from './daemon-process.ts'
import type { ReadyMessage, ToSupervisor } from './handover.ts'
import { closeInheritance, type Inheritance, openInheritance } from './inheritance.ts'
import type { Instance } from './instance.ts'
import {
  type InstanceRecord,
  type StartReport,
  type SupervisorOrder,
  supervisorFiles,
  writeRecord,
} from './record.ts'

/** How long a daemon may take: to load before a reload, and to end before it is killed. */
const LOAD_PATIENCE_MS = 20_000
const STOP_PATIENCE_MS = 2000
const RELOAD_PATIENCE_MS = 1000
const FORCED_PATIENCE_MS = 300
/** How long unmounting may wait for what is written back. */
const UNMOUNT_PATIENCE_MS = 4000
/** Who is busy for so short is not worth a detached mount. */
const BUSY_PAUSE_MS = 100

/** What a supervisor needs of its process. */
export interface SupervisorProcess {
  log(line: string): void
  /** Tells whoever started it, once, how that went. */
  report(message: StartReport): void
  exit(code: number): void
}

/** A start is not slowed down by the spare: that is loaded a little later. */
const SPARE_AFTER_MS = 500

/** How an instance ends. */
export interface End {
  /** Detach at once, wait for nobody. */
  readonly force?: boolean
  /** The mount is gone already. */
  readonly unmounted?: boolean
  /** Exit code. */
  readonly code?: number
}

/** Holds one mount, and has it served by one daemon after the other. */
export class Supervisor {
  readonly #instance: Instance
  readonly #order: SupervisorOrder
  readonly #process: SupervisorProcess
  readonly #policy = new CrashPolicy()
  #point: MountPoint | undefined
  #inheritance: Inheritance | undefined
  #current: DaemonProcess | undefined
  /** Loaded, and waits for the current one's death. */
  #spare: DaemonProcess | undefined
  /** The next daemon of a reload while it loads. */
  #candidate: DaemonProcess | undefined
  #crashed = false
  /** What the last ready daemon of this mount said; undefined as long as none was. */
  #served: ReadyMessage | undefined
  #everServed = false
  #ending: Promise<void> | undefined
  #hurry: () => void = () => {}
  readonly #hurried = new Promise<false>((resolve) => {
    this.#hurry = () => resolve(false)
  })

  constructor(instance: Instance, order: SupervisorOrder, itself: SupervisorProcess) {
    this.#instance = instance
    this.#order = order
    this.#process = itself
  }

  /** Mounts and starts the first daemon. What goes wrong is reported, and ends the process. */
  async start(): Promise<void> {
    try {
      this.#point = await prepareMountPoint(this.#order.mount, this.#instance.home, (path) =>
        this.#detach(path),
      )
      if (this.#ending) return
      this.#inheritance = openInheritance(this.#order.driver, this.#point.path)
      this.#serve(this.#spawn(), false)
    } catch (error) {
      this.#giveUp(error)
    }
  }

  /** Unmounts, ends the daemon and the process. A second call with `force` ends the waiting of the first. */
  end(how: End = {}): Promise<void> {
    if (how.force) this.#hurry()
    this.#ending ??= this.#end(how)
    return this.#ending
  }

  /** Replaces the daemon by one that is loaded anew, under the living mount. One that does not load changes nothing. */
  async reload(): Promise<void> {
    if (this.#candidate || this.#ending || !this.#inheritance) return
    this.#process.log('reload: loading a new daemon')
    const next = this.#spawn()
    this.#candidate = next
    const loaded = await Promise.race([next.loaded, sleep(LOAD_PATIENCE_MS, false, { ref: false })])
    this.#candidate = undefined
    if (!loaded || this.#ending) {
      this.#process.log(
        `reload: ${next.failure?.message ?? 'the new daemon did not load'}; the old one stays`,
      )
      next.kill()
      return
    }
    this.#dropSpare()
    const former = this.#current
    const exit = former ? await former.stop(RELOAD_PATIENCE_MS) : 'SIGKILL'
    if (this.#ending) {
      next.kill()
      return
    }
    // One that ended by itself has answered all that it took; else what it took must be asked for again.
    if (exit === 0 ? this.#served && this.#order.driver === 'kernel' : this.#canTakeOver())
      this.#serve(next, true)
    else {
      next.kill()
      await this.#remount()
    }
  }

  #spawn(): DaemonProcess {
    const daemon = new DaemonProcess(this.#instance.home, this.#inheritance as Inheritance, (from, message) =>
      this.#take(from, message),
    )
    void daemon.exited.then((exit) => this.#died(daemon, exit))
    return daemon
  }

  #serve(daemon: DaemonProcess, takeover: boolean): void {
    this.#current = daemon
    daemon.start({
      type: 'start',
      supervisor: process.pid,
      mount: this.#path,
      driver: this.#order.driver,
      takeover,
      device: this.#inheritance?.device ?? '',
    })
    this.#record('starting')
  }

  #take(daemon: DaemonProcess, message: ToSupervisor): void {
    if (message.type === 'down') void this.end({ force: message.force ?? false })
    else if (message.type === 'reload') void this.reload()
    else if (daemon !== this.#current || this.#ending) return
    else if (message.type === 'unmounted') this.#unmountedOutside()
    else if (message.type === 'ready') this.#ready(daemon, message)
  }

  #ready(daemon: DaemonProcess, message: ReadyMessage): void {
    const took = Math.round(performance.now() - (daemon.startedAt ?? 0))
    this.#process.log(`daemon ${daemon.pid} serves ${this.#path}, ready after ${took} ms`)
    this.#served = message
    const record = this.#record('running')
    if (!this.#everServed) {
      this.#everServed = true
      this.#process.report({ type: 'ready', record })
      setImmediate(flushCompileCache)
    }
    if (this.#crashed) this.#keepSpare()
    else
      setTimeout(() => {
        if (!this.#ending) this.#keepSpare()
      }, SPARE_AFTER_MS)
  }

  #died(daemon: DaemonProcess, exit: Exit): void {
    if (daemon === this.#spare) {
      this.#spare = undefined
      this.#process.log(`spare daemon ${daemon.pid} ended (${exit})`)
      return
    }
    if (daemon !== this.#current || daemon.expectedToEnd || this.#ending) return
    this.#current = undefined
    this.#crashed = true
    const why = daemon.failure ? `: ${daemon.failure.message}` : ''
    this.#process.log(`daemon ${daemon.pid} ended (${exit})${why}`)
    if (!this.#isMounted()) this.#unmountedOutside()
    else if (!this.#everServed && daemon.failure) this.#giveUp(daemon.failure)
    else this.#follow(daemon, exit)
  }

  /** Does what is to be done about a daemon's death. */
  #follow(daemon: DaemonProcess, exit: Exit): void {
    const { act, delay } = this.#policy.died({
      ready: daemon.readyAt !== undefined,
      lifetime: performance.now() - (daemon.readyAt ?? daemon.startedAt ?? 0),
      killed: exit === 'SIGKILL' || exit === 'SIGTERM',
    })
    // Before anything was served, nobody is helped by patience: `cosmos up` waits for an answer.
    if (act === 'give up' || (act === 'remount' && !this.#everServed)) {
      this.#giveUp(new CosmosError('EIO', 'daemon', 'ends again and again before it is of use', 'cosmos log'))
      return
    }
    // EPROTO: the state is another version's, no daemon of this one will read it.
    const anew = act === 'remount' || !this.#canTakeOver() || daemon.failure?.code === 'EPROTO'
    if (delay === 0) this.#replace(anew)
    else setTimeout(() => this.#replace(anew), delay)
  }

  #replace(anew: boolean): void {
    if (this.#ending || this.#current) return
    if (anew) {
      void this.#remount()
      return
    }
    const next = this.#spare ?? this.#spawn()
    this.#spare = undefined
    this.#serve(next, true)
    // At once: when crash follows crash, waiting until this one is ready would mean never to have one.
    this.#keepSpare()
  }

  #keepSpare(): void {
    if (this.#spare) return
    this.#spare = this.#spawn()
    this.#record(this.#current?.readyAt === undefined ? 'starting' : 'running')
  }

  /** Whether the kernel gives a new daemon what a dead one had taken and not answered. */
  #canTakeOver(): boolean {
    return this.#order.driver === 'kernel' && this.#served?.resend === true
  }

  /** A new mount in the old one's place, with new state: whoever used the old one gets ENOTCONN. */
  async #remount(): Promise<void> {
    this.#process.log(`mounting ${this.#path} anew`)
    this.#dropSpare()
    this.#closeInheritance()
    this.#served = undefined
    try {
      await this.#detach(this.#path)
      if (this.#ending) return
      this.#inheritance = openInheritance(this.#order.driver, this.#path)
      this.#serve(this.#spawn(), false)
    } catch (error) {
      this.#giveUp(error)
    }
  }

  #isMounted(): boolean {
    if (!this.#inheritance) return false
    if (this.#order.driver === 'kernel') return isConnected(this.#inheritance.fuse)
    // It mounts by itself: not before it was ready, and a dead one's mount stays.
    return !this.#served || cosmosMountOf(this.#path, readMountinfo()) !== undefined
  }

  #unmountedOutside(): void {
    this.#process.log(`${this.#path} was unmounted from outside`)
    void this.end({ unmounted: true })
  }

  #giveUp(error: unknown): void {
    const { code, subject, message, hint } = error as WireError
    const failure =
      error instanceof CosmosError || code
        ? { code, subject, message }
        : { ...UNKNOWN, message: String(error) }
    this.#process.report({ type: 'failed', error: hint === undefined ? failure : { ...failure, hint } })
    void this.end({ force: true, code: 1 })
  }

  async #end({ force = false, unmounted = false, code = 0 }: End): Promise<void> {
    if (this.#point) this.#record('ending')
    try {
      if (!unmounted && this.#inheritance) await this.#unmount(force)
    } catch (error) {
      this.#process.log(`cannot unmount: ${(error as Error).message}`)
    }
    this.#candidate?.kill()
    this.#dropSpare()
    await this.#current?.stop(force ? FORCED_PATIENCE_MS : STOP_PATIENCE_MS)
    this.#closeInheritance()
    rmSync(this.#instance.controlSocket, { force: true })
    rmSync(supervisorFiles(this.#instance).record, { force: true })
    if (this.#point) removeMountPoint(this.#point)
    this.#process.log('ended')
    this.#process.exit(code)
  }

  /** Unmounts; a mount that is busy goes from the tree at once, and its users are named. */
  async #unmount(force: boolean): Promise<void> {
    await this.#detachOthers()
    if (!force) {
      const patience = sleep(UNMOUNT_PATIENCE_MS, false, { ref: false })
      if (await Promise.race([this.#tryUnmount(), patience, this.#hurried])) {
        this.#process.log(`unmounted ${this.#path}`)
        return
      }
      const busy = await findBusy(this.#path)
      const names = busy.map(({ name, pid, what }) => `${name} (${pid}): ${what}`)
      this.#process.log(`${this.#path} is busy${names.length > 0 ? `: ${names.join('; ')}` : ''}`)
      await Promise.race([writeBack(this.#path), patience, this.#hurried])
    }
    await this.#detach(this.#path)
    this.#process.log(`detached ${this.#path}`)
  }

  /** Other places of the same tree (`mount --bind`) would keep it. */
  async #detachOthers(): Promise<void> {
    const device = this.#inheritance?.device
    if (!device) return
    for (const mount of readMountinfo())
      if (mount.device === device && mount.path !== this.#path) await this.#detach(mount.path)
  }

  async #tryUnmount(): Promise<boolean> {
    if (await unmountFuse(this.#path, false)) return true
    await sleep(BUSY_PAUSE_MS)
    return unmountFuse(this.#path, false)
  }

  async #detach(path: string): Promise<void> {
    await unmountFuse(path, true)
  }

  #dropSpare(): void {
    const spare = this.#spare
    this.#spare = undefined
    spare?.kill()
  }

  #closeInheritance(): void {
    if (this.#inheritance) closeInheritance(this.#inheritance)
    this.#inheritance = undefined
  }

  get #path(): string {
    return this.#point?.path ?? this.#order.mount
  }

  #record(state: InstanceRecord['state']): InstanceRecord {
    const device = this.#inheritance?.device || cosmosMountOf(this.#path, readMountinfo())?.device
    const record: InstanceRecord = {
      supervisor: process.pid,
      daemon: this.#current?.pid ?? 0,
      spare: this.#spare?.pid ?? 0,
      mount: this.#path,
      ...(this.#point?.made === undefined ? {} : { made: this.#point.made }),
      driver: this.#order.driver,
      device: device ?? '',
      state,
    }
    writeRecord(this.#instance, record)
    return record
  }
}

const UNKNOWN: WireError = { code: 'EIO', subject: 'supervisor', message: '', hint: 'cosmos log' }

/** Has what was written to a mount, and not yet sent to its daemon, sent: in another process, it may hang. */
function writeBack(path: string): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn('sync', ['-f', '--', path], { stdio: 'ignore' })
    child.unref()
    child.on('error', () => resolve())
    child.on('exit', () => resolve())
  })
}
