// SPDX-License-Identifier: Apache-2.0
// Decoders of one block each, kept by family; dequant.c has the table. Layouts: `e` is the element's index in the block. The
// order of the float operations is ggml's (dequantize_row_* in ggml-quants.c), so that results agree bit for bit.
#ifndef HEDDLE_GGUF_DEQUANT_H
#define HEDDLE_GGUF_DEQUANT_H

#include "runtime/gguf/internal.h"

typedef void GgmlBlockDecoder(const uint8_t *block, float *out_values);

static inline float gguf_load_f16(const uint8_t *p) { return hd_f16_to_f32(gguf_load_u16(p)); }

// The f16 scale of an IQ1_M block, which stands in pieces.
float ggml_iq1_m_scale(const uint8_t *block);

// dequant_legacy.c: blocks of 32 with one scale
GgmlBlockDecoder ggml_decode_q4_0, ggml_decode_q4_1, ggml_decode_q5_0, ggml_decode_q5_1, ggml_decode_q8_0, ggml_decode_iq4_nl;
// dequant_k.c: blocks of 256 with scales of groups
GgmlBlockDecoder ggml_decode_q2_k, ggml_decode_q3_k, ggml_decode_q4_k, ggml_decode_q5_k, ggml_decode_q6_k, ggml_decode_iq4_xs;
// dequant_iq.c: blocks of 256 out of codebooks
GgmlBlockDecoder ggml_decode_iq2_xxs, ggml_decode_iq2_xs, ggml_decode_iq2_s, ggml_decode_iq3_xxs, ggml_decode_iq3_s,
    ggml_decode_iq1_s, ggml_decode_iq1_m;
// dequant_small.c: 4-bit floats, ternary and binary
GgmlBlockDecoder ggml_decode_mxfp4, ggml_decode_nvfp4, ggml_decode_tq1_0, ggml_decode_tq2_0, ggml_decode_q1_0;

#endif
