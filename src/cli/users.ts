import { readFileSync } from 'node:fs'

/** Names of users and groups by number, from /etc/passwd and /etc/group. */
export class OwnerNames {
  readonly #users = readNames('/etc/passwd')
  readonly #groups = readNames('/etc/group')

  user(uid: number | undefined): string {
    return name(this.#users, uid)
  }

  group(gid: number | undefined): string {
    return name(this.#groups, gid)
  }
}

function name(names: Map<number, string>, id: number | undefined): string {
  return id === undefined ? '?' : (names.get(id) ?? String(id))
}

function readNames(file: string): Map<number, string> {
  const names = new Map<number, string>()
  try {
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      const [name, , id] = line.split(':')
      if (name && id && !names.has(Number(id))) names.set(Number(id), name)
    }
  } catch {
    // Where they cannot be read, owners show as numbers.
  }
  return names
}
