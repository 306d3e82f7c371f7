#define _GNU_SOURCE
#include "record.h"

#include "descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Most bytes that are moved at once. */
#define CHUNK (1024 * 1024)
/* Descriptors that a copier closes at its start. */
#define MOST_OPEN 1024

/* What a copier's descriptors are; it has no others. */
enum { FROM, TO, FILE_COPY, CONTROL };

/* False where nobody reads any more. A file that takes nothing more, on a full disk, ends the copy only. */
static bool write_all(int fd, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t written = write(fd, bytes, size);
    if (written < 0 && errno == EAGAIN) {
      poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
    } else if (written < 0 && errno != EINTR) {
      return false;
    } else if (written > 0) {
      bytes += written;
      size -= written;
    }
  }
  return true;
}

/* Moves what is there on: by the kernel where it can, past the limit. False at the end of either side. */
static bool copy_once(char *buffer, uint64_t *left, bool *splices) {
  if (*left == 0 && *splices) {
    ssize_t moved = splice(FROM, NULL, TO, NULL, CHUNK, SPLICE_F_MOVE);
    if (moved > 0 || (moved < 0 && errno == EINTR)) return true;
    if (moved == 0 || errno == EPIPE) return false;
    /* A file in append mode, a terminal, a descriptor that does not block. */
    *splices = false;
  }
  ssize_t size = read(FROM, buffer, CHUNK);
  if (size < 0) return errno == EINTR;
  if (size == 0 || !write_all(TO, buffer, size)) return false;
  size_t kept = *left < (uint64_t)size ? *left : (uint64_t)size;
  *left = kept > 0 && write_all(FILE_COPY, buffer, kept) ? *left - kept : 0;
  return true;
}

/*
 * A process of its own: it may block where the caller reads slowly, while the launcher still takes signals; and it
 * goes on for what the program leaves behind in the background, as the caller's own stream would.
 */
static _Noreturn void copy(uint64_t left) {
  static char buffer[CHUNK];
  bool splices = true, ended = false;
  for (;;) {
    struct pollfd polled[2] = {{.fd = FROM, .events = POLLIN}, {.fd = ended ? -1 : CONTROL, .events = POLLIN}};
    if (poll(polled, 2, -1) < 0) continue;
    if (polled[1].revents) {
      ended = true;
      for (int waiting; ioctl(FROM, FIONREAD, &waiting) == 0 && waiting > 0;)
        if (!copy_once(buffer, &left, &splices)) _exit(0);
      close(CONTROL);
    } else if (!copy_once(buffer, &left, &splices)) {
      _exit(0);
    }
  }
}

/* Leaves a copier with its four descriptors: any other would keep a stream open that is to end. */
static void keep_only(const int *kept) {
  int high[4], others[MOST_OPEN];
  for (int i = 0; i < 4; i++) high[i] = fcntl(kept[i], F_DUPFD, 10);
  for (int i = 0; i < 4; i++) dup2(high[i], i);
  for (int count = MOST_OPEN; count >= MOST_OPEN;) {
    count = list_descriptors(others, MOST_OPEN);
    for (int i = 0; i < count && i < MOST_OPEN; i++)
      if (others[i] > CONTROL) close(others[i]);
  }
}

int record_start(struct copier *copier, const char *file, uint64_t limit, int to) {
  int copied = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  int ends[2], control[2];
  if (copied < 0 || pipe2(ends, O_CLOEXEC) < 0) return -1;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) < 0) return -1;
  copier->pid = fork();
  if (copier->pid == 0) {
    keep_only((int[]){ends[0], to, copied, control[1]});
    copy(limit);
  }
  copier->control = control[0];
  close(copied);
  close(ends[0]);
  close(control[1]);
  return copier->pid < 0 ? -1 : ends[1];
}

void record_end(struct copier *copier) {
  shutdown(copier->control, SHUT_WR);
}
