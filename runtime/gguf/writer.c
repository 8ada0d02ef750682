// SPDX-License-Identifier: Apache-2.0
// Writing: the encoded keys and tensor infos are collected in a buffer, tensor data stays with the caller until it is written.
#include <stdlib.h>

#include "runtime/gguf/internal.h"

typedef struct Item {
    const char *name;
    const GgmlTypeInfo *type;
    uint32_t n_dims;
    uint64_t ne[4], bytes, offset;                         // offset in the data section
    const void *data;
} Item;

struct GgufWriter {
    HdArena names;
    HdBuf keys;                                            // key/value pairs as they lie in the file
    uint64_t key_count, alignment;
    HdMap key_names, tensor_names;
    HD_VEC(Item) tensors;
};

typedef HD_VEC(HdSpan) SpanList;

static void put_u32(HdBuf *buf, uint32_t value) { hd_buf_bytes(buf, &value, sizeof value); }
static void put_u64(HdBuf *buf, uint64_t value) { hd_buf_bytes(buf, &value, sizeof value); }
static void put_str(HdBuf *buf, HdStr text) {
    put_u64(buf, text.len);
    hd_buf_bytes(buf, text.data, text.len);
}

GgufWriter *gguf_writer_new(const char *architecture) {
    GgufWriter *writer = hd_xcalloc(1, sizeof *writer);
    writer->alignment = GGUF_ALIGNMENT_DEFAULT;
    if (architecture) gguf_writer_string(writer, "general.architecture", hd_str(architecture));
    return writer;
}

void gguf_writer_free(GgufWriter *writer) {
    if (!writer) return;
    hd_arena_free(&writer->names);
    hd_buf_free(&writer->keys);
    hd_map_free(&writer->key_names);
    hd_map_free(&writer->tensor_names);
    hd_vec_free(&writer->tensors);
    free(writer);
}

// ---- keys ----------------------------------------------------------------------------------------------------

static void put_key(GgufWriter *writer, HdStr key, GgufValueType type) {
    HdStr name = {hd_arena_strndup(&writer->names, key.data, key.len), key.len};
    bool is_new = hd_map_put(&writer->key_names, name, 0);
    HD_ASSERT(key.len && is_new);
    put_str(&writer->keys, key);
    put_u32(&writer->keys, type);
    writer->key_count++;
}

static void put_scalar(GgufWriter *writer, HdStr key, GgufValueType type, const void *data) {
    put_key(writer, key, type);
    hd_buf_bytes(&writer->keys, data, gguf_value_type_bytes(type));
    if (!hd_str_is(key, "general.alignment")) return;
    HD_ASSERT(type == GGUF_U32);
    writer->alignment = gguf_load_u32(data);
    HD_ASSERT(writer->alignment >= GGUF_ALIGNMENT_MIN && writer->alignment <= GGUF_ALIGNMENT_MAX);
    HD_ASSERT((writer->alignment & (writer->alignment - 1)) == 0);
}

static void put_array(GgufWriter *writer, HdStr key, GgufValueType elem_type, uint64_t count) {
    put_key(writer, key, GGUF_ARRAY);
    put_u32(&writer->keys, elem_type);
    put_u64(&writer->keys, count);
}

void gguf_writer_u32(GgufWriter *writer, const char *key, uint32_t value) { put_scalar(writer, hd_str(key), GGUF_U32, &value); }

void gguf_writer_u64(GgufWriter *writer, const char *key, uint64_t value) { put_scalar(writer, hd_str(key), GGUF_U64, &value); }

void gguf_writer_f32(GgufWriter *writer, const char *key, float value) { put_scalar(writer, hd_str(key), GGUF_F32, &value); }

void gguf_writer_bool(GgufWriter *writer, const char *key, bool value) {
    put_scalar(writer, hd_str(key), GGUF_BOOL, &(uint8_t){value});
}

void gguf_writer_string(GgufWriter *writer, const char *key, HdStr value) {
    put_key(writer, hd_str(key), GGUF_STRING);
    put_str(&writer->keys, value);
}

void gguf_writer_strings(GgufWriter *writer, const char *key, const HdStr *values, uint64_t count) {
    put_array(writer, hd_str(key), GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++) put_str(&writer->keys, values[i]);
}

void gguf_writer_ints(GgufWriter *writer, const char *key, const int64_t *values, uint64_t count) {
    put_array(writer, hd_str(key), GGUF_I64, count);
    hd_buf_bytes(&writer->keys, values, count * sizeof *values);
}

