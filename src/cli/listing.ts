import type { NodeAttributes, NodeType } from '../daemon/results.ts'

const TYPE_LETTERS: Record<NodeType, string> = {
  file: '-',
  directory: 'd',
  link: 'l',
  fifo: 'p',
  socket: 's',
  block: 'b',
  character: 'c',
}

/** Type and mode as `ls -l` shows them; `?` for what is not known. */
export function modeText(node: NodeAttributes): string {
  const letter = TYPE_LETTERS[node.type] ?? '?'
  const { mode } = node
  if (mode === undefined) return `${letter}?????????`
  let text = letter
  for (const shift of [6, 3, 0]) {
    const bits = mode >> shift
    text += bits & 4 ? 'r' : '-'
    text += bits & 2 ? 'w' : '-'
    // Set-uid and set-gid show at their class's x, the sticky bit at that of others.
    const special = mode & (0o1000 << (shift / 3))
    const [withX, without] = shift === 0 ? 'tT' : 'sS'
    if (special) text += bits & 1 ? withX : without
    else text += bits & 1 ? 'x' : '-'
  }
  return text
}

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ')
const HALF_A_YEAR = 15_778_476

/** A time as `ls -l` shows it: with the hour if it is of the last half year, with the year else. */
export function timeText(seconds: number | undefined, now = Date.now() / 1000): string {
  if (seconds === undefined) return '?'
  const date = new Date(seconds * 1000)
  const day = `${MONTHS[date.getMonth()]} ${String(date.getDate()).padStart(2)}`
  if (seconds > now - HALF_A_YEAR && seconds <= now)
    return `${day} ${String(date.getHours()).padStart(2, '0')}:${String(date.getMinutes()).padStart(2, '0')}`
  return `${day}  ${date.getFullYear()}`
}
