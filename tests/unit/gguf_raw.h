// SPDX-License-Identifier: Apache-2.0
// GGUF files put together byte by byte, right or wrong, without the project's writer.
#ifndef HEDDLE_TESTS_GGUF_RAW_H
#define HEDDLE_TESTS_GGUF_RAW_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/gguf.h"

#define RAW_AUTO UINT64_MAX                                // the count of what was added

// Start from RAW_NEW and add; raw_build concatenates and frees.
typedef struct Raw {
    const char *magic;
    uint32_t version;
    uint64_t n_tensors, n_keys;                            // what the header says
    uint64_t alignment;                                    // of the padding that raw_build writes
    uint64_t data_bytes;                                   // of the data section, filled with 0, 1, 2, ...
    uint64_t added_tensors, added_keys;
    HdBuf keys, infos;
} Raw;
#define RAW_NEW {.magic = "GGUF", .version = 3, .n_tensors = RAW_AUTO, .n_keys = RAW_AUTO, .alignment = 32}

static inline void raw_u8(HdBuf *buf, uint8_t value) { hd_buf_bytes(buf, &value, sizeof value); }
static inline void raw_u16(HdBuf *buf, uint16_t value) { hd_buf_bytes(buf, &value, sizeof value); }
static inline void raw_u32(HdBuf *buf, uint32_t value) { hd_buf_bytes(buf, &value, sizeof value); }
static inline void raw_u64(HdBuf *buf, uint64_t value) { hd_buf_bytes(buf, &value, sizeof value); }
static inline void raw_text(HdBuf *buf, const char *text) {
    raw_u64(buf, strlen(text));
    hd_buf_str(buf, text);
}

// The key and its type word; the value follows with raw_* on raw->keys.
static inline void raw_key(Raw *raw, const char *key, uint32_t type) {
    raw_text(&raw->keys, key);
    raw_u32(&raw->keys, type);
    raw->added_keys++;
}

static inline void raw_key_u16(Raw *raw, const char *key, uint16_t value) {
    raw_key(raw, key, GGUF_U16);
    raw_u16(&raw->keys, value);
}

static inline void raw_key_u32(Raw *raw, const char *key, uint32_t value) {
    raw_key(raw, key, GGUF_U32);
    raw_u32(&raw->keys, value);
}

static inline void raw_key_text(Raw *raw, const char *key, const char *value) {
    raw_key(raw, key, GGUF_STRING);
    raw_text(&raw->keys, value);
}

static inline void raw_key_array(Raw *raw, const char *key, uint32_t elem_type, uint64_t count) {
    raw_key(raw, key, GGUF_ARRAY);
    raw_u32(&raw->keys, elem_type);
    raw_u64(&raw->keys, count);
}

static inline void raw_tensor(Raw *raw, const char *name, uint32_t n_dims, const uint64_t *ne, uint32_t type, uint64_t offset) {
    raw_text(&raw->infos, name);
    raw_u32(&raw->infos, n_dims);
    for (uint32_t i = 0; i < n_dims && i < 16; i++) raw_u64(&raw->infos, ne[i]);
    raw_u32(&raw->infos, type);
    raw_u64(&raw->infos, offset);
    raw->added_tensors++;
}

static inline void raw_row(Raw *raw, const char *name, uint64_t ne0, uint32_t type, uint64_t offset) {
    raw_tensor(raw, name, 1, &ne0, type, offset);
}

static inline void raw_build(Raw *raw, HdBuf *out_bytes) {
    *out_bytes = (HdBuf){0};
    hd_buf_bytes(out_bytes, raw->magic, 4);
    raw_u32(out_bytes, raw->version);
    raw_u64(out_bytes, raw->n_tensors == RAW_AUTO ? raw->added_tensors : raw->n_tensors);
    raw_u64(out_bytes, raw->n_keys == RAW_AUTO ? raw->added_keys : raw->n_keys);
    hd_buf_bytes(out_bytes, raw->keys.data, raw->keys.len);
    hd_buf_bytes(out_bytes, raw->infos.data, raw->infos.len);
    while (raw->data_bytes && out_bytes->len % raw->alignment) raw_u8(out_bytes, 0);
    for (uint64_t i = 0; i < raw->data_bytes; i++) raw_u8(out_bytes, (uint8_t)i);
    hd_buf_free(&raw->keys);
    hd_buf_free(&raw->infos);
}

// Opens `bytes` from a block of exactly that size, so that a sanitizer sees the first byte read beyond it. *out_block is freed
// by the caller after the file is closed.
static inline HdStatus *raw_open(const void *bytes, size_t len, bool header_only, void **out_block, GgufFile **out_file) {
    GgufOptions options = {.header_only = header_only};
    *out_block = hd_xmalloc(len);
    if (len) memcpy(*out_block, bytes, len);
    return gguf_open_memory("t.gguf", *out_block, len, &options, out_file);
}

// One line that starts with the file's name and has `fragment` in it.
static inline void expect_message(HdStatus *status, const char *path, const char *fragment) {
    const char *message = hd_status_message(status);
    if (!status) fail_msg("accepted; expected: %s", fragment);
    if (!strstr(message, fragment)) fail_msg("message: %s\n  lacks: %s", message, fragment);
    if (!strstr(message, path)) fail_msg("message: %s\n  does not name %s", message, path);
    if (strchr(message, '\n') || strlen(message) > 600) fail_msg("not one line: %s", message);
    hd_status_free(status);
}

// Both ways of opening refuse the file.
static inline void expect_bad(Raw *raw, const char *fragment) {
    HdBuf bytes;
    raw_build(raw, &bytes);
    for (int header_only = 0; header_only < 2; header_only++) {
        void *block;
        GgufFile *file = (GgufFile *)1;
        expect_message(raw_open(bytes.data, bytes.len, header_only, &block, &file), "t.gguf", fragment);
        assert_null(file);
        free(block);
    }
    hd_buf_free(&bytes);
}

static inline void expect_good(Raw *raw) {
    HdBuf bytes;
    raw_build(raw, &bytes);
    for (int header_only = 0; header_only < 2; header_only++) {
        void *block;
        GgufFile *file;
        HdStatus *status = raw_open(bytes.data, bytes.len, header_only, &block, &file);
        if (status) fail_msg("refused: %s", hd_status_message(status));
        gguf_close(file);
        free(block);
    }
    hd_buf_free(&bytes);
}

#endif
