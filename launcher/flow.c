#define _GNU_SOURCE
#include "flow.h"

#include "bytes.h"
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A pipe or a terminal is opened once more, non-blocking. Where that is refused, writes are so small that they do not
 * wait after poll(2) has said that there is room. Files and the other devices do not wait for anybody.
 */
struct flow_end flow_end_on(int fd, int flags) {
  struct flow_end end = {.fd = fd, .most = SIZE_MAX};
  struct stat status;
  if (fstat(fd, &status) < 0) return end;
  end.socket = S_ISSOCK(status.st_mode);
  if (!S_ISFIFO(status.st_mode) && !is_terminal(fd)) return end;
  struct bytes path = {0};
  bytes_text(&path, "/proc/self/fd/");
  bytes_number(&path, fd);
  int again = open(bytes_end(&path), flags | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (again < 0) end.most = PIPE_BUF;
  else end.fd = again;
  return end;
}

bool flow_over(const struct flow *flow) {
  return flow->to.fd < 0;
}

void flow_poll(const struct flow *flow, bool reads, struct pollfd polled[2]) {
  bool full = flow->size > 0;
  polled[0] = (struct pollfd){.fd = full || !reads ? -1 : flow->from.fd, .events = POLLIN};
  polled[1] = (struct pollfd){.fd = full || flow->watched ? flow->to.fd : -1, .events = full ? POLLOUT : 0};
}

static ssize_t take(const struct flow *flow) {
  const struct flow_end *from = &flow->from;
  if (from->socket) return recv(from->fd, flow->buffer, flow->room, MSG_DONTWAIT);
  return read(from->fd, flow->buffer, flow->room);
}

static ssize_t give(const struct flow *flow) {
  const struct flow_end *to = &flow->to;
  struct iovec part = {flow->buffer + flow->at, flow->size < to->most ? flow->size : to->most};
  if (!to->socket) return write(to->fd, part.iov_base, part.iov_len);
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  return sendmsg(to->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool is_for_now(void) {
  return errno == EAGAIN || errno == EINTR;
}

static void close_end(struct flow_end *end) {
  if (end->fd > STDERR_FILENO) close(end->fd);
  end->fd = -1;
}

void flow_close(struct flow *flow) {
  close_end(&flow->from);
  close_end(&flow->to);
  flow->size = 0;
}

enum flow_state flow_move(struct flow *flow, const struct pollfd polled[2]) {
  if (polled[0].revents && flow->size == 0) {
    ssize_t size = take(flow);
    if (size > 0) {
      flow->at = 0;
      flow->size = size;
    } else if (size == 0 || !is_for_now()) {
      /* A directory, a connection that was reset, a terminal that is gone: nothing more comes. */
      close_end(&flow->from);
    }
  } else if (polled[1].revents && flow->size == 0) {
    return UNWANTED;
  }
  if (flow->size > 0) {
    ssize_t size = give(flow);
    if (size >= 0) {
      flow->at += size;
      flow->size -= size;
    } else if (errno == EPIPE || errno == ECONNRESET || errno == EIO) {
      return UNWANTED;
    } else if (!is_for_now()) {
      return BROKEN;
    }
  }
  return flow->from.fd < 0 && flow->size == 0 ? DONE : GOING;
}