void gguf_writer_copy_key(GgufWriter *writer, const GgufValue *value) {
    if (value->type == GGUF_ARRAY) {
        put_array(writer, value->key, value->elem_type, value->count);
    } else if (value->type == GGUF_STRING) {
        put_key(writer, value->key, GGUF_STRING);
    } else {
        put_scalar(writer, value->key, value->type, value->data);
        return;
    }
    hd_buf_bytes(&writer->keys, value->data, gguf_value_bytes(value));
}

// ---- tensors -------------------------------------------------------------------------------------------------

void gguf_writer_tensor(GgufWriter *writer, const char *name, GgmlType type, uint32_t n_dims, const uint64_t *ne,
                        const void *data) {
    Item item = {.name = hd_arena_strndup(&writer->names, name, strlen(name)),
                 .type = ggml_type_info(type),
                 .n_dims = n_dims,
                 .data = data};
    bool is_new = hd_map_put(&writer->tensor_names, hd_str(item.name), 0);
    HD_ASSERT(is_new && *name && strlen(name) <= GGUF_NAME_MAX);
    HD_ASSERT(item.type && n_dims >= 1 && n_dims <= 4);
    item.bytes = ggml_row_bytes(item.type, ne[0]);
    for (uint32_t i = 0; i < n_dims; i++) {
        item.ne[i] = ne[i];
        bool fits = ne[i] && (i == 0 || hd_mul_u64(item.bytes, ne[i], &item.bytes));
        HD_ASSERT(fits);
    }
    hd_vec_push(&writer->tensors, item);
}

static void place_items(GgufWriter *writer) {
    uint64_t end = 0;
    for (size_t i = 0; i < writer->tensors.len; i++) {
        writer->tensors.data[i].offset = end;
        end = hd_align_up(end + writer->tensors.data[i].bytes, writer->alignment);
    }
}

static void put_item(HdBuf *header, const Item *item) {
    put_str(header, hd_str(item->name));
    put_u32(header, item->n_dims);
    for (uint32_t i = 0; i < item->n_dims; i++) put_u64(header, item->ne[i]);
    put_u32(header, item->type->id);
    put_u64(header, item->offset);
}

static void put_header(GgufWriter *writer, HdBuf *header) {
    hd_buf_str(header, "GGUF");
    put_u32(header, 3);
    put_u64(header, writer->tensors.len);
    put_u64(header, writer->key_count);
    hd_buf_bytes(header, writer->keys.data, writer->keys.len);
    place_items(writer);
    for (size_t i = 0; i < writer->tensors.len; i++) put_item(header, &writer->tensors.data[i]);
}

// ---- the file ------------------------------------------------------------------------------------------------

static void push_padded(SpanList *spans, const void *data, uint64_t bytes, uint64_t alignment, const uint8_t *zeros) {
    uint64_t padding = hd_align_up(bytes, alignment) - bytes;
    hd_vec_push(spans, ((HdSpan){data, bytes}));
    if (padding) hd_vec_push(spans, ((HdSpan){zeros, padding}));
}

// The file as a list of spans; `header` and `zeros` hold what is not the caller's and outlive the list.
static void list_spans(GgufWriter *writer, HdBuf *header, uint8_t **out_zeros, SpanList *spans) {
    put_header(writer, header);
    *out_zeros = hd_xcalloc(1, writer->alignment);
    if (!writer->tensors.len) {                            // no data section: the file ends with the header
        hd_vec_push(spans, ((HdSpan){header->data, header->len}));
        return;
    }
    push_padded(spans, header->data, header->len, writer->alignment, *out_zeros);
    for (size_t i = 0; i < writer->tensors.len; i++)
        push_padded(spans, writer->tensors.data[i].data, writer->tensors.data[i].bytes, writer->alignment, *out_zeros);
}

void gguf_writer_finish(GgufWriter *writer, HdBuf *out_bytes) {
    HdBuf header = {0};
    SpanList spans = {0};
    uint8_t *zeros;
    size_t total = 1;
    *out_bytes = (HdBuf){0};
    list_spans(writer, &header, &zeros, &spans);
    for (size_t i = 0; i < spans.len; i++) total += spans.data[i].len;
    hd_vec_grow((void **)&out_bytes->data, &out_bytes->cap, total, 1);
    for (size_t i = 0; i < spans.len; i++) hd_buf_bytes(out_bytes, spans.data[i].data, spans.data[i].len);
    hd_vec_free(&spans);
    hd_buf_free(&header);
    free(zeros);
}

HdStatus *gguf_writer_save(GgufWriter *writer, const char *path) {
    HdBuf header = {0};
    SpanList spans = {0};
    uint8_t *zeros;
    list_spans(writer, &header, &zeros, &spans);
    HdStatus *status = hd_write_spans(path, spans.data, spans.len);
    hd_vec_free(&spans);
    hd_buf_free(&header);
    free(zeros);
    return status;
}
