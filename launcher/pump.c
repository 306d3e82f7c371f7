/*
 * The program runs on a peer: no process here can have the caller's open files. So the launcher moves what its streams
 * carry to and from the daemon's socket `netrun`, each over a connection of its own, and is the program for its caller
 * as ever: docs/netrun.md.
 */
#define _GNU_SOURCE
#include "flow.h"
#include "launcher.h"
#include "terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* What is read at once, and of the caller's input the most that is held here and in the socket each. */
#define INPUT_ROOM (64 * 1024)
#define OUTPUT_ROOM (256 * 1024)
/* How often a process in the background looks whether it has the terminal, milliseconds. */
#define LOOK 250

enum { INPUT, OUTPUT, ERRORS, FLOWS };

struct pump {
  struct run *run;
  /* The host that runs it, for people. */
  const char *peer;
  const char *token;
  struct wire control;
  bool greeted;
  struct flow flows[FLOWS];
  bool input_is_terminal;
  /* The program has a terminal of its own, which the caller's shows. */
  bool terminal;
  /* A stop was sent: that the program stopped is no news. */
  bool stopping;
  /* It is over, while its output may still be on its way. */
  bool over;
  /* How it ended, or why it failed, is told. */
  bool ended, failed;
  struct ending ending;
  struct bytes failure;
};

static _Noreturn void lost(const struct pump *pump, const char *why) {
  terminal_leave();
  fail(FAILED, pump->peer, ": outcome unknown: ", why, "; cosmos log", NULL);
}

/* Greets on a connection: of which run, and for what it is. */
static void put_greeting(struct bytes *frame, const struct pump *pump, const char *stream, uint32_t more) {
  frame_begin(frame);
  mp_put_map(frame, 3 + more);
  mp_put_key(frame, "version");
  mp_put_uint(frame, 1);
  mp_put_key(frame, "token");
  mp_put_key(frame, pump->token);
  mp_put_key(frame, "stream");
  mp_put_key(frame, stream);
}

static void put_size(struct bytes *frame, uint64_t rows, uint64_t columns) {
  mp_put_map(frame, 2);
  mp_put_key(frame, "rows");
  mp_put_uint(frame, rows);
  mp_put_key(frame, "columns");
  mp_put_uint(frame, columns);
}

static struct wire connect_for(const struct pump *pump, const char *socket, const struct bytes *greeting) {
  struct wire wire = {.fd = -1};
  if (wire_connect(&wire, socket) < 0) fail(FAILED, pump->peer, ": ", why(), "; cosmos log", NULL);
  /* A daemon that takes nothing may have said why, on the first of them. */
  wire_send(&wire, greeting, NULL, 0);
  return wire;
}

static void start(struct pump *pump, const char *socket) {
  uint64_t rows, columns;
  struct bytes frame = {0};
  pump->terminal = pump->terminal && terminal_size(&rows, &columns);
  put_greeting(&frame, pump, "control", pump->terminal ? 2 : 1);
  mp_put_key(&frame, "env");
  put_texts(&frame, environ);
  if (pump->terminal) {
    mp_put_key(&frame, "terminal");
    put_size(&frame, rows, columns);
  }
  if (!frame_end(&frame)) fail(NOT_RUNNABLE, pump->run->argv[0], ": the environment is longer than 16 MiB", NULL);
  pump->control = connect_for(pump, socket, &frame);
}

static void connect_streams(struct pump *pump, const char *socket) {
  static unsigned char input[INPUT_ROOM], output[OUTPUT_ROOM], errors[OUTPUT_ROOM];
  static const char *const names[FLOWS] = {"stdin", "stdout", "stderr"};
  struct flow *flows = pump->flows;
  flows[INPUT] = (struct flow){.buffer = input, .room = sizeof input, .watched = true};
  flows[OUTPUT] = (struct flow){.buffer = output, .room = sizeof output};
  flows[ERRORS] = (struct flow){.buffer = errors, .room = sizeof errors};
  for (int i = 0; i < FLOWS; i++) {
    struct bytes frame = {0};
    put_greeting(&frame, pump, names[i], 0);
    frame_end(&frame);
    struct flow_end theirs = {.fd = connect_for(pump, socket, &frame).fd, .socket = true, .most = SIZE_MAX};
    struct flow_end ours = flow_end_on(i, i == INPUT ? O_RDONLY : O_WRONLY);
    flows[i].from = i == INPUT ? ours : theirs;
    flows[i].to = i == INPUT ? theirs : ours;
  }
  int most = INPUT_ROOM;
  setsockopt(flows[INPUT].to.fd, SOL_SOCKET, SO_SNDBUF, &most, sizeof most);
}

