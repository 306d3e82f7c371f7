/*
 * The little of a C library that the launcher needs: where it starts, system calls, memory. The C library's own static
 * start asks the processor for its features, some twenty times by CPUID; in a virtual machine each of them is the
 * hypervisor's work, and together they take longer than all that the launcher does. Only for the processors below;
 * for others it is linked with the C library.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

char **environ;

int main(int argc, char **argv);

/* The kernel's stack of a new process: argc, argv, NULL, environment, NULL (execve(2)). */
__attribute__((used)) static _Noreturn void start(long *stack) {
  char **argv = (char **)(stack + 1);
  environ = argv + *stack + 1;
  _exit(main((int)*stack, argv));
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n");

static long raw(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\n mov x29, #0\n mov x30, #0\n mov x0, sp\n bl start\n");

static long raw(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
#else
#error "link with the C library instead"
#endif

int *__errno_location(void) {
  static int number;
  return &number;
}

static long answer(long result) {
  if (result >= 0 || result < -4095) return result;
  errno = (int)-result;
  return -1;
}

#define CALL(number, a, b, c, d, e, f) \
  answer(raw(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)))

long syscall(long number, ...) {
  long a[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  return CALL(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

_Noreturn void _exit(int code) {
  for (;;) raw(SYS_exit_group, code, 0, 0, 0, 0, 0);
}

int open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  int mode = flags & O_CREAT ? va_arg(list, int) : 0;
  va_end(list);
  return CALL(SYS_openat, AT_FDCWD, path, flags, mode, 0, 0);
}

int fcntl(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  long argument = va_arg(list, long);
  va_end(list);
  return CALL(SYS_fcntl, fd, command, argument, 0, 0, 0);
}

int ioctl(int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  void *argument = va_arg(list, void *);
  va_end(list);
  return CALL(SYS_ioctl, fd, request, argument, 0, 0, 0);
}

/* The kernel's struct termios is the beginning of the C library's on these processors. */
int tcgetattr(int fd, struct termios *settings) {
  return CALL(SYS_ioctl, fd, TCGETS, settings, 0, 0, 0);
}

int tcsetattr(int fd, int when, const struct termios *settings) {
  return CALL(SYS_ioctl, fd, TCSETS + when, settings, 0, 0, 0);
}

/* The C library's struct stat is the kernel's own on these processors. */
int fstat(int fd, struct stat *status) {
  return CALL(SYS_fstat, fd, status, 0, 0, 0, 0);
}

int close(int fd) {
  return CALL(SYS_close, fd, 0, 0, 0, 0, 0);
}

ssize_t read(int fd, void *buffer, size_t size) {
  return CALL(SYS_read, fd, buffer, size, 0, 0, 0);
}

ssize_t write(int fd, const void *buffer, size_t size) {
  return CALL(SYS_write, fd, buffer, size, 0, 0, 0);
}

ssize_t splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t size, unsigned flags) {
  return CALL(SYS_splice, in, in_at, out, out_at, size, flags);
}

int dup2(int from, int to) {
  return from == to ? to : (int)CALL(SYS_dup3, from, to, 0, 0, 0, 0);
}

int pipe2(int ends[2], int flags) {
  return CALL(SYS_pipe2, ends, flags, 0, 0, 0, 0);
}

int poll(struct pollfd *polled, nfds_t count, int timeout) {
  struct timespec time = {timeout / 1000, timeout % 1000 * 1000000L};
  return CALL(SYS_ppoll, polled, count, timeout < 0 ? NULL : &time, NULL, 0, 0);
}

int socket(int domain, int type, int protocol) {
  return CALL(SYS_socket, domain, type, protocol, 0, 0, 0);
}

int socketpair(int domain, int type, int protocol, int pair[2]) {
  return CALL(SYS_socketpair, domain, type, protocol, pair, 0, 0);
}

int connect(int fd, const struct sockaddr *address, socklen_t size) {
  return CALL(SYS_connect, fd, address, size, 0, 0, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  return CALL(SYS_sendmsg, fd, message, flags, 0, 0, 0);
}

ssize_t recv(int fd, void *buffer, size_t size, int flags) {
  return CALL(SYS_recvfrom, fd, buffer, size, flags, NULL, NULL);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t size) {
  return CALL(SYS_setsockopt, fd, level, option, value, size, 0);
}

int shutdown(int fd, int how) {
  return CALL(SYS_shutdown, fd, how, 0, 0, 0, 0);
}

pid_t fork(void) {
  return CALL(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
}

pid_t getpid(void) {
  return CALL(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

pid_t getpgid(pid_t pid) {
  return CALL(SYS_getpgid, pid, 0, 0, 0, 0, 0);
}

int kill(pid_t pid, int number) {
  return CALL(SYS_kill, pid, number, 0, 0, 0, 0);
}

int prctl(int option, ...) {
  va_list list;
  va_start(list, option);
  long argument = va_arg(list, long);
  va_end(list);
  return CALL(SYS_prctl, option, argument, 0, 0, 0, 0);
}

mode_t umask(mode_t mask) {
  return CALL(SYS_umask, mask, 0, 0, 0, 0, 0);
}

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit) {
  return CALL(SYS_prlimit64, 0, resource, NULL, limit, 0, 0);
}

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit) {
  return CALL(SYS_prlimit64, 0, resource, limit, NULL, 0, 0);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  return CALL(SYS_clock_gettime, clock, time, 0, 0, 0, 0);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t at) {
  return (void *)CALL(SYS_mmap, address, size, protection, flags, fd, at);
}

/* The compiler calls these four by itself. It must not make calls of themselves out of their loops. */
#define PLAIN __attribute__((optimize("no-tree-loop-distribute-patterns")))

PLAIN void *memcpy(void *restrict to, const void *restrict from, size_t size) {
#if defined(__x86_64__)
  void *at = to;
  __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
#else
  for (size_t i = 0; i < size; i++) ((char *)to)[i] = ((const char *)from)[i];
#endif
  return to;
}

PLAIN void *memmove(void *to, const void *from, size_t size) {
  if ((char *)to <= (const char *)from || (char *)to >= (const char *)from + size) return memcpy(to, from, size);
  for (size_t i = size; i-- > 0;) ((char *)to)[i] = ((const char *)from)[i];
  return to;
}

PLAIN void *memset(void *to, int byte, size_t size) {
  for (size_t i = 0; i < size; i++) ((char *)to)[i] = (char)byte;
  return to;
}

PLAIN int memcmp(const void *a, const void *b, size_t size) {
  for (size_t i = 0; i < size; i++) {
    int difference = ((const unsigned char *)a)[i] - ((const unsigned char *)b)[i];
    if (difference != 0) return difference;
  }
  return 0;
}

PLAIN size_t strlen(const char *text) {
  size_t size = 0;
  while (text[size]) size++;
  return size;
}

int strcmp(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return (unsigned char)*a - (unsigned char)*b;
}

char *strrchr(const char *text, int wanted) {
  const char *found = NULL;
  do
    if (*text == (char)wanted) found = text;
  while (*text++);
  return (char *)found;
}

char *strstr(const char *text, const char *wanted) {
  size_t size = strlen(wanted);
  for (; *text; text++)
    for (size_t i = 0;; i++) {
      if (i == size) return (char *)text;
      if (text[i] != wanted[i]) break;
    }
  return NULL;
}
