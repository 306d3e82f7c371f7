import { call } from './libc.ts'
import { allocateNative, type NativeMemory } from './memory.ts'

type N = number

/** posix_spawn(3) and what prepares it: each answers 0 or an errno, which is not negative. */
export const spawn = call<(pid: N, path: N, actions: N, attributes: N, argv: N, env: N) => N>(
  'int posix_spawn(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t)',
)
export const initActions = call<(actions: N) => N>('int posix_spawn_file_actions_init(uintptr_t)')
export const destroyActions = call<(actions: N) => N>('int posix_spawn_file_actions_destroy(uintptr_t)')
export const addDup2 = call<(actions: N, from: N, to: N) => N>(
  'int posix_spawn_file_actions_adddup2(uintptr_t, int, int)',
)
export const addChdir = call<(actions: N, path: N) => N>(
  'int posix_spawn_file_actions_addchdir_np(uintptr_t, uintptr_t)',
)
const initAttributes = call<(attributes: N) => N>('int posix_spawnattr_init(uintptr_t)')
const setAttributeFlags = call<(attributes: N, flags: N) => N>(
  'int posix_spawnattr_setflags(uintptr_t, short)',
)
const setDefaultSignals = call<(attributes: N, set: N) => N>(
  'int posix_spawnattr_setsigdefault(uintptr_t, uintptr_t)',
)

/** Flags of spawn.h: a process group, or a session, of the child's own. */
export const SETPGROUP = 2
export const SETSID = 0x80
const SETSIGDEF = 4
const SETSIGMASK = 8
/** Bytes: more than any C library's posix_spawn_file_actions_t, posix_spawnattr_t and sigset_t. */
export const OPAQUE = 512

/** Attributes of a child: what the flag says, every signal at its default, none blocked. */
export function spawnAttributes(flag: typeof SETPGROUP | typeof SETSID): NativeMemory {
  const attributes = allocateNative(OPAQUE)
  const allSignals = allocateNative(OPAQUE)
  allSignals.bytes.fill(0xff)
  initAttributes(attributes.address)
  setAttributeFlags(attributes.address, flag | SETSIGDEF | SETSIGMASK)
  setDefaultSignals(attributes.address, allSignals.address)
  return attributes
}
