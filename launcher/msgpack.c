#include "msgpack.h"

#include <string.h>

#define MAX_DEPTH 16

static uint64_t big_endian(const unsigned char *bytes, int count) {
  uint64_t number = 0;
  for (int i = 0; i < count; i++) number = number << 8 | bytes[i];
  return number;
}

enum kind { NIL, BOOLEAN, UNSIGNED, SIGNED, FLOAT, STR, BIN, ARRAY, MAP, WRONG };

struct head {
  enum kind kind;
  /* Bytes of the head itself; of its number; of what follows (STR, BIN) or how many values do (ARRAY, MAP). */
  size_t size;
  int width;
  uint64_t count;
};

/* What a value begins with; WRONG where the bytes end before the head does. */
static struct head head_of(const unsigned char *at, size_t left) {
  struct head none = {WRONG, 0, 0, 0};
  if (left == 0) return none;
  unsigned char type = *at;
  if (type <= 0x7f) return (struct head){UNSIGNED, 1, 0, type};
  if (type >= 0xe0) return (struct head){SIGNED, 1, 0, 0};
  if (type <= 0x8f) return (struct head){MAP, 1, 0, type & 15};
  if (type <= 0x9f) return (struct head){ARRAY, 1, 0, type & 15};
  if (type <= 0xbf) return (struct head){STR, 1, 0, type & 31};
  struct head head = none;
  switch (type) {
    case 0xc0: return (struct head){NIL, 1, 0, 0};
    case 0xc2: case 0xc3: return (struct head){BOOLEAN, 1, 0, type & 1};
    case 0xc4: case 0xc5: case 0xc6: head.kind = BIN; head.width = 1 << (type - 0xc4); break;
    case 0xca: case 0xcb: head.kind = FLOAT; head.width = 4 << (type - 0xca); break;
    case 0xcc: case 0xcd: case 0xce: case 0xcf: head.kind = UNSIGNED; head.width = 1 << (type - 0xcc); break;
    case 0xd0: case 0xd1: case 0xd2: case 0xd3: head.kind = SIGNED; head.width = 1 << (type - 0xd0); break;
    case 0xd9: case 0xda: case 0xdb: head.kind = STR; head.width = 1 << (type - 0xd9); break;
    case 0xdc: case 0xdd: head.kind = ARRAY; head.width = 2 << (type - 0xdc); break;
    case 0xde: case 0xdf: head.kind = MAP; head.width = 2 << (type - 0xde); break;
    default: return none;
  }
  head.size = 1 + head.width;
  if (left < head.size) return none;
  head.count = big_endian(at + 1, head.width);
  return head;
}

/* Size of the value at `at`; 0 where there is no whole and good one. */
static size_t check(const unsigned char *at, size_t left, int depth) {
  if (depth > MAX_DEPTH) return 0;
  struct head head = head_of(at, left);
  if (head.kind == WRONG) return 0;
  size_t size = head.size;
  if (head.kind == STR || head.kind == BIN) return left - size < head.count ? 0 : size + head.count;
  if (head.kind != ARRAY && head.kind != MAP) return size;
  for (uint64_t i = 0; i < head.count; i++) {
    if (head.kind == MAP) {
      if (head_of(at + size, left - size).kind != STR) return 0;
      size_t key = check(at + size, left - size, depth);
      if (key == 0) return 0;
      size += key;
    }
    size_t item = check(at + size, left - size, depth + 1);
    if (item == 0) return 0;
    size += item;
  }
  return size;
}

bool mp_check(const unsigned char *bytes, size_t size) {
  return head_of(bytes, size).kind == MAP && check(bytes, size, 0) == size;
}

static struct head head(struct value value) {
  return value.at ? head_of(value.at, value.size) : (struct head){WRONG, 0, 0, 0};
}

