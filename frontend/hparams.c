// SPDX-License-Identifier: Apache-2.0
// Hyperparameters from the metadata. All that is read becomes part of the model's fingerprint.
#include "frontend/dsl_internal.h"

#include <math.h>
#include <string.h>

// Large enough for any published model, small enough that a product of two fits a dimension.
enum { HP_MAX = 1 << 24 };

static const char *full_key(Model *m, const char *key) { return hd_arena_printf(&m->arena, "%s.%s", m->arch, key); }

// The key as the file spells it, or NULL when it is absent or the model has failed.
static const char *find(Model *m, const char *key) {
    if (m->error) return NULL;
    const char *full = full_key(m, key);
    return gguf_find_key(m->file, full) ? full : NULL;
}

static const char *find_required(Model *m, const char *key) {
    const char *full = find(m, key);
    if (!full) dsl_fail(m, HD_NOT_FOUND, "required key %s is missing", full_key(m, key));
    return full;
}

static void note_int(Model *m, const char *key, int64_t value) {
    hd_buf_printf(&m->identity, "%s %lld\n", key, (long long)value);
}

static bool keep(Model *m, HdStatus *status) {
    if (!status) return true;
    m->error = status;       // the reader's errors name the file already
    return false;
}

// ---- numbers -------------------------------------------------------------------------------------------------

static int64_t read_int(Model *m, const char *key, const char *full, int64_t least) {
    uint64_t value = 0;
    if (!full || !keep(m, gguf_get_u64(m->file, full, &value))) return 1;
    if (value < (uint64_t)least || value > HP_MAX) {
        dsl_fail(m, HD_BAD_DATA, "%s is %llu, which must be %lld to %d", full, (unsigned long long)value, (long long)least,
                 HP_MAX);
        return 1;
    }
    note_int(m, key, (int64_t)value);
    return (int64_t)value;
}

int64_t dsl_hp_int(Model *m, const char *key) { return read_int(m, key, find_required(m, key), 1); }

int64_t dsl_hp_int_or(Model *m, const char *key, int64_t fallback) {
    const char *full = find(m, key);
    return full ? read_int(m, key, full, 0) : fallback;
}

static float read_f32(Model *m, const char *key, const char *full) {
    float value = 1;
    if (!full || !keep(m, gguf_get_f32(m->file, full, &value))) return 1;
    if (!isfinite(value)) dsl_fail(m, HD_BAD_DATA, "%s is not a finite number", full);
    hd_buf_printf(&m->identity, "%s ", key);
    hd_buf_f32(&m->identity, value);
    hd_buf_str(&m->identity, "\n");
    return value;
}

float dsl_hp_f32(Model *m, const char *key) {
    float value = read_f32(m, key, find_required(m, key));
    dsl_require(m, value > 0, key, "above 0");
    return value;
}

float dsl_hp_f32_or(Model *m, const char *key, float fallback) {
    const char *full = find(m, key);
    return full ? read_f32(m, key, full) : fallback;
}

bool dsl_hp_bool_or(Model *m, const char *key, bool fallback) {
    const char *full = find(m, key);
    bool value;
    if (!full || !keep(m, gguf_get_bool(m->file, full, &value))) return fallback;
    note_int(m, key, value);
    return value;
}

const char *dsl_hp_text_or(Model *m, const char *key, const char *fallback) {
    const char *full = find(m, key);
    HdStr value;
    if (!full || !keep(m, gguf_get_string(m->file, full, &value))) return fallback;
    hd_buf_printf(&m->identity, "%s " HD_STR_FMT "\n", key, HD_STR_ARG(value));
    return hd_arena_strndup(&m->arena, value.data, value.len);
}

const char *dsl_hp_either(Model *m, const char *key, const char *other) {
    return !gguf_find_key(m->file, full_key(m, key)) && gguf_find_key(m->file, full_key(m, other)) ? other : key;
}

// ---- arrays --------------------------------------------------------------------------------------------------

static bool in_range(Model *m, const char *full, int64_t index, int64_t value) {
    if (value >= 0 && value <= HP_MAX) return true;
    dsl_fail(m, HD_BAD_DATA, "entry %lld of %s is %lld, which must be 0 to %d", (long long)index, full, (long long)value, HP_MAX);
    return false;
}

