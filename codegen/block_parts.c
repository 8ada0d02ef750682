// SPDX-License-Identifier: Apache-2.0
#include "codegen/block_parts.h"

KirRef cg_exponent_half(KirFn *fn, KirRef exponent) {
    KirType type = kir_type(fn, exponent);
    KirRef one = kir_int(fn, type, 1), normal = kir_shl(fn, kir_sub(fn, exponent, one), kir_int(fn, type, 23));
    KirRef small = kir_select(fn, kir_cmp(fn, KIR_EQ, exponent, one), kir_int(fn, type, 0x00400000), kir_int(fn, type, 0x00200000));
    KirRef bits = kir_select(fn, kir_cmp(fn, KIR_GT, exponent, one), normal, small);
    return kir_bitcast(fn, bits, KIR_T(KIR_F32, type.lanes));
}

// Without subnormal numbers on the way: processors are slow with them.
KirRef cg_ue4m3_half(KirFn *fn, KirRef byte) {
    KirRef bits = kir_and(fn, byte, kir_int(fn, KT_I32, 127)), moved = kir_shl(fn, bits, kir_int(fn, KT_I32, 20));
    KirRef normal = kir_bitcast(fn, kir_add(fn, moved, kir_int(fn, KT_I32, (7 + 112) << 23)), KT_F32);
    KirRef small = kir_mul(fn, kir_itof(fn, bits), kir_float(fn, KT_F32, 0x1p-10f));
    KirRef scale = kir_select(fn, kir_cmp(fn, KIR_LT, bits, kir_int(fn, KT_I32, 8)), small, normal);
    return kir_select(fn, kir_cmp(fn, KIR_EQ, byte, kir_int(fn, KT_I32, 0x7f)), kir_float(fn, KT_F32, 0), scale);
}

enum { MOST_BYTES = 2048 * 8 };

KirRef cg_book_table(KirFn *fn, const GgmlCodebook *book, int factor, const char *text) {
    int8_t bytes[MOST_BYTES];
    for (uint32_t i = 0; i < book->count; i++) {
        ggml_codebook_entry(book, i, bytes + i * book->width);
        for (uint32_t n = i * book->width; n < (i + 1u) * book->width; n++) bytes[n] = (int8_t)(bytes[n] * factor);
    }
    return kir_table(fn, bytes, (size_t)book->count * book->width, text);
}
