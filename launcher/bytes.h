/* Bytes in the making. They grow, and are never given back: the launcher's life is short. */
#ifndef COSMOS_BYTES_H
#define COSMOS_BYTES_H

#include <stddef.h>
#include <stdint.h>

struct bytes {
  unsigned char *at;
  size_t size;
  size_t room;
};

/* Sees to room for `more` bytes after those that are there. Ends the program where there is no memory. */
void bytes_reserve(struct bytes *bytes, size_t more);

void bytes_add(struct bytes *bytes, const void *added, size_t size);
void bytes_text(struct bytes *bytes, const char *text);
void bytes_number(struct bytes *bytes, uint64_t number);

/* The bytes as a text that ends with NUL. */
const char *bytes_end(struct bytes *bytes);

#endif
