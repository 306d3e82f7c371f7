// Says hello to its arguments, or to the world.
//   clang --target=wasm32-wasi -O2 hello.c -o hello.wasm
#include <stdio.h>

int main(int argc, char **argv) {
  if (argc < 2) puts("hello, world");
  for (int i = 1; i < argc; i++) printf("hello, %s\n", argv[i]);
  return 0;
}
