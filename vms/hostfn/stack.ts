import koffi from 'koffi'

/**
 * The stack that functions run on: koffi gives them one of its own, smaller than that of a program. It can only be
 * set before anything is loaded, so this module is the first that is imported.
 */

/** Bytes: what Linux gives a program unless told otherwise (RLIMIT_STACK). */
const STACK_SIZE = 8 * 1024 * 1024

koffi.config({ sync_stack_size: STACK_SIZE })