struct value mp_get(struct value map, const char *key) {
  struct value found = {NULL, 0};
  struct head entries = head(map);
  if (entries.kind != MAP) return found;
  const unsigned char *at = map.at + entries.size, *end = map.at + map.size;
  size_t length = strlen(key);
  for (uint64_t i = 0; i < entries.count; i++) {
    struct head name = head_of(at, end - at);
    const unsigned char *text = at + name.size, *item = text + name.count;
    size_t size = check(item, end - item, 0);
    if (name.count == length && !memcmp(text, key, length))
      found = *item == 0xc0 ? (struct value){NULL, 0} : (struct value){item, size};
    at = item + size;
  }
  return found;
}

bool mp_is_map(struct value value) {
  return head(value).kind == MAP;
}

bool mp_uint(struct value value, uint64_t *number) {
  struct head found = head(value);
  if (found.kind == UNSIGNED) {
    *number = found.count;
    return true;
  }
  if (found.kind == SIGNED && found.width > 0) {
    *number = found.count;
    return !(found.count >> (8 * found.width - 1));
  }
  if (found.kind != FLOAT) return false;
  double real;
  if (found.width == 8) {
    memcpy(&real, &found.count, sizeof real);
  } else {
    uint32_t bits = (uint32_t)found.count;
    float single;
    memcpy(&single, &bits, sizeof single);
    real = single;
  }
  if (!(real >= 0 && real <= 9007199254740992.0)) return false;
  *number = (uint64_t)real;
  return (double)*number == real;
}

bool mp_true(struct value value) {
  struct head found = head(value);
  return found.kind == BOOLEAN && found.count == 1;
}

bool mp_text(struct value value, const unsigned char **bytes, size_t *size) {
  struct head found = head(value);
  if (found.kind != STR && found.kind != BIN) return false;
  *bytes = value.at + found.size;
  *size = found.count;
  return true;
}

static void put_head(struct bytes *message, unsigned char type, uint64_t number, int width) {
  unsigned char bytes[9] = {type};
  for (int i = 0; i < width; i++) bytes[1 + i] = number >> (8 * (width - 1 - i));
  bytes_add(message, bytes, 1 + width);
}

void mp_put_map(struct bytes *message, uint32_t count) {
  put_head(message, 0xdf, count, 4);
}

void mp_put_array(struct bytes *message, uint32_t count) {
  put_head(message, 0xdd, count, 4);
}

void mp_put_uint(struct bytes *message, uint64_t number) {
  if (number <= 0x7f) put_head(message, number, 0, 0);
  else if (number <= UINT32_MAX) put_head(message, 0xce, number, 4);
  else put_head(message, 0xcf, number, 8);
}

void mp_put_bool(struct bytes *message, bool value) {
  put_head(message, value ? 0xc3 : 0xc2, 0, 0);
}

void mp_put_key(struct bytes *message, const char *text) {
  size_t size = strlen(text);
  put_head(message, 0xd9, size, 1);
  bytes_add(message, text, size);
}

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
static bool is_utf8(const unsigned char *at, size_t size) {
  const unsigned char *end = at + size;
  while (at < end) {
    unsigned char first = *at++;
    if (first < 0x80) continue;
    int more = first >= 0xc2 && first <= 0xdf ? 1 : (first & 0xf0) == 0xe0 ? 2 : first >= 0xf0 && first <= 0xf4 ? 3 : 0;
    if (more == 0 || end - at < more) return false;
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (*at < low || *at > high) return false;
    for (int i = 1; i < more; i++)
      if ((at[i] & 0xc0) != 0x80) return false;
    at += more;
  }
  return true;
}

void mp_put_text(struct bytes *message, const char *bytes, size_t size) {
  bool utf8 = is_utf8((const unsigned char *)bytes, size);
  if (size <= 0xff) put_head(message, utf8 ? 0xd9 : 0xc4, size, 1);
  else put_head(message, utf8 ? 0xdb : 0xc6, size, 4);
  bytes_add(message, bytes, size);
}
