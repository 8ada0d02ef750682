// SPDX-License-Identifier: Apache-2.0
// ATTENTION: one causal softmax attention over the cache, and element-wise operations on its rows. One work unit per token
// and cache head; it serves the query heads that share the cache head, so each key and value is loaded once for all of them.
//
// The order of arithmetic is fixed by positions alone: tiles of 64 positions from position 0 on, a running softmax over the
// tiles of a span of 1024, spans merged from left to right. A score is 16 partial sums over the channels, halved; a tile's
// values are summed over rising positions and then join those of the span.
#include "codegen/sched.h"

enum { TILE = 64, SPAN = 1024, LANES = 16 };
#define LOWEST -1e30f   // below every score; e^(LOWEST - x) is 0

typedef struct Attention {
    CgBuild *build;
    KirFn *fn;
    CgAttention of;
    int64_t d, G;                // of `of`
    bool half;                   // the cache is f16
    KirRef q, k, v;              // of this unit: first query row, and position 0 of this head in the caches
    KirRef score, span_m, span_l, span_o, all_m, all_l, all_o;   // scratch: [G][64], [G], [G], [G][d] and again
} Attention;

static int64_t width(const Attention *a) { return (a->d + LANES - 1) / LANES * LANES; }   // of a row in scratch

// 16 channels of a cache row.
static KirRef load_cache(const Attention *a, KirRef row, CgIndex channel, KirRef valid) {
    KirFn *fn = a->fn;
    KirRef at = kir_at(fn, row, cg_index_ref(fn, &channel), a->half ? 2 : 4, 0);
    if (!a->half) return cg_load16(fn, at, valid);
    return kir_f16_f32(fn, valid ? kir_load_part(fn, KT_I16x16, at, valid) : kir_load(fn, KT_I16x16, at));
}

// ---- blocks of channels ----------------------------------------------------------------------------------------

// Calls `block` for all channels, `chunks` vectors of 16 at a time: in a loop, then once for the rest. `acc` (count of them)
// is carried.
typedef void Block(void *user, CgIndex channel, uint32_t chunks, KirRef valid, KirRef *acc);

static void each_block(const Attention *a, uint32_t chunks, uint32_t count, KirRef *acc, Block *block, void *user) {
    KirFn *fn = a->fn;
    int64_t step = (int64_t)chunks * LANES, looped = a->d / step * step;
    if (looped) {
        KirLoop loop;
        KirRef next[KIR_MAX_CARRIED];
        kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, looped), kir_i64(fn, step), count, acc, &loop);
        for (uint32_t i = 0; i < count; i++) next[i] = loop.carried[i];
        block(user, cg_index(loop.iv, looped), chunks, 0, next);
        kir_for_end(fn, &loop, next);
        for (uint32_t i = 0; i < count; i++) acc[i] = loop.results[i];
    }
    for (int64_t at = looped; at < a->d; at += LANES)
        block(user, cg_index_number(at), 1, a->d - at < LANES ? kir_i64(fn, a->d - at) : 0, acc);
}

// ---- scores ----------------------------------------------------------------------------------------------------

typedef struct Scores { const Attention *a; uint32_t rows; KirRef row[8]; } Scores;

static uint32_t score_rows(const Attention *a) { return a->G == 1 ? 8 : a->G <= 3 ? 4 : a->G <= 8 ? 2 : 1; }

static void score_block(void *user, CgIndex channel, uint32_t chunks, KirRef valid, KirRef *acc) {
    const Scores *s = user;
    KirFn *fn = s->a->fn;
    (void)chunks;
    KirRef k[8];
    for (uint32_t i = 0; i < s->rows; i++) k[i] = load_cache(s->a, s->row[i], channel, valid);
    KirRef at = kir_at(fn, s->a->q, cg_index_ref(fn, &channel), 4, 0);
    for (int64_t g = 0; g < s->a->G; g++) {
        KirRef q = cg_load16(fn, kir_offset_const(fn, at, g * s->a->d * 4), valid);
        for (uint32_t i = 0; i < s->rows; i++) acc[g * s->rows + i] = kir_fma(fn, q, k[i], acc[g * s->rows + i]);
    }
}

