// SPDX-License-Identifier: Apache-2.0
// ROWS: one take_rows. One work unit per row that is taken.
#include "codegen/sched.h"

static void copy_row(KirFn *fn, KirRef from, KirRef to, int64_t n) {
    int64_t whole = n / 16 * 16;
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, whole), kir_i64(fn, 16), 0, NULL, &loop);
    kir_store(fn, kir_at(fn, to, loop.iv, 4, 0), kir_load(fn, KT_F32x16, kir_at(fn, from, loop.iv, 4, 0)));
    kir_for_end(fn, &loop, NULL);
    if (whole == n) return;
    KirRef rest = kir_i64(fn, n - whole);
    kir_store_part(fn, kir_offset_const(fn, to, whole * 4), rest,
                   kir_load_part(fn, KT_F32x16, kir_offset_const(fn, from, whole * 4), rest));
}

HdStatus *cg_cpu_ROWS(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    HD_TRY(cg_group_op(graph, group, IR_OP_take_rows, &op));
    HD_TRY(cg_check_results(graph, group, op));
    const IrType *type = cg_type(graph, op->results[0]);
    CgBuild *build = cg_launch_begin(builder, "rows");
    KirFn *fn = build->fn;
    int64_t n = ir_type_last(type);
    cg_units(build, type->dims, 1, 1);
    cg_expr_add_elements(&build->bytes, graph, type, 8);
    KirRef x = cg_operand(build, op->operands[0]), rows = cg_operand(build, op->operands[1]),
           to = cg_result(build, op->results[0]);
    KirLoop loop;
    KirRef r = cg_units_begin(build, &loop);
    KirRef row = cg_load_i32(fn, kir_at(fn, rows, r, 4, 0), 0);
    copy_row(fn, kir_at(fn, x, row, n * 4, 0), kir_at(fn, to, r, n * 4, 0), n);
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}
