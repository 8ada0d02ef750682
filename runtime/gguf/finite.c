// SPDX-License-Identifier: Apache-2.0
// The scan for values that are not finite. One poisoned scale makes every logit NaN without any other sign.
#include <inttypes.h>
#include <math.h>

#include "runtime/gguf/dequant.h"

enum { SCALES_MAX = 2, UNUSED = -1 };

// Where a block keeps its f16 scales and minima, by byte offset.
static const struct { GgmlType type; int offsets[SCALES_MAX]; } scales[] = {
    {GGML_F16, {0, UNUSED}},      {GGML_Q4_0, {0, UNUSED}},   {GGML_Q4_1, {0, 2}},          {GGML_Q5_0, {0, UNUSED}},
    {GGML_Q5_1, {0, 2}},          {GGML_Q8_0, {0, UNUSED}},   {GGML_Q8_1, {0, 2}},          {GGML_Q2_K, {80, 82}},
    {GGML_Q3_K, {108, UNUSED}},   {GGML_Q4_K, {0, 2}},        {GGML_Q5_K, {0, 2}},          {GGML_Q6_K, {208, UNUSED}},
    {GGML_IQ2_XXS, {0, UNUSED}},  {GGML_IQ2_XS, {0, UNUSED}}, {GGML_IQ3_XXS, {0, UNUSED}},  {GGML_IQ1_S, {0, UNUSED}},
    {GGML_IQ4_NL, {0, UNUSED}},   {GGML_IQ3_S, {0, UNUSED}},  {GGML_IQ2_S, {0, UNUSED}},    {GGML_IQ4_XS, {0, UNUSED}},
    {GGML_TQ1_0, {52, UNUSED}},   {GGML_TQ2_0, {64, UNUSED}}, {GGML_Q1_0, {0, UNUSED}},     {GGML_Q2_0, {0, UNUSED}},
};

static bool finite_f16(uint32_t bits) { return (bits & 0x7c00u) != 0x7c00u; }
static bool finite_bf16(uint32_t bits) { return (bits & 0x7f80u) != 0x7f80u; }
static bool finite_f32(uint32_t bits) { return (bits & 0x7f800000u) != 0x7f800000u; }
static bool finite_f64(uint64_t bits) { return (bits & 0x7ff0000000000000u) != 0x7ff0000000000000u; }

static bool finite_scales(const int offsets[SCALES_MAX], const uint8_t *block) {
    for (int i = 0; i < SCALES_MAX; i++)
        if (offsets[i] != UNUSED && !finite_f16(gguf_load_u16(block + offsets[i]))) return false;
    return true;
}

static const int *scale_offsets(uint32_t type) {
    for (size_t i = 0; i < HD_COUNT(scales); i++)
        if (scales[i].type == type) return scales[i].offsets;
    return NULL;
}

static bool finite_block(uint32_t type, const int *offsets, const uint8_t *block) {
    if (offsets) return finite_scales(offsets, block);
    switch (type) {
    case GGML_F32: case GGML_Q8_K: return finite_f32(gguf_load_u32(block));
    case GGML_F64: return finite_f64(gguf_load_u64(block));
    case GGML_BF16: return finite_bf16(gguf_load_u16(block));
    case GGML_IQ1_M: return isfinite(ggml_iq1_m_scale(block));
    case GGML_MXFP4: return *block != 0xff;
    default: return true;                                  // integers; NVFP4, whose scale bytes are all finite
    }
}

static HdStatus *check_tensor(const GgufFile *file, const GgufTensor *tensor) {
    const int *offsets = scale_offsets(tensor->type->id);
    uint64_t blocks = tensor->bytes / tensor->type->block_bytes;
    for (uint64_t i = 0; i < blocks; i++) {
        if (finite_block(tensor->type->id, offsets, tensor->data + i * tensor->type->block_bytes)) continue;
        return hd_error(HD_NOT_FINITE, "%s: tensor '" HD_STR_FMT "': %s %" PRIu64 " is infinite or not a number",
                        file->parts.data[tensor->part].path, HD_STR_ARG(tensor->name),
                        tensor->type->block > 1 ? "the scale of block" : "element", i);
    }
    return NULL;
}

HdStatus *gguf_check_finite(const GgufFile *file) {
    for (size_t i = 0; i < file->tensors.len; i++)
        if (file->tensors.data[i].data) HD_TRY(check_tensor(file, &file->tensors.data[i]));
    return NULL;
}
