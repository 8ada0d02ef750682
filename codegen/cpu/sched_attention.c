// SPDX-License-Identifier: Apache-2.0
// ATTENTION: causal softmax attention over the cache, and element-wise operations on its rows (attention.h).
#include "codegen/cpu/attention.h"

enum { TILE = ATTENTION_TILE, SPAN = 1024, LANES = ATTENTION_LANES };
#define LOWEST -1e30f   // below every score; e^(LOWEST - x) is 0

// ---- rows ------------------------------------------------------------------------------------------------------

typedef void Row(const Attention *a, KirRef row);

static void each_row(const Attention *a, Row *body) {
    KirFn *fn = a->fn;
    KirLoop loop;
    if (a->tokens == 1) {
        for (int64_t g = 0; g < a->G; g++) body(a, kir_i64(fn, g));
        return;
    }
    body(a, cg_loop_begin(fn, kir_i64(fn, 0), a->rows, &loop));
    cg_loop_end(fn, &loop);
}

static KirRef of_row(const Attention *a, KirRef base, KirRef row) { return kir_at(a->fn, base, row, 4, 0); }
static KirRef sums_of_row(const Attention *a, KirRef base, KirRef row) { return kir_at(a->fn, base, row, attention_width(a) * 4, 0); }
static KirRef token_of_row(const Attention *a, KirRef row) { return a->tokens == 1 ? kir_i64(a->fn, 0) : kir_sdiv(a->fn, row, kir_i64(a->fn, a->G)); }

// ---- running softmax -------------------------------------------------------------------------------------------

// Turns the scores of a row into weights e^(score - max), 0 at positions that its token does not see; notes the factor e^(old max - new max) for what
// was summed before.
static void tile_weights(const Attention *a, KirRef r) {
    KirFn *fn = a->fn;
    KirRef seen = kir_add(fn, kir_add(fn, a->position, token_of_row(a, r)), kir_i64(fn, 1)), n = kir_trunc(fn, kir_sub(fn, seen, a->first), KIR_I32);
    KirRef row = kir_at(fn, a->score, r, TILE * 4, 0), s[TILE / LANES];
    KirRef lowest = kir_float(fn, KT_F32x16, LOWEST), m = kir_load(fn, KT_F32, of_row(a, a->span_m, r)), most = lowest;
    for (int i = 0; i < TILE / LANES; i++) {
        KirRef j = kir_add(fn, cg_lane_numbers(fn), kir_int(fn, KT_I32x16, i * LANES));
        s[i] =
            kir_select(fn, kir_cmp(fn, KIR_LT, j, n), kir_load(fn, KT_F32x16, kir_offset_const(fn, row, i * LANES * 4)), lowest);
        most = kir_max(fn, most, s[i]);
    }
    KirRef new_m = kir_max(fn, m, kir_reduce_max(fn, most)), factor = kir_exp(fn, kir_sub(fn, m, new_m));
    for (int i = 0; i < TILE / LANES; i++) {
        s[i] = kir_exp(fn, kir_sub(fn, s[i], new_m));
        kir_store(fn, kir_offset_const(fn, row, i * LANES * 4), s[i]);
    }
    KirRef sum = kir_reduce_add(fn, kir_add(fn, kir_add(fn, s[0], s[2]), kir_add(fn, s[1], s[3])));
    KirRef l = kir_load(fn, KT_F32, of_row(a, a->span_l, r));
    kir_store(fn, of_row(a, a->span_m, r), new_m);
    kir_store(fn, of_row(a, a->span_l, r), kir_fma(fn, l, factor, sum));
    kir_store(fn, of_row(a, a->factor, r), factor);
}

static void tile(const Attention *a, KirRef count) {
    attention_scores(a, count);
    each_row(a, tile_weights);
    attention_values(a, count);
}

// ---- spans -----------------------------------------------------------------------------------------------------

static void each_vector(const Attention *a, KirLoop *loop) {
    kir_for_begin(a->fn, kir_i64(a->fn, 0), kir_i64(a->fn, attention_width(a)), kir_i64(a->fn, LANES), 0, NULL, loop);
}

static void start_sums(const Attention *a, KirRef row, KirRef m, KirRef l, KirRef o) {
    KirFn *fn = a->fn;
    KirLoop loop;
    kir_store(fn, of_row(a, m, row), kir_float(fn, KT_F32, LOWEST));
    kir_store(fn, of_row(a, l, row), kir_float(fn, KT_F32, 0));
    each_vector(a, &loop);
    kir_store(fn, kir_at(fn, sums_of_row(a, o, row), loop.iv, 4, 0), kir_float(fn, KT_F32x16, 0));
    kir_for_end(fn, &loop, NULL);
}

