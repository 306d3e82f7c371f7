/*
 * The measuring hand of the bench: does one thing to a file system and prints how long it took, in seconds.
 * The clock runs inside, so starting this program costs nothing. Each command changes into the directory first:
 * the depth of the mount's own path is not part of the figure.
 *
 *   probe walk   DIR PASSES               lstat of every entry, in directory order; median pass, and the count
 *   probe stat   DIR DIRS FILES PASSES    stat of dNNNN/fNNNN, by name, without listing; median pass
 *   probe read   DIR FILE PASSES          sequential, 128 KiB a call; median pass
 *   probe write  DIR FILE MIB             sequential, 128 KiB a call, open to close; the file is removed after
 *   probe create DIR CYCLES               create, write 1 KiB, close, unlink
 *   probe exec   DIR PROGRAM TIMES        vfork, execve, wait
 *   probe spawn  DIR TIMES PROGRAM ARG... posix_spawn and wait, each by itself; the median
 *   probe tree   DIR DIRS FILES BYTES     makes the tree (not a measurement)
 *   probe chill  DIR                      lets go of the cached pages of every directory (posix_fadvise)
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (128 * 1024)

extern char **environ;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
  fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *times, int n) {
  qsort(times, n, sizeof *times, by_value);
  return n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
}

static long visit(int parent, const char *name, int chill) {
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) die(name);
  DIR *dir = fdopendir(fd);
  if (!dir) die(name);
  long count = 0;
  struct dirent *entry;
  while ((errno = 0, entry = readdir(dir))) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    count++;
    if (chill) {
      if (entry->d_type == DT_DIR) count += visit(fd, entry->d_name, 1);
      continue;
    }
    struct stat st;
    if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW)) die(entry->d_name);
    if (S_ISDIR(st.st_mode)) count += visit(fd, entry->d_name, 0);
  }
  if (errno) die("readdir");
  if (chill) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  closedir(dir);
  return count;
}

static double read_once(const char *name, char *buffer) {
  double start = now();
  int fd = open(name, O_RDONLY);
  if (fd < 0) die(name);
  ssize_t n;
  while ((n = read(fd, buffer, BLOCK)) > 0) {}
  if (n < 0) die("read");
  close(fd);
  return now() - start;
}

static double stat_all(int dirs, int files) {
  char name[32];
  struct stat st;
  double start = now();
  for (int d = 0; d < dirs; d++)
    for (int f = 0; f < files; f++) {
      snprintf(name, sizeof name, "d%04d/f%04d", d, f);
      if (stat(name, &st)) die(name);
    }
  return now() - start;
}

static void put(const char *name, const char *data, size_t bytes, int flags) {
  int fd = open(name, O_WRONLY | O_CREAT | flags, 0644);
  if (fd < 0) die(name);
  if (bytes && write(fd, data, bytes) != (ssize_t)bytes) die("write");
  if (close(fd)) die("close");
}

static void spawn(char *program) {
  int status;
  pid_t pid = vfork();
  if (pid < 0) die("vfork");
  if (!pid) {
    execve(program, (char *[]){program, NULL}, environ);
    _exit(127);
  }
  if (waitpid(pid, &status, 0) < 0 || status) die("exec");
}

static double spawn_once(char **argv) {
  pid_t pid;
  int status;
  double start = now();
  errno = posix_spawn(&pid, argv[0], NULL, NULL, argv, environ);
  if (errno) die(argv[0]);
  if (waitpid(pid, &status, 0) < 0 || status) die("spawn");
  return now() - start;
}

int main(int argc, char **argv) {
  if (argc < 3 || chdir(argv[2])) die(argc < 3 ? "usage" : argv[2]);
  const char *command = argv[1];
  char *buffer = malloc(BLOCK);
  memset(buffer, 'x', BLOCK);
#define IS(name, count) (!strcmp(command, name) && argc == 3 + (count))
#define NUMBER(i) atoi(argv[3 + (i)])

  if (IS("walk", 1)) {
    int passes = NUMBER(0);
    double times[passes];
    long count = 0;
    for (int i = 0; i < passes; i++) {
      double start = now();
      count = visit(AT_FDCWD, ".", 0);
      times[i] = now() - start;
    }
    printf("%.9f %ld\n", median(times, passes), count);
  } else if (IS("stat", 3)) {
    int passes = NUMBER(2);
    double times[passes];
    for (int i = 0; i < passes; i++) times[i] = stat_all(NUMBER(0), NUMBER(1));
    printf("%.9f\n", median(times, passes));
  } else if (IS("read", 2)) {
    int passes = NUMBER(1);
    double times[passes];
    for (int i = 0; i < passes; i++) times[i] = read_once(argv[3], buffer);
    printf("%.9f\n", median(times, passes));
  } else if (IS("write", 2)) {
    long blocks = NUMBER(1) * (1024L * 1024 / BLOCK);
    double start = now();
    int fd = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) die(argv[3]);
    for (long i = 0; i < blocks; i++)
      if (write(fd, buffer, BLOCK) != BLOCK) die("write");
    if (close(fd)) die("close");
    printf("%.9f\n", now() - start);
    unlink(argv[3]);
  } else if (IS("create", 1)) {
    int cycles = NUMBER(0);
    char name[32];
    double start = now();
    for (int i = 0; i < cycles; i++) {
      snprintf(name, sizeof name, "cycle%06d", i);
      put(name, buffer, 1024, O_EXCL);
      if (unlink(name)) die(name);
    }
    printf("%.9f\n", now() - start);
  } else if (IS("exec", 2)) {
    int times = NUMBER(1);
    double start = now();
    for (int i = 0; i < times; i++) spawn(argv[3]);
    printf("%.9f\n", now() - start);
  } else if (!strcmp(command, "spawn") && argc >= 5) {
    int times = NUMBER(0);
    double taken[times];
    for (int i = 0; i < times; i++) taken[i] = spawn_once(argv + 4);
    printf("%.9f\n", median(taken, times));
  } else if (IS("tree", 3)) {
    char name[32];
    for (int d = 0; d < NUMBER(0); d++) {
      snprintf(name, sizeof name, "d%04d", d);
      if (mkdir(name, 0755)) die(name);
      for (int f = 0; f < NUMBER(1); f++) {
        snprintf(name, sizeof name, "d%04d/f%04d", d, f);
        put(name, buffer, NUMBER(2), 0);
      }
    }
  } else if (IS("chill", 0)) {
    printf("%ld\n", visit(AT_FDCWD, ".", 1));
  } else {
    fprintf(stderr, "probe: what is '%s' with %d arguments?\n", command, argc - 3);
    return 2;
  }
  return 0;
}
