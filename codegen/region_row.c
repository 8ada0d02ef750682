// SPDX-License-Identifier: Apache-2.0
// Whole rows of region values: stored and reduced. Reductions read 16 lanes at a time into four accumulators in turn,
// so that element i of a row always adds to partial sum i mod 64, and then halve: the bits of a row's result depend on
// nothing but the row.
#include "codegen/region_internal.h"

#include <math.h>

enum { LANES = 16, FOLD_WAYS = 4, UNROLL_CHUNKS = 4 };

// How many elements a lane of the machine works on at once: a vector (SIMD), or one (SIMT, where a row is dealt out to the lanes of
// the work group: column c to lane c mod lanes).
static uint32_t width_of(const CgRegion *r) { return r->build->lanes ? 1 : LANES; }

static const IrType *type_of(const CgRegion *r, IrValue value) { return &ir_value(r->graph, value)->type; }

// ---- chunks of a row -------------------------------------------------------------------------------------------

// One chunk: `offset` elements from the start; `valid` lanes exist (0: all).
typedef void Chunk(void *user, const CgIndex *offset, KirRef valid);

static void numbered_chunks(KirFn *fn, int64_t begin, int64_t n, uint32_t lanes, Chunk *chunk, void *user) {
    for (int64_t at = begin; at < n; at += lanes) {
        CgIndex offset = cg_index_number(at);
        chunk(user, &offset, n - at < lanes ? kir_i64(fn, n - at) : 0);
    }
}

static void looped_chunks(KirFn *fn, KirRef end, int64_t bound, uint32_t lanes, Chunk *chunk, void *user) {
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), end, kir_i64(fn, lanes), 0, NULL, &loop);
    CgIndex offset = cg_index(loop.iv, bound);
    chunk(user, &offset, 0);
    kir_for_end(fn, &loop, NULL);
}

// SIMT: this lane's elements.
static void dealt_chunks(CgBuild *build, int64_t n, KirRef n_ref, Chunk *chunk, void *user) {
    KirFn *fn = build->fn;
    KirLoop loop;
    kir_for_begin(fn, kir_lane(fn), n ? kir_i64(fn, n) : n_ref, kir_i64(fn, build->lanes), 0, NULL, &loop);
    CgIndex offset = cg_index(loop.iv, n);
    chunk(user, &offset, 0);
    kir_for_end(fn, &loop, NULL);
}

// Chunks of n elements; n 0: as many as n_ref says.
static void each_chunk(CgBuild *build, int64_t n, KirRef n_ref, uint32_t lanes, Chunk *chunk, void *user) {
    KirFn *fn = build->fn;
    int64_t whole = n / lanes * lanes;
    if (build->lanes) {
        dealt_chunks(build, n, n_ref, chunk, user);
    } else if (n && n <= UNROLL_CHUNKS * (int64_t)lanes) {
        numbered_chunks(fn, 0, n, lanes, chunk, user);
    } else if (n) {
        looped_chunks(fn, kir_i64(fn, whole), n, lanes, chunk, user);
        numbered_chunks(fn, whole, n, lanes, chunk, user);
    } else {
        KirRef step = kir_i64(fn, lanes), end = kir_mul(fn, kir_sdiv(fn, n_ref, step), step);
        looped_chunks(fn, end, 0, lanes, chunk, user);
        CgIndex offset = cg_index(end, 0);
        KirRef rest = kir_sub(fn, n_ref, end);
        KirIf branch;
        if (lanes == 1) return;
        kir_if_begin(fn, kir_cmp(fn, KIR_GT, rest, kir_i64(fn, 0)), &branch);
        chunk(user, &offset, rest);
        kir_if_end(fn, &branch, NULL);
    }
}

// ---- storing ---------------------------------------------------------------------------------------------------

typedef struct Store {
    CgRegion *r;
    uint32_t count, lanes, last;
    const IrValue *values;
    const KirRef *to;
    const CgIndex *at;
    bool to_half;
} Store;

