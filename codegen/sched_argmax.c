// SPDX-License-Identifier: Apache-2.0
// ARGMAX, on all targets: one argmax. A work unit is a run of columns of a row; on a GPU its lanes share it.
#include "codegen/sched.h"

#include <limits.h>
#include <math.h>

typedef struct ArgMax { CgBuild *build; KirFn *fn; int64_t columns, width, runs; KirRef x, ids, values, out; } ArgMax;
// ids 0: columns; values, out: results, 0: nobody reads them

// INT_MAX for a number that is not finite.
static KirRef key_of(KirFn *fn, KirRef x) {
    KirRef bits = kir_bitcast(fn, x, KT_I32), exponent = kir_int(fn, KT_I32, 0x7f800000);
    return kir_select(fn, kir_cmp(fn, KIR_EQ, kir_and(fn, bits, exponent), exponent), kir_int(fn, KT_I32, INT_MAX), cg_order_key(fn, x));
}

// The largest key of the columns from `begin` on that a lane goes through, and the first column that has it.
static void largest_of_lane(const ArgMax *a, KirRef row, KirRef begin, KirRef end, KirRef *out_key, KirRef *out_column) {
    KirFn *fn = a->fn;
    KirLoop loop;
    KirRef step = kir_i64(fn, a->build->lanes ? a->build->lanes : 1);
    if (a->build->lanes) begin = kir_add(fn, begin, kir_lane(fn));
    kir_for_begin(fn, begin, end, step, 2, (KirRef[2]){kir_int(fn, KT_I32, INT_MIN), kir_int(fn, KT_I32, 0)}, &loop);
    KirRef key = key_of(fn, kir_load(fn, KT_F32, kir_at(fn, row, loop.iv, 4, 0)));
    KirRef larger = kir_cmp(fn, KIR_GT, key, loop.carried[0]), column = kir_trunc(fn, loop.iv, KIR_I32);
    kir_for_end(fn, &loop, (KirRef[2]){kir_select(fn, larger, key, loop.carried[0]), kir_select(fn, larger, column, loop.carried[1])});
    *out_key = loop.results[0], *out_column = loop.results[1];
}

static void store_largest(const ArgMax *a, KirRef row, KirRef ids, KirRef unit, KirRef key, KirRef column) {
    KirFn *fn = a->fn;
    KirRef finite = kir_cmp(fn, KIR_LT, key, kir_int(fn, KT_I32, INT_MAX)), at = kir_sext(fn, column, KIR_I64);
    KirRef id = ids ? kir_load(fn, KT_I32, kir_at(fn, ids, at, 4, 0)) : column;
    KirRef value = kir_load(fn, KT_F32, kir_at(fn, row, at, 4, 0)), infinity = kir_float(fn, KT_F32, INFINITY);
    if (a->values) kir_store(fn, kir_at(fn, a->values, unit, 4, 0), kir_select(fn, finite, value, infinity));
    if (a->out) kir_store(fn, kir_at(fn, a->out, unit, 4, 0), kir_select(fn, finite, id, kir_int(fn, KT_I32, -1)));
}

static void emit_run(const ArgMax *a, KirRef unit) {
    KirFn *fn = a->fn;
    KirIf first_lane;
    KirRef runs = kir_i64(fn, a->runs), number = kir_sdiv(fn, unit, runs), key, column;
    KirRef begin = kir_mul(fn, kir_srem(fn, unit, runs), kir_i64(fn, a->width));
    KirRef end = kir_min(fn, kir_add(fn, begin, kir_i64(fn, a->width)), kir_i64(fn, a->columns));
    KirRef row = kir_at(fn, a->x, number, a->columns * 4, 0), ids = a->ids ? kir_at(fn, a->ids, number, a->columns * 4, 0) : 0;
    largest_of_lane(a, row, begin, end, &key, &column);
    if (a->build->lanes) {
        KirRef most = cg_group_max(a->build, key), none = kir_int(fn, KT_I32, INT_MIN), zero = kir_int(fn, KT_I32, 0);
        KirRef before = kir_select(fn, kir_cmp(fn, KIR_EQ, key, most), kir_sub(fn, zero, column), none);
        column = kir_sub(fn, zero, cg_group_max(a->build, before)), key = most;
        kir_if_begin(fn, kir_cmp(fn, KIR_EQ, kir_lane(fn), kir_i64(fn, 0)), &first_lane);
    }
    store_largest(a, row, ids, unit, key, column);
    if (a->build->lanes) kir_if_end(fn, &first_lane, NULL);
}

static HdStatus *argmax(CgGroupBuilder *builder, const IrGraph *graph, IrOpRef group, bool simt) {
    IrOpRef ref = cg_find_op(graph, group, IR_OP_argmax);
    if (!ref) return hd_error(HD_INTERNAL, "an argmax group holds one argmax");
    const IrOp *op = ir_op(graph, ref);
    HD_TRY(cg_check_operands(graph, op));
    const IrType *x = cg_type(graph, op->operands[0]), *out = cg_type(graph, op->results[0]);
    ArgMax a = {.columns = x->dims[1], .width = op->attr[IR_ATTR_WIDTH].i, .runs = out->dims[1]};
    a.build = simt ? cg_simt_launch_begin(builder, "argmax", a.width > 64 ? IR_GPU_MOST_LANES : 64) : cg_launch_begin(builder, "argmax");
    a.fn = a.build->fn;
    cg_units(a.build, out->dims, 2, 1);
    cg_account(a.build);
    a.x = cg_operand(a.build, op->operands[0]);
    if (op->operand_count > 1) a.ids = cg_operand(a.build, op->operands[1]);
    if (cg_yields(a.build, op->results[0])) a.values = cg_result(a.build, op->results[0]);
    if (cg_yields(a.build, op->results[1])) a.out = cg_result(a.build, op->results[1]);
    KirLoop units;
    emit_run(&a, cg_units_begin(a.build, &units));
    cg_units_end(a.build, &units);
    cg_launch_end(builder);
    return NULL;
}

HdStatus *cg_cpu_ARGMAX(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    return argmax(builder, graph, group, false);
}

HdStatus *cg_simt_ARGMAX(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    return argmax(builder, graph, group, true);
}
