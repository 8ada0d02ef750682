// SPDX-License-Identifier: Apache-2.0
#ifndef HEDDLE_TESTS_GGUF_WALK_H
#define HEDDLE_TESTS_GGUF_WALK_H

#include <stdlib.h>

#include "runtime/gguf.h"

// Reads everything there is to read in an open file; what comes out does not matter.
static inline void gguf_walk(const GgufFile *file) {
    HdArena arena = {0};
    for (size_t i = 0; i < gguf_key_count(file); i++) {
        const char *key = hd_arena_strndup(&arena, gguf_key_at(file, i)->key.data, gguf_key_at(file, i)->key.len);
        uint32_t u32;
        uint64_t u64, count;
        float f32;
        bool flag;
        HdStr text, *texts;
        int64_t *ints;
        uint8_t *bools;
        hd_status_free(gguf_get_u32(file, key, &u32));
        hd_status_free(gguf_get_u64(file, key, &u64));
        hd_status_free(gguf_get_f32(file, key, &f32));
        hd_status_free(gguf_get_bool(file, key, &flag));
        hd_status_free(gguf_get_string(file, key, &text));
        hd_status_free(gguf_get_ints(file, key, &arena, &ints, &count));
        hd_status_free(gguf_get_bools(file, key, &arena, &bools, &count));
        hd_status_free(gguf_get_strings(file, key, &arena, &texts, &count));
    }
    for (size_t i = 0; i < gguf_tensor_count(file); i++) {
        const GgufTensor *tensor = gguf_tensor_at(file, i);
        if (!tensor->data) continue;
        uint64_t count = tensor->bytes / tensor->type->block_bytes * tensor->type->block;
        float *values = hd_xcalloc(count, sizeof *values);
        ggml_dequantise(tensor->type->id, tensor->data, count, values);
        free(values);
    }
    hd_status_free(gguf_check_finite(file));
    hd_arena_free(&arena);
}

#endif
