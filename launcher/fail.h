/* How the launcher fails: one line of what, why and what to do, and an exit code as a shell has them. */
#ifndef COSMOS_FAIL_H
#define COSMOS_FAIL_H

#include "msgpack.h"

/* Cosmos failed; nothing can run it; nothing is there. */
#define FAILED 125
#define NOT_RUNNABLE 126
#define NOT_FOUND 127

/* Prints `cosmos: ` and the texts, up to a NULL, and ends. A line break or an escape in a name shows as `?`. */
_Noreturn void fail(int code, ...);

/* Ends as an error that was sent says. `whole`: the connection failed, not what was asked. */
_Noreturn void fail_as_told(struct value error, bool whole);

/* Ends because what `who` sent is no frame, or not the one that is due. */
_Noreturn void fail_unreadable(const char *who);

/* Why the last system call failed. */
const char *why(void);

/* A text of a message, ended by NUL; empty where the value is none. */
const char *text_of(struct value value);

#endif
