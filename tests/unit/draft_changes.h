// SPDX-License-Identifier: Apache-2.0
// Changes to a draft that other writers of model files make too: the same model, said in another way.
#ifndef HEDDLE_TESTS_DRAFT_CHANGES_H
#define HEDDLE_TESTS_DRAFT_CHANGES_H

#include "tests/unit/model_fixture.h"

typedef void Change(Draft *draft);

static inline const char *block_name(Draft *draft, int64_t block, const char *name) {
    return hd_arena_printf(&draft->arena, "blk.%d.%s", (int)block, name);
}

static inline float *new_values(Draft *draft, uint64_t count) { return HD_NEW_ARRAY(&draft->arena, float, count); }

static inline int64_t file_int(const Draft *draft, const char *key) {
    uint32_t value = 0;
    hd_status_free(gguf_get_u32(draft->source, draft_key((Draft *)(uintptr_t)draft, key), &value));
    return value;
}

// Joins matrices of equal row length, `count` rows of each in turn for each of `groups`.
static inline void join(Draft *draft, int64_t block, const char *joined, size_t count, const char *const *names,
                        uint64_t groups) {
    uint64_t height = 0, total = 0, ne[3] = {0};
    for (size_t i = 0; i < count; i++) {
        const DraftTensor *part = draft_tensor(draft, block_name(draft, block, names[i]));
        height += part->ne[1];
        total += draft_elements(part);
        ne[0] = part->ne[0];
    }
    float *values = new_values(draft, total), *at = values;
    for (uint64_t g = 0; g < groups; g++)
        for (size_t i = 0; i < count; i++) {
            const DraftTensor *part = draft_tensor(draft, block_name(draft, block, names[i]));
            uint64_t size = part->ne[0] * part->ne[1];
            memcpy(at, (const float *)part->data + g * size, size * sizeof *at);
            at += size;
        }
    for (size_t i = 0; i < count; i++) draft_drop(draft, block_name(draft, block, names[i]));
    ne[1] = height;
    ne[2] = groups;
    draft_add(draft, block_name(draft, block, joined), groups > 1 ? 3 : 2, ne, values);
}

static inline void joined_matrices(Draft *draft) {
    static const char *const qkv[] = {"attn_q.weight", "attn_k.weight", "attn_v.weight"};
    static const char *const experts[] = {"ffn_gate_exps.weight", "ffn_up_exps.weight"};
    for (int64_t i = 0; i < file_int(draft, "block_count"); i++) {
        if (draft_find(draft, block_name(draft, i, qkv[0]))) join(draft, i, "attn_qkv.weight", 3, qkv, 1);
        if (draft_find(draft, block_name(draft, i, experts[0])))
            join(draft, i, "ffn_gate_up_exps.weight", 2, experts, (uint64_t)file_int(draft, "expert_count"));
    }
}

// Halves every matrix and says so in a scale beside it: powers of two, so that no bit changes. Experts get one each.
static inline void scaled_matrices(Draft *draft) {
    size_t count = draft->tensors.len;
    for (size_t i = 0; i < count; i++) {
        const DraftTensor tensor = draft->tensors.data[i];
        if (tensor.n_dims < 2 || strstr(tensor.name, "ssm_conv1d")) continue;
        uint64_t size = draft_elements(&tensor) / tensor.ne[2];
        float *values = new_values(draft, size * tensor.ne[2]), *scales = new_values(draft, tensor.ne[2]);
        for (uint64_t e = 0; e < tensor.ne[2]; e++) scales[e] = (float)(1 << (1 + e % 3));
        for (uint64_t n = 0; n < size * tensor.ne[2]; n++) values[n] = ((const float *)tensor.data)[n] / scales[n / size];
        draft->tensors.data[i].data = values;
        int stem = (int)(strlen(tensor.name) - strlen(".weight"));
        const char *name = hd_arena_printf(&draft->arena, "%.*s.scale", stem, tensor.name);
        draft_add(draft, name, 1, (uint64_t[]){tensor.ne[2]}, scales);
    }
}

#endif
