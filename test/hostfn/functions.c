/* Functions that the tests call. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define SAME(name, type) type same_##name(type x) { return x; }
SAME(char, char)
SAME(schar, signed char)
SAME(uchar, unsigned char)
SAME(short, short)
SAME(ushort, unsigned short)
SAME(int, int)
SAME(uint, unsigned int)
SAME(long, long)
SAME(ulong, unsigned long)
SAME(llong, long long)
SAME(ullong, unsigned long long)
SAME(size, size_t)
SAME(ssize, ssize_t)
SAME(int8, int8_t)
SAME(int16, int16_t)
SAME(int32, int32_t)
SAME(int64, int64_t)
SAME(uint8, uint8_t)
SAME(uint16, uint16_t)
SAME(uint32, uint32_t)
SAME(uint64, uint64_t)
SAME(intptr, intptr_t)
SAME(float, float)
SAME(double, double)
SAME(bool, bool)
SAME(address, void *)

int add(int x, int y) { return x + y; }
bool not(bool x) { return !x; }
double many(int a, double b, int c, double d, int e, double f, int g, double h, int i, double j) {
  return a + 10 * b + 100 * c + 1e3 * d + 1e4 * e + 1e5 * f + 1e6 * g + 1e7 * h + 1e8 * i + 1e9 * j;
}
enum color { RED, GREEN = 5 };
enum color green(enum color c) { return c == RED ? GREEN : RED; }

const char *greet(const char *name) {
  static char text[64];
  if (name == NULL) return NULL;
  snprintf(text, sizeof text, "hello %s", name);
  return text;
}
const char *latin1(void) { return "caf\xe9"; }
void upper(char *s) { for (; *s; s++) if (*s >= 'a' && *s <= 'z') *s -= 32; }
void append(char s[16], const char *more) { strncat(s, more, 15 - strlen(s)); }
int fill(char *s, size_t size, char c) { memset(s, c, size); return (int)size; }
size_t wide_length(const wchar_t *s) { return wcslen(s); }
const wchar_t *wide(void) { return L"gr\u00fc\u00df \U0001F600"; }
void wide_turn(wchar_t *s, size_t n) {
  size_t length = wcslen(s);
  (void)n;
  for (size_t i = 0; i < length / 2; i++) { wchar_t c = s[i]; s[i] = s[length - 1 - i]; s[length - 1 - i] = c; }
}

int read_one(const int *p) { return p ? *p : -1; }
void increment(int *p) { ++*p; }
void halves(int x, int *low, double *half) { *low = x / 2; *half = x / 2.0; }
long sum(int n, const int *xs) { long s = 0; for (int i = 0; i < n; i++) s += xs[i]; return s; }
void scale(double *xs, int n, double by) { for (int i = 0; i < n; i++) xs[i] *= by; }
void squares(int n, int64_t *out) { for (int i = 0; i < n; i++) out[i] = (int64_t)i * i; }
void invert(uint8_t *bytes, size_t n) { for (size_t i = 0; i < n; i++) bytes[i] = ~bytes[i]; }
size_t lengths(int n, const char *const *texts) { size_t s = 0; for (int i = 0; i < n; i++) s += strlen(texts[i]); return s; }

struct point { int x; double y; };
struct point move(struct point p, double by) { p.x += 1; p.y += by; return p; }
void turn(struct point *p) { double y = p->y; p->y = p->x; p->x = (int)y; }
double total(int n, const struct point *ps) { double s = 0; for (int i = 0; i < n; i++) s += ps[i].x + ps[i].y; return s; }
struct person { const char *name; char code[4]; struct point at; short marks[3]; bool member; float weight; uint64_t id; };
struct person promote(struct person p) {
  p.member = !p.member; p.at.x += 1; p.marks[2] += 1; p.weight *= 2; p.id += 1; p.code[0] = 'Z';
  return p;
}
int name_length(const struct person *p) { return (int)strlen(p->name); }

int fail(int code) { errno = code; return -1; }
int succeed(void) { return errno; }

int null_dereference(void) { volatile int *p = NULL; return *p; }
void call_abort(void) { abort(); }
int overflow_stack(int n) { volatile char space[512]; space[0] = (char)n; return overflow_stack(n + 1) + space[0]; }
void smash_heap(void) { char *p = malloc(32); void *volatile q = p; free(q); free(q); abort(); }
void call_exit(int code) { exit(code); }
int loop(void) { for (volatile int i = 0;; i++) {} return 0; }
int loop_deaf(void) { signal(SIGALRM, SIG_IGN); for (volatile int i = 0;; i++) {} return 0; }

int use_stack(int mib) {
  volatile char *space = __builtin_alloca((size_t)mib << 20);
  for (int i = 0; i < mib << 20; i += 4096) space[i] = 1;
  return mib;
}

static int counter;
int count(void) { return ++counter; }
void print_line(const char *text) { printf("printed: %s\n", text); }
void print_error(const char *text) { fprintf(stderr, "error: %s\n", text); }
int read_input(char *text, size_t size) { ssize_t n = read(0, text, size - 1); return (int)n; }

static char farewell[256];
void leave_at_unload(const char *path) { snprintf(farewell, sizeof farewell, "%s", path); }
__attribute__((destructor)) static void unloaded(void) {
  if (farewell[0]) { FILE *f = fopen(farewell, "w"); if (f) { fputs("unloaded", f); fclose(f); } }
}