// Scores of the first `count` positions of a tile, a few at a time; beyond count the last one is repeated.
static void tile_scores(const Attention *a, KirRef first, KirRef count) {
    KirFn *fn = a->fn;
    Scores s = {.a = a, .rows = score_rows(a)};
    KirRef last = kir_sub(fn, count, kir_i64(fn, 1)), acc[KIR_MAX_CARRIED];
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), count, kir_i64(fn, s.rows), 0, NULL, &loop);
    for (uint32_t i = 0; i < s.rows; i++) {
        KirRef j = kir_min(fn, kir_add(fn, loop.iv, kir_i64(fn, i)), last);
        s.row[i] = kir_at(fn, a->k, kir_add(fn, first, j), cg_attention_row_bytes(&a->of), 0);
    }
    for (uint32_t i = 0; i < a->G * s.rows; i++) acc[i] = kir_float(fn, KT_F32x16, 0);
    each_block(a, 1, (uint32_t)a->G * s.rows, acc, score_block, &s);
    for (int64_t g = 0; g < a->G; g++)
        for (uint32_t i = 0; i < s.rows; i++) {
            KirRef score = kir_mul(fn, kir_reduce_add(fn, acc[g * s.rows + i]), kir_float(fn, KT_F32, a->of.scale));
            kir_store(fn, kir_at(fn, a->score, loop.iv, 4, (g * TILE + i) * 4), score);
        }
    kir_for_end(fn, &loop, NULL);
}

// ---- running softmax -------------------------------------------------------------------------------------------

static KirRef at_head(const Attention *a, KirRef base, int64_t g) { return kir_offset_const(a->fn, base, g * 4); }

// Turns the scores of head g into weights e^(score - max); gives the factor e^(old max - new max) for what was summed before.
static KirRef tile_weights(const Attention *a, int64_t g, KirRef count) {
    KirFn *fn = a->fn;
    KirRef row = kir_offset_const(fn, a->score, g * TILE * 4), s[TILE / LANES], n = kir_trunc(fn, count, KIR_I32);
    KirRef lowest = kir_float(fn, KT_F32x16, LOWEST), m = kir_load(fn, KT_F32, at_head(a, a->span_m, g)), most = lowest;
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
    KirRef l = kir_load(fn, KT_F32, at_head(a, a->span_l, g));
    kir_store(fn, at_head(a, a->span_m, g), new_m);
    kir_store(fn, at_head(a, a->span_l, g), kir_fma(fn, l, factor, sum));
    return factor;
}

typedef struct Values { const Attention *a; KirRef first, count; const KirRef *factor; } Values;

static uint32_t value_chunks(const Attention *a) { return a->G == 1 ? 8 : a->G <= 4 ? 4 : a->G <= 8 ? 2 : 1; }

// Adds the weighted value rows of a tile to the span's sums, for a block of channels.
static void value_block(void *user, CgIndex channel, uint32_t chunks, KirRef valid, KirRef *unused) {
    const Values *x = user;
    const Attention *a = x->a;
    KirFn *fn = a->fn;
    (void)unused;
    KirRef acc[KIR_MAX_CARRIED], at = kir_at(fn, a->span_o, cg_index_ref(fn, &channel), 4, 0);
    uint32_t n = (uint32_t)a->G * chunks;
    for (uint32_t i = 0; i < n; i++) acc[i] = kir_float(fn, KT_F32x16, 0);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), x->count, kir_i64(fn, 1), n, acc, &loop);
    KirRef row = kir_at(fn, a->v, kir_add(fn, x->first, loop.iv), cg_attention_row_bytes(&a->of), 0), v[8];
    for (uint32_t c = 0; c < chunks; c++) {
        CgIndex part = channel;
        part.constant += c * LANES;
        v[c] = load_cache(a, row, part, valid);
    }
    for (uint32_t i = 0; i < n; i++) {
        KirRef weight = kir_load(fn, KT_F32, kir_at(fn, a->score, loop.iv, 4, i / chunks * TILE * 4));
        acc[i] = kir_fma(fn, v[i % chunks], weight, loop.carried[i]);
    }
    kir_for_end(fn, &loop, acc);
    for (uint32_t i = 0; i < n; i++) {
        KirRef sum = kir_offset_const(fn, at, (i / chunks * width(a) + i % chunks * LANES) * 4);
        kir_store(fn, sum, kir_fma(fn, kir_load(fn, KT_F32x16, sum), x->factor[i / chunks], loop.results[i]));
    }
}

