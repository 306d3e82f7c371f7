// A library whose functions make one stream of another.
#include <stddef.h>
#include <stdint.h>

int reverse(const uint8_t *in, size_t n, uint8_t *out, size_t *out_n) {
  for (size_t i = 0; i < n && i < *out_n; i++) out[i] = in[n - 1 - i];
  *out_n = n;
  return 0;
}

int grow(const uint8_t *in, size_t n, uint8_t *out, size_t *out_n) {
  size_t room = *out_n;
  *out_n = 1000 * n;
  if (room < *out_n) return 1;
  for (size_t i = 0; i < *out_n; i++) out[i] = in[i % n];
  return 0;
}

int refuse(const uint8_t *in, size_t n, uint8_t *out, size_t *out_n) {
  *out_n = 0;
  return 7;
}

int crash(const uint8_t *in, size_t n, uint8_t *out, size_t *out_n) {
  *(volatile int *)0 = 1;
  return 0;
}
