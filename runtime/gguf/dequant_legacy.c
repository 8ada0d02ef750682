// SPDX-License-Identifier: Apache-2.0
// Blocks of 32 elements with one f16 scale. Byte l of the nibbles holds element l in its low and element l + 16 in its high half.
#include "runtime/gguf/codebooks.h"
#include "runtime/gguf/dequant.h"

static int nibble(const uint8_t *qs, int e) { return e < 16 ? qs[e] & 15 : qs[e - 16] >> 4; }

// The nibble with bit e of `high` on top.
static int five_bits(const uint8_t *qs, uint32_t high, int e) { return nibble(qs, e) | (int)(high >> e & 1) << 4; }

void ggml_decode_q4_0(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block);
    for (int e = 0; e < 32; e++) out_values[e] = (float)(nibble(block + 2, e) - 8) * d;
}

void ggml_decode_q4_1(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block), m = gguf_load_f16(block + 2);
    for (int e = 0; e < 32; e++) out_values[e] = (float)nibble(block + 4, e) * d + m;
}

void ggml_decode_q5_0(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block);
    uint32_t high = gguf_load_u32(block + 2);
    for (int e = 0; e < 32; e++) out_values[e] = (float)(five_bits(block + 6, high, e) - 16) * d;
}

void ggml_decode_q5_1(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block), m = gguf_load_f16(block + 2);
    uint32_t high = gguf_load_u32(block + 4);
    for (int e = 0; e < 32; e++) out_values[e] = (float)five_bits(block + 8, high, e) * d + m;
}

void ggml_decode_q8_0(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block);
    for (int e = 0; e < 32; e++) out_values[e] = (float)(int8_t)block[2 + e] * d;
}

void ggml_decode_iq4_nl(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block);
    for (int e = 0; e < 32; e++) out_values[e] = d * (float)ggml_iq4_values[nibble(block + 2, e)];
}
