// SPDX-License-Identifier: Apache-2.0
// Small tables that define ggml's block formats. The interpreter's decoders and those of the kernels read the same ones.
#ifndef HEDDLE_GGUF_CODEBOOKS_H
#define HEDDLE_GGUF_CODEBOOKS_H

#include <stdint.h>

// Numbers of the 16 codes of IQ4_NL and IQ4_XS, and of the 4-bit floats (E2M1) of MXFP4 and NVFP4 times two.
extern const int8_t ggml_iq4_values[16], ggml_fp4_doubled[16];

// A codebook of the types IQ1, IQ2, IQ3: `count` entries of `width` numbers. Number i of an entry is the value whose index stands
// in bits i * bits .. of its code.
typedef struct GgmlCodebook {
    const uint16_t *codes;
    uint16_t count;
    uint8_t width, bits;
    int8_t values[8];
} GgmlCodebook;
extern const GgmlCodebook ggml_codebook_iq2_xxs, ggml_codebook_iq2_xs, ggml_codebook_iq2_s, ggml_codebook_iq3_xxs,
    ggml_codebook_iq3_s, ggml_codebook_iq1;

// The `width` numbers of entry `index`.
void ggml_codebook_entry(const GgmlCodebook *book, uint32_t index, int8_t *out_numbers);
// Signs of eight numbers as a byte, bit set: negative. Some types store seven: the eighth is their parity.
uint8_t ggml_signs_of_seven(uint32_t seven);

#endif
