// SPDX-License-Identifier: Apache-2.0
// What the writer and the reader of modules share: the seal over the content, and hyperparameters as text.
#include <stdlib.h>
#include <string.h>

#include "runtime/module.h"

// ---- the seal ------------------------------------------------------------------------------------------------
// A module begins: magic, version, two counts (24 bytes), then key general.architecture = "heddle", then key heddle.digest with
// 32 digits. The digest is that of the file with these digits written as zeros.

enum { FIXED = 24, DIGITS = 32 };

// The bytes between the fixed part and the digits, as GGUF writes them.
static HdStr expected_start(HdBuf *buf)
{
    const char *const texts[] = {"general.architecture", RT_ARCHITECTURE, RT_KEY_DIGEST};
    for (int i = 0; i < 3; i++) {
        uint64_t len = strlen(texts[i]);
        uint32_t type = GGUF_STRING;
        hd_buf_bytes(buf, &len, sizeof len);
        hd_buf_bytes(buf, texts[i], (size_t)len);
        if (i != 1) hd_buf_bytes(buf, &type, sizeof type);
    }
    uint64_t digits = DIGITS;
    hd_buf_bytes(buf, &digits, sizeof digits);
    return (HdStr){buf->data, buf->len};
}

// Offset of the digits; 0 when the bytes do not begin like a module.
static size_t digits_at(const uint8_t *bytes, size_t len)
{
    HdBuf buf = {0};
    HdStr start = expected_start(&buf);
    size_t at = FIXED + start.len;
    bool fits = len >= at + DIGITS && !memcmp(bytes, "GGUF", 4) && !memcmp(bytes + FIXED, start.data, start.len);
    hd_buf_free(&buf);
    return fits ? at : 0;
}

static void seal_of(const uint8_t *bytes, size_t len, size_t at, char out_hex[33])
{
    static const char zeros[] = "00000000000000000000000000000000";
    HdHasher *hasher = hd_hasher_new();
    hd_hasher_add(hasher, bytes, at);
    hd_hasher_add(hasher, zeros, DIGITS);
    hd_hasher_add(hasher, bytes + at + DIGITS, len - at - DIGITS);
    hd_digest_hex(hd_hasher_finish(hasher), out_hex);
}

void rt_module_seal(void *bytes, size_t len)
{
    char hex[33];
    size_t at = digits_at(bytes, len);
    HD_ASSERT(at);
    seal_of(bytes, len, at, hex);
    memcpy((uint8_t *)bytes + at, hex, DIGITS);
}

HdStatus *rt_module_check_seal(const char *name, const void *bytes, size_t len)
{
    char hex[33];
    size_t at = digits_at(bytes, len);
    if (!at) return NULL;
    seal_of(bytes, len, at, hex);
    if (!memcmp((const uint8_t *)bytes + at, hex, DIGITS)) return NULL;
    return hd_error(HD_BAD_DATA, "%s: damaged: its content does not match its digest; compile the module again", name);
}

// ---- hyperparameters -----------------------------------------------------------------------------------------

enum { VALUE_TEXT_MAX = 400 };

static void scalar_text(GgufValueType type, const uint8_t *data, HdBuf *out_text)
{
    GgufValue value = {.type = type, .elem_type = type, .count = 1, .data = data};
    int64_t integer;
    double number;
    if (type == GGUF_BOOL) hd_buf_str(out_text, *data ? "true" : "false");
    else if (gguf_scalar_i64(&value, &integer)) hd_buf_printf(out_text, "%lld", (long long)integer);
    else if (!gguf_scalar_f64(&value, &number)) hd_buf_str(out_text, "?");
    else if (type == GGUF_F32) hd_buf_f32(out_text, (float)number);
    else hd_buf_f64(out_text, number);
}

static size_t scalar_bytes(GgufValueType type)
{
    static const uint8_t bytes[GGUF_VALUE_TYPE_COUNT] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,  [GGUF_BOOL] = 1, [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4,
        [GGUF_I32] = 4, [GGUF_F32] = 4, [GGUF_U64] = 8,  [GGUF_I64] = 8, [GGUF_F64] = 8};
    return bytes[type];
}

// Bytes of the element at `data`, a string's length word included.
static size_t element_text(GgufValueType type, const uint8_t *data, HdBuf *out_text)
{
    if (type != GGUF_STRING) {
        scalar_text(type, data, out_text);
        return scalar_bytes(type);
    }
    uint64_t len;
    memcpy(&len, data, sizeof len);
    hd_buf_bytes(out_text, data + 8, (size_t)len);
    return 8 + (size_t)len;
}

static void array_text(const GgufValue *value, HdBuf *out_text)
{
    const uint8_t *at = value->data;
    hd_buf_str(out_text, "[");
    for (uint64_t i = 0; i < value->count; i++) {
        if (i) hd_buf_str(out_text, ", ");
        at += element_text(value->elem_type, at, out_text);
    }
    hd_buf_str(out_text, "]");
}

void rt_model_value_text(const GgufValue *value, HdBuf *out_text)
{
    HdBuf text = {0};
    char hex[33];
    hd_buf_str(&text, "");
    if (value->type == GGUF_ARRAY) array_text(value, &text);
    else element_text(value->type, value->data, &text);
    if (text.len <= VALUE_TEXT_MAX) {
        hd_buf_bytes(out_text, text.data, text.len);
    } else {
        hd_digest_hex(hd_digest(text.data, text.len), hex);
        hd_buf_printf(out_text, "%llu values, digest %s", (unsigned long long)value->count, hex);
    }
    hd_buf_free(&text);
}

bool rt_is_model_key(HdStr key, const char *architecture)
{
    size_t len = strlen(architecture);
    return key.len > len + 1 && hd_str_starts(key, architecture) && key.data[len] == '.';
}
