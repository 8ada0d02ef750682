// SPDX-License-Identifier: Apache-2.0
// Typed access to metadata. Writers disagree on the width of integers: any integer type is taken where the number fits.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "runtime/gguf/internal.h"

typedef enum Kind { UNSIGNED, SIGNED, FLOAT, BOOLEAN, OTHER } Kind;

static const struct { const char *name; uint32_t bytes; Kind kind; } types[GGUF_VALUE_TYPE_COUNT] = {
    [GGUF_U8] = {"u8", 1, UNSIGNED},    [GGUF_I8] = {"i8", 1, SIGNED},      [GGUF_U16] = {"u16", 2, UNSIGNED},
    [GGUF_I16] = {"i16", 2, SIGNED},    [GGUF_U32] = {"u32", 4, UNSIGNED},  [GGUF_I32] = {"i32", 4, SIGNED},
    [GGUF_F32] = {"f32", 4, FLOAT},     [GGUF_BOOL] = {"bool", 1, BOOLEAN}, [GGUF_STRING] = {"string", 0, OTHER},
    [GGUF_ARRAY] = {"array", 0, OTHER}, [GGUF_U64] = {"u64", 8, UNSIGNED},  [GGUF_I64] = {"i64", 8, SIGNED},
    [GGUF_F64] = {"f64", 8, FLOAT},
};

const char *gguf_value_type_name(GgufValueType type) {
    HD_ASSERT(type < GGUF_VALUE_TYPE_COUNT);
    return types[type].name;
}

uint32_t gguf_value_type_bytes(GgufValueType type) { return types[type].bytes; }

const GgufValue *gguf_keys_find(const GgufKeys *keys, HdStr key) {
    uint32_t index;
    return hd_map_get(&keys->index, key, &index) ? &keys->list.data[index] : NULL;
}

void gguf_keys_free(GgufKeys *keys) {
    hd_vec_free(&keys->list);
    hd_map_free(&keys->index);
}

uint64_t gguf_value_bytes(const GgufValue *value) {
    if (value->elem_type != GGUF_STRING) return value->count * types[value->elem_type].bytes;
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < value->count; i++) bytes += 8 + gguf_load_u64(value->data + bytes);
    return bytes;
}

// ---- one number ----------------------------------------------------------------------------------------------

static uint64_t load_unsigned(const uint8_t *data, uint32_t bytes) {
    uint64_t bits = 0;
    memcpy(&bits, data, bytes);
    return bits;
}

static int64_t load_signed(const uint8_t *data, uint32_t bytes) {
    uint32_t unused = 64 - 8 * bytes;
    return (int64_t)(load_unsigned(data, bytes) << unused) >> unused;
}

// An integer or a bool of `type` as i64; false for other types and beyond INT64_MAX.
static bool load_i64(GgufValueType type, const uint8_t *data, int64_t *out_value) {
    if (types[type].kind == FLOAT || types[type].kind == OTHER) return false;
    if (types[type].kind == SIGNED) {
        *out_value = load_signed(data, types[type].bytes);
        return true;
    }
    uint64_t bits = load_unsigned(data, types[type].bytes);
    *out_value = (int64_t)bits;
    return bits <= INT64_MAX;
}

bool gguf_scalar_i64(const GgufValue *value, int64_t *out_value) { return load_i64(value->type, value->data, out_value); }

bool gguf_scalar_f64(const GgufValue *value, double *out_value) {
    int64_t integer;
    if (value->type == GGUF_F32) {
        float single;
        memcpy(&single, value->data, sizeof single);
        *out_value = (double)single;
    } else if (value->type == GGUF_F64) {
        memcpy(out_value, value->data, sizeof *out_value);
    } else if (value->type == GGUF_U64) {
        *out_value = (double)gguf_load_u64(value->data);
    } else if (gguf_scalar_i64(value, &integer)) {
        *out_value = (double)integer;
    } else {
        return false;
    }
    return true;
}

// ---- by key --------------------------------------------------------------------------------------------------

static HdStatus *require(const GgufFile *file, const char *key, const GgufValue **out_value) {
    *out_value = gguf_find_key(file, key);
    return *out_value ? NULL : hd_error(HD_NOT_FOUND, "%s: key '%s' is missing", gguf_path(file), key);
}

static HdStatus *wrong_type(const GgufFile *file, const GgufValue *value, const char *want) {
    bool is_array = value->type == GGUF_ARRAY;
    return hd_error(HD_BAD_DATA, "%s: key '" HD_STR_FMT "' is %s%s; it has to be %s", gguf_path(file), HD_STR_ARG(value->key),
                    is_array ? "an array of " : "of type ", types[value->elem_type].name, want);
}

static bool is_integer(GgufValueType type) { return types[type].kind == UNSIGNED || types[type].kind == SIGNED; }

