// A process for the lock tests: opens the file of its argument and locks as the lines that it reads say; each
// answer is a line, `0` or an errno name.
import { openSync } from 'node:fs'
import { createInterface } from 'node:readline'
import * as sys from './system.ts'

const fd = openSync(process.argv[2] ?? '', 'r+')
createInterface(process.stdin).on('line', (line) => {
  const [command, ...words] = line.split(' ')
  const [type = 0, start = 0, length = 0] = words.map(Number)
  let answer: string
  switch (command) {
    case 'flock':
      answer = sys.codeOf(() => sys.flock(fd, type))
      break
    case 'range':
    case 'wait':
      answer = sys.codeOf(() => sys.lockRange(fd, type, start, length, command === 'wait'))
      break
    case 'query': {
      const found = sys.queryLock(fd, type, start, length)
      answer = `${found.type} ${found.start} ${found.length} ${found.pid}`
      break
    }
    default:
      answer = '0'
  }
  process.stdout.write(`${answer}\n`)
})
process.stdin.on('end', () => process.exit(0))
