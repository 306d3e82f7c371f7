// The guest API for C: docs/guest-api.md. A u32 of all ones is a failure.
#ifndef MY_OWN_CLUSTER_H
#define MY_OWN_CLUSTER_H

#include <stdint.h>

#define GUEST_API(name) __attribute__((import_module("my-own-cluster"), import_name(#name)))
#define GUEST_FAILED UINT32_MAX

GUEST_API(test) uint32_t test(void);
GUEST_API(print_debug) uint32_t print_debug(const void *buffer, uint32_t length);
GUEST_API(register_buffer) uint32_t register_buffer(const void *buffer, uint32_t length);
GUEST_API(get_buffer_size) uint32_t get_buffer_size(uint32_t id);
GUEST_API(get_buffer) uint32_t get_buffer(uint32_t id, void *buffer, uint32_t length);
GUEST_API(write_buffer) uint32_t write_buffer(uint32_t id, const void *buffer, uint32_t length);
GUEST_API(write_buffer_header)
uint32_t write_buffer_header(uint32_t id, const char *name, uint32_t name_length, const char *value,
                             uint32_t value_length);
GUEST_API(free_buffer) int32_t free_buffer(uint32_t id);
GUEST_API(get_input_buffer_id) uint32_t get_input_buffer_id(void);
GUEST_API(get_output_buffer_id) uint32_t get_output_buffer_id(void);
GUEST_API(get_url) uint32_t get_url(const char *url, uint32_t length);

#endif
