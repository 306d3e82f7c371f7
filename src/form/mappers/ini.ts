import { budgetFor, type Mapper, malformed } from '../mapper.ts'
import { linesOf, textOf } from '../text.ts'
import type { MappedNode } from '../tree.ts'

/**
 * INI as git, systemd and desktop files have it: `[section]`, `key = value`, `;` and `#` comments, a line that ends in
 * `\` goes on. No two programs agree on more, so values stay as they are, and keys that come twice stay two.
 */
export const ini: Mapper = {
  name: 'ini',
  extensions: [
    'ini',
    'desktop',
    'service',
    'socket',
    'timer',
    'mount',
    'gitconfig',
    'editorconfig',
    'properties',
  ],
  map(bytes, options) {
    const budget = budgetFor('ini', bytes, options)
    const root: MappedNode[] = []
    let section = root
    const lines = linesOf(textOf(bytes))
    for (let i = 0; i < lines.length; i++) {
      const number = i + 1
      let line = lines[i]!.trim()
      if (line === '' || line[0] === ';' || line[0] === '#') continue
      while (line.endsWith('\\') && i + 1 < lines.length) line = line.slice(0, -1) + lines[++i]!.trim()
      if (line[0] === '[') {
        const name = /^\[(.*)\]\s*(?:[;#].*)?$/.exec(line)?.[1]
        if (name === undefined) throw malformed('ini', number, line.length, '"]" is missing')
        budget.node(1)
        section = []
        root.push({ name, type: 'object', children: section })
        continue
      }
      const at = line.search(/[=:]/)
      if (at === 0) throw malformed('ini', number, 1, 'no key')
      budget.node(section === root ? 1 : 2)
      section.push(
        at < 0
          ? { name: line, text: '' }
          : { name: line.slice(0, at).trim(), text: line.slice(at + 1).trim() },
      )
    }
    return { name: '', type: 'object', children: root }
  },
}
