import { runKernelLoop } from '../../mount/kernel/loop.ts'
import { MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/os/constants.ts'
import { mmap } from '../../src/os/libc.ts'
import { viewOf } from '../../src/os/memory.ts'
import { MemoryTree } from './memory-tree.ts'

/**
 * A daemon for tests: serves a MemoryTree on /dev/fuse (descriptor 4) with the state memory (5) and a wake eventfd
 * (6). Arguments: the file that the tree is saved to, and an operation after whose effect to die, if any.
 */
const [file, deadly] = process.argv.slice(2)
const state = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 5, 0)
const tree = new MemoryTree(file === '-' ? undefined : file)
tree.calls = undefined
tree.seconds = Number(process.env.SECONDS ?? 0)
tree.afterEffect = (operation) => {
  if (operation === deadly) process.kill(process.pid, 'SIGKILL')
}
// An attribute that is set changes its file behind the kernel's back, and the kernel is told.
const { setxattr } = tree
tree.setxattr = (id, name, address, size, flags) => {
  const node = tree.nodes.get(id)!
  node.data = Buffer.from('changed')
  node.mtime++
  tree.services!.invalidate.node(id, true)
  for (let i = 0; i < 100; i++) tree.services!.invalidate.name(1, Buffer.from('gone'), 0, 4)
  return setxattr.call(tree, id, name, address, size, flags)
}
const end = runKernelLoop({
  fuseFd: 4,
  wakeFd: 6,
  tree,
  state: { words: new Uint32Array(viewOf(state, 4096)) },
  onWake: () => false,
  onReady: ({ resend, passthrough }) => process.stderr.write(`ready ${resend} ${passthrough}\n`),
})
process.stderr.write(`${end}\n`)
process.exit(0)
