#define _GNU_SOURCE
#include "launcher.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Size of the kernel's sigset_t. */
#define SET_SIZE 8

void catch_signals(struct run *run) {
  uint64_t set = 0;
  for (int number = 1; number <= MAX_SIGNAL; number++) {
    /* struct sigaction of the kernel begins with the handler. */
    unsigned long action[8];
    if (number == SIGKILL || number == SIGSTOP) continue;
    if (syscall(SYS_rt_sigaction, number, NULL, action, SET_SIZE) < 0) continue;
    if (action[0] != (unsigned long)SIG_IGN) set |= UINT64_C(1) << (number - 1);
  }
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, NULL, SET_SIZE);
  run->signals = syscall(SYS_signalfd4, -1, &set, SET_SIZE, SFD_CLOEXEC | SFD_NONBLOCK);
  if (run->signals < 0) fail(FAILED, "launcher: signals: ", why(), NULL);
}

_Noreturn void die_by(int number) {
  unsigned long action[8] = {(unsigned long)SIG_DFL};
  uint64_t set = UINT64_C(1) << (number - 1);
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  prctl(PR_SET_DUMPABLE, 0);
  syscall(SYS_rt_sigaction, number, action, NULL, SET_SIZE);
  kill(getpid(), number);
  syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, NULL, SET_SIZE);
  _exit(128 + number);
}

bool ending_of(struct value told, struct ending *ending) {
  uint64_t number;
  if (mp_uint(mp_get(told, "code"), &number) && number <= 255) {
    *ending = (struct ending){.number = number};
    return true;
  }
  if (!mp_uint(mp_get(told, "signal"), &number) || number < 1 || number > MAX_SIGNAL) return false;
  *ending = (struct ending){.killed = true, .core = mp_true(mp_get(told, "core")), .number = number};
  return true;
}

_Noreturn void end_as(struct run *run, struct ending ending) {
  struct bytes frame = {0};
  put_request(&frame, REQUEST + 1, "ran", 2);
  mp_put_key(&frame, "run");
  bytes_add(&frame, run->run_id.at, run->run_id.size);
  mp_put_key(&frame, "exit");
  mp_put_map(&frame, ending.killed ? 2 : 1);
  mp_put_key(&frame, ending.killed ? "signal" : "code");
  mp_put_uint(&frame, ending.number);
  if (ending.killed) {
    mp_put_key(&frame, "core");
    mp_put_bool(&frame, ending.core);
  }
  frame_end(&frame);
  /* A daemon that is gone need not know. */
  wire_send(&run->daemon, &frame, NULL, 0);
  if (ending.killed) die_by(ending.number);
  _exit(ending.number);
}
