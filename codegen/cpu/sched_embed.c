// SPDX-License-Identifier: Apache-2.0
// EMBED: rows of a native matrix by token id, decoded exactly. A work unit is a token.
#include "codegen/cpu/blocks.h"
#include "codegen/sched.h"

// Rows of blocks: whole blocks, 16 elements at a time.
static void decode_blocks(KirFn *fn, IrDtype dtype, KirRef row, KirRef columns, KirRef out) {
    const IrDtypeInfo *info = ir_dtype_info(dtype);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_sdiv(fn, columns, kir_i64(fn, info->block)), kir_i64(fn, 1), 0, NULL, &loop);
    KirRef block = kir_at(fn, row, loop.iv, info->block_bytes, 0), to = kir_at(fn, out, loop.iv, 4 * (int64_t)info->block, 0);
    for (uint32_t first = 0; first < info->block; first += 16)
        kir_store(fn, kir_offset_const(fn, to, 4 * first), cg_block_decode(fn, dtype, block, first));
    kir_for_end(fn, &loop, NULL);
}

static void convert_numbers(KirFn *fn, IrDtype dtype, KirRef row, KirRef columns, KirRef out) {
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), columns, kir_i64(fn, 16), 0, NULL, &loop);
    KirRef count = kir_min(fn, kir_sub(fn, columns, loop.iv), kir_i64(fn, 16));
    KirRef numbers = cg_block_decode_part(fn, dtype, kir_at(fn, row, loop.iv, ir_dtype_info(dtype)->block_bytes, 0), count);
    kir_store_part(fn, kir_at(fn, out, loop.iv, 4, 0), count, numbers);
    kir_for_end(fn, &loop, NULL);
}

HdStatus *cg_cpu_EMBED(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op = ir_op(graph, cg_find_op(graph, group, IR_OP_embed));
    const IrType ids = ir_value(graph, op->operands[0])->type, table = ir_value(graph, op->operands[1])->type;
    const IrType result = ir_value(graph, op->results[0])->type;
    const IrDtypeInfo *info = ir_dtype_info(table.dtype);
    if (table.layout != IR_LAYOUT_NATIVE || !cg_block_known(table.dtype))
        return hd_error(HD_UNSUPPORTED, "@%s: no embedding from a %s matrix in layout %s", graph->name, info->name,
                        ir_layout_name(table.layout));
    char name[48];
    snprintf(name, sizeof name, "embed_%s", info->name);
    CgBuild *build = cg_launch_begin(builder, name);
    KirFn *fn = build->fn;
    int64_t width = table.dims[1], row_bytes = width / info->block * info->block_bytes;
    KirRef id_base = cg_pointer(build, op->operands[0]), base = cg_pointer(build, op->operands[1]),
           out = cg_pointer(build, op->results[0]);
    KirRef columns = cg_const(build, width, "D"), bytes = cg_const(build, row_bytes, "bytes of a native row");
    cg_units(build, ids.dims, 1, 1);
    cg_expr_add_elements(&build->bytes, graph, &ids, row_bytes);
    cg_expr_add_elements(&build->bytes, graph, &result, 4);
    cg_expr_add_elements(&build->flops, graph, &result, 1);
    KirLoop units;
    kir_for_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), kir_i64(fn, 1), 0, NULL, &units);
    KirRef id = cg_load_i32(fn, kir_at(fn, id_base, units.iv, 4, 0), 0);
    KirRef row = kir_offset(fn, base, kir_mul(fn, id, bytes)),
           to = kir_offset(fn, out, kir_mul(fn, units.iv, kir_mul(fn, columns, kir_i64(fn, 4))));
    if (info->block == 1) convert_numbers(fn, table.dtype, row, columns, to);
    else decode_blocks(fn, table.dtype, row, columns, to);
    kir_for_end(fn, &units, NULL);
    cg_launch_end(builder);
    return NULL;
}
