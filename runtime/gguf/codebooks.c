// SPDX-License-Identifier: Apache-2.0
#include "runtime/gguf/codebooks.h"

const int8_t ggml_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const int8_t ggml_fp4_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void ggml_codebook_entry(const GgmlCodebook *book, uint32_t index, int8_t *out_numbers) {
    for (int i = 0; i < book->width; i++) {
        int value = book->codes[index] >> i * book->bits & ((1 << book->bits) - 1);
        out_numbers[i] = book->values[value];
    }
}

uint8_t ggml_signs_of_seven(uint32_t seven) {
    uint32_t parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return (uint8_t)(seven | (parity & 1) << 7);
}
