/* The caller's terminal, while a program elsewhere has a terminal of its own that this one shows. */
#ifndef COSMOS_TERMINAL_H
#define COSMOS_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

bool is_terminal(int fd);

/* Whether this process is in the foreground of the terminal on descriptor 0: only then it may read and set it. */
bool terminal_is_ours(void);

/* Rows and columns of the window; false where the terminal has none. */
bool terminal_size(uint64_t *rows, uint64_t *columns);

/* Every key comes as it is, nothing is echoed, and nothing of the output is changed (termios(3), cfmakeraw). */
void terminal_enter(void);

/* As it was before. Does nothing where it was not entered. */
void terminal_leave(void);

/* Whether it was entered and not left. */
bool terminal_entered(void);

#endif
