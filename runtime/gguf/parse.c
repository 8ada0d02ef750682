// SPDX-License-Identifier: Apache-2.0
// The header: magic, counts, keys and tensor infos, in one pass over the mapped bytes. Nothing is allocated for a count that the
// file states: lists grow by what was really read, strings and arrays stay where they are and are only walked.
#include <inttypes.h>

#include "runtime/gguf/internal.h"

enum { KEY_MIN_BYTES = 14, TENSOR_MIN_BYTES = 33, STRING_WORD = 8, KEY_MAX_BYTES = 65535 };
static const uint64_t string_max = 1u << 30, array_max = 1u << 30;

typedef struct Parser {
    const char *path;
    const uint8_t *data;
    uint64_t len, at;
    const char *what;                                      // "key", "tensor": what is being read, for messages
    uint64_t number;                                       // which one, from 1
    HdStr name;                                            // its name, once known
} Parser;

static uint64_t left(const Parser *p) { return p->len - p->at; }

HD_MUST_USE HD_NONNULL HD_PRINTF(2, 3) static HdStatus *bad(const Parser *p, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    HdStatus *status = hd_verror(HD_BAD_DATA, fmt, args);
    va_end(args);
    if (p->name.len) status = hd_annotate(status, "%s '" HD_STR_FMT "'", p->what, HD_STR_ARG(p->name));
    else if (p->what) status = hd_annotate(status, "%s %" PRIu64, p->what, p->number);
    return hd_annotate(status, "%s", p->path);
}

HD_NONNULL static HdStatus *truncated(const Parser *p) {
    return bad(p, "the file ends inside the header, after %" PRIu64 " bytes: it is truncated", p->len);
}

static HdStatus *take(Parser *p, uint64_t bytes, const uint8_t **out_data) {
    if (bytes > left(p)) return truncated(p);
    *out_data = p->data + p->at;
    p->at += bytes;
    return NULL;
}

static HdStatus *take_u32(Parser *p, uint32_t *out_value) {
    const uint8_t *data;
    HD_TRY(take(p, sizeof *out_value, &data));
    *out_value = gguf_load_u32(data);
    return NULL;
}

static HdStatus *take_u64(Parser *p, uint64_t *out_value) {
    const uint8_t *data;
    HD_TRY(take(p, sizeof *out_value, &data));
    *out_value = gguf_load_u64(data);
    return NULL;
}

static HdStatus *take_string(Parser *p, const char *what, uint64_t max, HdStr *out_text) {
    uint64_t len;
    const uint8_t *data;
    HD_TRY(take_u64(p, &len));
    if (len > max) return bad(p, "%s of %" PRIu64 " bytes; the limit is %" PRIu64, what, len, max);
    if (len > left(p))
        return bad(p, "%s of %" PRIu64 " bytes, but the file has %" PRIu64 " left: it is truncated or damaged", what, len,
                   left(p));
    HD_TRY(take(p, len, &data));
    *out_text = (HdStr){(const char *)data, (size_t)len};
    return NULL;
}

// ---- values --------------------------------------------------------------------------------------------------

static HdStatus *check_bools(const Parser *p, const uint8_t *data, uint64_t count) {
    for (uint64_t i = 0; i < count; i++)
        if (data[i] > 1) return bad(p, "a bool is %u; it has to be 0 or 1", data[i]);
    return NULL;
}

// The hot loop of opening a file: a vocabulary has half a million strings.
static HdStatus *skip_strings(Parser *p, uint64_t count) {
    const uint8_t *data = p->data;
    uint64_t at = p->at, len = p->len;
    for (uint64_t i = 0; i < count; i++) {
        if (len - at < STRING_WORD) return truncated(p);
        uint64_t bytes = gguf_load_u64(data + at);
        at += STRING_WORD;
        if (bytes > string_max && bytes <= len - at)
            return bad(p, "string %" PRIu64 " of the array has %" PRIu64 " bytes; the limit is %" PRIu64, i, bytes, string_max);
        if (bytes > len - at)
            return bad(p, "string %" PRIu64 " of the array has %" PRIu64 " bytes, but the file has %" PRIu64 " left", i, bytes,
                       len - at);
        at += bytes;
    }
    p->at = at;
    return NULL;
}

