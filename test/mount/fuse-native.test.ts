// The cases of both drivers through fuse-native: what it cannot do is left out by the table of its limits.
import { describe, expect, test } from 'vitest'
import { limits } from '../../mount/fuse-native/limits.ts'
import type { Cases } from '../support/cases.ts'
import { describePlaces } from '../support/places.ts'
import { cases as attributes } from './cases/attributes.ts'
import { cases as entries } from './cases/entries.ts'
import { cases as errors } from './cases/errors.ts'
import { cases as files } from './cases/files.ts'
import { cases as locks } from './cases/locks.ts'
import { cases as names } from './cases/names.ts'
import { cases as outside } from './cases/outside.ts'
import { cases as readdir } from './cases/readdir.ts'
import { cases as xattrs } from './cases/xattrs.ts'

/** Modules of `cases/`. Merged directories are the tree's, which is the same under both drivers. */
const modules: Record<string, Cases> = {
  attributes,
  entries,
  errors,
  files,
  locks,
  names,
  outside,
  readdir,
  xattrs,
}

/** Cases that a limit keeps from passing: ids of the table's rows. */
const limited: Record<string, readonly string[]> = {
  'another user owns what he makes, and is kept out where he must be': ['caller'],
  'times to the nanosecond': ['utimens-one', 'times'],
  RENAME_NOREPLACE: ['rename-flags'],
  RENAME_EXCHANGE: ['rename-flags'],
  'an unlinked open file lives on, without a trace in the directory': ['open-unlinked'],
  'an open file that a rename replaces lives on': ['open-unlinked'],
  'a removed working directory answers ENOENT, and does not come back': ['removed-directory'],
  'a sparse file has holes, and says where': ['seek-holes'],
  'fallocate allocates, keeps the size, and punches holes': ['fallocate'],
  'hard links are one file': ['hard-link-cache'],
  'a file without a name (O_TMPFILE) is used, gets a name, or goes': ['tmpfile'],
  'content, through a mapping': ['mapping'],
  'replaced by a rename': ['replaced-outside'],
  'an ACL lets one user in, and chmod changes its mask': ['acl'],
  'a default ACL is inherited, and the umask is not used then': ['acl'],
}

/** The rows' text for a case that they limit. */
function whyLimited(name: string): string | undefined {
  return limited[name]?.map((id) => `${id}: ${limits.find((limit) => limit.id === id)?.what}`).join('; ')
}

const skipped = new Map<string, string>()

for (const [name, cases] of Object.entries(modules))
  describe(name, () =>
    describePlaces(cases, new URL(`./cases/${name}.ts`, import.meta.url), {
      places: ['fuse-native'],
      leaveOut: whyLimited,
      onSkipped: (title, reason) => skipped.set(title, reason),
    }),
  )

test('what is left out is a case, once, and its limits are in the table', () => {
  const titles = Object.values(modules).flatMap((cases) => Object.keys(cases))
  const ids = limits.map(({ id }) => id)
  for (const [title, needed] of Object.entries(limited)) {
    expect(titles.filter((each) => each === title)).toEqual([title])
    expect(needed).not.toEqual([])
    expect(ids).toEqual(expect.arrayContaining([...needed]))
  }
})

test('no case is skipped but for a limit, its user, or what the machine lacks', () => {
  for (const [title, reason] of skipped)
    if (reason !== whyLimited(title))
      expect(reason, title).toMatch(/\broot\b|^this (machine|file system) has no /)
})
