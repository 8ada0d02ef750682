// SPDX-License-Identifier: Apache-2.0
// ROWWISE, ROWS and EMBED: groups whose work unit is a row, dealt out to the lanes; and what all SIMT schedules share (sched.h).
#include "codegen/simt/sched.h"

#include "codegen/simt/decode.h"

uint32_t simt_row_lanes(int64_t n) {
    return n <= SIMT_LANES ? SIMT_LANES : n < 4 * SIMT_MOST_LANES ? 2 * SIMT_LANES : SIMT_MOST_LANES;
}

KirRef simt_deal_begin(CgBuild *build, KirRef n, KirLoop *out_loop) {
    kir_for_begin(build->fn, kir_lane(build->fn), n, kir_i64(build->fn, build->lanes), 0, NULL, out_loop);
    return out_loop->iv;
}

void simt_first_lane(CgBuild *build, KirIf *out_if) {
    kir_if_begin(build->fn, kir_cmp(build->fn, KIR_EQ, kir_lane(build->fn), kir_i64(build->fn, 0)), out_if);
}

KirRef simt_load_number(KirFn *fn, IrDtype dtype, KirRef ptr) {
    if (dtype == IR_F32) return kir_load(fn, KT_F32, ptr);
    KirRef half = kir_load(fn, KT_I16, ptr);
    return dtype == IR_F16 ? kir_f16_f32(fn, half) : kir_bf16_f32(fn, half);
}

// ---- ROWWISE ---------------------------------------------------------------------------------------------------

// The longest row among what leaves the unit.
static int64_t row_length(const IrGraph *graph, const CgUnit *unit) {
    int64_t n = 1;
    for (uint32_t i = 0; i < unit->sink_count; i++) {
        IrDim last = ir_type_last(cg_type(graph, unit->sinks[i].value));
        if (!ir_dim_is_sym(last)) n = HD_MAX(n, last);
    }
    return n;
}

HdStatus *cg_simt_ROWWISE(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    CgUnit unit;
    HD_TRY(cg_unit_plan(graph, group, &unit));
    CgBuild *build = cg_simt_launch_begin(builder, "rowwise", simt_row_lanes(row_length(graph, &unit)));
    cg_units(build, unit.dims, unit.prefix, 1);
    cg_account(build);
    cg_unit_pointers(build, &unit);
    KirLoop loop;
    KirRef coord[4];
    cg_unit_coords(build->fn, cg_units_begin(build, &loop), unit.dims, unit.prefix, coord);
    CgRegion *region = cg_region_new(build);
    cg_unit_emit(region, &unit, coord);
    cg_region_free(region);
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

// ---- ROWS ------------------------------------------------------------------------------------------------------

HdStatus *cg_simt_ROWS(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op = ir_op(graph, cg_find_op(graph, group, IR_OP_take_rows));
    HD_TRY(cg_check_operands(graph, op));
    HD_TRY(cg_check_results(graph, group, op));
    const IrType *type = cg_type(graph, op->results[0]);
    int64_t n = ir_type_last(type);
    CgBuild *build = cg_simt_launch_begin(builder, "rows", simt_row_lanes(n));
    KirFn *fn = build->fn;
    cg_units(build, type->dims, 1, 1);
    cg_expr_add_elements(&build->bytes, graph, type, 8);
    KirRef x = cg_operand(build, op->operands[0]), rows = cg_operand(build, op->operands[1]), to = cg_result(build, op->results[0]);
    KirLoop units, columns;
    KirRef r = cg_units_begin(build, &units), row = cg_load_i32(fn, kir_at(fn, rows, r, 4, 0), 0);
    KirRef from = kir_at(fn, x, row, n * 4, 0), into = kir_at(fn, to, r, n * 4, 0);
    KirRef c = simt_deal_begin(build, kir_i64(fn, n), &columns);
    kir_store(fn, kir_at(fn, into, c, 4, 0), kir_load(fn, KT_F32, kir_at(fn, from, c, 4, 0)));
    simt_deal_end(build, &columns);
    cg_units_end(build, &units);
    cg_launch_end(builder);
    return NULL;
}

// ---- EMBED -----------------------------------------------------------------------------------------------------

static void decode_row(CgBuild *build, IrDtype dtype, KirRef row, KirRef columns, KirRef out) {
    KirFn *fn = build->fn;
    const IrDtypeInfo *info = ir_dtype_info(dtype);
    KirLoop loop;
    if (simt_is_plain(dtype)) {
        KirRef c = simt_deal_begin(build, columns, &loop);
        kir_store(fn, kir_at(fn, out, c, 4, 0), simt_load_number(fn, dtype, kir_at(fn, row, c, info->block_bytes, 0)));
    } else {
        KirRef values[16], part = simt_deal_begin(build, kir_sdiv(fn, columns, kir_i64(fn, 16)), &loop);
        KirRef parts = kir_i64(fn, info->block / 16), block = kir_at(fn, row, kir_sdiv(fn, part, parts), info->block_bytes, 0);
        simt_decode16(fn, dtype, block, kir_srem(fn, part, parts), values);
        for (int i = 0; i < 16; i++) kir_store(fn, kir_at(fn, out, part, 64, 4 * i), values[i]);
    }
    simt_deal_end(build, &loop);
}

HdStatus *cg_simt_EMBED(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op = ir_op(graph, cg_find_op(graph, group, IR_OP_embed));
    const IrType ids = ir_value(graph, op->operands[0])->type, table = ir_value(graph, op->operands[1])->type;
    const IrType result = ir_value(graph, op->results[0])->type;
    const IrDtypeInfo *info = ir_dtype_info(table.dtype);
    if (table.layout != IR_LAYOUT_NATIVE || !simt_can_decode(table.dtype))
        return hd_error(HD_UNSUPPORTED, "@%s: no embedding from a %s matrix in layout %s", graph->name, info->name,
                        ir_layout_name(table.layout));
    char name[48];
    snprintf(name, sizeof name, "embed_%s", info->name);
    int64_t width = table.dims[1], row_bytes = width / info->block * info->block_bytes;
    CgBuild *build = cg_simt_launch_begin(builder, name, simt_row_lanes(simt_is_plain(table.dtype) ? width : width / 16));
    KirFn *fn = build->fn;
    KirRef id_base = cg_pointer(build, op->operands[0]), base = cg_pointer(build, op->operands[1]), out = cg_pointer(build, op->results[0]);
    KirRef columns = cg_const(build, width, "D"), bytes = cg_const(build, row_bytes, "bytes of a native row");
    cg_units(build, ids.dims, 1, 1);
    cg_expr_add_elements(&build->bytes, graph, &ids, row_bytes);
    cg_expr_add_elements(&build->bytes, graph, &result, 4);
    cg_expr_add_elements(&build->flops, graph, &result, 1);
    KirLoop units;
    KirRef token = cg_units_begin(build, &units), id = cg_load_i32(fn, kir_at(fn, id_base, token, 4, 0), 0);
    KirRef to = kir_offset(fn, out, kir_mul(fn, token, kir_mul(fn, columns, kir_i64(fn, 4))));
    decode_row(build, table.dtype, kir_offset(fn, base, kir_mul(fn, id, bytes)), columns, to);
    cg_units_end(build, &units);
    cg_launch_end(builder);
    return NULL;
}
