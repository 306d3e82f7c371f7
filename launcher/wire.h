/* Frames over a Unix stream socket: a length of 4 bytes, big-endian, and one msgpack map (docs/protocol.md). */
#ifndef COSMOS_WIRE_H
#define COSMOS_WIRE_H

#include "msgpack.h"

#define MAX_FRAME (16u * 1024 * 1024)

struct wire {
  int fd;
  /* What has come; the frame that was last answered is the first `taken` bytes of it. */
  struct bytes in;
  size_t taken;
};

/* Connects; -1 and errno where nobody listens. */
int wire_connect(struct wire *wire, const char *path);

void wire_close(struct wire *wire);

/* Begins a frame: room for its length. */
void frame_begin(struct bytes *frame);

/* Sets the length; false where it is more than a frame holds. */
bool frame_end(struct bytes *frame);

/* Sends bytes, with descriptors at the first; -1 and errno where the other side is gone. */
int wire_send(struct wire *wire, const struct bytes *frame, const int *descriptors, int count);

enum next { FRAME, MORE, ENDED, GARBAGE };

/* The next whole frame among the bytes that have come; its map lives until the next call. */
enum next wire_next(struct wire *wire, struct value *map);

/* Reads once what there is (waits for it): MORE where bytes came, ENDED where the other side is gone. */
enum next wire_read(struct wire *wire);

/* Waits for the next frame. */
enum next wire_wait(struct wire *wire, struct value *map);

#endif