int64_t dsl_hp_list(Model *m, const char *key, int64_t capacity, int64_t *out_values) {
    const char *full = find_required(m, key);
    int64_t *values = NULL;
    uint64_t count = 0;
    if (!full || !keep(m, gguf_get_ints(m->file, full, &m->arena, &values, &count))) return 0;
    if (count > (uint64_t)capacity) {
        dsl_fail(m, HD_BAD_DATA, "%s has %llu entries, which must be at most %lld", full, (unsigned long long)count,
                 (long long)capacity);
        return 0;
    }
    for (int64_t i = 0; i < (int64_t)count && in_range(m, full, i, values[i]); i++) note_int(m, key, out_values[i] = values[i]);
    return (int64_t)count;
}

static bool one_per_block(Model *m, const char *full, uint64_t count, int64_t blocks) {
    if (count == (uint64_t)blocks) return true;
    dsl_fail(m, HD_BAD_DATA, "%s has %llu entries, which must be %lld, one for each block", full, (unsigned long long)count,
             (long long)blocks);
    return false;
}

static void read_per_block(Model *m, const char *key, const char *full, int64_t blocks, int64_t *out_values) {
    int64_t *values = NULL;
    uint64_t count = 0;
    if (!keep(m, gguf_get_ints(m->file, full, &m->arena, &values, &count)) || !one_per_block(m, full, count, blocks)) return;
    for (int64_t i = 0; i < blocks && in_range(m, full, i, values[i]); i++) note_int(m, key, out_values[i] = values[i]);
}

const int64_t *dsl_hp_per_block(Model *m, const char *key, int64_t blocks, const int64_t *fallback) {
    const char *full = fallback ? find(m, key) : find_required(m, key);
    if (!full && fallback && !m->error) return fallback;
    if (!full) return NULL;
    int64_t *values = HD_NEW_ARRAY(&m->arena, int64_t, blocks);
    if (gguf_find_key(m->file, full)->type == GGUF_ARRAY) {
        read_per_block(m, key, full, blocks, values);
    } else {
        int64_t value = read_int(m, key, full, 1);
        for (int64_t i = 0; i < blocks; i++) values[i] = value;
    }
    return values;
}

const uint8_t *dsl_hp_flags(Model *m, const char *key, int64_t blocks) {
    const char *full = find(m, key);
    uint8_t *values = NULL;
    uint64_t count = 0;
    if (!full || !keep(m, gguf_get_bools(m->file, full, &m->arena, &values, &count))) return NULL;
    if (!one_per_block(m, full, count, blocks)) return NULL;
    for (int64_t i = 0; i < blocks; i++) note_int(m, key, values[i]);
    return values;
}

// ---- consistency -----------------------------------------------------------------------------------------------

static void print_scalar(HdBuf *text, const GgufValue *value) {
    int64_t integer;
    double real;
    if (gguf_scalar_i64(value, &integer)) {
        hd_buf_printf(text, "%lld", (long long)integer);
    } else if (gguf_scalar_f64(value, &real)) {
        hd_buf_f32(text, (float)real);
    } else {
        hd_buf_printf(text, "of type %s", gguf_value_type_name(value->type));
    }
}

static void print_value(Model *m, const char *key, HdBuf *text) {
    const GgufValue *value = gguf_find_key(m->file, key);
    int64_t *items = NULL;
    uint64_t count = 0;
    if (!value) {
        hd_buf_str(text, "absent");
    } else if (value->type != GGUF_ARRAY) {
        print_scalar(text, value);
    } else {
        hd_status_free(gguf_get_ints(m->file, key, &m->arena, &items, &count));
        for (uint64_t i = 0; i < count && i < 16; i++) hd_buf_printf(text, "%s%lld", i ? ", " : "[", (long long)items[i]);
        hd_buf_str(text, count > 16 ? ", ...]" : "]");
    }
}

void dsl_require(Model *m, bool ok, const char *key, const char *must_be) {
    if (ok || m->error) return;
    HdBuf text = {0};
    hd_buf_printf(&text, "%s is ", full_key(m, key));
    print_value(m, full_key(m, key), &text);
    hd_buf_str(&text, ", which must be ");
    for (const char *at = must_be; *at; at++) {
        const char *end = *at == '{' ? strchr(at, '}') : NULL;
        if (!end) {
            hd_buf_bytes(&text, at, 1);
            continue;
        }
        const char *other = full_key(m, hd_arena_strndup(&m->arena, at + 1, (size_t)(end - at - 1)));
        hd_buf_printf(&text, "%s (", other);
        print_value(m, other, &text);
        hd_buf_str(&text, ")");
        at = end;
    }
    dsl_fail(m, HD_BAD_DATA, "%s", text.data);
    hd_buf_free(&text);
}
