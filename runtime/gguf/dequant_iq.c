// SPDX-License-Identifier: Apache-2.0
// IQ1, IQ2 and IQ3: blocks of 256 whose numbers are entries of a codebook (8 or 4 numbers each) with signs and scales of groups.
#include "runtime/gguf/codebooks.h"
#include "runtime/gguf/dequant.h"

enum { BLOCK = 256, MOST = 8 };

// out = scale * entry, negative where a bit of `signs` says so.
static void put_signed(const GgmlCodebook *book, uint32_t index, uint32_t signs, float scale, float *out_values) {
    int8_t number[MOST];
    ggml_codebook_entry(book, index, number);
    for (int i = 0; i < book->width; i++) out_values[i] = scale * (float)(signs >> i & 1 ? -number[i] : number[i]);
}

// ---- IQ2: entries of 8 -------------------------------------------------------------------------------------------

// Per 32 numbers: four indices, then four times seven signs with the scale on top.
void ggml_decode_iq2_xxs(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block);
    for (int e = 0; e < BLOCK; e += 8) {
        const uint8_t *group = block + 2 + 8 * (e / 32);
        uint32_t signs = gguf_load_u32(group + 4);
        float scale = d * (0.5f + (float)(signs >> 28)) * 0.25f;
        put_signed(&ggml_codebook_iq2_xxs, group[e % 32 / 8], ggml_signs_of_seven(signs >> 7 * (e % 32 / 8) & 127), scale,
                   out_values + e);
    }
}

// A scale per 16 numbers: nibble e / 16.
static float iq2_scale(float d, const uint8_t *scales, int e) {
    return d * (0.5f + (float)(scales[e / 32] >> 4 * (e / 16 % 2) & 15)) * 0.25f;
}

void ggml_decode_iq2_xs(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block);
    for (int e = 0; e < BLOCK; e += 8) {
        uint32_t q = gguf_load_u16(block + 2 + e / 4);
        put_signed(&ggml_codebook_iq2_xs, q & 511, ggml_signs_of_seven(q >> 9), iq2_scale(d, block + 66, e), out_values + e);
    }
}

void ggml_decode_iq2_s(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block);
    const uint8_t *qs = block + 2, *signs = block + 34, *qh = block + 66;
    for (int e = 0; e < BLOCK; e += 8) {
        uint32_t index = qs[e / 8] | (uint32_t)(qh[e / 32] >> 2 * (e % 32 / 8) & 3) << 8;
        put_signed(&ggml_codebook_iq2_s, index, signs[e / 8], iq2_scale(d, block + 74, e), out_values + e);
    }
}

// ---- IQ3: entries of 4 -------------------------------------------------------------------------------------------

void ggml_decode_iq3_xxs(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block);
    for (int e = 0; e < BLOCK; e += 4) {
        uint32_t word = gguf_load_u32(block + 66 + 4 * (e / 32));
        float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
        uint32_t signs = ggml_signs_of_seven(word >> 7 * (e % 32 / 8) & 127);
        put_signed(&ggml_codebook_iq3_xxs, block[2 + e / 4], signs >> e % 8, scale, out_values + e);
    }
}

void ggml_decode_iq3_s(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block);
    const uint8_t *qs = block + 2, *qh = block + 66, *signs = block + 74, *scales = block + 106;
    for (int e = 0; e < BLOCK; e += 4) {
        uint32_t index = qs[e / 4] | (uint32_t)(qh[e / 32] >> e % 32 / 4 & 1) << 8;
        float scale = d * (float)(1 + 2 * (scales[e / 64] >> 4 * (e / 32 % 2) & 15));
        put_signed(&ggml_codebook_iq3_s, index, (uint32_t)signs[e / 8] >> e % 8, scale, out_values + e);
    }
}

// ---- IQ1: entries of 8, each number moved by an eighth -------------------------------------------------------------

static void put_moved(uint32_t index, bool down, float scale, float *out_values) {
    int8_t number[MOST];
    ggml_codebook_entry(&ggml_codebook_iq1, index, number);
    for (int i = 0; i < 8; i++) out_values[i] = scale * ((float)number[i] + (down ? -0.125f : 0.125f));
}

void ggml_decode_iq1_s(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block);
    for (int e = 0; e < BLOCK; e += 8) {
        uint32_t qh = gguf_load_u16(block + 34 + 2 * (e / 32));
        uint32_t index = block[2 + e / 8] | (qh >> 3 * (e % 32 / 8) & 7) << 8;
        put_moved(index, qh >> 15, d * (float)(2 * (qh >> 12 & 7) + 1), out_values + e);
    }
}

// The f16 scale is spread over the top nibbles of the four u16 of scales.
float ggml_iq1_m_scale(const uint8_t *block) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < 4; i++) bits |= (uint32_t)(gguf_load_u16(block + 48 + 2 * i) >> 12) << 4 * i;
    return hd_f16_to_f32((uint16_t)bits);
}

void ggml_decode_iq1_m(const uint8_t *block, float *out_values) {
    float d = ggml_iq1_m_scale(block);
    for (int e = 0; e < BLOCK; e += 8) {
        uint32_t high = block[32 + e / 16] >> 4 * (e / 8 % 2) & 15;
        uint32_t scale = gguf_load_u16(block + 48 + 2 * (e / 64)) >> 3 * (e % 64 / 16) & 7;
        put_moved(block[e / 8] | (high & 7) << 8, high >> 3, d * (float)(2 * scale + 1), out_values + e);
    }
}
