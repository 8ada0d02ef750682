// SPDX-License-Identifier: Apache-2.0
// JSON (RFC 8259) to values: keys keep their order, integers keep all their digits. (Of the C libraries at hand none does both.)
#include "runtime/template/internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct Reader { HdArena *arena; HdStr text; size_t at; uint32_t depth; } Reader;

static HdStatus *fail(const Reader *reader, const char *what) {
    return hd_error(HD_BAD_DATA, "JSON, byte %zu: %s", reader->at + 1, what);
}

// The byte at this place, 0 at the end. (A NUL in the text is no JSON outside of strings either.)
static char peek(const Reader *reader) { return reader->at < reader->text.len ? reader->text.data[reader->at] : 0; }

static void skip_space(Reader *reader) {
    while (peek(reader) && strchr(" \t\n\r", peek(reader))) reader->at++;
}

static bool skip(Reader *reader, char wanted) {
    skip_space(reader);
    if (peek(reader) != wanted) return false;
    reader->at++;
    return true;
}

// ---- strings -------------------------------------------------------------------------------------------------

static bool hex4(const Reader *reader, size_t at, int32_t *out_unit) {
    if (reader->text.len - at < 4) return false;
    *out_unit = 0;
    for (size_t i = at; i < at + 4; i++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *found = reader->text.data[i] ? strchr(digits, reader->text.data[i]) : NULL;
        if (!found) return false;
        *out_unit = *out_unit << 4 | (int32_t)((found - digits) & 15);
    }
    return true;
}

// After "\u"; two escapes are one code point where they are a surrogate pair.
static HdStatus *read_unicode(Reader *reader, HdBuf *out) {
    int32_t code, low;
    if (!hex4(reader, reader->at, &code)) return fail(reader, "expected four hexadecimal digits");
    if (code >> 10 == 0xD800 >> 10) {
        bool pair = reader->text.len - reader->at >= 10 && !memcmp(reader->text.data + reader->at + 4, "\\u", 2)
                    && hex4(reader, reader->at + 6, &low) && low >> 10 == 0xDC00 >> 10;
        if (!pair) return fail(reader, "half a surrogate pair");
        code = 0x10000 + ((code & 0x3FF) << 10 | (low & 0x3FF));
        reader->at += 6;
    } else if (code >> 10 == 0xDC00 >> 10) {
        return fail(reader, "half a surrogate pair");
    }
    reader->at += 4;
    hd_buf_utf8(out, code);
    return NULL;
}

static HdStatus *read_escape(Reader *reader, HdBuf *out) {
    static const char letters[] = "nrtbf\"\\/", values[] = "\n\r\t\b\f\"\\/";
    char letter = (reader->at++, peek(reader));
    const char *found = letter ? strchr(letters, letter) : NULL;
    if (!found && letter != 'u') return fail(reader, "no such escape");
    reader->at++;
    if (letter == 'u') return read_unicode(reader, out);
    hd_buf_bytes(out, &values[found - letters], 1);
    return NULL;
}

// Characters up to a quote or backslash.
static HdStatus *skip_plain(Reader *reader) {
    for (;;) {
        size_t used;
        if (reader->at == reader->text.len) return fail(reader, "a string does not end");
        uint8_t byte = (uint8_t)reader->text.data[reader->at];
        if (byte == '"' || byte == '\\') return NULL;
        if (byte < 0x20) return fail(reader, "a control character in a string must be escaped");
        if (hd_utf8_decode(reader->text.data + reader->at, reader->text.len - reader->at, &used) < 0)
            return fail(reader, "ill-formed UTF-8");
        reader->at += used;
    }
}

static HdStatus *read_escaped(Reader *reader, size_t start, HdBuf *out) {
    for (;;) {
        hd_buf_bytes(out, reader->text.data + start, reader->at - start);
        if (peek(reader) == '"') return NULL;
        HD_TRY(read_escape(reader, out));
        start = reader->at;
        HD_TRY(skip_plain(reader));
    }
}

// After the opening quote.
static HdStatus *read_string(Reader *reader, HdStr *out) {
    size_t start = reader->at;
    HD_TRY(skip_plain(reader));
    if (peek(reader) == '"') {
        *out = (HdStr){reader->text.data + start, reader->at++ - start};
        return NULL;
    }
    HdBuf text = {0};
    HdStatus *status = read_escaped(reader, start, &text);
    if (!status) *out = (HdStr){hd_arena_strndup(reader->arena, text.data, text.len), text.len};
    hd_buf_free(&text);
    reader->at++;
    return status;
}