static void start_row(const Attention *a, KirRef row) { start_sums(a, row, a->all_m, a->all_l, a->all_o); }
static void start_span(const Attention *a, KirRef row) { start_sums(a, row, a->span_m, a->span_l, a->span_o); }

static void merge_span(const Attention *a, KirRef row) {
    KirFn *fn = a->fn;
    KirRef m = kir_load(fn, KT_F32, of_row(a, a->all_m, row)), span_m = kir_load(fn, KT_F32, of_row(a, a->span_m, row)), most = kir_max(fn, m, span_m);
    KirRef before = kir_exp(fn, kir_sub(fn, m, most)), now = kir_exp(fn, kir_sub(fn, span_m, most));
    KirRef l = kir_load(fn, KT_F32, of_row(a, a->all_l, row)), span_l = kir_load(fn, KT_F32, of_row(a, a->span_l, row));
    kir_store(fn, of_row(a, a->all_m, row), most);
    kir_store(fn, of_row(a, a->all_l, row), kir_fma(fn, l, before, kir_mul(fn, span_l, now)));
    KirLoop loop;
    each_vector(a, &loop);
    KirRef to = kir_at(fn, sums_of_row(a, a->all_o, row), loop.iv, 4, 0), from = kir_at(fn, sums_of_row(a, a->span_o, row), loop.iv, 4, 0);
    KirRef added = kir_mul(fn, kir_load(fn, KT_F32x16, from), now);
    kir_store(fn, to, kir_fma(fn, kir_load(fn, KT_F32x16, to), before, added));
    kir_for_end(fn, &loop, NULL);
}

static void divide_row(const Attention *a, KirRef row) {
    KirFn *fn = a->fn;
    KirLoop loop;
    KirRef l = kir_load(fn, KT_F32, of_row(a, a->all_l, row));
    each_vector(a, &loop);
    KirRef at = kir_at(fn, sums_of_row(a, a->all_o, row), loop.iv, 4, 0);
    kir_store(fn, at, kir_div(fn, kir_load(fn, KT_F32x16, at), l));
    kir_for_end(fn, &loop, NULL);
}

// Positions 0..count-1 of this unit's cache head; leaves the weighted means in all_o.
static void attend(Attention *a, KirRef count) {
    KirFn *fn = a->fn;
    KirLoop span, part;
    each_row(a, start_row);
    kir_for_begin(fn, kir_i64(fn, 0), count, kir_i64(fn, SPAN), 0, NULL, &span);
    each_row(a, start_span);
    KirRef end = kir_min(fn, count, kir_add(fn, span.iv, kir_i64(fn, SPAN)));
    kir_for_begin(fn, span.iv, end, kir_i64(fn, TILE), 0, NULL, &part);
    a->first = part.iv;
    tile(a, kir_min(fn, kir_i64(fn, TILE), kir_sub(fn, end, part.iv)));
    kir_for_end(fn, &part, NULL);
    each_row(a, merge_span);
    kir_for_end(fn, &span, NULL);
    each_row(a, divide_row);
}

// ---- the group -------------------------------------------------------------------------------------------------

// Evaluates the yields at the unit's rows, of which `token` (i64) has the first.
static void finish_rows(const Attention *a, const CgUnit *unit, KirRef token, KirRef cache_head) {
    KirFn *fn = a->fn;
    const IrGraph *graph = a->build->graph;
    const IrOp *op = a->of.op;
    KirLoop loop;
    KirRef r = cg_loop_begin(fn, kir_i64(fn, 0), a->rows, &loop), g = a->tokens == 1 ? r : kir_srem(fn, r, kir_i64(fn, a->G));
    CgRegion *region = cg_region_new(a->build);
    cg_region_bind_memory(region, op->results[0], sums_of_row(a, a->all_o, r), (KirRef[3]){0, 0, 0});
    token = kir_add(fn, token, token_of_row(a, r));
    CgIndex head = cg_index_sum(fn, cg_index(g, a->G), cg_index(cache_head, a->of.heads), a->G), at[4];
    CgIndex row[3] = {cg_index(token, 0), head, cg_index_number(0)};
    for (uint32_t i = 0; i < unit->sink_count; i++) {
        const IrType *type = cg_type(graph, unit->sinks[i].value);
        cg_index_reshape(fn, cg_type(graph, op->results[0]), row, type, at);
        KirRef first = kir_add(fn, kir_mul(fn, token, kir_i64(fn, a->of.H)), cg_index_ref(fn, &head));
        KirRef to = kir_at(fn, unit->sinks[i].to, first, a->d * ir_dtype_info(type->dtype)->block_bytes, 0);
        cg_region_store(region, 1, &unit->sinks[i].value, &to, at, a->d, 0);
    }
    cg_region_free(region);
    cg_loop_end(fn, &loop);
}

