// SPDX-License-Identifier: Apache-2.0
// The tables of the graph IR, made from the .def files, and their look-ups by name.
#include "ir/ir.h"

static const IrDtypeInfo dtypes[IR_DTYPE_COUNT] = {
#define IR_DTYPE(name, text, ggml, block, bytes) [IR_##name] = {text, ggml, block, bytes},
#include "ir/dtypes.def"
#undef IR_DTYPE
};

static const char *const layouts[IR_LAYOUT_COUNT] = {
#define IR_LAYOUT(name, text, doc) [IR_LAYOUT_##name] = text,
#include "ir/layouts.def"
#undef IR_LAYOUT
};

static const IrAttrInfo attrs[IR_ATTR_COUNT] = {
#define IR_ATTR(name, text, kind, doc) [IR_ATTR_##name] = {text, IR_ATTR_KIND_##kind, doc},
#include "ir/attrs.def"
#undef IR_ATTR
};

static const IrOpInfo ops[IR_OP_COUNT] = {
#define A(attr) (1u << IR_ATTR_##attr)
#define IR_OP(name, text, min, max, results, effect, numerics, role, attr_list, doc) \
    [IR_OP_##name] = {text, min, max, results, IR_EFFECT_##effect, IR_NUMERICS_##numerics, IR_ROLE_##role, attr_list, doc},
#include "ir/ops.def"
#undef IR_OP
#undef A
};

const IrDtypeInfo *ir_dtype_info(IrDtype dtype) { return &dtypes[dtype]; }
int64_t ir_dtype_row_bytes(IrDtype dtype, int64_t columns) { return columns / dtypes[dtype].block * dtypes[dtype].block_bytes; }
bool ir_dtype_splits(IrDtype dtype) { return dtypes[dtype].block > 1 && dtypes[dtype].block_bytes % 4 != 0; }
const IrAttrInfo *ir_attr_info(IrAttrId attr) { return &attrs[attr]; }
const IrOpInfo *ir_op_info(IrOpKind kind) { return &ops[kind]; }
const char *ir_layout_name(IrLayout layout) { return layouts[layout]; }

// One look-up for all four tables: they differ in where the name stands in a row.
#define LOOK_UP(name, count, row_name, out, type)            \
    for (uint32_t i = 0; i < (uint32_t)(count); i++)         \
        if (hd_str_is(name, row_name)) return *(out) = (type)i, true; \
    return false

bool ir_dtype_named(HdStr name, IrDtype *out_dtype) { LOOK_UP(name, IR_DTYPE_COUNT, dtypes[i].name, out_dtype, IrDtype); }
bool ir_layout_named(HdStr name, IrLayout *out_layout) { LOOK_UP(name, IR_LAYOUT_COUNT, layouts[i], out_layout, IrLayout); }
bool ir_op_named(HdStr name, IrOpKind *out_kind) { LOOK_UP(name, IR_OP_COUNT, ops[i].name, out_kind, IrOpKind); }
bool ir_attr_named(HdStr name, IrAttrId *out_attr) { LOOK_UP(name, IR_ATTR_COUNT, attrs[i].name, out_attr, IrAttrId); }

bool ir_dtype_from_ggml(uint32_t ggml_id, IrDtype *out_dtype) {
    for (int i = 0; i < IR_DTYPE_COUNT; i++)
        if (dtypes[i].ggml >= 0 && (uint32_t)dtypes[i].ggml == ggml_id) return *out_dtype = (IrDtype)i, true;
    return false;
}

double ir_op_bound(IrOpKind kind) { return ops[kind].numerics == IR_NUMERICS_BOUNDED ? 1e-10 : 0.0; }
