// SPDX-License-Identifier: Apache-2.0
// Tensors of the file: looked up by name, checked against the shape that the model wants, and accounted for.
#include "frontend/dsl_internal.h"

#include <string.h>

const GgufTensor *dsl_find(const Model *m, const char *full_name) {
    uint32_t index;
    return hd_map_get(&m->tensors, hd_str(full_name), &index) ? gguf_tensor_at(m->file, index) : NULL;
}

bool dsl_has(const Model *m, const char *name) {
    char full[96];
    snprintf(full, sizeof full, "%s%s", m->prefix, name);
    return dsl_find(m, full) != NULL;
}

const char *dsl_either(const Model *m, const char *name, const char *other) {
    return !dsl_has(m, name) && dsl_has(m, other) ? other : name;
}

// ---- shapes --------------------------------------------------------------------------------------------------
// The file's order is fastest first, the graph's slowest first; messages use the file's, as every GGUF tool does.

static void print_ne(char text[96], uint32_t count, const uint64_t ne[4]) {
    int len = 0;
    for (uint32_t i = 0; i < count; i++)
        len += snprintf(text + len, 96 - (size_t)len, "%s%llu", i ? ", " : "[", (unsigned long long)ne[i]);
    snprintf(text + len, 96 - (size_t)len, "]");
}

static void reverse(uint32_t rank, const int64_t *shape, uint64_t out_ne[4]) {
    for (uint32_t i = 0; i < 4; i++) out_ne[i] = i < rank ? (uint64_t)shape[rank - 1 - i] : 1;
}

// Missing trailing dimensions count as 1: [D] and [D, 1] are the same matrix.
static bool check_shape(Model *m, const GgufTensor *tensor, const char *full, uint32_t rank, const int64_t *shape) {
    uint64_t ne[4];
    reverse(rank, shape, ne);
    if (memcmp(ne, tensor->ne, sizeof ne) == 0) return true;
    char found[96], expected[96];
    print_ne(found, tensor->n_dims, tensor->ne);
    print_ne(expected, rank, ne);
    bool transposed = rank == 2 && tensor->n_dims == 2 && tensor->ne[0] == ne[1] && tensor->ne[1] == ne[0];
    dsl_fail(m, HD_BAD_DATA, "tensor %s has shape %s, expected %s%s", full, found, expected,
             transposed ? " (it is transposed)" : "");
    return false;
}

static bool check_type(Model *m, const GgufTensor *tensor, const char *full, bool f32_only, IrDtype *out_dtype) {
    bool known = ir_dtype_from_ggml(tensor->type->id, out_dtype) && *out_dtype != IR_I32 && *out_dtype != IR_I8;
    if (known && (!f32_only || *out_dtype == IR_F32)) return true;
    if (f32_only) {
        dsl_fail(m, HD_BAD_DATA, "tensor %s has type %s, expected F32", full, tensor->type->name);
    } else {
        dsl_fail(m, HD_UNSUPPORTED, "tensor %s has type %s, which no matrix can have here", full, tensor->type->name);
    }
    return false;
}

// ---- use -----------------------------------------------------------------------------------------------------

static void mark_used(Model *m, const GgufTensor *tensor) {
    uint32_t index;
    if (!hd_map_get(&m->tensors, tensor->name, &index) || m->used[index]) return;
    m->used[index] = true;
    hd_buf_printf(&m->identity, HD_STR_FMT " %s", HD_STR_ARG(tensor->name), tensor->type->name);
    for (uint32_t i = 0; i < 4; i++) hd_buf_printf(&m->identity, " %llu", (unsigned long long)tensor->ne[i]);
    hd_buf_str(&m->identity, "\n");
}

static const GgufTensor *find_required(Model *m, const char *full, uint32_t rank, const int64_t *shape) {
    const GgufTensor *tensor = dsl_find(m, full);
    if (tensor) return tensor;
    uint64_t ne[4];
    char expected[96];
    reverse(rank, shape, ne);
    print_ne(expected, rank, ne);
    dsl_fail(m, HD_NOT_FOUND, "tensor %s is missing, expected with shape %s", full, expected);
    return NULL;
}

Tensor dsl_weight(Model *m, const char *name, bool f32_only, uint32_t rank, const int64_t *shape) {
    if (m->error) return (Tensor){0};
    const char *full = dsl_full_name(m, name);
    const GgufTensor *tensor = find_required(m, full, rank, shape);
    IrType type = {.rank = rank};
    if (!tensor || !check_shape(m, tensor, full, rank, shape)) return (Tensor){0};
    if (!check_type(m, tensor, full, f32_only, &type.dtype)) return (Tensor){0};
    memcpy(type.dims, shape, rank * sizeof *shape);
    mark_used(m, tensor);
    return (Tensor){ir_weight(m->graph, full, type)};
}

Tensor dsl_vector(Model *m, const char *name, int64_t count) { return dsl_weight(m, name, true, 1, &count); }

static void check_tokenizer(Model *m, const char *key, const char *name, int64_t V, bool longer_is_fine) {
    const GgufValue *value = gguf_find_key(m->file, key);
    if (!value) return;
    uint64_t count = value->type == GGUF_ARRAY ? value->count : 0;
    if (count == (uint64_t)V || (longer_is_fine && count > (uint64_t)V)) return;
    dsl_fail(m, HD_BAD_DATA, "%s has %llu entries, but tensor %s has %lld rows, one for each token", key,
             (unsigned long long)count, name, (long long)V);
}

int64_t dsl_vocabulary(Model *m, const char *name) {
    const GgufTensor *tensor = dsl_find(m, name);
    if (!tensor) dsl_fail(m, HD_NOT_FOUND, "tensor %s is missing", name);
    if (m->error) return 1;
    int64_t V = (int64_t)tensor->ne[1];
    check_tokenizer(m, "tokenizer.ggml.tokens", name, V, false);
    check_tokenizer(m, "tokenizer.ggml.token_type", name, V, true);
    return V;
}

void dsl_check_all_used(Model *m) {
    for (size_t i = 0; i < gguf_tensor_count(m->file) && !m->error; i++) {
        HdStr name = gguf_tensor_at(m->file, i)->name;
        if (!m->used[i] && !dsl_ignored(m, name))
            dsl_fail(m, HD_BAD_DATA, "tensor " HD_STR_FMT " has no place in a %s model with these hyperparameters",
                     HD_STR_ARG(name), m->arch);
    }
}
