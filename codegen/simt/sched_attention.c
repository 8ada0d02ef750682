// SPDX-License-Identifier: Apache-2.0
// ATTENTION: causal softmax attention over the cache, and element-wise operations on its rows. A work unit is a tile of a segment's tokens
// and of query heads that share a cache head, whose keys and values it reads once (attend.c).
//
// ATTENTION_SPANS: the same for one token and a span of the positions that it sees, without the division; the merge of the spans is an
// ATTENTION again, with a token's query head as unit.
#include "codegen/simt/attend.h"

// Evaluates and stores the yields at one channel of a head's row.
static void store_channel(CgBuild *build, const IrOp *op, const CgUnit *unit, KirRef token, KirRef head, KirRef c, KirRef mean) {
    KirFn *fn = build->fn;
    const IrType *rows = cg_type(build->graph, op->results[0]);
    int64_t H = rows->dims[1], d = rows->dims[2];
    CgRegion *region = cg_region_new(build);
    CgIndex row[3] = {cg_index(token, 0), cg_index(head, H), cg_index(c, d)}, at[4];
    cg_region_bind_lanes(region, op->results[0], mean);
    for (uint32_t i = 0; i < unit->sink_count; i++) {
        const IrType *type = cg_type(build->graph, unit->sinks[i].value);
        cg_index_reshape(fn, rows, row, type, at);
        KirRef value = cg_region_eval_at(region, unit->sinks[i].value, at, 1, 0);
        KirRef element = kir_add(fn, kir_mul(fn, kir_add(fn, kir_mul(fn, token, kir_i64(fn, H)), head), kir_i64(fn, d)), c);
        kir_store(fn, kir_at(fn, unit->sinks[i].to, element, ir_dtype_info(type->dtype)->block_bytes, 0), value);
    }
    cg_region_free(region);
}

static HdStatus *check_shape(const CgAttention *of) {
    if (of->d <= SIMT_MOST_CHANNELS && of->d % 2 == 0) return NULL;
    return hd_error(HD_UNSUPPORTED, "attention: heads of %lld channels; an even number up to %d", (long long)of->d, SIMT_MOST_CHANNELS);
}

// Goes to the tile of `count` tokens from `token` on, the first at `position`; gives its first query head.
static KirRef go_to(SimtAttend *a, KirRef slot, KirRef token, KirRef position, KirRef count, KirRef cache_head, KirRef block) {
    KirFn *fn = a->fn;
    KirRef head = kir_add(fn, kir_mul(fn, cache_head, kir_i64(fn, a->of.G)), kir_mul(fn, block, kir_i64(fn, a->heads)));
    a->k = cg_attention_cache(a->build, &a->of, 1, slot, cache_head);
    a->v = cg_attention_cache(a->build, &a->of, 2, slot, cache_head);
    a->q = cg_element(fn, cg_operand(a->build, a->of.op->operands[0]), 2, (KirRef[2]){token, head}, (int64_t[2]){0, a->of.H}, a->of.d * 4);
    a->position = position, a->count = count;
    return head;
}

// ---- tiles -----------------------------------------------------------------------------------------------------

// Means of a row of every lane go through shared memory, so that the yields are a loop and their stores are of neighbours.
static void store_rows(const SimtAttend *a, const CgUnit *unit, const SimtSums *sums, uint32_t i, KirRef token, KirRef head) {
    KirFn *fn = a->fn;
    KirRef d = kir_i64(fn, a->of.d), heads = kir_i64(fn, a->heads), row_lane = kir_sdiv(fn, kir_lane(fn), kir_i64(fn, a->channel_lanes));
    KirRef total = simt_attend_total(a, sums->row[i]), first = kir_mul(fn, row_lane, d);
    KirLoop loop;
    KirIf exists;
    for (uint32_t c = 0; c < sums->channel_count; c++)
        kir_shared_store(fn, a->staged, kir_add(fn, first, sums->channel[c]), kir_div(fn, sums->sum[i * sums->channel_count + c], total));
    cg_barrier(a->build);
    KirRef e = simt_deal_begin(a->build, kir_i64(fn, a->of.d * (a->build->lanes / a->channel_lanes)), &loop);
    KirRef row = kir_add(fn, kir_mul(fn, kir_sdiv(fn, e, d), kir_i64(fn, sums->row_count)), kir_i64(fn, i));
    kir_if_begin(fn, simt_attend_exists(a, row), &exists);
    store_channel(a->build, a->of.op, unit, kir_add(fn, token, kir_sdiv(fn, row, heads)), kir_add(fn, head, kir_srem(fn, row, heads)),
                  kir_srem(fn, e, d), kir_shared_load(fn, a->staged, e));
    kir_if_end(fn, &exists, NULL);
    simt_deal_end(a->build, &loop);
    cg_barrier(a->build);
}

