// `npm start`: sets up, then brings cosmos up in this terminal and shows what can be tried. Ctrl-C ends it.
import { setup } from './setup.mjs'
import { become, inRoot } from './support.mjs'

// npm puts its own directories before the PATH; the programs in them are not this machine's.
process.env.PATH = (process.env.PATH ?? '')
  .split(':')
  .filter((each) => !/\/node_modules\/\.bin$|node-gyp-bin/.test(each))
  .join(':')

if (await setup()) become(inRoot('bin/cosmos'), ['up', '--foreground', '--tour', ...process.argv.slice(2)])
else process.exitCode = 1