static void store_chunk(void *user, const CgIndex *offset, KirRef valid) {
    const Store *s = user;
    KirFn *fn = s->r->fn;
    CgIndex at[4];
    KirRef lanes[40];
    for (uint32_t i = 0; i <= s->last; i++) at[i] = s->at[i];
    at[s->last] = cg_index_sum(fn, at[s->last], *offset, 1);
    for (uint32_t i = 0; i < s->count; i++)
        lanes[i] = kir_splat(fn, cg_region_eval_at(s->r, s->values[i], at, s->lanes, valid), s->lanes);
    for (uint32_t i = 0; i < s->count; i++) {
        int64_t bytes = s->to_half ? 2 : cg_element_bytes(type_of(s->r, s->values[i])->dtype);
        if (s->to_half) lanes[i] = kir_f32_f16(fn, lanes[i]);
        KirRef address = kir_at(fn, s->to[i], cg_index_ref(fn, offset), bytes, 0);
        if (valid && s->lanes > 1) kir_store_part(fn, address, valid, lanes[i]);
        else kir_store(fn, address, lanes[i]);
    }
}

// Lanes for chunks that start at `start` plus multiples of the lanes.
static uint32_t aligned_lanes(const CgRegion *r, IrValue value, const CgIndex *start) {
    uint32_t lanes = cg_region_lanes(r, value);
    int64_t bits = start->constant;
    for (uint32_t i = 0; i < start->count; i++) bits |= start->term[i].scale;
    while (lanes > 1 && bits % lanes) lanes /= 2;
    return lanes;
}

static void store_all(Store *s, int64_t n, KirRef n_ref) {
    HD_ASSERT(s->count && s->count <= 40);
    s->lanes = width_of(s->r);
    s->last = type_of(s->r, s->values[0])->rank - 1;
    for (uint32_t i = 0; i < s->count; i++) s->lanes = HD_MIN(s->lanes, aligned_lanes(s->r, s->values[i], &s->at[s->last]));
    each_chunk(s->r->build, n, n_ref, s->lanes, store_chunk, s);
}

void cg_region_store(CgRegion *region, uint32_t count, const IrValue *values, const KirRef *to, const CgIndex *at, int64_t n,
                     KirRef n_ref) {
    Store store = {.r = region, .count = count, .values = values, .to = to, .at = at};
    store_all(&store, n, n_ref);
}

void cg_region_store_as(CgRegion *region, IrValue value, KirRef to, const CgIndex *at, int64_t n, IrDtype as) {
    bool to_half = as == IR_F16 && type_of(region, value)->dtype == IR_F32;
    Store store = {.r = region, .count = 1, .values = &value, .to = &to, .at = at, .to_half = to_half};
    store_all(&store, n, 0);
}

KirRef cg_region_scratch(CgRegion *region, int64_t elements) {
    uint32_t at = cg_scratch(region->build, (uint64_t)(elements + LANES) * sizeof(float));
    return kir_offset_const(region->fn, kir_scratch(region->fn), at);
}

void cg_row_start(const CgIndex *row, uint32_t rank, CgIndex out_at[4]) {
    for (uint32_t i = 0; i + 1 < rank; i++) out_at[i] = row[i];
    out_at[rank - 1] = cg_index_number(0);
}

// Says that the row being worked on lies at `base`.
static void bind_row(CgRegion *r, IrValue value, KirRef base) { cg_region_bind_memory(r, value, base, (KirRef[3]){0, 0, 0}); }

void cg_region_keep_row(CgRegion *r, IrValue value, const CgIndex *row) {
    if (cg_region_is_stored(r, value) && (r->build->lanes || cg_region_lanes(r, value) == LANES)) return;
    CgIndex at[4];
    int64_t n = ir_type_last(type_of(r, value));
    KirRef base = cg_region_scratch(r, n);
    cg_row_start(row, type_of(r, value)->rank, at);
    cg_region_store(r, 1, &value, &base, at, n, 0);
    cg_barrier(r->build);
    bind_row(r, value, base);
}

// ---- reducing --------------------------------------------------------------------------------------------------

typedef enum FoldKind { FOLD_SUM, FOLD_SQUARES, FOLD_MAX } FoldKind;
typedef struct Fold { CgRegion *r; FoldKind kind; IrValue value; CgIndex at[4]; uint32_t last; } Fold;