static void tile(const Attention *a, KirRef first, KirRef count) {
    KirRef factor[KIR_MAX_CARRIED];
    tile_scores(a, first, count);
    for (int64_t g = 0; g < a->G; g++) factor[g] = tile_weights(a, g, count);
    Values values = {a, first, count, factor};
    each_block(a, value_chunks(a), 0, NULL, value_block, &values);
}

// ---- spans -----------------------------------------------------------------------------------------------------

static void start_sums(const Attention *a, KirRef m, KirRef l, KirRef o) {
    KirFn *fn = a->fn;
    for (int64_t g = 0; g < a->G; g++) {
        kir_store(fn, at_head(a, m, g), kir_float(fn, KT_F32, LOWEST));
        kir_store(fn, at_head(a, l, g), kir_float(fn, KT_F32, 0));
    }
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, a->G * width(a)), kir_i64(fn, LANES), 0, NULL, &loop);
    kir_store(fn, kir_at(fn, o, loop.iv, 4, 0), kir_float(fn, KT_F32x16, 0));
    kir_for_end(fn, &loop, NULL);
}

static void merge_span(const Attention *a, int64_t g) {
    KirFn *fn = a->fn;
    KirRef m = kir_load(fn, KT_F32, at_head(a, a->all_m, g)), span_m = kir_load(fn, KT_F32, at_head(a, a->span_m, g)),
           most = kir_max(fn, m, span_m);
    KirRef before = kir_exp(fn, kir_sub(fn, m, most)), now = kir_exp(fn, kir_sub(fn, span_m, most));
    KirRef l = kir_load(fn, KT_F32, at_head(a, a->all_l, g)), span_l = kir_load(fn, KT_F32, at_head(a, a->span_l, g));
    kir_store(fn, at_head(a, a->all_m, g), most);
    kir_store(fn, at_head(a, a->all_l, g), kir_fma(fn, l, before, kir_mul(fn, span_l, now)));
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, width(a)), kir_i64(fn, LANES), 0, NULL, &loop);
    KirRef to = kir_at(fn, a->all_o, loop.iv, 4, g * width(a) * 4), from = kir_at(fn, a->span_o, loop.iv, 4, g * width(a) * 4);
    KirRef added = kir_mul(fn, kir_load(fn, KT_F32x16, from), now);
    kir_store(fn, to, kir_fma(fn, kir_load(fn, KT_F32x16, to), before, added));
    kir_for_end(fn, &loop, NULL);
}

// Keys 0..count-1 of this unit's cache head; leaves the weighted means in all_o.
static void attend(const Attention *a, KirRef count) {
    KirFn *fn = a->fn;
    start_sums(a, a->all_m, a->all_l, a->all_o);
    KirLoop span, part;
    kir_for_begin(fn, kir_i64(fn, 0), count, kir_i64(fn, SPAN), 0, NULL, &span);
    start_sums(a, a->span_m, a->span_l, a->span_o);
    KirRef end = kir_min(fn, count, kir_add(fn, span.iv, kir_i64(fn, SPAN)));
    kir_for_begin(fn, span.iv, end, kir_i64(fn, TILE), 0, NULL, &part);
    tile(a, part.iv, kir_min(fn, kir_i64(fn, TILE), kir_sub(fn, end, part.iv)));
    kir_for_end(fn, &part, NULL);
    for (int64_t g = 0; g < a->G; g++) merge_span(a, g);
    kir_for_end(fn, &span, NULL);
    for (int64_t g = 0; g < a->G; g++) {
        KirLoop loop;
        KirRef l = kir_load(fn, KT_F32, at_head(a, a->all_l, g));
        kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, width(a)), kir_i64(fn, LANES), 0, NULL, &loop);
        KirRef at = kir_at(fn, a->all_o, loop.iv, 4, g * width(a) * 4);
        kir_store(fn, at, kir_div(fn, kir_load(fn, KT_F32x16, at), l));
        kir_for_end(fn, &loop, NULL);
    }
}

