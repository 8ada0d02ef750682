// SPDX-License-Identifier: Apache-2.0
// Checked arithmetic on sizes, and conversions between the 16-bit float formats and float32.
#include "runtime/base/base.h"

#include <string.h>

bool hd_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    if (a > UINT64_MAX - b) return false;
    *out = a + b;
    return true;
}

bool hd_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    if (b && a > UINT64_MAX / b) return false;
    *out = a * b;
    return true;
}

bool hd_align_u64(uint64_t value, uint64_t alignment, uint64_t *out) {
    uint64_t raised;
    if (!hd_add_u64(value, alignment - 1, &raised)) return false;
    *out = raised & ~(alignment - 1);
    return true;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float hd_f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = (half >> 10) & 31u, mantissa = half & 0x3ffu;
    if (exponent == 0) return float_of(sign | bits_of((float)mantissa * 0x1p-24f));
    if (exponent < 31) return float_of(sign | (exponent + 127 - 15) << 23 | mantissa << 13);
    uint32_t quiet = mantissa ? 0x400000u : 0;
    return float_of(sign | 0x7f800000u | quiet | mantissa << 13);
}

uint16_t hd_f32_to_f16(float value) {
    uint32_t bits = bits_of(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu, half;
    if (magnitude > 0x7f800000u) {
        half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);                     // a NaN: quiet, payload cut
    } else if (magnitude >= 0x47800000u) {
        half = 0x7c00u;                                                    // 65536 and above
    } else if (magnitude >= 0x38800000u) {
        half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    } else {
        half = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);       // units of 2^-24: the addition rounds
    }
    return (uint16_t)(sign | half);
}

uint16_t hd_f32_to_bf16(float value) {
    uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
