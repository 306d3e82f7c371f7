/* A byte stream that is moved from one descriptor to another, by a process that must not be held up by either. */
#ifndef COSMOS_FLOW_H
#define COSMOS_FLOW_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

/* One end of a flow. */
struct flow_end {
  /* -1: it is over. */
  int fd;
  bool socket;
  /* Most bytes that are written at once. */
  size_t most;
};

struct flow {
  struct flow_end from, to;
  unsigned char *buffer;
  size_t room;
  /* What was read and not written: `size` bytes from `at`. */
  size_t at, size;
  /* Whether a reader that is gone is noticed while there is nothing to write. */
  bool watched;
};

/*
 * An end on a descriptor that the caller shares with others, so that it may not be made non-blocking itself; `flags`
 * as open(2) has them, O_RDONLY or O_WRONLY.
 */
struct flow_end flow_end_on(int fd, int flags);

/* Whether nothing more will be moved. */
bool flow_over(const struct flow *flow);

/* What is to be waited for, in two entries. `reads`: whether anything may be read now. */
void flow_poll(const struct flow *flow, bool reads, struct pollfd polled[2]);

/* What became of it: it goes on; all was written, the last bytes too; nobody reads any more; writing failed (errno). */
enum flow_state { GOING, DONE, UNWANTED, BROKEN };

/* Moves what can be moved after poll(2). */
enum flow_state flow_move(struct flow *flow, const struct pollfd polled[2]);

/* Closes both ends; what waits is dropped. Descriptors 0, 1 and 2 stay open. */
void flow_close(struct flow *flow);

#endif
