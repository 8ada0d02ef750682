// SPDX-License-Identifier: Apache-2.0
// ROWWISE, ROWS and EMBED: groups whose work unit is a row, dealt out to the lanes; and what all SIMT schedules share (sched.h).
// The row-wise groups of one stage (queries, keys and values of an attention) are one launch: each is smaller than what a launch costs.
#include "codegen/simt/sched.h"

#include "codegen/simt/decode.h"

#include <stdlib.h>

uint32_t simt_row_lanes(int64_t n) {
    return n <= SIMT_LANES ? SIMT_LANES : n < 4 * SIMT_MOST_LANES ? 2 * SIMT_LANES : SIMT_MOST_LANES;
}

KirRef simt_deal_begin(CgBuild *build, KirRef n, KirLoop *out_loop) {
    kir_for_begin(build->fn, kir_lane(build->fn), n, kir_i64(build->fn, build->lanes), 0, NULL, out_loop);
    return out_loop->iv;
}

KirRef simt_load_number(KirFn *fn, IrDtype dtype, KirRef ptr) {
    if (dtype == IR_F32) return kir_load(fn, KT_F32, ptr);
    KirRef half = kir_load(fn, KT_I16, ptr);
    return dtype == IR_F16 ? kir_f16_f32(fn, half) : kir_bf16_f32(fn, half);
}

KirRef simt_plus(KirFn *fn, KirRef a, int64_t b) { return kir_add(fn, a, kir_i64(fn, b)); }
KirRef simt_index(KirFn *fn, KirRef row, int64_t stride, KirRef column) { return kir_add(fn, kir_mul(fn, row, kir_i64(fn, stride)), column); }

// All is loaded before the first is stored: no compiler can know that they are not the same bytes. Lanes that are too many repeat the last row.
void simt_stage(CgBuild *build, const SimtBlock *block, SimtLoadPair *load, void *user) {
    enum { MOST_ROUNDS = 32 };
    KirFn *fn = build->fn;
    KirRef values[MOST_ROUNDS][2], to[MOST_ROUNDS], across = kir_i64(fn, block->step / 2), zero = kir_float(fn, KT_F32, 0);
    uint32_t rounds = (uint32_t)hd_ceil_div(block->rows * block->step / 2, build->lanes);
    HD_ASSERT(rounds <= MOST_ROUNDS && block->step % 2 == 0 && block->columns % 2 == 0);
    for (uint32_t i = 0; i < rounds; i++) {
        KirRef task = simt_plus(fn, kir_lane(fn), (int64_t)i * build->lanes), row = kir_sdiv(fn, task, across);
        if ((i + 1) * build->lanes > block->rows * block->step / 2) row = kir_min(fn, row, kir_i64(fn, block->rows - 1));
        KirRef place = kir_mul(fn, kir_srem(fn, task, across), kir_i64(fn, 2)), column = kir_add(fn, block->column, place);
        KirRef inside = block->columns % block->step ? kir_cmp(fn, KIR_LT, column, kir_i64(fn, block->columns)) : 0;
        load(user, row, inside ? kir_min(fn, column, kir_i64(fn, block->columns - 2)) : column, values[i]);
        for (int j = 0; inside && j < 2; j++) values[i][j] = kir_select(fn, inside, values[i][j], zero);
        to[i] = simt_plus(fn, simt_index(fn, row, block->step + 1, place), block->to);
    }
    for (uint32_t i = 0; i < rounds; i++)
        for (int j = 0; j < 2; j++) kir_shared_store(fn, block->array, simt_plus(fn, to[i], j), values[i][j]);
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

typedef struct Rows { IrOpRef group; CgUnit unit; IrExpr units; } Rows;

// Goes to the group that unit number `number` among those of all is of.
static void choose_rows(CgBuild *build, Rows *rows, uint32_t count, KirRef number) {
    KirFn *fn = build->fn;
    KirRef coord[4];
    KirIf here;
    build->group = rows->group;
    KirRef units = count > 1 ? cg_expr(build, &rows->units, "units of a group") : 0;
    if (count > 1) kir_if_begin(fn, kir_cmp(fn, KIR_LT, number, units), &here);
    CgRegion *region = cg_region_new(build);
    cg_unit_coords(fn, number, rows->unit.dims, rows->unit.prefix, coord);
    cg_unit_emit(region, &rows->unit, coord);
    cg_region_free(region);
    if (count == 1) return;
    kir_if_else(fn, &here, 0, NULL);
    choose_rows(build, rows + 1, count - 1, kir_sub(fn, number, units));
    kir_if_end(fn, &here, NULL);
}

static void launch_rows(CgGroupBuilder *builder, Rows *rows, uint32_t count, const IrGraph *graph, const IrExpr *units) {
    int64_t longest = 1;
    for (uint32_t i = 0; i < count; i++) longest = HD_MAX(longest, row_length(graph, &rows[i].unit));
    CgBuild *build = cg_simt_launch_begin(builder, "rowwise", simt_row_lanes(longest));
    build->units = *units;
    for (uint32_t i = 0; i < count; i++) {
        build->group = rows[i].group;
        cg_account(build);
        cg_unit_pointers(build, &rows[i].unit);
    }
    KirLoop loop;
    choose_rows(build, rows, count, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
}

static HdStatus *plan_rows(const IrGraph *graph, IrOpRef group, Rows *out_rows) {
    CgBuild dims_only = {.graph = graph};
    out_rows->group = group;
    HD_TRY(cg_unit_plan(graph, group, &out_rows->unit));
    cg_units(&dims_only, out_rows->unit.dims, out_rows->unit.prefix, 1);
    out_rows->units = dims_only.units;
    return NULL;
}

// All groups of the stage as one launch, where their units can be added up; made with the first of them.
HdStatus *cg_simt_ROWWISE(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    uint32_t count;
    const IrOpRef *groups = cg_rowwise_of_stage(builder, graph, group, &count);
    (void)target;
    if (groups[0] != group) return NULL;
    Rows *rows = hd_xcalloc(count, sizeof *rows);
    HdStatus *status = NULL;
    for (uint32_t i = 0; i < count && !status; i++) status = plan_rows(graph, groups[i], &rows[i]);
    for (uint32_t first = 0, end; first < count && !status; first = end) {
        IrExpr units = rows[first].units;
        for (end = first + 1; end < count && cg_expr_add(&units, &rows[end].units);) end++;
        launch_rows(builder, &rows[first], end - first, graph, &units);
    }
    free(rows);
    return status;
}

// ---- ROWS ------------------------------------------------------------------------------------------------------

HdStatus *cg_simt_ROWS(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    HD_TRY(cg_group_op(graph, group, IR_OP_take_rows, &op));
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
        simt_decode16(fn, dtype, &(SimtPlace){block, kir_srem(fn, part, parts), 0}, values);
        for (int i = 0; i < 16; i++) kir_store(fn, kir_at(fn, out, part, 64, 4 * i), values[i]);
    }
    simt_deal_end(build, &loop);
}

HdStatus *cg_simt_EMBED(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    CgEmbed embed;
    HD_TRY(cg_embed_plan(graph, group, simt_can_decode, &embed));
    CgBuild *build = cg_embed_begin(builder, graph, &embed, simt_row_lanes(simt_is_plain(embed.dtype) ? embed.width : embed.width / 16));
    KirRef row, to;
    KirLoop units;
    cg_embed_token(build->fn, &embed, cg_units_begin(build, &units), &row, &to);
    decode_row(build, embed.dtype, row, embed.columns, to);
    cg_units_end(build, &units);
    cg_launch_end(builder);
    return NULL;
}