// A cache head's queries from `token` on.
static void build_unit(Attention *a, const CgUnit *unit, KirRef slot, KirRef token, KirRef head, KirRef tokens) {
    KirFn *fn = a->fn;
    a->k = cg_attention_cache(a->build, &a->of, 1, slot, head);
    a->v = cg_attention_cache(a->build, &a->of, 2, slot, head);
    KirRef query = kir_at(fn, cg_operand(a->build, a->of.op->operands[0]), token, a->of.H * a->d * 4, 0);
    a->q = kir_at(fn, query, head, a->G * a->d * 4, 0);
    a->rows = kir_mul(fn, tokens, kir_i64(fn, a->G));
    attend(a, kir_add(fn, a->position, tokens));
    finish_rows(a, unit, token, head);
}

static void build_token(Attention *a, const CgUnit *unit, KirRef number) {
    KirFn *fn = a->fn;
    KirRef coord[2];
    cg_unit_coords(fn, number, (IrDim[2]){IR_DIM_T, a->of.heads}, 2, coord);
    KirRef info = kir_at(fn, cg_input(a->build, HEDDLE_INPUT_TOKEN_INFO), coord[0], 16, 0);
    a->position = cg_load_i32(fn, info, 8);
    build_unit(a, unit, cg_load_i32(fn, info, 4), coord[0], coord[1], kir_i64(fn, 1));
}

static void build_part(Attention *a, const CgUnit *unit, KirRef number) {
    KirFn *fn = a->fn;
    KirRef coord[2];
    KirIf exists;
    cg_unit_coords(fn, number, (IrDim[2]){IR_DIM_T, a->of.heads}, 2, coord);
    CgPart part = cg_find_part(a->build, coord[0], a->tokens);
    a->position = kir_add(fn, part.segment.position, part.passed);
    kir_if_begin(fn, kir_cmp(fn, KIR_GT, part.count, kir_i64(fn, 0)), &exists);
    build_unit(a, unit, part.segment.slot, kir_add(fn, part.segment.first, part.passed), coord[1], part.count);
    kir_if_end(fn, &exists, NULL);
}

static void row_scratch(Attention *a) {
    int64_t rows = hd_align_up(a->G * a->tokens, 4), numbers = rows * attention_width(a);   // rows are multiplied by fours
    attention_tile_scratch(a);
    a->span_m = cg_scratch_words(a->build, rows), a->span_l = cg_scratch_words(a->build, rows), a->span_o = cg_scratch_words(a->build, numbers);
    a->all_m = cg_scratch_words(a->build, rows), a->all_l = cg_scratch_words(a->build, rows), a->all_o = cg_scratch_words(a->build, numbers);
}

HdStatus *cg_cpu_ATTENTION(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    CgUnit unit;
    Attention a = {0};
    HD_TRY(cg_attention_find(graph, group, IR_OP_attention, &a.of));
    HD_TRY(cg_attention_plan(graph, group, a.of.op, &unit));
    a.d = a.of.d, a.G = a.of.G, a.half = a.of.cache == IR_F16;
    a.tokens = ir_dim_most(graph, IR_DIM_T) == 1 ? 1 : ATTENTION_TOKENS;
    if (a.G > KIR_MAX_CARRIED)
        return hd_error(HD_UNSUPPORTED, "attention: %lld query heads per cache head, at most %d", (long long)a.G,
                        KIR_MAX_CARRIED);
    CgBuild *build = a.build = cg_launch_begin(builder, "attention");
    a.fn = build->fn;
    if (a.tokens == 1) cg_units(build, (IrDim[2]){IR_DIM_T, a.of.heads}, 2, 1);
    else build->units = cg_part_count(a.tokens, a.of.heads);
    cg_attention_account(build, a.of.op);
    cg_unit_pointers(build, &unit);
    row_scratch(&a);
    KirLoop loop;
    (a.tokens == 1 ? build_token : build_part)(&a, &unit, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

HdStatus *cg_cpu_ATTENTION_SPANS(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)builder, (void)target, (void)graph, (void)group;
    return hd_error(HD_UNSUPPORTED, "attention.spans (of the pass split-attention) has kernels for GPUs only");
}
