// Imports a function of another module, which is found as adder.wasm and runs in an instance of its own.
//   clang --target=wasm32-wasi -O2 uses-adder.c -o uses-adder.wasm
#include <stdio.h>

__attribute__((import_module("adder"), import_name("add"))) int add(int a, int b);
__attribute__((import_module("adder"), import_name("calls"))) int calls(void);

int main(void) {
  int sum = add(add(1, 2), 39);
  printf("%d after %d calls\n", sum, calls());
  return 0;
}
