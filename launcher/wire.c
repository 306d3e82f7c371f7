#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* unix(7), SCM_MAX_FD. */
#define MAX_DESCRIPTORS 253
/* Room that a read finds at least. */
#define CHUNK 4096
/* How often descriptors are offered that the kernel refuses for now, 10 ms between. */
#define OFFERS 3000

int wire_connect(struct wire *wire, const char *path) {
  size_t size = strlen(path);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (size >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(address.sun_path, path, size);
  wire->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (wire->fd < 0) return -1;
  int result;
  do result = connect(wire->fd, (struct sockaddr *)&address, sizeof address);
  while (result < 0 && errno == EINTR);
  if (result < 0) {
    int number = errno;
    wire_close(wire);
    errno = number;
  }
  return result;
}

void wire_close(struct wire *wire) {
  close(wire->fd);
  wire->fd = -1;
  wire->in.size = wire->taken = 0;
}

void frame_begin(struct bytes *frame) {
  frame->size = 0;
  bytes_add(frame, "\0\0\0", 4);
}

bool frame_end(struct bytes *frame) {
  size_t size = frame->size - 4;
  for (int i = 0; i < 4; i++) frame->at[i] = size >> (8 * (3 - i));
  return size <= MAX_FRAME;
}

int wire_send(struct wire *wire, const struct bytes *frame, const int *descriptors, int count) {
  _Alignas(struct cmsghdr) char control[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))];
  int offers = 0;
  for (size_t at = 0; at < frame->size;) {
    struct iovec part = {frame->at + at, frame->size - at};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (at == 0 && count > 0) {
      memset(control, 0, sizeof control);
      header.msg_control = control;
      header.msg_controllen = CMSG_SPACE(count * sizeof(int));
      struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(count * sizeof(int));
      memcpy(CMSG_DATA(rights), descriptors, count * sizeof(int));
    }
    ssize_t sent = sendmsg(wire->fd, &header, MSG_NOSIGNAL);
    if (sent >= 0) {
      at += sent;
    } else if (errno == ETOOMANYREFS && offers++ < OFFERS) {
      /* The user has as many descriptors under way as it may have open: some will arrive. */
      poll(NULL, 0, 10);
    } else if (errno != EINTR) {
      return -1;
    }
  }
  return 0;
}

enum next wire_next(struct wire *wire, struct value *map) {
  struct bytes *in = &wire->in;
  if (wire->taken > 0) {
    in->size -= wire->taken;
    memmove(in->at, in->at + wire->taken, in->size);
    wire->taken = 0;
  }
  if (in->size < 4) return MORE;
  size_t size = 0;
  for (int i = 0; i < 4; i++) size = size << 8 | in->at[i];
  if (size == 0 || size > MAX_FRAME) return GARBAGE;
  if (in->size - 4 < size) return MORE;
  wire->taken = 4 + size;
  *map = (struct value){in->at + 4, size};
  return mp_check(map->at, size) ? FRAME : GARBAGE;
}

enum next wire_read(struct wire *wire) {
  struct bytes *in = &wire->in;
  bytes_reserve(in, CHUNK);
  ssize_t size = recv(wire->fd, in->at + in->size, in->room - in->size, 0);
  if (size < 0 && errno == EINTR) return MORE;
  if (size <= 0) return ENDED;
  in->size += size;
  return MORE;
}

enum next wire_wait(struct wire *wire, struct value *map) {
  for (;;) {
    enum next next = wire_next(wire, map);
    if (next != MORE) return next;
    next = wire_read(wire);
    if (next != MORE) return next;
  }
}
