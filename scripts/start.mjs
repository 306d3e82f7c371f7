// `npm start`: sets up, then brings cosmos up in this terminal and shows what can be tried. Ctrl-C ends it.
import { setup } from './setup.mjs'
import { become, inRoot } from './support.mjs'

if (await setup()) become(inRoot('bin/cosmos'), ['up', '--foreground', '--tour', ...process.argv.slice(2)])
else process.exitCode = 1
