import type { WireError } from '../form/wire.ts'

/**
 * What passes between the supervisor and a daemon. The supervisor spawns a daemon with these descriptors;
 * they outlive it, so that the next daemon goes on where it stopped (design §8).
 */

/** Node's IPC channel, see the messages below. */
export const IPC_FD = 3
/** /dev/fuse, mounted, O_NONBLOCK. /dev/null for the fuse-native driver. */
export const FUSE_FD = 4
/** The state memory: a memfd with the access frames, handles, journal and what INIT negotiated. */
export const STATE_FD = 5
/**
 * The two ends of a SOCK_SEQPACKET pair, held open by the supervisor and never read by it: descriptors that must
 * outlive the daemon lie in its queue. A daemon sends on the first and takes from the second.
 */
export const KEEP_SEND_FD = 6
export const KEEP_RECEIVE_FD = 7

export type DriverName = 'kernel' | 'fuse-native'

/** What a daemon serves; first message to it. A spare daemon has loaded its modules and waits for it. */
export interface StartMessage {
  type: 'start'
  supervisor: number
  mount: string
  driver: DriverName
  /** The mount was already served by a daemon before this one: take over, do not expect INIT. */
  takeover: boolean
  /** The mount's fsname device number, `major:minor` as in mountinfo. */
  device: string
}
/** Finish the request at hand and exit with 0; nothing is lost, the next daemon takes over. */
export interface StopMessage {
  type: 'stop'
}
export type ToDaemon = StartMessage | StopMessage

/** The tree answers (kernel driver: INIT is done or the takeover is complete). */
export interface ReadyMessage {
  type: 'ready'
  resend: boolean
  passthrough: boolean
}
/** A spare daemon has loaded everything and waits for `start`. */
export interface LoadedMessage {
  type: 'loaded'
}
/** `cosmos down` or `cosmos reload` was asked over the control socket. */
export interface CommandMessage {
  type: 'down' | 'reload'
  /** Of `down`: detach at once, wait for nobody. */
  force?: boolean
}
/** The daemon cannot serve and ends; `cosmos up` prints why. */
export interface FailedMessage {
  type: 'failed'
  error: WireError
}
/** /dev/fuse says ENODEV: the mount was taken away from outside. */
export interface UnmountedMessage {
  type: 'unmounted'
}
export type ToSupervisor = ReadyMessage | LoadedMessage | CommandMessage | FailedMessage | UnmountedMessage

/** Layout of the state memory, bytes from its start. */
export const STATE_HEADER_SIZE = 4096
/** Part of the header that belongs to the FUSE driver: what INIT negotiated. */
export const STATE_DRIVER_OFFSET = 256
export const STATE_DRIVER_SIZE = 256
