/* What the parts of the launcher share. */
#ifndef COSMOS_LAUNCHER_H
#define COSMOS_LAUNCHER_H

#include "descriptors.h"
#include "fail.h"
#include "record.h"
#include "wire.h"

/* The highest signal. */
#define MAX_SIGNAL 64
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

/* How a program has ended: its exit code, or the signal that ended it. */
struct ending {
  bool killed;
  bool core;
  uint64_t number;
};

/* Reads `{code}` or `{signal, core}`; false for any other value. */
bool ending_of(struct value told, struct ending *ending);

/* Tells the daemon how the program ended, and ends likewise. */
_Noreturn void end_as(struct run *run, struct ending ending);

/* Ends by a signal, without a core file: the program's own is enough. */
_Noreturn void die_by(int number);

/*
 * All signals but those that the caller has ignored, which stay so. They come by signalfd(2), which tells who sent
 * them. By system calls: the C library keeps two signals for itself.
 */
void catch_signals(struct run *run);

/* Asks the daemon who runs the path; `socket` may have `?OPTIONS` after it. Does not return without an answer. */
void ask_daemon(struct run *run, char *socket);

/*
 * Hands the program to the VM that the answer names. From here on signals are the program's. The launcher's own copies
 * of the open files go, or who writes to a program that reads no more would not be told.
 */
void hand_over(struct run *run);

/* Is the program for its caller, until it ends. */
_Noreturn void follow(struct run *run);

/* The same for a program that a peer runs, where the answer has `remote`: docs/netrun.md. */
_Noreturn void pump(struct run *run);

#endif
