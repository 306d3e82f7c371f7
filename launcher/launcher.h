/* What the parts of the launcher share. */
#ifndef COSMOS_LAUNCHER_H
#define COSMOS_LAUNCHER_H

#include "descriptors.h"
#include "fail.h"
#include "record.h"
#include "wire.h"

/* unix(7), SCM_MAX_FD: most descriptors of one message. */
#define MAX_DESCRIPTORS 253
/* The only request of the VM's connection; the daemon's has `ran` as its second. */
#define REQUEST 1

struct run {
  struct wire daemon, vm;
  /* The path, then the arguments. */
  char **argv;
  /* The working directory. */
  const char *directory;
  /* The daemon's answer, and parts of it. */
  struct bytes answer;
  const char *vm_name;
  struct value run_id;
  /* The caller's open files. */
  int descriptors[MAX_DESCRIPTORS];
  int count;
  /* Streams that are recorded. */
  struct copier copiers[2];
  int copiers_count;
  /* signalfd(2). */
  int signals;
};

/* Keeps 0, 1 and 2 taken, so that no file of the launcher's own has a number that means something. */
void fill_standard(void);

void put_hello(struct bytes *frame);
void put_request(struct bytes *frame, uint64_t id, const char *operation, uint32_t arguments);
void put_texts(struct bytes *frame, char **texts);

/* Checks the first frame of the other side, which is the hello of our version. */
void check_hello(const char *who, struct value map);

/* Asks the daemon who runs the path; `socket` may have `?OPTIONS` after it. Does not return without an answer. */
void ask_daemon(struct run *run, char *socket);

/*
 * Hands the program to the VM that the answer names. From here on signals are the program's. The launcher's own copies
 * of the open files go, or who writes to a program that reads no more would not be told.
 */
void hand_over(struct run *run);

/* Is the program for its caller, until it ends. */
_Noreturn void follow(struct run *run);

#endif
