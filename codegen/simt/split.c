// SPDX-License-Identifier: Apache-2.0
// Sizes of layout `split` (split.h), and PACK: native rows to that layout, in @load. A work unit is a row.
#include "codegen/simt/split.h"

#include "codegen/simt/sched.h"

enum { ROW_ALIGN = 16 };

SimtSplit simt_split(IrDtype dtype) {
    uint32_t size = ir_dtype_info(dtype)->block_bytes, bytes = size % 4;
    bool ends = dtype == IR_Q3_K || dtype == IR_Q6_K || dtype == IR_TQ1_0 || dtype == IR_TQ2_0;   // others begin with their scale
    HD_ASSERT(ir_dtype_splits(dtype));
    return (SimtSplit){ends ? size - bytes : 0, bytes, size - bytes};
}

int64_t simt_split_row_bytes(IrDtype dtype, int64_t columns) {
    return (int64_t)hd_align_up((uint64_t)ir_dtype_row_bytes(dtype, columns), ROW_ALIGN);
}

// Copies pieces of `each` bytes: `per` of them from every block of `size` bytes, from byte `at` on, to one place after another.
typedef struct Copy { KirRef from, to, blocks; int64_t each, per, size, at; } Copy;
static void copy(CgBuild *build, const Copy *c) {
    KirFn *fn = build->fn;
    KirLoop loop;
    KirType type = c->each == 2 ? KT_I16 : KT_I8;
    KirRef i = simt_deal_begin(build, kir_mul(fn, c->blocks, kir_i64(fn, c->per)), &loop), per = kir_i64(fn, c->per);
    KirRef block = kir_at(fn, c->from, kir_sdiv(fn, i, per), c->size, c->at);
    kir_store(fn, kir_at(fn, c->to, i, c->each, 0), kir_load(fn, type, kir_at(fn, block, kir_srem(fn, i, per), c->each, 0)));
    simt_deal_end(build, &loop);
}

static void fill(CgBuild *build, KirRef to, KirRef begin, KirRef end) {
    KirFn *fn = build->fn;
    KirLoop loop;
    KirRef i = simt_deal_begin(build, kir_sub(fn, end, begin), &loop);
    kir_store(fn, kir_offset(fn, to, kir_add(fn, begin, i)), kir_int(fn, KT_I8, 0));
    simt_deal_end(build, &loop);
}

HdStatus *cg_simt_PACK(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    HD_TRY(cg_group_op(graph, group, IR_OP_pack, &op));
    const IrType *type = cg_type(graph, op->operands[0]);
    const IrDtypeInfo *info = ir_dtype_info(type->dtype);
    int64_t columns = ir_type_last(type), blocks = columns / info->block, rows = type->dims[0] * (type->rank == 3 ? type->dims[1] : 1);
    if (op->attr[IR_ATTR_LAYOUT].layout != IR_LAYOUT_SPLIT || !ir_dtype_splits(type->dtype))
        return hd_error(HD_UNSUPPORTED, "@%s: %s weights have no %s layout on a GPU", graph->name, info->name,
                        ir_layout_name(op->attr[IR_ATTR_LAYOUT].layout));
    SimtSplit split = simt_split(type->dtype);
    char name[48];
    snprintf(name, sizeof name, "pack_%s", info->name);
    CgBuild *build = cg_simt_launch_begin(builder, name, SIMT_LANES);
    KirFn *fn = build->fn;
    KirRef from = cg_pointer(build, op->operands[0]), to = cg_pointer(build, ir_op(graph, group)->results[0]);
    KirRef count = cg_const(build, blocks, "blocks of a row"), stride = cg_const(build, simt_split_row_bytes(type->dtype, columns), "bytes of a row");
    cg_units(build, NULL, 0, rows);
    cg_account(build);
    KirLoop units;
    KirRef row = cg_units_begin(build, &units), size = kir_i64(fn, info->block_bytes);
    KirRef source = kir_offset(fn, from, kir_mul(fn, row, kir_mul(fn, count, size))), into = kir_offset(fn, to, kir_mul(fn, row, stride));
    KirRef scales = kir_at(fn, into, count, split.body, 0);
    copy(build, &(Copy){source, into, count, split.bytes, split.body / split.bytes, info->block_bytes, split.at ? 0 : split.bytes});
    copy(build, &(Copy){source, scales, count, split.bytes, 1, info->block_bytes, split.at});
    fill(build, into, kir_mul(fn, count, size), stride);
    cg_units_end(build, &units);
    cg_launch_end(builder);
    return NULL;
}
