// Does what its first argument says; for the tests of the VM.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static volatile int depth;
static int deeper(int n) {
  volatile char frame[16] = {0};
  depth = n;
  if (n < 0) return 0;
  return deeper(n + 1) + frame[0];
}

static int is(const char *what, char **argv) { return strcmp(argv[1], what) == 0; }

static int fail(const char *what) {
  printf("%s: %s\n", what, strerror(errno));
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  if (is("exit", argv)) exit(atoi(argv[2]));
  if (is("trap", argv)) __builtin_trap();
  if (is("outside", argv)) return *(volatile int *)0x7ffffff0;
  if (is("deep", argv)) return deeper(0);
  if (is("spin", argv)) {
    puts("spinning");
    fflush(stdout);
    for (volatile long i = 0;; i++) {
    }
  }
  if (is("echo", argv)) {
    char line[256];
    setvbuf(stdout, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, stdin)) fputs(line, stdout);
    return 0;
  }
  if (is("args", argv)) {
    for (int i = 0; i < argc; i++) printf("[%s]\n", argv[i]);
    return 0;
  }
  if (is("env", argv)) {
    for (char **e = environ; *e; e++) puts(*e);
    return 0;
  }
  if (is("grow", argv)) {
    size_t got = 0;
    for (volatile char *p; got < 1024 && (p = malloc(1 << 20)); got++) *p = 1;
    printf("%zu MiB\n", got);
    return 0;
  }
  if (is("write", argv)) {
    FILE *f = fopen(argv[2], "w");
    if (!f) return fail(argv[2]);
    fputs(argv[3], f);
    return fclose(f) ? fail(argv[2]) : 0;
  }
  if (is("leave-open", argv)) {
    for (int i = 0; i < 20; i++)
      if (open(argv[2], O_RDONLY) < 0) return fail(argv[2]);
    return 0;
  }
  if (is("cat", argv)) {
    FILE *f = fopen(argv[2], "r");
    if (!f) return fail(argv[2]);
    for (int c; (c = getc(f)) != EOF;) putchar(c);
    return 0;
  }
  if (is("list", argv)) {
    DIR *d = opendir(argv[2]);
    if (!d) return fail(argv[2]);
    for (struct dirent *e; (e = readdir(d));)
      if (e->d_name[0] != '.') puts(e->d_name);
    return 0;
  }
  if (is("mkdir", argv)) return mkdir(argv[2], 0777) ? fail(argv[2]) : 0;
  if (is("seek", argv)) {
    FILE *f = fopen(argv[2], "r");
    if (!f || fseek(f, -3, SEEK_END)) return fail(argv[2]);
    struct stat st;
    fstat(fileno(f), &st);
    printf("%d of %lld:", (int)ftell(f), (long long)st.st_size);
    for (int c; (c = getc(f)) != EOF;) putchar(c);
    return 0;
  }
  return 2;
}
