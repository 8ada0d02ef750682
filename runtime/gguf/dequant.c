// SPDX-License-Identifier: Apache-2.0
// Tensor data to float32.
#include "runtime/gguf/dequant.h"

// Q8_1 and Q8_K never occur in files.
static const struct { GgmlType type; GgmlBlockDecoder *decode; } decoders[] = {
    {GGML_Q4_0, ggml_decode_q4_0},   {GGML_Q4_1, ggml_decode_q4_1},   {GGML_Q5_0, ggml_decode_q5_0},
    {GGML_Q5_1, ggml_decode_q5_1},   {GGML_Q8_0, ggml_decode_q8_0},   {GGML_IQ4_NL, ggml_decode_iq4_nl},
    {GGML_Q2_K, ggml_decode_q2_k},   {GGML_Q3_K, ggml_decode_q3_k},   {GGML_Q4_K, ggml_decode_q4_k},
    {GGML_Q5_K, ggml_decode_q5_k},   {GGML_Q6_K, ggml_decode_q6_k},   {GGML_IQ4_XS, ggml_decode_iq4_xs},
    {GGML_MXFP4, ggml_decode_mxfp4}, {GGML_NVFP4, ggml_decode_nvfp4}, {GGML_TQ1_0, ggml_decode_tq1_0},
    {GGML_TQ2_0, ggml_decode_tq2_0}, {GGML_Q1_0, ggml_decode_q1_0},   {GGML_IQ2_XXS, ggml_decode_iq2_xxs},
    {GGML_IQ2_XS, ggml_decode_iq2_xs}, {GGML_IQ2_S, ggml_decode_iq2_s}, {GGML_IQ3_XXS, ggml_decode_iq3_xxs},
    {GGML_IQ3_S, ggml_decode_iq3_s}, {GGML_IQ1_S, ggml_decode_iq1_s}, {GGML_IQ1_M, ggml_decode_iq1_m},
};

static GgmlBlockDecoder *find_decoder(uint32_t id) {
    for (size_t i = 0; i < HD_COUNT(decoders); i++)
        if (decoders[i].type == id) return decoders[i].decode;
    return NULL;
}

static bool decode_blocks(uint32_t id, const uint8_t *data, uint64_t count, float *out_values) {
    const GgmlTypeInfo *type = ggml_type_info(id);
    GgmlBlockDecoder *decode = find_decoder(id);
    if (!decode) return false;
    HD_ASSERT(count % type->block == 0);
    for (uint64_t e = 0; e < count; e += type->block, data += type->block_bytes) decode(data, out_values + e);
    return true;
}

bool ggml_dequantise(uint32_t id, const void *blocks, uint64_t count, float *out_values) {
    const uint8_t *data = blocks;
    switch (id) {
    case GGML_F32:
        if (count) memcpy(out_values, data, count * sizeof *out_values);
        return true;
    case GGML_F16:
        for (uint64_t e = 0; e < count; e++) out_values[e] = gguf_load_f16(data + 2 * e);
        return true;
    case GGML_BF16:
        for (uint64_t e = 0; e < count; e++) out_values[e] = hd_bf16_to_f32(gguf_load_u16(data + 2 * e));
        return true;
    default:
        return decode_blocks(id, data, count, out_values);
    }
}
