/* The daemon is asked which VM runs a path: `launch` in docs/protocol.md. */
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long a daemon that is being replaced is waited for, and how often it is tried, milliseconds. */
#define PATIENCE 2000
#define RETRY 20

void put_hello(struct bytes *frame) {
  frame_begin(frame);
  mp_put_map(frame, 1);
  mp_put_key(frame, "version");
  mp_put_uint(frame, 1);
  frame_end(frame);
}

void put_request(struct bytes *frame, uint64_t id, const char *operation, uint32_t arguments) {
  frame_begin(frame);
  mp_put_map(frame, 3);
  mp_put_key(frame, "id");
  mp_put_uint(frame, id);
  mp_put_key(frame, "op");
  mp_put_key(frame, operation);
  mp_put_key(frame, "args");
  mp_put_map(frame, arguments);
}

void put_texts(struct bytes *frame, char **texts) {
  uint32_t count = 0;
  while (texts[count]) count++;
  mp_put_array(frame, count);
  for (uint32_t i = 0; i < count; i++) mp_put_text(frame, texts[i], strlen(texts[i]));
}

void check_hello(const char *who, struct value map) {
  uint64_t version;
  struct value error = mp_get(map, "error");
  if (mp_is_map(error)) fail_as_told(error, true);
  if (!mp_uint(mp_get(map, "version"), &version)) fail_unreadable(who);
  if (version != 1) fail(FAILED, who, ": speaks another version of the protocol; cosmos reload", NULL);
}

/* The environment, which may hold secrets, is told only for the record of a run. */
static bool put_launch(struct bytes *frame, const struct run *run, const char *options) {
  bool recorded = options && strstr(options, "record=");
  struct bytes path = {0};
  if (run->argv[0][0] != '/') {
    bytes_text(&path, run->directory);
    bytes_text(&path, "/");
  }
  bytes_text(&path, run->argv[0]);
  put_request(frame, REQUEST, "launch", 3 + (options ? 1 : 0) + (recorded ? 1 : 0));
  mp_put_key(frame, "path");
  mp_put_text(frame, (const char *)path.at, path.size);
  mp_put_key(frame, "cwd");
  mp_put_text(frame, run->directory, strlen(run->directory));
  mp_put_key(frame, "argv");
  put_texts(frame, run->argv);
  if (options) {
    mp_put_key(frame, "options");
    mp_put_text(frame, options, strlen(options));
  }
  if (recorded) {
    mp_put_key(frame, "env");
    put_texts(frame, environ);
  }
  return frame_end(frame);
}

/* Asks once. False where the daemon ended before it answered. */
static bool ask_once(struct run *run, const struct bytes *frames) {
  struct wire *daemon = &run->daemon;
  /* A daemon that takes nothing may have said why. */
  wire_send(daemon, frames, NULL, 0);
  for (bool greeted = false;;) {
    struct value map;
    enum next next = wire_wait(daemon, &map);
    if (next == ENDED) return false;
    if (next != FRAME) fail_unreadable("daemon");
    if (!greeted) {
      check_hello("daemon", map);
      greeted = true;
      continue;
    }
    uint64_t id;
    struct value error = mp_get(map, "error"), ok = mp_get(map, "ok");
    if (!mp_uint(mp_get(map, "id"), &id)) fail_unreadable("daemon");
    if (id != REQUEST && id != 0) continue;
    if (mp_is_map(error)) fail_as_told(error, id == 0);
    if (!mp_is_map(ok)) fail_unreadable("daemon");
    bytes_add(&run->answer, ok.at, ok.size);
    return true;
  }
}

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

/* Again where the daemon is replaced meanwhile: nothing runs yet. */
void ask_daemon(struct run *run, char *socket) {
  char *options = strrchr(socket, '?');
  if (options) *options++ = 0;
  struct bytes frames = {0}, request = {0};
  put_hello(&frames);
  if (!put_launch(&request, run, options))
    fail(NOT_RUNNABLE, run->argv[0], ": arguments and environment are longer than 16 MiB", NULL);
  bytes_add(&frames, request.at, request.size);
  long long deadline = now() + PATIENCE;
  for (bool seen = false;;) {
    if (wire_connect(&run->daemon, socket) == 0) {
      seen = true;
      if (ask_once(run, &frames)) return;
      wire_close(&run->daemon);
    } else if (errno == EACCES || errno == EPERM) {
      fail(FAILED, socket, ": belongs to another user", NULL);
    } else if (errno == ENOENT && !seen) {
      fail(FAILED, "no daemon is running; cosmos up", NULL);
    } else if (errno != ECONNREFUSED && errno != ENOENT) {
      fail(FAILED, socket, ": ", why(), "; cosmos up", NULL);
    }
    if (now() > deadline)
      fail(FAILED, seen ? "the daemon ended before it answered" : "no daemon is running", "; cosmos up", NULL);
    poll(NULL, 0, RETRY);
  }
}
