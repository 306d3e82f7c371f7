// A library: any module may import `add` of the module `adder`, and cosmos call it.
//   clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry adder.c -o adder.wasm
static int calls;

__attribute__((export_name("add"))) int add(int a, int b) {
  calls++;
  return a + b;
}

__attribute__((export_name("calls"))) int count(void) { return calls; }

__attribute__((export_name("scale"))) double scale(double x, float by) { return x * by; }

__attribute__((export_name("product"))) long long product(long long a, long long b) { return a * b; }
