// SPDX-License-Identifier: Apache-2.0
// See sched.h.
#include "codegen/sched.h"

#include <limits.h>
#include <string.h>

IrOpRef cg_find_op(const IrGraph *graph, IrOpRef group, IrOpKind kind) {
    IR_FOR_OPS(graph, ir_op(graph, group)->region, ref)
        if (ir_op(graph, ref)->kind == kind) return ref;
    return 0;
}

// ---- operands and results --------------------------------------------------------------------------------------

// The group's result that is `value`; 0: none.
static IrValue result_of(const IrGraph *graph, IrOpRef group, IrValue value) {
    const IrOp *fused = ir_op(graph, group);
    const IrBlockData *region = &graph->blocks.data[fused->region];
    for (size_t i = 0; i < region->yields.len; i++)
        if (cg_below_reshapes(graph, region->yields.data[i]) == value) return fused->results[i];
    return 0;
}

KirRef cg_operand(CgBuild *build, IrValue value) { return cg_pointer(build, cg_below_reshapes(build->graph, value)); }
KirRef cg_result(CgBuild *build, IrValue value) {
    IrValue result = result_of(build->graph, build->group, value);
    return result ? cg_pointer(build, result) : 0;
}

HdStatus *cg_check_operands(const IrGraph *graph, const IrOp *op) {
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (cg_region_op(graph, cg_below_reshapes(graph, op->operands[i])))
            return hd_error(HD_UNSUPPORTED, "%s: operand %u is computed inside the group", ir_op_info(op->kind)->name, i);
    return NULL;
}

HdStatus *cg_check_results(const IrGraph *graph, IrOpRef group, const IrOp *op) {
    for (uint32_t i = 0; i < op->result_count; i++)
        if (!result_of(graph, group, op->results[i]))
            return hd_error(HD_UNSUPPORTED, "%s: result %u is not yielded", ir_op_info(op->kind)->name, i);
    return NULL;
}

HdStatus *cg_group_op(const IrGraph *graph, IrOpRef group, IrOpKind kind, const IrOp **out_op) {
    IrOpRef ref = cg_find_op(graph, group, kind);
    if (!ref) return hd_error(HD_INTERNAL, "@%s: a group without the %s that it is made for", graph->name, ir_op_info(kind)->name);
    *out_op = ir_op(graph, ref);
    return cg_check_operands(graph, *out_op);
}

// ---- loops and addresses ---------------------------------------------------------------------------------------

KirRef cg_loop_begin(KirFn *fn, KirRef begin, KirRef end, KirLoop *out_loop) {
    kir_for_begin(fn, begin, end, kir_i64(fn, 1), 0, NULL, out_loop);
    return out_loop->iv;
}

void cg_first_lane(CgBuild *build, KirIf *out_if) {
    kir_if_begin(build->fn, kir_cmp(build->fn, KIR_EQ, kir_lane(build->fn), kir_i64(build->fn, 0)), out_if);
}

KirRef cg_load_i32(KirFn *fn, KirRef ptr, int64_t bytes) {
    return kir_sext(fn, kir_load(fn, KT_I32, kir_offset_const(fn, ptr, bytes)), KIR_I64);
}

KirRef cg_scratch_words(CgBuild *build, int64_t words) {
    return kir_offset_const(build->fn, kir_scratch(build->fn), cg_scratch(build, (uint64_t)words * 4));
}

// Bits of x + 0, the lower 31 of them inverted for negative numbers.
KirRef cg_order_key(KirFn *fn, KirRef x) {
    KirType type = KIR_T(KIR_I32, kir_type(fn, x).lanes);
    KirRef bits = kir_bitcast(fn, kir_add(fn, x, kir_float(fn, KT_F32, 0)), type);
    KirRef sign = kir_ashr(fn, bits, kir_int(fn, type, 31));
    return kir_xor(fn, bits, kir_and(fn, sign, kir_int(fn, type, INT_MAX)));
}

KirRef cg_ceil_div(KirFn *fn, KirRef a, int64_t by) { return kir_sdiv(fn, kir_add(fn, a, kir_i64(fn, by - 1)), kir_i64(fn, by)); }

KirRef cg_element(KirFn *fn, KirRef base, uint32_t count, const KirRef *a, const int64_t *n, int64_t bytes) {
    KirRef at = a[0];
    for (uint32_t i = 1; i < count; i++) at = kir_add(fn, kir_mul(fn, at, kir_i64(fn, n[i])), a[i]);
    return kir_at(fn, base, at, bytes, 0);
}

