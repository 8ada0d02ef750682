// SPDX-License-Identifier: Apache-2.0
// String views and the growable byte buffer.
#include "runtime/base/base.h"

#include <stdlib.h>
#include <string.h>

HdStr hd_str(const char *text) { return (HdStr){text, strlen(text)}; }

bool hd_str_eq(HdStr a, HdStr b) { return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0); }

bool hd_str_is(HdStr a, const char *text) { return hd_str_eq(a, hd_str(text)); }

bool hd_str_starts(HdStr a, const char *prefix) {
    size_t len = strlen(prefix);
    return a.len >= len && (len == 0 || memcmp(a.data, prefix, len) == 0);
}

HdStr hd_next_item(HdStr *rest, char separator) {
    size_t depth = 0, len = 0;
    HdStr text = *rest;
    for (; len < text.len && (text.data[len] != separator || depth); len++) {
        if (text.data[len] == '{') depth++;
        if (text.data[len] == '}' && depth) depth--;
    }
    *rest = len < text.len ? (HdStr){text.data + len + 1, text.len - len - 1} : (HdStr){NULL, 0};
    return (HdStr){text.data, len};
}

static void buf_reserve(HdBuf *buf, size_t more) {
    HD_ASSERT(more < SIZE_MAX - buf->len);
    hd_vec_grow((void **)&buf->data, &buf->cap, buf->len + more + 1, 1);
}

void hd_buf_bytes(HdBuf *buf, const void *data, size_t len) {
    buf_reserve(buf, len);
    if (len) memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = 0;
}

void hd_buf_str(HdBuf *buf, const char *text) { hd_buf_bytes(buf, text, strlen(text)); }

void hd_buf_vprintf(HdBuf *buf, const char *fmt, va_list args) {
    va_list again;
    va_copy(again, args);
    buf_reserve(buf, 128);
    size_t room = buf->cap - buf->len;
    int len = vsnprintf(buf->data + buf->len, room, fmt, args);
    HD_ASSERT(len >= 0);
    if ((size_t)len >= room) {
        buf_reserve(buf, (size_t)len);
        vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, again);
    }
    buf->len += (size_t)len;
    va_end(again);
}

void hd_buf_printf(HdBuf *buf, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    hd_buf_vprintf(buf, fmt, args);
    va_end(args);
}

void hd_buf_free(HdBuf *buf) {
    free(buf->data);
    *buf = (HdBuf){0};
}