// ---- numbers -------------------------------------------------------------------------------------------------

static size_t skip_digits(Reader *reader) {
    size_t start = reader->at;
    while (peek(reader) >= '0' && peek(reader) <= '9') reader->at++;
    return reader->at - start;
}

// -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
static HdStatus *read_number(Reader *reader, TplValue *out) {
    size_t start = reader->at, zero = start + (peek(reader) == '-');
    bool integer = true;
    if (peek(reader) == '-') reader->at++;
    bool leading = peek(reader) == '0';
    if (!skip_digits(reader)) return fail(reader, "expected a value");
    if (leading && reader->at > zero + 1) return reader->at = zero, fail(reader, "a number starts with 0");
    if (peek(reader) == '.') {
        integer = false;
        reader->at++;
        if (!skip_digits(reader)) return fail(reader, "expected digits after the point");
    }
    if (peek(reader) == 'e' || peek(reader) == 'E') {
        integer = false;
        reader->at++;
        if (peek(reader) == '+' || peek(reader) == '-') reader->at++;
        if (!skip_digits(reader)) return fail(reader, "expected digits in the exponent");
    }
    HdStr text = {reader->text.data + start, reader->at - start};
    *out = (TplValue){.kind = integer ? TPL_INT : TPL_FLOAT};
    if (integer && !hd_parse_i64(text, &out->integer)) *out = (TplValue){.kind = TPL_BIG, .text = text};
    if (!integer && !hd_parse_f64(text, &out->real)) return fail(reader, "no number");
    return NULL;
}

// ---- values --------------------------------------------------------------------------------------------------

static HdStatus *read_value(Reader *reader, TplValue *out);

static HdStatus *read_list(Reader *reader, TplValue *out) {
    TplList *list = tpl_list_new(reader->arena, 0);
    *out = tpl_list_value(TPL_LIST, list);
    if (skip(reader, ']')) return NULL;
    do {
        TplValue item;
        HD_TRY(read_value(reader, &item));
        tpl_list_push(reader->arena, list, item);
    } while (skip(reader, ','));
    return skip(reader, ']') ? NULL : fail(reader, "expected , or ]");
}

static HdStatus *read_dict(Reader *reader, TplValue *out) {
    TplDict *dict = HD_NEW(reader->arena, TplDict);
    *out = tpl_dict_value(dict);
    if (skip(reader, '}')) return NULL;
    do {
        TplValue value;
        HdStr key;
        if (!skip(reader, '"')) return fail(reader, "expected a key in double quotes");
        HD_TRY(read_string(reader, &key));
        if (!skip(reader, ':')) return fail(reader, "expected :");
        HD_TRY(read_value(reader, &value));
        tpl_dict_put(reader->arena, dict, tpl_string(key), value);
    } while (skip(reader, ','));
    return skip(reader, '}') ? NULL : fail(reader, "expected , or }");
}

static HdStatus *read_container(Reader *reader, bool list, TplValue *out) {
    if (++reader->depth > TPL_MAX_NESTING) return fail(reader, "nested too deeply");
    HD_TRY(list ? read_list(reader, out) : read_dict(reader, out));
    reader->depth--;
    return NULL;
}

static bool skip_word(Reader *reader, const char *word) {
    HdStr rest = {reader->text.data + reader->at, reader->text.len - reader->at};
    if (!hd_str_starts(rest, word)) return false;
    reader->at += strlen(word);
    return true;
}

static HdStatus *read_value(Reader *reader, TplValue *out) {
    if (skip(reader, '{')) return read_container(reader, false, out);
    if (skip(reader, '[')) return read_container(reader, true, out);
    if (skip(reader, '"')) {
        *out = tpl_string((HdStr){0});
        return read_string(reader, &out->text);
    }
    if (skip_word(reader, "null")) return *out = tpl_none(), NULL;
    if (skip_word(reader, "true")) return *out = tpl_bool(true), NULL;
    if (skip_word(reader, "false")) return *out = tpl_bool(false), NULL;
    return read_number(reader, out);
}

HdStatus *tpl_json_read(HdArena *arena, HdStr text, TplValue *out_value) {
    Reader reader = {.arena = arena, .text = text};
    TplValue value;
    HD_TRY(read_value(&reader, &value));
    skip_space(&reader);
    if (reader.at < text.len) return fail(&reader, "expected nothing more");
    *out_value = value;
    return NULL;
}
