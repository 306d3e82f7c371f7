/*
 * The launcher: stands for a program that a VM runs. The kernel starts it from a file's first line,
 *
 *   #!LAUNCHER CONTROL-SOCKET[?OPTIONS]
 *
 * as LAUNCHER CONTROL-SOCKET[?OPTIONS] PATH [ARG...]. It asks the daemon which VM runs PATH, hands the VM this
 * process's arguments, environment, working directory, limits and open files, and is the program for its caller:
 * signals go to it, it stops and goes on when the program does, and ends as it ends. See docs/vm-protocol.md. Where a
 * peer runs PATH, the launcher moves what the streams carry: docs/netrun.md.
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void fill_standard(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) close(fd);
}

/* The working directory; by the process where it has no path, removed or out of sight. */
static const char *working_directory(void) {
  struct bytes path = {0};
  bytes_reserve(&path, PATH_MAX);
  if (syscall(SYS_getcwd, path.at, PATH_MAX) > 0 && path.at[0] == '/') return (const char *)path.at;
  bytes_text(&path, "/proc/");
  bytes_number(&path, getpid());
  bytes_text(&path, "/cwd");
  return bytes_end(&path);
}

int main(int argc, char **argv) {
  static struct run run = {.daemon.fd = -1, .vm.fd = -1};
  run.count = list_descriptors(run.descriptors, MAX_DESCRIPTORS);
  fill_standard();
  if (argc < 3) fail(FAILED, "launcher: the kernel starts it, as LAUNCHER CONTROL-SOCKET PATH [ARG...]", NULL);
  if (run.count < 0) fail(FAILED, "/proc/self/fd: ", why(), NULL);
  if (run.count > MAX_DESCRIPTORS)
    fail(FAILED, "launcher: more than 253 open files cannot be handed over; close some", NULL);
  run.argv = argv + 2;
  run.directory = working_directory();
  ask_daemon(&run, argv[1]);
  if (mp_is_map(mp_get((struct value){run.answer.at, run.answer.size}, "remote"))) pump(&run);
  hand_over(&run);
  follow(&run);
}