KirRef cg_load16(KirFn *fn, KirRef ptr, KirRef valid) {
    return valid ? kir_load_part(fn, KT_F32x16, ptr, valid) : kir_load(fn, KT_F32x16, ptr);
}

void cg_store16(KirFn *fn, KirRef ptr, KirRef value, KirRef valid) {
    if (valid) kir_store_part(fn, ptr, valid, value);
    else kir_store(fn, ptr, value);
}

KirRef cg_load_f32(KirFn *fn, KirRef ptr, int64_t bytes) { return kir_load(fn, KT_F32, kir_offset_const(fn, ptr, bytes)); }

void cg_prefetch_row(KirFn *fn, KirRef row, int64_t n) {
    for (int64_t at = 0; at < n * 4; at += 64) kir_prefetch(fn, kir_offset_const(fn, row, at));
}

KirRef cg_lane_numbers(KirFn *fn) {
    static const int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return kir_load(fn, KT_I32x16, kir_table(fn, lane, sizeof lane, "lane numbers"));
}

CgSegment cg_segment(CgBuild *build, KirRef index) {
    KirFn *fn = build->fn;
    KirRef row = kir_at(fn, cg_input(build, HEDDLE_INPUT_SEGMENTS), index, 32, 0);
    return (CgSegment){.slot = cg_load_i32(fn, row, 0),
                       .position = cg_load_i32(fn, row, 4),
                       .first = cg_load_i32(fn, row, 8),
                       .count = cg_load_i32(fn, row, 12),
                       .plane_in = cg_load_i32(fn, row, 16),
                       .plane_out = cg_load_i32(fn, row, 20)};
}

CgPart cg_find_part(CgBuild *build, KirRef index, int64_t size) {
    KirFn *fn = build->fn;
    KirLoop loop;
    KirRef zero = kir_i64(fn, 0), tokens = kir_i64(fn, size);
    IrExpr segments = {.coef = {[IR_SYM_S] = 1}};
    kir_for_begin(fn, zero, cg_expr(build, &segments, "segments"), kir_i64(fn, 1), 4, (KirRef[4]){zero, zero, zero, zero}, &loop);
    KirRef all = cg_segment(build, loop.iv).count, begin = loop.carried[0], end = kir_add(fn, begin, cg_ceil_div(fn, all, size));
    KirRef here = kir_and(fn, kir_cmp(fn, KIR_GE, index, begin), kir_cmp(fn, KIR_LT, index, end));
    KirRef passed = kir_mul(fn, kir_sub(fn, index, begin), tokens), count = kir_min(fn, tokens, kir_sub(fn, all, passed));
    KirRef next[4] = {end, loop.iv, passed, count};
    for (int i = 1; i < 4; i++) next[i] = kir_select(fn, here, next[i], loop.carried[i]);
    kir_for_end(fn, &loop, next);
    return (CgPart){cg_segment(build, loop.results[1]), loop.results[2], loop.results[3]};
}

IrExpr cg_part_count(int64_t size, int64_t factor) {
    return (IrExpr){.coef = {[IR_SYM_S] = factor}, .ceils = 1, .ceil = {{factor, size, IR_SYM_T}}};
}

KirRef cg_state_base(CgBuild *build, IrValue state, KirRef slot, KirRef plane) {
    KirFn *fn = build->fn;
    KirRef base = kir_offset(fn, cg_pointer(build, state), kir_mul(fn, slot, cg_state_slot_bytes(build, state)));
    return plane ? kir_offset(fn, base, kir_mul(fn, plane, cg_state_plane_bytes(build, state))) : base;
}

KirRef cg_key_head(KirFn *fn, const IrOp *op, KirRef j, int64_t nk, int64_t nv) {
    bool divide = !strcmp(op->attr[IR_ATTR_HEADS].name, "div");
    return divide ? kir_sdiv(fn, j, kir_i64(fn, nv / nk)) : kir_srem(fn, j, kir_i64(fn, nk));
}

// ---- attention -------------------------------------------------------------------------------------------------

HdStatus *cg_attention_find(const IrGraph *graph, IrOpRef group, IrOpKind kind, CgAttention *out_attention) {
    const IrOp *op;
    HD_TRY(cg_group_op(graph, group, kind, &op));
    const IrType *q = cg_type(graph, op->operands[0]), *k = cg_type(graph, op->operands[1]);
    *out_attention = (CgAttention){.op = op, .H = q->dims[1], .heads = k->dims[1], .d = q->dims[2], .G = q->dims[1] / k->dims[1],
                                   .scale = op->attr[IR_ATTR_SCALE].f, .cache = k->dtype};
    return NULL;
}

