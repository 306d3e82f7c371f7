// The guest API without WASI and without a C library: answers its input backwards, and what a URL holds if the input
// is one.
//   clang --target=wasm32 -O2 -nostdlib api-demo.c -o api-demo.wasm
#include "my-own-cluster.h"

#define LITERAL(text) text, sizeof text - 1

static char bytes[65536];

static uint32_t contents(uint32_t id) {
  uint32_t size = get_buffer_size(id);
  return size > sizeof bytes ? GUEST_FAILED : get_buffer(id, bytes, size);
}

__attribute__((export_name("_start"))) void _start(void) {
  if (test() != 1) __builtin_trap();
  uint32_t output = get_output_buffer_id();
  uint32_t length = contents(get_input_buffer_id());
  if (length == GUEST_FAILED) {
    print_debug(LITERAL("the input cannot be had"));
    return;
  }
  if (length > 4 && bytes[0] == 'h' && bytes[1] == 't' && bytes[2] == 't' && bytes[3] == 'p') {
    uint32_t page = get_url(bytes, length);
    if (page == GUEST_FAILED) {
      print_debug(LITERAL("the URL cannot be had"));
      return;
    }
    length = contents(page);
    if (length != GUEST_FAILED) write_buffer(output, bytes, length);
    free_buffer(page);
    return;
  }
  // A buffer of its own, to show that one may be made, written and given up.
  uint32_t copy = register_buffer(bytes, length);
  for (uint32_t i = 0; i < length; i++) write_buffer(copy, &bytes[length - 1 - i], 1);
  if (contents(copy) != 2 * length || free_buffer(copy) != 0 || free_buffer(copy) != -1) __builtin_trap();
  write_buffer_header(output, LITERAL("content-type"), LITERAL("text/plain"));
  write_buffer(output, bytes + length, length);
  print_debug(LITERAL("done"));
}
