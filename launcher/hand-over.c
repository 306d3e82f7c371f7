/* The program goes to its VM, with all that the caller gave it: `exec` in docs/vm-protocol.md. */
#define _GNU_SOURCE
#include "launcher.h"
#include "terminal.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Puts pipes in the place of stdout and stderr where the run is recorded; a terminal stays one. */
static void record(struct run *run, struct value asked, int *files) {
  uint64_t limit;
  if (!mp_is_map(asked)) return;
  const char *directory = text_of(mp_get(asked, "directory"));
  if (!*directory || !mp_uint(mp_get(asked, "limit"), &limit)) fail_unreadable("daemon");
  for (int i = 0; i < run->count; i++) {
    int number = run->descriptors[i];
    if ((number != STDOUT_FILENO && number != STDERR_FILENO) || is_terminal(number)) continue;
    struct bytes file = {0};
    bytes_text(&file, directory);
    bytes_text(&file, number == STDOUT_FILENO ? "/stdout" : "/stderr");
    files[i] = record_start(&run->copiers[run->copiers_count++], bytes_end(&file), limit, number);
    if (files[i] < 0) fail(FAILED, bytes_end(&file), ": ", why(), "; cosmos log", NULL);
  }
}

static bool put_exec(struct bytes *frame, const struct run *run, struct value route) {
  mode_t mask = umask(0);
  umask(mask);
  put_request(frame, REQUEST, "exec", 7);
  mp_put_key(frame, "route");
  bytes_add(frame, route.at, route.size);
  mp_put_key(frame, "argv");
  put_texts(frame, run->argv);
  mp_put_key(frame, "env");
  put_texts(frame, environ);
  mp_put_key(frame, "cwd");
  mp_put_text(frame, run->directory, strlen(run->directory));
  mp_put_key(frame, "umask");
  mp_put_uint(frame, mask);
  mp_put_key(frame, "limits");
  mp_put_array(frame, RLIM_NLIMITS);
  for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    getrlimit(resource, &limit);
    mp_put_array(frame, 3);
    mp_put_uint(frame, resource);
    mp_put_uint(frame, limit.rlim_cur);
    mp_put_uint(frame, limit.rlim_max);
  }
  mp_put_key(frame, "descriptors");
  mp_put_array(frame, run->count);
  for (int i = 0; i < run->count; i++) mp_put_uint(frame, run->descriptors[i]);
  return frame_end(frame);
}

void hand_over(struct run *run) {
  struct value answer = {run->answer.at, run->answer.size};
  struct value route = mp_get(answer, "route");
  const char *socket = text_of(mp_get(answer, "socket"));
  run->vm_name = text_of(mp_get(answer, "vm"));
  run->run_id = mp_get(answer, "run");
  if (!*socket || !run->run_id.at || !mp_is_map(route)) fail_unreadable("daemon");

  int files[MAX_DESCRIPTORS];
  memcpy(files, run->descriptors, sizeof files);
  struct bytes hello = {0}, exec = {0};
  put_hello(&hello);
  if (!put_exec(&exec, run, route))
    fail(NOT_RUNNABLE, run->argv[0], ": arguments and environment are longer than 16 MiB", NULL);
  catch_signals(run);
  record(run, mp_get(answer, "record"), files);

  if (wire_connect(&run->vm, socket) < 0) fail(FAILED, "VM ", run->vm_name, ": ", why(), "; cosmos log", NULL);
  int sent = wire_send(&run->vm, &hello, NULL, 0);
  if (sent == 0) sent = wire_send(&run->vm, &exec, files, run->count);
  /* A VM that is gone may have said why. */
  if (sent < 0 && errno != EPIPE && errno != ECONNRESET)
    fail(FAILED, "open files could not be handed over: ", why(), NULL);

  for (int i = 0; i < run->count; i++) {
    if (files[i] != run->descriptors[i]) close(files[i]);
    if (run->descriptors[i] != STDERR_FILENO) close(run->descriptors[i]);
  }
  fill_standard();
}
