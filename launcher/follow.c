/* The launcher is the program for its caller: it passes signals on, stops with it, and ends as it ends. */
#define _GNU_SOURCE
#include "launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The program's process, once it is known to be one of this machine. */
struct program {
  int pid;
  int pidfd;
};

/* What is known of the VM. */
struct other_side {
  bool greeted;
  uint64_t pid;
  struct program program;
  /* The program is the VM's own process: as that ends, it ends. */
  bool itself;
};

/* What /proc/PID/stat tells after the name in brackets and the state (proc(5)). */
enum { PARENT, GROUP, SESSION, RELATIONS };

static bool relations(char *stat, uint64_t numbers[RELATIONS]) {
  char *at = strrchr(stat, ')');
  if (!at || strlen(at) < 4) return false;
  at += 3;
  for (int i = 0; i < RELATIONS; i++) {
    if (*at++ != ' ') return false;
    for (numbers[i] = 0; *at >= '0' && *at <= '9'; at++) numbers[i] = 10 * numbers[i] + (*at - '0');
  }
  return true;
}

/*
 * Remembers the program's process, to end it should the VM be lost: only where it is the first of its group, and a
 * child of the VM's process or, that being lost already, of its session. So a number of another machine or PID
 * namespace means nobody here.
 */
static void remember(struct other_side *vm, struct value started) {
  uint64_t pid, of[RELATIONS];
  if (vm->program.pid || !mp_uint(mp_get(started, "pid"), &pid) || pid < 2 || pid > INT32_MAX) return;
  vm->itself = pid == vm->pid;
  if (vm->itself) return;
  struct bytes name = {0};
  bytes_text(&name, "/proc/");
  bytes_number(&name, pid);
  bytes_text(&name, "/stat");
  char stat[512];
  int pidfd = syscall(SYS_pidfd_open, pid, 0), file = open(bytes_end(&name), O_RDONLY | O_CLOEXEC);
  ssize_t size = file < 0 ? 0 : read(file, stat, sizeof stat - 1);
  if (file >= 0) close(file);
  stat[size > 0 ? size : 0] = 0;
  bool known = pidfd >= 0 && relations(stat, of) && of[GROUP] == pid;
  if (known && (of[PARENT] == vm->pid || of[SESSION] == vm->pid)) vm->program = (struct program){pid, pidfd};
  else if (pidfd >= 0) close(pidfd);
}

/* The VM is lost: what it ran must not go on without anybody who waits for it. */
static _Noreturn void lost(const struct run *run, const struct other_side *vm, const char *why) {
  int pid = vm->program.pid;
  if (pid && syscall(SYS_pidfd_send_signal, vm->program.pidfd, 0, NULL, 0) == 0 && getpgid(pid) == pid)
    kill(-pid, SIGKILL);
  fail(FAILED, "VM ", run->vm_name, ": ", why, "; cosmos log", NULL);
}

/*
 * A terminal signals the whole foreground group, and so does the kernel's word (SI_KERNEL) go to the program's group.
 * SIGCONT does too: it follows a stop that was everybody's.
 */
static void forward_signals(struct run *run) {
  struct signalfd_siginfo info;
  static struct bytes frame;
  while (read(run->signals, &info, sizeof info) == sizeof info) {
    bool own = false;
    for (int i = 0; i < run->copiers_count; i++)
      own |= info.ssi_signo == SIGCHLD && info.ssi_pid == (uint32_t)run->copiers[i].pid;
    if (own) continue;
    frame_begin(&frame);
    mp_put_map(&frame, 3);
    mp_put_key(&frame, "id");
    mp_put_uint(&frame, REQUEST);
    mp_put_key(&frame, "signal");
    mp_put_uint(&frame, info.ssi_signo);
    mp_put_key(&frame, "group");
    mp_put_bool(&frame, info.ssi_code == SI_KERNEL || info.ssi_signo == SIGCONT);
    frame_end(&frame);
    /* A VM that is gone is noticed where it is read. */
    wire_send(&run->vm, &frame, NULL, 0);
  }
}

/* Waits until copiers have copied what the program wrote; a signal ends this as it would have ended the program. */
static void finish_record(struct run *run) {
  for (int i = 0; i < run->copiers_count; i++) record_end(&run->copiers[i]);
  for (int i = 0; i < run->copiers_count;) {
    struct pollfd polled[2] = {
      {.fd = run->copiers[i].control, .events = POLLIN},
      {.fd = run->signals, .events = POLLIN},
    };
    struct signalfd_siginfo info;
    if (poll(polled, 2, -1) < 0) continue;
    if (polled[0].revents) i++;
    else if (read(run->signals, &info, sizeof info) == sizeof info && info.ssi_signo != SIGCHLD) die_by(info.ssi_signo);
  }
}

/* Tells the daemon how the program ended, and ends likewise. */
static _Noreturn void finish(struct run *run, const struct other_side *vm, struct value ended) {
  struct ending ending;
  if (!ending_of(ended, &ending)) lost(run, vm, "sent what cannot be read");
  finish_record(run);
  end_as(run, ending);
}

/* The VM's process has ended, and it was the program: the daemon knows how. */
static _Noreturn void ended_itself(struct run *run, const struct other_side *vm) {
  struct bytes frame = {0};
  put_request(&frame, REQUEST + 2, "obituary", 2);
  mp_put_key(&frame, "vm");
  mp_put_text(&frame, run->vm_name, strlen(run->vm_name));
  mp_put_key(&frame, "pid");
  mp_put_uint(&frame, vm->pid);
  frame_end(&frame);
  wire_send(&run->daemon, &frame, NULL, 0);
  struct value map;
  uint64_t id;
  while (wire_wait(&run->daemon, &map) == FRAME) {
    if (!mp_uint(mp_get(map, "id"), &id) || id != REQUEST + 2) continue;
    struct value how = mp_get(map, "ok");
    if (mp_is_map(how)) finish(run, vm, how);
    break;
  }
  lost(run, vm, "ended before the program did");
}

static void take(struct run *run, struct other_side *vm, struct value map) {
  if (!vm->greeted) {
    check_hello("VM", map);
    mp_uint(mp_get(map, "pid"), &vm->pid);
    vm->greeted = true;
    return;
  }
  uint64_t id, number;
  struct value error = mp_get(map, "error"), ended = mp_get(map, "exit"), started = mp_get(map, "started");
  if (!mp_uint(mp_get(map, "id"), &id)) lost(run, vm, "sent what cannot be read");
  if (id != REQUEST && id != 0) return;
  if (mp_is_map(error)) fail_as_told(error, id == 0);
  if (mp_is_map(ended)) finish(run, vm, ended);
  if (mp_is_map(started)) remember(vm, started);
  if (mp_uint(mp_get(map, "stopped"), &number)) kill(getpid(), SIGSTOP);
}

_Noreturn void follow(struct run *run) {
  struct other_side vm = {0};
  struct pollfd polled[2] = {{.fd = run->vm.fd, .events = POLLIN}, {.fd = run->signals, .events = POLLIN}};
  for (;;) {
    if (poll(polled, 2, -1) < 0) continue;
    if (polled[1].revents) forward_signals(run);
    if (!polled[0].revents) continue;
    if (wire_read(&run->vm) != MORE) {
      if (vm.itself) ended_itself(run, &vm);
      lost(run, &vm, "ended before the program did");
    }
    struct value map;
    enum next next;
    while ((next = wire_next(&run->vm, &map)) == FRAME) take(run, &vm, map);
    if (next == GARBAGE) lost(run, &vm, "sent what cannot be read");
  }
}
