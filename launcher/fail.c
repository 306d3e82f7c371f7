#include "fail.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

_Noreturn void fail(int code, ...) {
  struct bytes line = {0};
  bytes_text(&line, "cosmos: ");
  va_list texts;
  va_start(texts, code);
  for (const char *text; (text = va_arg(texts, const char *));) bytes_text(&line, text);
  va_end(texts);
  for (size_t i = 0; i < line.size; i++)
    if (line.at[i] < ' ' || line.at[i] == 0x7f) line.at[i] = '?';
  bytes_text(&line, "\n");
  /* Where even this cannot be written, the exit code tells. */
  for (size_t at = 0; at < line.size;) {
    ssize_t written = write(STDERR_FILENO, line.at + at, line.size - at);
    if (written <= 0) break;
    at += written;
  }
  _exit(code);
}

const char *text_of(struct value value) {
  const unsigned char *at;
  struct bytes text = {0};
  size_t size;
  if (mp_text(value, &at, &size)) bytes_add(&text, at, size);
  return bytes_end(&text);
}

static int exit_code_for(const char *code) {
  static const char *const not_runnable[] = {
    "EACCES", "EPERM",  "ENOEXEC", "ELIBACC", "ELIBBAD", "ELIBSCN",      "ELIBMAX", "ELIBEXEC",
    "E2BIG",  "EISDIR", "ENOTDIR", "ELOOP",   "ETXTBSY", "ENAMETOOLONG",
  };
  if (!strcmp(code, "ENOENT")) return NOT_FOUND;
  for (size_t i = 0; i < sizeof not_runnable / sizeof *not_runnable; i++)
    if (!strcmp(code, not_runnable[i])) return NOT_RUNNABLE;
  return FAILED;
}

_Noreturn void fail_as_told(struct value error, bool whole) {
  const char *message = text_of(mp_get(error, "message")), *hint = text_of(mp_get(error, "hint"));
  int code = whole ? FAILED : exit_code_for(text_of(mp_get(error, "code")));
  fail(code, *message ? message : "failed", *hint ? "; " : "", hint, NULL);
}

_Noreturn void fail_unreadable(const char *who) {
  fail(FAILED, who, ": sent what cannot be read; cosmos log", NULL);
}

const char *why(void) {
  static const struct {
    int number;
    const char *text;
  } known[] = {
    {EACCES, "permission denied"},    {ECONNREFUSED, "nobody listens"},    {EMFILE, "too many open files"},
    {ENFILE, "too many open files"},  {ENOENT, "is not there"},            {ENOMEM, "out of memory"},
    {ENOSPC, "no space on the disk"}, {ENOTDIR, "is in no directory"},     {EROFS, "the disk is read-only"},
    {EAGAIN, "too many processes"},   {ENAMETOOLONG, "the path is long"},  {ETOOMANYREFS, "too many on the way"},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (known[i].number == errno) return known[i].text;
  struct bytes text = {0};
  bytes_text(&text, "error ");
  bytes_number(&text, errno);
  return bytes_end(&text);
}
