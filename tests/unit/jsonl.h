// SPDX-License-Identifier: Apache-2.0
// Goldens with one JSON object per line: strings, arrays of integers, and words such as false; a line ends the test that reads it
// when it is anything else.
#ifndef HEDDLE_TESTS_JSONL_H
#define HEDDLE_TESTS_JSONL_H

#include "runtime/base/base.h"

#include <stdlib.h>
#include <string.h>

typedef struct JsonLine { const char *at; } JsonLine;

static inline void json_skip(JsonLine *line) { line->at += strspn(line->at, " \t,:{}"); }

static inline uint32_t json_hex4(const char *digits) {
    char text[5] = {0};
    memcpy(text, digits, 4);
    return (uint32_t)strtoul(text, NULL, 16);
}

static inline void json_put_utf8(HdBuf *out, uint32_t code) {
    char bytes[4] = {(char)(0xF0 | code >> 18), (char)(0x80 | (code >> 12 & 0x3F)), (char)(0x80 | (code >> 6 & 0x3F)),
                     (char)(0x80 | (code & 0x3F))};
    if (code < 0x10000) bytes[1] = (char)(0xE0 | code >> 12);
    if (code < 0x800) bytes[2] = (char)(0xC0 | code >> 6);
    if (code < 0x80) bytes[3] = (char)code;
    int skip = code < 0x80 ? 3 : code < 0x800 ? 2 : code < 0x10000 ? 1 : 0;
    hd_buf_bytes(out, bytes + skip, (size_t)(4 - skip));
}

// One escape, the backslash at line->at; a surrogate pair is one code point.
static inline void json_escape(JsonLine *line, HdBuf *out) {
    static const char letters[] = "nrtbf\"\\/", values[] = "\n\r\t\b\f\"\\/";
    char kind = line->at[1];
    if (kind != 'u') {
        const char *letter = strchr(letters, kind);
        HD_ASSERT(kind && letter);
        hd_buf_bytes(out, &values[letter - letters], 1);
        line->at += 2;
        return;
    }
    uint32_t code = json_hex4(line->at + 2);
    line->at += 6;
    if (code >> 10 == 0xD800 >> 10) {
        HD_ASSERT(line->at[0] == '\\' && line->at[1] == 'u');
        code = 0x10000 + ((code & 0x3FF) << 10 | (json_hex4(line->at + 2) & 0x3FF));
        line->at += 6;
    }
    json_put_utf8(out, code);
}

static inline void json_string(JsonLine *line, HdBuf *out) {
    json_skip(line);
    HD_ASSERT(*line->at++ == '"');
    out->len = 0;
    while (*line->at != '"') {
        size_t plain = strcspn(line->at, "\"\\");
        hd_buf_bytes(out, line->at, plain);
        line->at += plain;
        HD_ASSERT(*line->at);
        if (*line->at == '\\') json_escape(line, out);
    }
    line->at++;
    hd_buf_bytes(out, "", 0);
}

typedef HD_VEC(int32_t) JsonInts;

static inline void json_ints(JsonLine *line, JsonInts *out) {
    json_skip(line);
    HD_ASSERT(*line->at++ == '[');
    out->len = 0;
    while (line->at += strspn(line->at, ", "), *line->at != ']') {
        char *end;
        long value = strtol(line->at, &end, 10);
        HD_ASSERT(end != line->at);
        hd_vec_push(out, (int32_t)value);
        line->at = end;
    }
    line->at++;
}

// true or false
static inline bool json_bool(JsonLine *line) {
    json_skip(line);
    bool value = !strncmp(line->at, "true", 4);
    HD_ASSERT(value || !strncmp(line->at, "false", 5));
    line->at += value ? 4 : 5;
    return value;
}

static inline bool json_more(JsonLine *line) { return json_skip(line), *line->at != 0; }

#endif
