// Writes with WASI's own function, without a C library.
//   clang --target=wasm32 -O2 -nostdlib wasi-write.c -o wasi-write.wasm
#include <stdint.h>

struct vector {
  const char *bytes;
  uint32_t length;
};

__attribute__((import_module("wasi_snapshot_preview1"), import_name("fd_write")))
uint32_t fd_write(uint32_t fd, const struct vector *vectors, uint32_t count, uint32_t *written);

__attribute__((export_name("_start"))) void _start(void) {
  const struct vector vectors[] = {{"written ", 8}, {"by fd_write\n", 12}};
  uint32_t written;
  if (fd_write(1, vectors, 2, &written) != 0 || written != 20) __builtin_trap();
}
