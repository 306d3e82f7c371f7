import { call, ioctl } from '../src/os/libc.ts'
import { allocateNative } from '../src/os/memory.ts'

/** The caller's terminal, on descriptor 0, while a program elsewhere has one of its own: see terminal.h. */

const getProcessGroup = call<(pid: number) => number>('int getpgid(int)')

const STDIN = 0
/** ioctl_tty(2) */
const TCGETS = 0x5401
const TCSETS = 0x5402
const TIOCGPGRP = 0x540f
const TIOCGWINSZ = 0x5413

/** struct termios of the kernel: four words of flags, the line discipline, the characters. */
const SIZE = 36
const [INPUT, OUTPUT, CONTROL, LOCAL, CHARACTERS] = [0, 4, 8, 12, 17]
const [VTIME, VMIN] = [5, 6]
/** termios(3), cfmakeraw: what is taken away of each, and CS8. */
const IGNBRK_TO_IXON = 0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000
const OPOST = 0o1
const CSIZE_PARENB = 0o60 | 0o400
const CS8 = 0o60
const ECHO_TO_IEXTEN = 0o10 | 0o100 | 0o2 | 0o1 | 0o100000

const former = allocateNative(SIZE)
const raw = allocateNative(SIZE)
const numbers = allocateNative(8)
let entered = false

/** Whether this process is in the terminal's foreground: only then it may read and set it. */
export function terminalIsOurs(): boolean {
  if (ioctl(STDIN, TIOCGPGRP, numbers.address) < 0) return false
  return numbers.view.getInt32(0, true) === getProcessGroup(0)
}

/** The window's size; undefined where the terminal has none. */
export function terminalSize(): { rows: number; columns: number } | undefined {
  if (ioctl(STDIN, TIOCGWINSZ, numbers.address) < 0) return undefined
  return { rows: numbers.view.getUint16(0, true), columns: numbers.view.getUint16(2, true) }
}

/** Every key comes as it is, nothing is echoed, and nothing of the output is changed. */
export function enterTerminal(): void {
  // What a stop by somebody else has left raw is not how it was before.
  if (!entered && ioctl(STDIN, TCGETS, former.address) < 0) return
  raw.bytes.set(former.bytes)
  const clear = (at: number, flags: number) => {
    raw.view.setUint32(at, raw.view.getUint32(at, true) & ~flags, true)
  }
  clear(INPUT, IGNBRK_TO_IXON)
  clear(OUTPUT, OPOST)
  clear(CONTROL, CSIZE_PARENB)
  raw.view.setUint32(CONTROL, raw.view.getUint32(CONTROL, true) | CS8, true)
  clear(LOCAL, ECHO_TO_IEXTEN)
  raw.bytes[CHARACTERS + VMIN] = 1
  raw.bytes[CHARACTERS + VTIME] = 0
  entered = ioctl(STDIN, TCSETS, raw.address) === 0
}

/** As it was before. Does nothing where it was not entered. */
export function leaveTerminal(): void {
  if (entered && terminalIsOurs()) ioctl(STDIN, TCSETS, former.address)
  entered = false
}

/** Whether it was entered and not left. */
export function terminalEntered(): boolean {
  return entered
}