/* That the caller's input has ended is told so, too: a connection also ends where a launcher is killed. */
static void tell_end_of_input(struct pump *pump) {
  static struct bytes frame;
  frame_begin(&frame);
  mp_put_map(&frame, 1);
  mp_put_key(&frame, "end");
  mp_put_key(&frame, "stdin");
  frame_end(&frame);
  wire_send(&pump->control, &frame, NULL, 0);
}

/* A daemon that is gone is noticed where it is read. */
static void tell_size(struct pump *pump) {
  static struct bytes frame;
  uint64_t rows, columns;
  if (!terminal_size(&rows, &columns)) return;
  frame_begin(&frame);
  mp_put_map(&frame, 1);
  mp_put_key(&frame, "resize");
  put_size(&frame, rows, columns);
  frame_end(&frame);
  wire_send(&pump->control, &frame, NULL, 0);
}

static void tell_signal(struct pump *pump, uint64_t number, bool group) {
  static struct bytes frame;
  frame_begin(&frame);
  mp_put_map(&frame, 2);
  mp_put_key(&frame, "signal");
  mp_put_uint(&frame, number);
  mp_put_key(&frame, "group");
  mp_put_bool(&frame, group);
  frame_end(&frame);
  wire_send(&pump->control, &frame, NULL, 0);
}

/* Stops until SIGCONT. The loop sees to the terminal after it. */
static void stop(void) {
  terminal_leave();
  kill(getpid(), SIGSTOP);
}

static bool stops(uint32_t number) {
  return number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
}

static bool ends(uint32_t number) {
  return number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT || number == SIGALRM ||
         number == SIGUSR1 || number == SIGUSR2;
}

static void take_signal(struct pump *pump, const struct signalfd_siginfo *info) {
  uint32_t number = info->ssi_signo;
  if (number == SIGCHLD) return;
  if (number == SIGWINCH) {
    if (pump->terminal) tell_size(pump);
    return;
  }
  /* Of a write of this process itself: the program will have its own. */
  if (number == SIGPIPE && info->ssi_pid == (uint32_t)getpid()) return;
  /* The program is over, and somebody reads its output slowly. */
  if (pump->over && ends(number)) {
    terminal_leave();
    die_by(number);
  }
  tell_signal(pump, number, info->ssi_code == SI_KERNEL || number == SIGCONT || stops(number));
  if (!stops(number)) return;
  pump->stopping = true;
  stop();
}

static void take_signals(struct pump *pump) {
  struct signalfd_siginfo info;
  while (read(pump->run->signals, &info, sizeof info) == sizeof info) take_signal(pump, &info);
}

static void take_message(struct pump *pump, struct value map) {
  uint64_t number;
  struct value error = mp_get(map, "error"), exit = mp_get(map, "exit");
  if (mp_is_map(error)) {
    if (!pump->greeted) {
      terminal_leave();
      fail_as_told(error, true);
    }
    pump->over = pump->failed = true;
    pump->failure.size = 0;
    bytes_add(&pump->failure, error.at, error.size);
  } else if (!pump->greeted) {
    if (!mp_uint(mp_get(map, "version"), &number)) lost(pump, "the daemon sent what cannot be read");
    check_hello("daemon", map);
    pump->greeted = true;
  } else if (exit.at) {
    if (!ending_of(exit, &pump->ending)) lost(pump, "the daemon sent what cannot be read");
    pump->over = pump->ended = true;
  } else if (mp_true(mp_get(map, "ended"))) {
    pump->over = true;
  } else if (mp_uint(mp_get(map, "stopped"), &number)) {
    if (!pump->stopping) stop();
    pump->stopping = false;
  }
}

