import { setFlagsFromString } from 'node:v8'

/** The memory that instances may have. The engine reads the flag whenever a memory is made or grows. */

const PAGE = 65_536
const MOST_PAGES = 65_536
let pages = MOST_PAGES

/** Limits every memory from now on to so many bytes; undefined: to what 32 bits address. */
export function limitMemory(bytes: number | undefined): void {
  const wanted =
    bytes === undefined ? MOST_PAGES : Math.max(1, Math.min(MOST_PAGES, Math.floor(bytes / PAGE)))
  if (wanted === pages) return
  setFlagsFromString(`--wasm-max-mem-pages=${wanted}`)
  pages = wanted
}