static int64_t head_bytes(const CgAttention *a) { return a->d * ir_dtype_info(a->cache)->block_bytes; }
int64_t cg_attention_row_bytes(const CgAttention *attention) { return attention->heads * head_bytes(attention); }

KirRef cg_attention_cache(CgBuild *build, const CgAttention *attention, uint32_t operand, KirRef slot, KirRef head) {
    return kir_at(build->fn, cg_state_base(build, attention->op->operands[operand], slot, 0), head, head_bytes(attention), 0);
}

HdStatus *cg_attention_plan(const IrGraph *graph, IrOpRef group, const IrOp *op, CgUnit *out_unit) {
    HD_TRY(cg_unit_plan(graph, group, out_unit));
    const IrType *rows = cg_type(graph, op->results[0]);
    for (uint32_t i = 0; i < out_unit->sink_count; i++) {
        const IrType *type = cg_type(graph, out_unit->sinks[i].value);
        bool same = type->rank == 3 && type->dims[1] == rows->dims[1] && type->dims[2] == rows->dims[2];
        bool flat = type->rank == 2 && type->dims[1] == rows->dims[1] * rows->dims[2];
        if (out_unit->sinks[i].op || (!same && !flat) || type->dims[0] != rows->dims[0])
            return hd_error(HD_UNSUPPORTED, "an attention group yields [T, H, d] or [T, H * d] only");
    }
    return NULL;
}

void cg_attention_account(CgBuild *build, const IrOp *op) {
    cg_account(build);
    for (uint32_t i = 1; i <= 2; i++) {
        const IrType *cache = cg_type(build->graph, op->operands[i]);
        cg_expr_add_elements(&build->bytes, build->graph, cache, ir_dtype_info(cache->dtype)->block_bytes);
    }
}

// ---- embed -------------------------------------------------------------------------------------------------------

HdStatus *cg_embed_plan(const IrGraph *graph, IrOpRef group, bool (*can_decode)(IrDtype dtype), CgEmbed *out_embed) {
    const IrOp *op;
    HD_TRY(cg_group_op(graph, group, IR_OP_embed, &op));
    const IrType *table = cg_type(graph, op->operands[1]);
    *out_embed = (CgEmbed){.op = op, .dtype = table->dtype, .width = table->dims[1]};
    if (table->layout == IR_LAYOUT_NATIVE && can_decode(table->dtype)) return NULL;
    return hd_error(HD_UNSUPPORTED, "@%s: no embedding from a %s matrix in layout %s", graph->name, ir_dtype_info(table->dtype)->name,
                    ir_layout_name(table->layout));
}

CgBuild *cg_embed_begin(CgGroupBuilder *builder, const IrGraph *graph, CgEmbed *embed, uint32_t lanes) {
    const IrType *ids = cg_type(graph, embed->op->operands[0]), *result = cg_type(graph, embed->op->results[0]);
    int64_t row_bytes = ir_dtype_row_bytes(embed->dtype, embed->width);
    char name[48];
    snprintf(name, sizeof name, "embed_%s", ir_dtype_info(embed->dtype)->name);
    CgBuild *build = lanes ? cg_simt_launch_begin(builder, name, lanes) : cg_launch_begin(builder, name);
    embed->ids = cg_pointer(build, embed->op->operands[0]), embed->table = cg_pointer(build, embed->op->operands[1]);
    embed->result = cg_pointer(build, embed->op->results[0]);
    embed->columns = cg_const(build, embed->width, "D"), embed->row_bytes = cg_const(build, row_bytes, "bytes of a native row");
    cg_units(build, ids->dims, 1, 1);
    cg_expr_add_elements(&build->bytes, graph, ids, row_bytes);
    cg_expr_add_elements(&build->bytes, graph, result, 4);
    cg_expr_add_elements(&build->flops, graph, result, 1);
    return build;
}

void cg_embed_token(KirFn *fn, const CgEmbed *embed, KirRef token, KirRef *out_row, KirRef *out_to) {
    KirRef id = cg_load_i32(fn, kir_at(fn, embed->ids, token, 4, 0), 0);
    *out_row = kir_offset(fn, embed->table, kir_mul(fn, id, embed->row_bytes));
    *out_to = kir_offset(fn, embed->result, kir_mul(fn, token, kir_mul(fn, embed->columns, kir_i64(fn, 4))));
}
