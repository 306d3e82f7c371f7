#define _GNU_SOURCE
#include "bytes.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Enough for an ordinary launch, without a system call. */
#define FIRST (256 * 1024)

/* `size` bytes that nobody has, 16-aligned. */
static unsigned char *take(size_t size) {
  static _Alignas(16) unsigned char first[FIRST];
  static size_t used;
  size = (size + 15) & ~(size_t)15;
  if (size <= FIRST - used) {
    used += size;
    return first + used - size;
  }
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    static const char line[] = "cosmos: launcher: out of memory\n";
    if (write(STDERR_FILENO, line, sizeof line - 1) < 0) _exit(125);
    _exit(125);
  }
  return memory;
}

void bytes_reserve(struct bytes *bytes, size_t more) {
  if (bytes->room - bytes->size >= more) return;
  size_t room = bytes->room ? 2 * bytes->room : 1024;
  while (room - bytes->size < more) room *= 2;
  unsigned char *grown = take(room);
  if (bytes->size > 0) memcpy(grown, bytes->at, bytes->size);
  bytes->at = grown;
  bytes->room = room;
}

void bytes_add(struct bytes *bytes, const void *added, size_t size) {
  bytes_reserve(bytes, size);
  if (size > 0) memcpy(bytes->at + bytes->size, added, size);
  bytes->size += size;
}

void bytes_text(struct bytes *bytes, const char *text) {
  bytes_add(bytes, text, strlen(text));
}

void bytes_number(struct bytes *bytes, uint64_t number) {
  char digits[20];
  int count = 0;
  do digits[sizeof digits - ++count] = '0' + number % 10;
  while (number /= 10);
  bytes_add(bytes, digits + sizeof digits - count, count);
}

const char *bytes_end(struct bytes *bytes) {
  bytes_reserve(bytes, 1);
  bytes->at[bytes->size] = 0;
  return (const char *)bytes->at;
}