// ---- the group -------------------------------------------------------------------------------------------------

// Evaluates the yields at the rows of this unit's query heads.
static void finish_rows(const Attention *a, const IrOp *op, const CgUnit *unit, KirRef token, KirRef cache_head) {
    KirFn *fn = a->fn;
    const IrGraph *graph = a->build->graph;
    KirLoop loop;
    KirRef g = cg_loop_begin(fn, kir_i64(fn, 0), kir_i64(fn, a->G), &loop);
    CgRegion *region = cg_region_new(a->build);
    cg_region_bind_memory(region, op->results[0], kir_at(fn, a->all_o, g, width(a) * 4, 0), (KirRef[3]){0, 0, 0});
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

static void build_unit(Attention *a, const CgUnit *unit, KirRef number) {
    KirFn *fn = a->fn;
    const IrOp *op = a->of.op;
    KirRef coord[2], info, slot;
    cg_unit_coords(fn, number, (IrDim[2]){IR_DIM_T, a->of.heads}, 2, coord);
    info = kir_at(fn, cg_input(a->build, HEDDLE_INPUT_TOKEN_INFO), coord[0], 16, 0);
    slot = cg_load_i32(fn, info, 4);
    a->k = cg_attention_cache(a->build, &a->of, 1, slot, coord[1]);
    a->v = cg_attention_cache(a->build, &a->of, 2, slot, coord[1]);
    a->q = kir_at(fn, cg_operand(a->build, op->operands[0]), number, a->G * a->d * 4, 0);
    attend(a, kir_add(fn, cg_load_i32(fn, info, 8), kir_i64(fn, 1)));
    finish_rows(a, op, unit, coord[0], coord[1]);
}

HdStatus *cg_cpu_ATTENTION(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    CgUnit unit;
    Attention a = {0};
    HD_TRY(cg_attention_find(graph, group, IR_OP_attention, &a.of));
    HD_TRY(cg_attention_plan(graph, group, a.of.op, &unit));
    a.d = a.of.d, a.G = a.of.G, a.half = a.of.cache == IR_F16;
    if (a.G > KIR_MAX_CARRIED)
        return hd_error(HD_UNSUPPORTED, "attention: %lld query heads per cache head, at most %d", (long long)a.G,
                        KIR_MAX_CARRIED);
    CgBuild *build = a.build = cg_launch_begin(builder, "attention");
    a.fn = build->fn;
    cg_units(build, (IrDim[2]){IR_DIM_T, a.of.heads}, 2, 1);
    cg_attention_account(build, a.of.op);
    cg_unit_pointers(build, &unit);
    a.score = cg_scratch_words(build, a.G * TILE);
    a.span_m = cg_scratch_words(build, a.G), a.span_l = cg_scratch_words(build, a.G), a.span_o = cg_scratch_words(build, a.G * width(&a));
    a.all_m = cg_scratch_words(build, a.G), a.all_l = cg_scratch_words(build, a.G), a.all_o = cg_scratch_words(build, a.G * width(&a));
    KirLoop loop;
    build_unit(&a, &unit, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

HdStatus *cg_cpu_ATTENTION_SPANS(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)builder, (void)target, (void)graph, (void)group;
    return hd_error(HD_UNSUPPORTED, "attention.spans (of the pass split-attention) has kernels for GPUs only");
}