static KirRef lane_mask(KirFn *fn, KirRef valid) {
    static const int32_t lane[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    KirRef lanes = kir_load(fn, KT_I32x16, kir_table(fn, lane, sizeof lane, "lane numbers"));
    return kir_cmp(fn, KIR_LT, lanes, kir_trunc(fn, valid, KIR_I32));
}

static KirRef fold_in(const Fold *f, KirRef acc, CgIndex offset, KirRef valid) {
    KirFn *fn = f->r->fn;
    CgIndex at[4];
    for (uint32_t i = 0; i <= f->last; i++) at[i] = f->at[i];
    at[f->last] = offset;
    uint32_t width = width_of(f->r);
    KirRef x = kir_splat(fn, cg_region_eval_at(f->r, f->value, at, width, valid), width);
    if (valid) x = kir_select(fn, lane_mask(fn, valid), x, kir_float(fn, KT_F32x16, f->kind == FOLD_MAX ? -INFINITY : 0));
    if (f->kind == FOLD_MAX) return kir_max(fn, acc, x);
    return f->kind == FOLD_SUM ? kir_add(fn, acc, x) : kir_fma(fn, x, x, acc);
}

static KirRef fold_join(const Fold *f, KirRef a, KirRef b) {
    return f->kind == FOLD_MAX ? kir_max(f->r->fn, a, b) : kir_add(f->r->fn, a, b);
}

static void fold_loop(const Fold *f, int64_t end, KirRef acc[FOLD_WAYS]) {
    KirFn *fn = f->r->fn;
    KirLoop loop;
    KirRef next[FOLD_WAYS];
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, end), kir_i64(fn, FOLD_WAYS * LANES), FOLD_WAYS, acc, &loop);
    for (int i = 0; i < FOLD_WAYS; i++) {
        CgIndex offset = cg_index(loop.iv, end);
        offset.constant = i * LANES;
        next[i] = fold_in(f, loop.carried[i], offset, 0);
    }
    kir_for_end(fn, &loop, next);
    for (int i = 0; i < FOLD_WAYS; i++) acc[i] = loop.results[i];
}

// The row of `value` folded to 16 lanes.
static KirRef fold_lanes(CgRegion *r, FoldKind kind, IrValue value, const CgIndex *row) {
    KirFn *fn = r->fn;
    Fold f = {.r = r, .kind = kind, .value = value, .last = type_of(r, value)->rank - 1};
    cg_row_start(row, f.last + 1, f.at);
    int64_t n = ir_type_last(type_of(r, value)), round = FOLD_WAYS * LANES, looped = n < 4 * round ? 0 : n / round * round;
    KirRef acc[FOLD_WAYS];
    for (int i = 0; i < FOLD_WAYS; i++) acc[i] = kir_float(fn, KT_F32x16, kind == FOLD_MAX ? -INFINITY : 0);
    if (looped) fold_loop(&f, looped, acc);
    for (int64_t at = looped; at < n; at += LANES) {
        KirRef *way = &acc[at / LANES % FOLD_WAYS];
        *way = fold_in(&f, *way, cg_index_number(at), n - at < LANES ? kir_i64(fn, n - at) : 0);
    }
    return fold_join(&f, fold_join(&f, acc[0], acc[2]), fold_join(&f, acc[1], acc[3]));
}

// SIMT: what this lane's elements fold to.
static KirRef fold_dealt(CgRegion *r, FoldKind kind, IrValue value, const CgIndex *row) {
    KirFn *fn = r->fn;
    Fold f = {.r = r, .kind = kind, .value = value, .last = type_of(r, value)->rank - 1};
    cg_row_start(row, f.last + 1, f.at);
    int64_t n = ir_type_last(type_of(r, value));
    KirRef init = kir_float(fn, KT_F32, kind == FOLD_MAX ? -INFINITY : 0);
    KirLoop loop;
    kir_for_begin(fn, kir_lane(fn), kir_i64(fn, n), kir_i64(fn, r->build->lanes), 1, &init, &loop);
    KirRef next = fold_in(&f, loop.carried[0], cg_index(loop.iv, n), 0);
    kir_for_end(fn, &loop, &next);
    return loop.results[0];
}

static KirRef fold_row(CgRegion *r, FoldKind kind, IrValue value, const CgIndex *row) {
    if (r->build->lanes) {
        KirRef mine = fold_dealt(r, kind, value, row);
        return kind == FOLD_MAX ? cg_group_max(r->build, mine) : cg_group_sum(r->build, mine);
    }
    KirRef all = fold_lanes(r, kind, value, row);
    return kind == FOLD_MAX ? kir_reduce_max(r->fn, all) : kir_reduce_add(r->fn, all);
}

