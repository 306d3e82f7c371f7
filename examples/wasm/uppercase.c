// Standard input in capital letters; or a file's, which may be api://input or an http URL.
//   clang --target=wasm32-wasi -O2 uppercase.c -o uppercase.wasm
#include <ctype.h>
#include <stdio.h>

int main(int argc, char **argv) {
  FILE *from = argc > 1 ? fopen(argv[1], "r") : stdin;
  FILE *to = argc > 2 ? fopen(argv[2], "w") : stdout;
  if (!from || !to) {
    perror(from ? argv[2] : argv[1]);
    return 1;
  }
  for (int c; (c = getc(from)) != EOF;) putc(toupper(c), to);
  return ferror(from) || fclose(to) ? 1 : 0;
}