static void take_messages(struct pump *pump) {
  enum next next;
  struct value map;
  bool over = wire_read(&pump->control) != MORE;
  while (!over && (next = wire_next(&pump->control, &map)) != MORE) {
    if (next != FRAME) lost(pump, "the daemon sent what cannot be read");
    take_message(pump, map);
  }
  if (!over) return;
  if (!pump->ended && !pump->failed) lost(pump, "the daemon ended");
  wire_close(&pump->control);
}

/* The stream is at its end, for one reason or another: who is at its other end is told. */
static void end_flow(struct pump *pump, int which, enum flow_state state) {
  static const char *const names[FLOWS] = {"stdin", "stdout", "stderr"};
  struct flow *flow = &pump->flows[which];
  if (state == BROKEN) {
    const char *reason = why();
    terminal_leave();
    fail(FAILED, names[which], ": ", reason, NULL);
  }
  if (which == INPUT && state == DONE) {
    tell_end_of_input(pump);
    shutdown(flow->to.fd, SHUT_WR);
  }
  flow_close(flow);
  /* Who is at the caller's end is told. stderr stays, for an error, and a terminal stays the caller's. */
  if (which == ERRORS || pump->terminal || (which == INPUT && pump->input_is_terminal)) return;
  close(which);
  fill_standard();
}

/* Whether the caller's input may be read, and the terminal be set, which in the background neither may. */
static bool has_terminal(struct pump *pump) {
  bool ours = !pump->input_is_terminal || terminal_is_ours();
  if (ours && pump->terminal && !terminal_entered()) {
    terminal_enter();
    tell_size(pump);
  }
  return ours;
}

static _Noreturn void finish(struct pump *pump) {
  terminal_leave();
  if (pump->failed) fail_as_told((struct value){pump->failure.at, pump->failure.size}, false);
  end_as(pump->run, pump->ending);
}

_Noreturn void pump(struct run *run) {
  static struct pump pump;
  struct value answer = {run->answer.at, run->answer.size}, remote = mp_get(answer, "remote");
  const char *socket = text_of(mp_get(answer, "socket"));
  pump.run = run;
  pump.peer = text_of(mp_get(remote, "peer"));
  pump.token = text_of(mp_get(remote, "token"));
  run->run_id = mp_get(answer, "run");
  /* A key has one byte for its length. */
  if (!*socket || !run->run_id.at || !*pump.peer || !*pump.token || strlen(pump.token) > 255)
    fail_unreadable("daemon");
  pump.input_is_terminal = is_terminal(STDIN_FILENO);
  pump.terminal = pump.input_is_terminal && is_terminal(STDOUT_FILENO);
  catch_signals(run);
  start(&pump, socket);
  connect_streams(&pump, socket);

  for (;;) {
    struct pollfd polled[2 + 2 * FLOWS] = {
      {.fd = pump.control.fd, .events = POLLIN},
      {.fd = run->signals, .events = POLLIN},
    };
    bool told = pump.ended || pump.failed, ours = has_terminal(&pump);
    /* Before it has greeted, what comes may be an error. */
    for (int i = 0; i < FLOWS; i++)
      flow_poll(&pump.flows[i], i == INPUT ? ours && !told : pump.greeted, polled + 2 + 2 * i);
    if (told && flow_over(&pump.flows[OUTPUT]) && flow_over(&pump.flows[ERRORS])) finish(&pump);
    if (poll(polled, 2 + 2 * FLOWS, ours ? -1 : LOOK) <= 0) continue;
    if (polled[1].revents) take_signals(&pump);
    if (polled[0].revents) take_messages(&pump);
    for (int i = 0; i < FLOWS; i++) {
      const struct pollfd *of = polled + 2 + 2 * i;
      if (!of[0].revents && !of[1].revents) continue;
      enum flow_state state = flow_move(&pump.flows[i], of);
      if (state != GOING) end_flow(&pump, i, state);
    }
  }
}
