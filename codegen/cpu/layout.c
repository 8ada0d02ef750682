// SPDX-License-Identifier: Apache-2.0
// Sizes of packed weights, and which products there are.
#include "codegen/cpu/layout.h"

#include "codegen/cpu/blocks.h"
#include "codegen/cpu/mm.h"
#include "codegen/simt/split.h"

// A packed panel is made of pieces of `columns` elements and `bytes` bytes; 0: not packed.
static const struct { uint16_t columns, bytes; } pieces[IR_DTYPE_COUNT] = {
    [IR_F32] = {1, 64},       [IR_F16] = {1, 32},       [IR_BF16] = {2, 64},      [IR_Q8_0] = {64, 1088},
    [IR_Q4_0] = {64, 576},    [IR_IQ4_NL] = {64, 576},  [IR_MXFP4] = {128, 1088}, [IR_IQ4_XS] = {256, 2240},
    [IR_Q4_K] = {256, 2368},  [IR_Q5_K] = {256, 2880},  [IR_Q6_K] = {256, 3392},
};

bool cg_is_packed(IrDtype dtype) { return pieces[dtype].columns != 0; }

static uint64_t piece_bytes(IrDtype dtype, uint64_t columns) {
    if (!cg_is_packed(dtype)) return columns / 32 * mm_decoded_bytes(dtype);
    return (columns + pieces[dtype].columns - 1) / pieces[dtype].columns * pieces[dtype].bytes;
}

uint64_t cg_panel_bytes(IrDtype dtype, uint64_t columns) { return hd_align_up(piece_bytes(dtype, columns), 64); }

bool cg_panel_padded(IrDtype dtype, uint64_t columns) {
    return cg_is_packed(dtype) && (piece_bytes(dtype, columns) % 64 != 0 || columns % pieces[dtype].columns != 0);
}

uint64_t cg_layout_bytes(IrDtype dtype, IrLayout layout, uint64_t rows, uint64_t columns) {
    if (layout == IR_LAYOUT_SPLIT) return ir_dtype_splits(dtype) ? rows * (uint64_t)simt_split_row_bytes(dtype, (int64_t)columns) : 0;
    if (layout == IR_LAYOUT_NATIVE) return rows * (uint64_t)ir_dtype_row_bytes(dtype, (int64_t)columns);
    if (!cg_is_packed(dtype)) return 0;
    return (rows + CG_PANEL_ROWS - 1) / CG_PANEL_ROWS * cg_panel_bytes(dtype, columns);
}

HdStatus *cg_linear_supported(const IrTarget *target, IrDtype weight, IrLayout layout, IrDtype activation) {
    const char *w = ir_dtype_info(weight)->name, *a = ir_dtype_info(activation)->name;
    bool packed = ir_target_is_gpu(target) ? layout == IR_LAYOUT_SPLIT && ir_dtype_splits(weight)
                                           : layout == IR_LAYOUT_R16 && cg_is_packed(weight);
    if (!packed && layout != IR_LAYOUT_NATIVE)
        return hd_error(HD_UNSUPPORTED, "%s weights have no %s layout; use native", w, ir_layout_name(layout));
    if (!mm_format(weight)->part) return hd_error(HD_UNSUPPORTED, "there is no decoder for %s weights", w);
    switch (activation) {
    case IR_F32: return NULL;
    case IR_Q8A:
        if (mm_is_quantised(weight)) return NULL;
        break;
    case IR_BF16:
        if (weight != IR_BF16) break;
        if (ir_target_has(target, ir_target_bf16_feature(target))) return NULL;
        return hd_error(HD_UNSUPPORTED, "%s has no %s, which the product of bf16 weights and bf16 activations needs; use f32 activations",
                        target->name, ir_feature_name(ir_target_bf16_feature(target)));
    default: break;
    }
    return hd_error(HD_UNSUPPORTED, "no product of %s weights with %s activations; f32 activations work for every type", w, a);
}
