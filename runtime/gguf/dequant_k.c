// SPDX-License-Identifier: Apache-2.0
// K-quants and IQ4_XS: blocks of 256 elements in groups of 16 or 32 with scales of their own. In the 2, 3 and 6-bit types element
// e has n = e / 128, t = e % 128 / 32, l = e % 32, and belongs to scale 8n + 2t + l / 16. Q2_K, Q3_K and Q6_K keep d at the end.
#include "runtime/gguf/codebooks.h"
#include "runtime/gguf/dequant.h"

enum { BLOCK = 256 };

void ggml_decode_q2_k(const uint8_t *block, float *out_values) {
    const uint8_t *scales = block, *qs = block + 16;
    float d = gguf_load_f16(block + 80), dmin = gguf_load_f16(block + 82);
    for (int group = 0; group < BLOCK / 16; group++) {
        float scale = d * (float)(scales[group] & 15), min = dmin * (float)(scales[group] >> 4);
        for (int i = 0; i < 16; i++) {
            int e = 16 * group + i, n = e / 128, t = e % 128 / 32;
            int q = qs[32 * n + e % 32] >> 2 * t & 3;
            out_values[e] = scale * (float)q - min;
        }
    }
}

// Scale `i` of 16: six bits, the low four in one nibble of the first 8 bytes, the high two in the last 4.
static int q3_scale(const uint8_t *p, int i) {
    int low = i < 8 ? p[i] & 15 : p[i - 8] >> 4;
    return low | (p[8 + i % 4] >> 2 * (i / 4) & 3) << 4;
}

void ggml_decode_q3_k(const uint8_t *block, float *out_values) {
    const uint8_t *hmask = block, *qs = block + 32;
    float d = gguf_load_f16(block + 108);
    for (int group = 0; group < BLOCK / 16; group++) {
        float scale = d * (float)(q3_scale(block + 96, group) - 32);
        for (int i = 0; i < 16; i++) {
            int e = 16 * group + i, n = e / 128, t = e % 128 / 32, l = e % 32;
            int q = (qs[32 * n + l] >> 2 * t & 3) - (hmask[l] >> (4 * n + t) & 1 ? 0 : 4);
            out_values[e] = scale * (float)q;
        }
    }
}

// Scale and minimum `j` of 8, six bits each in 12 bytes (Q4_K, Q5_K).
static void k_scale(const uint8_t *p, int j, int *out_scale, int *out_min) {
    *out_scale = j < 4 ? p[j] & 63 : (p[j + 4] & 15) | p[j - 4] >> 6 << 4;
    *out_min = j < 4 ? p[j + 4] & 63 : p[j + 4] >> 4 | p[j] >> 6 << 4;
}

// Q5_K is Q4_K with a fifth bit; `high` is NULL without one.
static void decode_q45(const uint8_t *block, const uint8_t *high, const uint8_t *qs, float *out_values) {
    float d = gguf_load_f16(block), dmin = gguf_load_f16(block + 2);
    for (int j = 0; j < BLOCK / 32; j++) {
        int scale_bits, min_bits;
        k_scale(block + 4, j, &scale_bits, &min_bits);
        float scale = d * (float)scale_bits, min = dmin * (float)min_bits;
        for (int l = 0; l < 32; l++) {
            int q = qs[32 * (j / 2) + l] >> 4 * (j % 2) & 15;
            if (high) q += (high[l] >> j & 1) << 4;
            out_values[32 * j + l] = scale * (float)q - min;
        }
    }
}

void ggml_decode_q4_k(const uint8_t *block, float *out_values) { decode_q45(block, NULL, block + 16, out_values); }

void ggml_decode_q5_k(const uint8_t *block, float *out_values) { decode_q45(block, block + 16, block + 48, out_values); }

void ggml_decode_q6_k(const uint8_t *block, float *out_values) {
    const uint8_t *ql = block, *qh = block + 128;
    float d = gguf_load_f16(block + 208);
    for (int group = 0; group < BLOCK / 16; group++) {
        float scale = d * (float)(int8_t)block[192 + group];
        for (int i = 0; i < 16; i++) {
            int e = 16 * group + i, n = e / 128, t = e % 128 / 32, l = e % 32;
            int low = ql[64 * n + l + 32 * (t & 1)] >> 4 * (t / 2) & 15, high = qh[32 * n + l] >> 2 * t & 3;
            out_values[e] = scale * (float)((low | high << 4) - 32);
        }
    }
}

void ggml_decode_iq4_xs(const uint8_t *block, float *out_values) {
    const uint8_t *scales_low = block + 4, *qs = block + 8;
    float d = gguf_load_f16(block);
    int scales_high = gguf_load_u16(block + 2);
    for (int j = 0; j < BLOCK / 32; j++) {
        int bits = (scales_low[j / 2] >> 4 * (j % 2) & 15) | (scales_high >> 2 * j & 3) << 4;
        float scale = d * (float)(bits - 32);
        for (int l = 0; l < 32; l++) {
            int code = qs[16 * j + l % 16] >> 4 * (l / 16) & 15;
            out_values[32 * j + l] = scale * (float)ggml_iq4_values[code];
        }
    }
}
