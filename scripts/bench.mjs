// `npm run bench`: measures, on the pinned Node. Arguments go to the benchmark.
import { setup } from './setup.mjs'
import { become, inRoot, node } from './support.mjs'

if (await setup()) become(node, [inRoot('test/bench/main.ts'), ...process.argv.slice(2)])
else process.exitCode = 1
