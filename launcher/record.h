/* Copies of what a program writes, for a run that is recorded. */
#ifndef COSMOS_RECORD_H
#define COSMOS_RECORD_H

#include <stdbool.h>
#include <stdint.h>

/* A stream that is copied. */
struct copier {
  int pid;
  /* Closed by the copier once it has copied what was there when the program ended. */
  int control;
};

/*
 * Starts to copy a stream: what comes goes to the descriptor `to` and, up to `limit` bytes, to the file `file`.
 * Answers the descriptor that the program writes to instead of `to`; -1 and errno where it cannot.
 */
int record_start(struct copier *copier, const char *file, uint64_t limit, int to);

/* Tells a copier that the program has ended. */
void record_end(struct copier *copier);

#endif