static void emit_tile(SimtAttend *a, const CgUnit *unit, KirRef number) {
    KirFn *fn = a->fn;
    KirRef coord[3], none = kir_i64(fn, 0);
    SimtSums sums;
    cg_unit_coords(fn, number, (IrDim[3]){IR_DIM_T, a->of.heads, a->blocks}, 3, coord);
    CgPart part = cg_find_part(a->build, coord[0], a->tokens);
    KirRef token = kir_add(fn, part.segment.first, part.passed), position = kir_add(fn, part.segment.position, part.passed);
    KirRef head = go_to(a, part.segment.slot, token, position, part.count, coord[1], coord[2]);
    simt_attend(a, none, kir_select(fn, kir_cmp(fn, KIR_GT, part.count, none), kir_add(fn, position, part.count), none), &sums);
    for (uint32_t i = 0; i < sums.row_count; i++) store_rows(a, unit, &sums, i, token, head);
}

static HdStatus *launch_tiles(CgGroupBuilder *builder, const CgAttention *of, CgUnit *unit) {
    HD_TRY(check_shape(of));
    CgBuild *build = cg_simt_launch_begin(builder, "attention", simt_attend_lanes(of, true));
    SimtAttend a = simt_attend_begin(build, of, true);
    build->units = cg_part_count(a.tokens, of->heads * a.blocks);
    cg_attention_account(build, of->op);
    cg_unit_pointers(build, unit);
    KirLoop loop;
    emit_tile(&a, unit, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

// ---- spans -----------------------------------------------------------------------------------------------------

typedef struct Spans { SimtAttend a; int64_t count; KirRef sums, largest, totals; } Spans;

// What a row gives for this span, n numbers of it.
static KirRef of_span(const Spans *x, KirRef base, KirRef token, KirRef head, KirRef span, int64_t n) {
    return cg_element(x->a.fn, base, 3, (KirRef[3]){token, head, span}, (int64_t[3]){0, x->a.of.H, x->count}, n * 4);
}

static void store_span(const Spans *x, const SimtSums *sums, KirRef token, KirRef head, KirRef span) {
    const SimtAttend *a = &x->a;
    KirFn *fn = a->fn;
    KirIf exists;
    for (uint32_t i = 0; i < sums->row_count; i++) {
        kir_if_begin(fn, simt_attend_exists(a, sums->row[i]), &exists);
        KirRef to = of_span(x, x->sums, token, kir_add(fn, head, sums->row[i]), span, a->of.d);
        for (uint32_t c = 0; c < sums->channel_count; c++) kir_store(fn, kir_at(fn, to, sums->channel[c], 4, 0), sums->sum[i * sums->channel_count + c]);
        kir_if_end(fn, &exists, NULL);
    }
    KirRef row = kir_min(fn, kir_lane(fn), kir_i64(fn, a->heads - 1)), own = kir_add(fn, head, row);
    KirRef largest = kir_shared_load(fn, a->factor, row), total = simt_attend_total(a, row);
    kir_if_begin(fn, kir_cmp(fn, KIR_LT, kir_lane(fn), kir_i64(fn, a->heads)), &exists);
    kir_store(fn, of_span(x, x->largest, token, own, span, 1), largest);
    kir_store(fn, of_span(x, x->totals, token, own, span, 1), total);
    kir_if_end(fn, &exists, NULL);
}

static void emit_span(Spans *x, KirRef number) {
    SimtAttend *a = &x->a;
    KirFn *fn = a->fn;
    KirRef coord[4];
    SimtSums sums;
    cg_unit_coords(fn, number, (IrDim[4]){IR_DIM_T, a->of.heads, a->blocks, x->count}, 4, coord);
    KirRef info = kir_at(fn, cg_input(a->build, HEDDLE_INPUT_TOKEN_INFO), coord[0], 16, 0), position = cg_load_i32(fn, info, 8);
    KirRef head = go_to(a, cg_load_i32(fn, info, 4), coord[0], position, kir_i64(fn, 1), coord[1], coord[2]);
    KirRef seen = kir_add(fn, position, kir_i64(fn, 1)), length = kir_mul(fn, cg_ceil_div(fn, seen, 32 * x->count), kir_i64(fn, 32));   // ir_span_length
    KirRef begin = kir_mul(fn, coord[3], length);
    simt_attend(a, begin, kir_min(fn, kir_add(fn, begin, length), seen), &sums);
    store_span(x, &sums, coord[0], head, coord[3]);
}

HdStatus *cg_simt_ATTENTION_SPANS(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    CgAttention of;
    HD_TRY(cg_attention_find(graph, group, IR_OP_attention_spans, &of));
    HD_TRY(cg_check_results(graph, group, of.op));
    HD_TRY(check_shape(&of));
    CgBuild *build = cg_simt_launch_begin(builder, "attention_spans", simt_attend_lanes(&of, false));
    Spans x = {.a = simt_attend_begin(build, &of, false), .count = of.op->attr[IR_ATTR_SPANS].i};
    cg_units(build, (IrDim[4]){IR_DIM_T, of.heads, x.a.blocks, x.count}, 4, 1);
    cg_attention_account(build, of.op);
    x.sums = cg_result(build, of.op->results[0]), x.largest = cg_result(build, of.op->results[1]), x.totals = cg_result(build, of.op->results[2]);
    KirLoop loop;
    emit_span(&x, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

// ---- the merge of spans ----------------------------------------------------------------------------------------

// Adds the spans up from the first on: what each has counts by e^(its largest score - the largest of all).
static void emit_merge(CgBuild *build, const IrOp *op, const CgUnit *unit, KirRef number) {
    KirFn *fn = build->fn;
    const IrType *type = cg_type(build->graph, op->operands[0]);
    int64_t H = type->dims[1], spans = type->dims[2], d = type->dims[3];
    KirRef coord[2], weight[IR_MOST_SPANS], largest = 0, total = 0, sum = 0;
    KirRef sums = kir_at(fn, cg_operand(build, op->operands[0]), number, spans * d * 4, 0);
    KirRef own[2];
    for (int i = 0; i < 2; i++) own[i] = kir_at(fn, cg_operand(build, op->operands[1 + i]), number, spans * 4, 0);
    cg_unit_coords(fn, number, (IrDim[2]){IR_DIM_T, H}, 2, coord);
    for (int64_t s = 0; s < spans; s++) {
        weight[s] = cg_load_f32(fn, own[0], 4 * s);
        largest = largest ? kir_max(fn, largest, weight[s]) : weight[s];
    }
    for (int64_t s = 0; s < spans; s++) {
        weight[s] = kir_exp(fn, kir_sub(fn, weight[s], largest));
        KirRef part = cg_load_f32(fn, own[1], 4 * s);
        total = total ? kir_fma(fn, part, weight[s], total) : kir_mul(fn, part, weight[s]);
    }
    KirLoop loop;
    KirRef c = simt_deal_begin(build, kir_i64(fn, d), &loop), at = kir_at(fn, sums, c, 4, 0);
    for (int64_t s = 0; s < spans; s++) {
        KirRef part = cg_load_f32(fn, at, 4 * d * s);
        sum = sum ? kir_fma(fn, part, weight[s], sum) : kir_mul(fn, part, weight[s]);
    }
    store_channel(build, op, unit, coord[0], coord[1], c, kir_div(fn, sum, total));
    simt_deal_end(build, &loop);
}

static HdStatus *launch_merge(CgGroupBuilder *builder, const IrGraph *graph, const IrOp *op, CgUnit *unit) {
    const IrType *type = cg_type(graph, op->operands[0]);
    CgBuild *build = cg_simt_launch_begin(builder, "attention_merge", (uint32_t)HD_MIN(hd_align_up((uint64_t)type->dims[3], SIMT_LANES), SIMT_MOST_LANES));
    cg_units(build, type->dims, 2, 1);
    cg_account(build);
    cg_unit_pointers(build, unit);
    KirLoop loop;
    emit_merge(build, op, unit, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

HdStatus *cg_simt_ATTENTION(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    IrOpRef merge = cg_find_op(graph, group, IR_OP_attention_merge);
    CgUnit unit;
    CgAttention of;
    if (!merge) HD_TRY(cg_attention_find(graph, group, IR_OP_attention, &of));
    const IrOp *op = merge ? ir_op(graph, merge) : of.op;
    HD_TRY(cg_check_operands(graph, op));
    HD_TRY(cg_attention_plan(graph, group, op, &unit));
    return merge ? launch_merge(builder, graph, op, &unit) : launch_tiles(builder, &of, &unit);
}