// The sum of 16 lanes: halves are added, and what the additions lose is added up beside them.
static KirPair sum_lanes(KirFn *fn, KirRef lanes) {
    static const uint8_t number[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    KirPair sum = {lanes, kir_float(fn, KT_F32x16, 0)};
    for (uint32_t half = LANES / 2; half; half /= 2) {
        KirRef a = half == 1 ? kir_extract(fn, sum.hi, 0) : kir_shuffle(fn, sum.hi, sum.hi, number, half);
        KirRef b = half == 1 ? kir_extract(fn, sum.hi, 1) : kir_shuffle(fn, sum.hi, sum.hi, number + half, half);
        KirRef lost_a = half == 1 ? kir_extract(fn, sum.lo, 0) : kir_shuffle(fn, sum.lo, sum.lo, number, half);
        KirRef lost_b = half == 1 ? kir_extract(fn, sum.lo, 1) : kir_shuffle(fn, sum.lo, sum.lo, number + half, half);
        KirPair both = kir_exact_sum(fn, a, b);
        sum = (KirPair){both.hi, kir_add(fn, both.lo, kir_add(fn, lost_a, lost_b))};
    }
    return sum;
}

// ---- what a reduction prepares ---------------------------------------------------------------------------------

// Writes layer and token to the step status unless a lower layer stands there.
static void report_not_finite(CgRegion *r, KirRef sum, int32_t layer, const CgIndex *row) {
    KirFn *fn = r->fn;
    KirIf bad, lower;
    KirRef status = cg_status(r->build), mine = kir_trunc(fn, cg_const(r->build, layer + 1, "layer + 1"), KIR_I32);
    kir_if_begin(fn, kir_cmp(fn, KIR_NE, kir_sub(fn, sum, sum), kir_float(fn, KT_F32, 0)), &bad);
    KirRef known = kir_load(fn, KT_I32, status);
    KirRef none = kir_cmp(fn, KIR_EQ, known, kir_int(fn, KT_I32, 0)), above = kir_cmp(fn, KIR_GT, known, mine);
    kir_if_begin(fn, kir_or(fn, none, above), &lower);
    kir_store(fn, status, mine);
    kir_store(fn, kir_offset_const(fn, status, 4), kir_trunc(fn, cg_index_ref(fn, &row[0]), KIR_I32));
    kir_if_end(fn, &lower, NULL);
    kir_if_end(fn, &bad, NULL);
}

// 1 / sqrt(v) as a sum of two numbers: a Newton step gives what the first lacks. Zero where that is no number.
static KirPair inverse_root(KirFn *fn, KirPair v) {
    KirRef one = kir_float(fn, KT_F32, 1), zero = kir_float(fn, KT_F32, 0);
    KirRef f = kir_div(fn, one, kir_sqrt(fn, v.hi));
    KirPair vf = kir_exact_product(fn, v.hi, f);
    KirRef lo = kir_fma(fn, v.lo, f, vf.lo);
    KirRef rest = kir_fma(fn, kir_neg(fn, lo), f, kir_fma_exact(fn, kir_neg(fn, vf.hi), f, one));   // 1 - v f^2
    KirRef step = kir_mul(fn, kir_mul(fn, f, kir_float(fn, KT_F32, 0.5f)), rest);
    return (KirPair){f, kir_select(fn, kir_cmp(fn, KIR_LT, kir_abs(fn, step), f), step, zero)};
}

// sum / n + eps as a sum of two numbers.
static KirPair mean_and_eps(KirFn *fn, KirPair sum, int64_t n, float eps) {
    KirRef count = kir_float(fn, KT_F32, (float)n), mean = kir_div(fn, sum.hi, count);
    KirRef rest = kir_div(fn, kir_add(fn, kir_fma_exact(fn, kir_neg(fn, mean), count, sum.hi), sum.lo), count);
    KirPair both = kir_exact_sum(fn, mean, kir_float(fn, KT_F32, eps));
    return (KirPair){both.hi, kir_add(fn, both.lo, rest)};
}

static KirPair norm_factor(CgRegion *r, const IrOp *op, const CgIndex *row) {
    KirFn *fn = r->fn;
    const IrType *type = type_of(r, op->operands[0]);
    bool rms = op->kind == IR_OP_rms_norm;
    KirPair sum = r->build->lanes ? cg_group_sum_exact(r->build, fold_dealt(r, FOLD_SQUARES, op->operands[0], row))
                                  : sum_lanes(fn, fold_lanes(r, FOLD_SQUARES, op->operands[0], row));
    int32_t layer = op->layer >= 0 ? op->layer : ir_op(r->graph, r->build->group)->layer;
    if (rms && layer >= 0 && type->rank > 1) report_not_finite(r, sum.hi, layer, row);
    KirPair factor = inverse_root(fn, mean_and_eps(fn, sum, rms ? ir_type_last(type) : 1, op->attr[IR_ATTR_EPS].f));
    if (rms || op->attr[IR_ATTR_SCALE].f == 1) return factor;
    KirRef scale = kir_float(fn, KT_F32, op->attr[IR_ATTR_SCALE].f);
    KirPair scaled = kir_exact_product(fn, factor.hi, scale);
    return (KirPair){scaled.hi, kir_fma(fn, factor.lo, scale, scaled.lo)};
}

typedef struct Map { CgRegion *r; IrValue from, to; CgIndex at[4]; uint32_t last; KirRef base, operand; } Map;

static void map_chunk(const Map *m, const CgIndex *offset, KirRef valid, IrValue from,
                      KirRef (*apply)(KirFn *fn, KirRef x, KirRef operand)) {
    KirFn *fn = m->r->fn;
    CgIndex at[4];
    for (uint32_t i = 0; i <= m->last; i++) at[i] = m->at[i];
    at[m->last] = *offset;
    KirRef y = apply(fn, cg_region_eval_at(m->r, from, at, width_of(m->r), valid), m->operand),
           address = kir_at(fn, m->base, cg_index_ref(fn, offset), 4, 0);
    if (valid) kir_store_part(fn, address, valid, y);
    else kir_store(fn, address, y);
}

static KirRef shifted_exp(KirFn *fn, KirRef x, KirRef most) { return kir_exp(fn, kir_sub(fn, x, most)); }
static KirRef quotient(KirFn *fn, KirRef x, KirRef total) { return kir_div(fn, x, total); }
static void exp_chunk(void *user, const CgIndex *offset, KirRef valid) {
    map_chunk(user, offset, valid, ((Map *)user)->from, shifted_exp);
}
static void share_chunk(void *user, const CgIndex *offset, KirRef valid) {
    map_chunk(user, offset, valid, ((Map *)user)->to, quotient);
}

// The whole row in scratch: e^(x - max), then each divided by their sum.
static void softmax_row(CgRegion *r, const IrOp *op, const CgIndex *row) {
    int64_t n = ir_type_last(type_of(r, op->operands[0]));
    Map map = {.r = r, .from = op->operands[0], .to = op->results[0], .last = type_of(r, op->operands[0])->rank - 1};
    cg_row_start(row, map.last + 1, map.at);
    map.base = cg_region_scratch(r, n);
    map.operand = fold_row(r, FOLD_MAX, op->operands[0], row);
    each_chunk(r->build, n, 0, width_of(r), exp_chunk, &map);
    bind_row(r, op->results[0], map.base);
    map.operand = fold_row(r, FOLD_SUM, op->results[0], row);
    each_chunk(r->build, n, 0, width_of(r), share_chunk, &map);
    cg_barrier(r->build);
}

static void prepare(CgRegion *r, IrValue value, KirPair factor) {
    for (size_t i = 0; i < r->prepared.len; i++)
        if (r->prepared.data[i].value == value) {
            r->prepared.data[i].factor = factor;
            return;
        }
    hd_vec_push(&r->prepared, ((CgPrepared){value, factor}));
}

void cg_region_reduce(CgRegion *region, IrValue value, const CgIndex *row) {
    const IrOp *op = cg_region_op(region->graph, value);
    cg_region_keep_row(region, op->operands[0], row);
    switch (op->kind) {
    case IR_OP_softmax: softmax_row(region, op, row); break;
    case IR_OP_sum: prepare(region, value, (KirPair){fold_row(region, FOLD_SUM, op->operands[0], row), 0}); break;
    case IR_OP_rms_norm: case IR_OP_l2_norm: prepare(region, value, norm_factor(region, op, row)); break;
    default: HD_ASSERT(!"an operation along a row");
    }
}
