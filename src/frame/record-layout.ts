/** Words of a record, 32 of 4 bytes (docs/architecture.md has what they mean). */
export const KIND = 0
export const PARENT = 1
export const LOOKUPS = 2
export const CONTEXT = 3
export const DEVICE = 4
export const INO_LOW = 5
export const INO_HIGH = 6
export const OPENS = 7
export const BACKING = 8
export const LAYER = 9
export const NAME_LENGTH = 10
export const REST = 11
export const BIRTH = 12
export const BIRTH_NSEC = 13
export const NUMBER_LOW = 14
export const NUMBER_HIGH = 15
export const FLAGS = 16
export const TYPE = 17
export const INLINE_NAME = 18
/** Words that mean nothing to the next daemon, from here on. */
export const NEXT = 28
export const DESCRIPTOR = 29
export const CHILDREN = 30
export const WATCH = 31

/** Kinds of records that are no frame (`frames.ts` has those of frames). */
export const FREE = 0
/** Rest of a name that is too long for its record. */
export const NAME_REST = 7

/** Flag of a frame that is not in the identity index. */
export const FLAG_UNINDEXED = 8
