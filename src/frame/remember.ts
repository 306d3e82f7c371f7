/** What a table holds at most. */
const CAPACITY = 65_536

/** Puts a value into a table that forgets the oldest. */
export function remember<K, V>(map: Map<K, V>, key: K, value: V, capacity = CAPACITY): void {
  map.delete(key)
  map.set(key, value)
  if (map.size > capacity) map.delete(map.keys().next().value as K)
}