static HdStatus *parse_array(Parser *p, GgufValue *value) {
    uint32_t type;
    HD_TRY(take_u32(p, &type));
    if (type >= GGUF_VALUE_TYPE_COUNT) return bad(p, "unknown array element type %" PRIu32 "; known are 0 to 12", type);
    if (type == GGUF_ARRAY) return bad(p, "an array of arrays; nested arrays are not supported");
    HD_TRY(take_u64(p, &value->count));
    value->elem_type = (GgufValueType)type;
    value->data = p->data + p->at;
    uint64_t bytes = type == GGUF_STRING ? STRING_WORD : gguf_value_type_bytes(value->elem_type);
    if (value->count > array_max && value->count <= left(p) / bytes)
        return bad(p, "an array of %" PRIu64 " %s; the limit is %" PRIu64, value->count, gguf_value_type_name(value->elem_type),
                   array_max);
    if (value->count > left(p) / bytes)
        return bad(p, "an array of %" PRIu64 " %s, but the file has %" PRIu64 " bytes left", value->count,
                   gguf_value_type_name(value->elem_type), left(p));
    if (type == GGUF_STRING) return skip_strings(p, value->count);
    HD_TRY(take(p, value->count * bytes, &value->data));   // no overflow: the count is at most 2^30
    return type == GGUF_BOOL ? check_bools(p, value->data, value->count) : NULL;
}

static HdStatus *parse_value(Parser *p, GgufValue *value) {
    uint32_t type;
    HD_TRY(take_u32(p, &type));
    if (type >= GGUF_VALUE_TYPE_COUNT) return bad(p, "unknown value type %" PRIu32 "; known are 0 to 12", type);
    value->type = value->elem_type = (GgufValueType)type;
    value->count = 1;
    if (type == GGUF_ARRAY) return parse_array(p, value);
    value->data = p->data + p->at;
    HdStr text;
    if (type == GGUF_STRING) return take_string(p, "a string", string_max, &text);
    HD_TRY(take(p, gguf_value_type_bytes(value->type), &value->data));
    return type == GGUF_BOOL ? check_bools(p, value->data, 1) : NULL;
}

static HdStatus *parse_key(Parser *p, GgufKeys *keys) {
    GgufValue value = {0};
    p->name.len = 0;
    HD_TRY(take_string(p, "a name", KEY_MAX_BYTES, &value.key));
    if (!value.key.len) return bad(p, "its name is empty");
    if (memchr(value.key.data, 0, value.key.len)) return bad(p, "its name contains a NUL");
    p->name = value.key;
    HD_TRY(parse_value(p, &value));
    if (!hd_map_put(&keys->index, value.key, (uint32_t)keys->list.len)) return bad(p, "occurs twice");
    hd_vec_push(&keys->list, value);
    return NULL;
}

// ---- tensor infos --------------------------------------------------------------------------------------------

static HdStatus *parse_tensor_name(Parser *p, HdStr *out_name) {
    p->name.len = 0;
    HD_TRY(take_string(p, "a name", GGUF_NAME_MAX, out_name));
    if (!out_name->len) return bad(p, "its name is empty");
    for (size_t i = 0; i < out_name->len; i++)
        if (out_name->data[i] < 0x20 || out_name->data[i] > 0x7e)
            return bad(p, "its name has a byte that is not printable ASCII");
    p->name = *out_name;
    return NULL;
}

// Sizes; the number of elements has to fit an i64, as every user of the format counts in those.
static HdStatus *parse_sizes(Parser *p, GgufTensor *tensor) {
    uint64_t elements = 1;
    HD_TRY(take_u32(p, &tensor->n_dims));
    if (tensor->n_dims < 1 || tensor->n_dims > 4) return bad(p, "%" PRIu32 " dimensions; it has to be 1 to 4", tensor->n_dims);
    for (uint32_t i = 0; i < 4; i++) {
        tensor->ne[i] = 1;
        if (i < tensor->n_dims) HD_TRY(take_u64(p, &tensor->ne[i]));
        if (tensor->ne[i] < 1 || tensor->ne[i] > INT64_MAX)
            return bad(p, "size %" PRId64 " in dimension %" PRIu32 "; it has to be at least 1", (int64_t)tensor->ne[i], i);
        if (!hd_mul_u64(elements, tensor->ne[i], &elements) || elements > INT64_MAX)
            return bad(p, "the product of its sizes overflows 63 bits");
    }
    return NULL;
}

