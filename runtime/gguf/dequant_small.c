// SPDX-License-Identifier: Apache-2.0
// The 4-bit float formats, and types of one or two bits.
#include <math.h>

#include "runtime/gguf/codebooks.h"
#include "runtime/gguf/dequant.h"

// Codes stand for twice their number (codebooks.h); the scales below are halved to match, which keeps the largest MXFP4 exponents
// finite.

void ggml_decode_mxfp4(const uint8_t *block, float *out_values) {
    float scale = ldexpf(1.0f, block[0] - 128);            // 2^(exponent - 127) / 2
    for (int e = 0; e < 32; e++) {
        int code = block[1 + e % 16] >> 4 * (e / 16) & 15;
        out_values[e] = (float)ggml_fp4_doubled[code] * scale;
    }
}

// UE4M3, halved: four exponent bits (bias 7), three of mantissa; 0x7f, the NaN of the format, counts as 0.
static float ue4m3_half(uint8_t bits) {
    int exponent = bits >> 3 & 15, mantissa = bits & 7;
    if (bits == 0x7f) return 0.0f;
    return exponent ? ldexpf((float)(8 + mantissa), exponent - 11) : ldexpf((float)mantissa, -10);
}

void ggml_decode_nvfp4(const uint8_t *block, float *out_values) {
    for (int sub = 0; sub < 4; sub++) {
        float scale = ue4m3_half(block[sub]);
        for (int l = 0; l < 16; l++) {
            int code = block[4 + 8 * sub + l % 8] >> 4 * (l / 8) & 15;
            out_values[16 * sub + l] = (float)ggml_fp4_doubled[code] * scale;
        }
    }
}

// Digit `place` (0 first) of a byte that holds five base-3 digits, scaled so that a multiplication by 3 brings each to the top.
static int ternary_digit(uint8_t byte, int place) {
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    uint8_t shifted = (uint8_t)(byte * power[place]);
    return shifted * 3 >> 8;
}

// `bytes` bytes hold places × bytes elements, all first digits, then all second ones, ...
static float *decode_ternary(const uint8_t *qs, int bytes, int places, float d, float *out_values) {
    for (int place = 0; place < places; place++)
        for (int i = 0; i < bytes; i++) *out_values++ = (float)(ternary_digit(qs[i], place) - 1) * d;
    return out_values;
}

void ggml_decode_tq1_0(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block + 52);
    out_values = decode_ternary(block, 32, 5, d, out_values);
    out_values = decode_ternary(block + 32, 16, 5, d, out_values);
    decode_ternary(block + 48, 4, 4, d, out_values);
}

void ggml_decode_tq2_0(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block + 64);
    for (int e = 0; e < 256; e++) {
        int q = block[32 * (e / 128) + e % 32] >> 2 * (e % 128 / 32) & 3;
        out_values[e] = (float)(q - 1) * d;
    }
}

void ggml_decode_q1_0(const uint8_t *block, float *out_values) {
    float d = gguf_load_f16(block);
    for (int e = 0; e < 128; e++) out_values[e] = block[2 + e / 8] >> e % 8 & 1 ? d : -d;
}
