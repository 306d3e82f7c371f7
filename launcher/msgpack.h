/*
 * The part of msgpack that the control and VM protocols have (docs/protocol.md): no extension types, map keys that
 * are str, at most 16 deep. Reading works on bytes that mp_check has accepted, so it needs no checks of its own.
 */
#ifndef COSMOS_MSGPACK_H
#define COSMOS_MSGPACK_H

#include "bytes.h"

#include <stdbool.h>

/* One value inside a message; `at` is NULL for one that is missing. */
struct value {
  const unsigned char *at;
  size_t size;
};

/* Whether bytes are exactly one map of the protocol. */
bool mp_check(const unsigned char *bytes, size_t size);

/* The value of a key of a map; missing where the map is none, has no such key, or has nil there. */
struct value mp_get(struct value map, const char *key);

bool mp_is_map(struct value value);

/* A whole number that is not negative and fits; false for any other value. Floats that are whole count. */
bool mp_uint(struct value value, uint64_t *number);

bool mp_true(struct value value);

/* The bytes of a str or bin; false for any other value. */
bool mp_text(struct value value, const unsigned char **bytes, size_t *size);

void mp_put_map(struct bytes *message, uint32_t count);
void mp_put_array(struct bytes *message, uint32_t count);
void mp_put_uint(struct bytes *message, uint64_t number);
void mp_put_bool(struct bytes *message, bool value);

/* A str that is known to be UTF-8, such as a key. */
void mp_put_key(struct bytes *message, const char *text);

/* str where the bytes are UTF-8, bin where they are not. */
void mp_put_text(struct bytes *message, const char *bytes, size_t size);

#endif