static HdStatus *parse_tensor_type(Parser *p, GgufTensor *tensor) {
    uint32_t id;
    HD_TRY(take_u32(p, &id));
    tensor->type = ggml_type_info(id);
    if (!tensor->type) return bad(p, "type %" PRId32 " is unknown or was removed from the format", (int32_t)id);
    if (tensor->ne[0] % tensor->type->block)
        return bad(p, "a row of %" PRIu64 " elements is not a multiple of %s's block of %" PRIu32, tensor->ne[0],
                   tensor->type->name, tensor->type->block);
    uint64_t bytes = tensor->ne[0] / tensor->type->block, padded;
    bool fits = hd_mul_u64(bytes, tensor->type->block_bytes, &bytes);
    for (int i = 1; i < 4; i++) fits = fits && hd_mul_u64(bytes, tensor->ne[i], &bytes);
    fits = fits && hd_align_u64(bytes, GGUF_ALIGNMENT_MAX, &padded) && padded <= INT64_MAX;
    if (!fits) return bad(p, "its size in bytes overflows 63 bits");
    tensor->bytes = bytes;
    return NULL;
}

static HdStatus *parse_tensor(Parser *p, GgufFile *file, uint32_t part_index) {
    GgufTensor tensor = {.part = part_index};
    HD_TRY(parse_tensor_name(p, &tensor.name));
    HD_TRY(parse_sizes(p, &tensor));
    HD_TRY(parse_tensor_type(p, &tensor));
    HD_TRY(take_u64(p, &tensor.offset));
    if (!hd_map_put(&file->tensor_index, tensor.name, (uint32_t)file->tensors.len)) return bad(p, "occurs twice");
    hd_vec_push(&file->tensors, tensor);
    return NULL;
}

// ---- the fixed part ------------------------------------------------------------------------------------------

static HdStatus *check_version(const Parser *p, uint32_t version) {
    if (version == 2 || version == 3) return NULL;
    if (version && (version & 0xffff) == 0) return bad(p, "a big-endian GGUF; only little-endian files are supported");
    return bad(p, "GGUF version %" PRIu32 "; supported are 2 and 3", version);
}

static HdStatus *check_count(const Parser *p, const char *what, uint64_t count, uint64_t min_bytes) {
    uint64_t most = HD_MIN(left(p) / min_bytes, UINT32_MAX - 1);
    if (count <= most) return NULL;
    return bad(p, "the header announces %" PRIu64 " %s, but a file of %" PRIu64 " bytes holds at most %" PRIu64, count, what,
               p->len, most);
}

static HdStatus *parse_fixed(Parser *p, uint64_t *out_tensors, uint64_t *out_keys) {
    const uint8_t *magic;
    uint32_t version;
    if (p->len == 0) return bad(p, "the file is empty");
    if (memcmp(p->data, "GGUF", HD_MIN(p->len, 4)) != 0) return bad(p, "not a GGUF file: it does not start with \"GGUF\"");
    if (p->len < GGUF_HEADER_FIXED) return truncated(p);
    HD_TRY(take(p, 4, &magic));
    HD_TRY(take_u32(p, &version));
    HD_TRY(check_version(p, version));
    HD_TRY(take_u64(p, out_tensors));
    HD_TRY(take_u64(p, out_keys));
    HD_TRY(check_count(p, "keys", *out_keys, KEY_MIN_BYTES));
    return check_count(p, "tensors", *out_tensors, TENSOR_MIN_BYTES);
}

HdStatus *gguf_parse_header(GgufFile *file, GgufPart *part, uint32_t part_index, GgufKeys *keys) {
    Parser p = {.path = part->path, .data = part->mapping.data, .len = part->mapping.len};
    uint64_t n_tensors, n_keys;
    HD_TRY(parse_fixed(&p, &n_tensors, &n_keys));
    p.what = "key";
    for (p.number = 1; p.number <= n_keys; p.number++) HD_TRY(parse_key(&p, keys));
    p.what = "tensor";
    for (p.number = 1; p.number <= n_tensors; p.number++) HD_TRY(parse_tensor(&p, file, part_index));
    part->header_bytes = p.at;
    return NULL;
}