// An unsigned integer of at most `max`.
static HdStatus *get_unsigned(const GgufFile *file, const char *key, uint64_t max, uint64_t *out_value) {
    const GgufValue *value;
    int64_t number = 0;
    HD_TRY(require(file, key, &value));
    if (!is_integer(value->type)) return wrong_type(file, value, "an integer");
    if (types[value->type].kind == SIGNED) {
        load_i64(value->type, value->data, &number);
        if (number < 0)
            return hd_error(HD_BAD_DATA, "%s: key '%s' is %" PRId64 "; it has to be 0 or more", gguf_path(file), key, number);
    }
    uint64_t bits = load_unsigned(value->data, types[value->type].bytes);
    if (bits > max)
        return hd_error(HD_BAD_DATA, "%s: key '%s' is %" PRIu64 "; it has to be at most %" PRIu64, gguf_path(file), key, bits,
                        max);
    *out_value = bits;
    return NULL;
}

HdStatus *gguf_get_u32(const GgufFile *file, const char *key, uint32_t *out_value) {
    uint64_t wide;
    HD_TRY(get_unsigned(file, key, UINT32_MAX, &wide));
    *out_value = (uint32_t)wide;
    return NULL;
}

HdStatus *gguf_get_u64(const GgufFile *file, const char *key, uint64_t *out_value) {
    return get_unsigned(file, key, UINT64_MAX, out_value);
}

HdStatus *gguf_get_f32(const GgufFile *file, const char *key, float *out_value) {
    const GgufValue *value;
    double wide;
    HD_TRY(require(file, key, &value));
    if (value->type == GGUF_BOOL || !gguf_scalar_f64(value, &wide)) return wrong_type(file, value, "a number (f32)");
    float narrow = (float)wide;
    if (isfinite(wide) && !isfinite(narrow))
        return hd_error(HD_BAD_DATA, "%s: key '%s' is %g; that does not fit f32", gguf_path(file), key, wide);
    *out_value = narrow;
    return NULL;
}

HdStatus *gguf_get_bool(const GgufFile *file, const char *key, bool *out_value) {
    const GgufValue *value;
    HD_TRY(require(file, key, &value));
    if (value->type != GGUF_BOOL) return wrong_type(file, value, "a bool");
    *out_value = *value->data != 0;
    return NULL;
}

static HdStr load_string(const uint8_t *data) { return (HdStr){(const char *)data + 8, (size_t)gguf_load_u64(data)}; }

HdStatus *gguf_get_string(const GgufFile *file, const char *key, HdStr *out_value) {
    const GgufValue *value;
    HD_TRY(require(file, key, &value));
    if (value->type != GGUF_STRING) return wrong_type(file, value, "a string");
    *out_value = load_string(value->data);
    return NULL;
}

// ---- arrays --------------------------------------------------------------------------------------------------

HdStatus *gguf_get_ints(const GgufFile *file, const char *key, HdArena *arena, int64_t **out_values, uint64_t *out_count) {
    const GgufValue *value;
    HD_TRY(require(file, key, &value));
    if (value->type != GGUF_ARRAY || !is_integer(value->elem_type)) return wrong_type(file, value, "an array of integers");
    int64_t *values = HD_NEW_ARRAY(arena, int64_t, value->count);
    uint32_t bytes = types[value->elem_type].bytes;
    for (uint64_t i = 0; i < value->count; i++)
        if (!load_i64(value->elem_type, value->data + i * bytes, &values[i]))
            return hd_error(HD_BAD_DATA, "%s: key '%s': element %" PRIu64 " is larger than 2^63 - 1", gguf_path(file), key, i);
    *out_values = values;
    *out_count = value->count;
    return NULL;
}

HdStatus *gguf_get_bools(const GgufFile *file, const char *key, HdArena *arena, uint8_t **out_values, uint64_t *out_count) {
    const GgufValue *value;
    HD_TRY(require(file, key, &value));
    if (value->type != GGUF_ARRAY || (!is_integer(value->elem_type) && value->elem_type != GGUF_BOOL))
        return wrong_type(file, value, "an array of bools");
    uint8_t *values = HD_NEW_ARRAY(arena, uint8_t, value->count);
    uint32_t bytes = types[value->elem_type].bytes;
    for (uint64_t i = 0; i < value->count; i++) {
        uint64_t bits = load_unsigned(value->data + i * bytes, bytes);
        if (bits > 1)
            return hd_error(HD_BAD_DATA, "%s: key '%s': element %" PRIu64 " is neither 0 nor 1", gguf_path(file), key, i);
        values[i] = (uint8_t)bits;
    }
    *out_values = values;
    *out_count = value->count;
    return NULL;
}

HdStatus *gguf_get_strings(const GgufFile *file, const char *key, HdArena *arena, HdStr **out_values, uint64_t *out_count) {
    const GgufValue *value;
    HD_TRY(require(file, key, &value));
    if (value->type != GGUF_ARRAY || value->elem_type != GGUF_STRING) return wrong_type(file, value, "an array of strings");
    HdStr *values = HD_NEW_ARRAY(arena, HdStr, value->count);
    const uint8_t *at = value->data;
    for (uint64_t i = 0; i < value->count; i++) {
        values[i] = load_string(at);
        at += 8 + values[i].len;
    }
    *out_values = values;
    *out_count = value->count;
    return NULL;
}
