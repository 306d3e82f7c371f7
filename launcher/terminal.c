#define _GNU_SOURCE
#include "terminal.h"

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios former;
static bool entered;

bool is_terminal(int fd) {
  struct termios settings;
  return tcgetattr(fd, &settings) == 0;
}

bool terminal_is_ours(void) {
  int group;
  return ioctl(STDIN_FILENO, TIOCGPGRP, &group) == 0 && group == getpgid(0);
}

bool terminal_size(uint64_t *rows, uint64_t *columns) {
  struct winsize size;
  if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0) return false;
  *rows = size.ws_row;
  *columns = size.ws_col;
  return true;
}

void terminal_enter(void) {
  /* What a stop by somebody else has left raw is not how it was before. */
  if (!entered && tcgetattr(STDIN_FILENO, &former) < 0) return;
  struct termios raw = former;
  raw.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
  raw.c_oflag &= ~OPOST;
  raw.c_lflag &= ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
  raw.c_cflag &= ~(CSIZE | PARENB);
  raw.c_cflag |= CS8;
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  entered = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

void terminal_leave(void) {
  if (entered && terminal_is_ours()) tcsetattr(STDIN_FILENO, TCSANOW, &former);
  entered = false;
}

bool terminal_entered(void) {
  return entered;
}
