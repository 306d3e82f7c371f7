/** The first pause after a link was lost or could not be had, milliseconds. */
const FIRST_MS = 250
/** The longest. */
const LONGEST_MS = 30_000

/**
 * The pause before the next dialling after so many failures in a row (none: the link has just been lost). It doubles
 * up to a bound, and half of it is chance, so that hosts which lost each other in one moment do not come back in one.
 * @param random in [0, 1)
 */
export function backoff(failures: number, random: number): number {
  const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures, 20))
  return Math.round(longest * (0.5 + random / 2))
}
