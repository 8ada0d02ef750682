// SPDX-License-Identifier: Apache-2.0
// Attention of a tile of query rows, 64 positions at a time: their scores are a small matrix product, of `step` channels at once, which go
// through shared memory as f32; scores stay there, where a few lanes per row find the largest and make them weights; then a lane adds up
// the values of its channels for its rows, which it keeps in registers from the first position to the last. Values are read where they
// are, by neighbouring lanes. The order of the sums depends on the positions only, not on which rows a tile has.
#include "codegen/simt/attend.h"

enum { POSITIONS = 64, MANY_ROWS = 32, FEW_ROWS = 8, MANY_LANES = 128, MOST_SCORES = 32 };
#define LOWEST ((float)IR_NO_SCORE)   // e^(LOWEST - x) is 0

// ---- shapes ----------------------------------------------------------------------------------------------------

uint32_t simt_attend_lanes(const CgAttention *of, bool many_tokens) {
    return many_tokens ? MANY_LANES : (uint32_t)HD_MIN(hd_align_up((uint64_t)of->d / 2, SIMT_LANES), MANY_LANES);
}

static uint32_t lanes(const SimtAttend *a) { return a->build->lanes; }
static uint32_t score_rows(const SimtAttend *a) { return a->rows / (lanes(a) / a->score_lanes); }      // of a lane
static uint32_t score_positions(const SimtAttend *a) { return POSITIONS / a->score_lanes; }
static uint32_t sum_rows(const SimtAttend *a) { return a->rows / (lanes(a) / a->channel_lanes); }
static uint32_t pairs(const SimtAttend *a) { return (uint32_t)hd_ceil_div(a->of.d, 2 * (int64_t)a->channel_lanes); }
static uint32_t lanes_of_row(const SimtAttend *a) {
    uint32_t n = 8;
    while (n * a->rows > lanes(a)) n /= 2;
    return n;
}
static uint32_t score_stride(const SimtAttend *a) { return POSITIONS + lanes_of_row(a); }              // so that the lanes of a row meet few others
static uint32_t stage_stride(const SimtAttend *a) { return a->step + 1; }

// The largest part of the heads that divides them and has at most so many.
static int64_t part_of_heads(int64_t heads, int64_t most) {
    int64_t part = HD_MIN(heads, most);
    while (heads % part) part--;
    return part;
}

static uint32_t tile_rows(const CgAttention *of) {
    uint32_t rows = MANY_ROWS;
    while (rows * of->d > (int64_t)SIMT_MOST_SUMS * MANY_LANES) rows /= 2;
    return rows;
}

SimtAttend simt_attend_begin(CgBuild *build, const CgAttention *of, bool many_tokens) {
    SimtAttend a = {.build = build, .fn = build->fn, .of = *of};
    a.heads = part_of_heads(of->G, many_tokens ? tile_rows(of) : FEW_ROWS);
    a.tokens = many_tokens ? tile_rows(of) / a.heads : 1;
    a.blocks = of->G / a.heads;
    a.rows = many_tokens ? tile_rows(of) : (uint32_t)hd_align_up((uint64_t)a.heads, lanes(&a) / POSITIONS);
    a.step = a.rows > FEW_ROWS ? 16 : 32;
    a.score_lanes = many_tokens ? 16 : POSITIONS;
    a.channel_lanes = many_tokens ? 32 : lanes(&a);
    HD_ASSERT(sum_rows(&a) * pairs(&a) * 2 <= SIMT_MOST_SUMS);
    uint32_t means = many_tokens ? lanes(&a) / a.channel_lanes * (uint32_t)of->d : 0;
    a.scores = kir_shared(a.fn, KIR_F32, a.rows * score_stride(&a));
    a.staged = kir_shared(a.fn, KIR_F32, HD_MAX((POSITIONS + a.rows) * stage_stride(&a), means));
    a.parts = kir_shared(a.fn, KIR_F32, a.rows * lanes_of_row(&a));
    a.factor = kir_shared(a.fn, KIR_F32, a.rows);
    return a;
}

// ---- rows ------------------------------------------------------------------------------------------------------

static KirRef token_of(const SimtAttend *a, KirRef row) {
    if (a->tokens == 1) return kir_i64(a->fn, 0);
    return kir_min(a->fn, kir_sdiv(a->fn, row, kir_i64(a->fn, a->heads)), kir_sub(a->fn, a->count, kir_i64(a->fn, 1)));
}

static KirRef query(const SimtAttend *a, KirRef row) {
    KirFn *fn = a->fn;
    KirRef token = kir_at(fn, a->q, token_of(a, row), a->of.H * a->of.d * 4, 0);
    return kir_at(fn, token, kir_srem(fn, row, kir_i64(fn, a->heads)), a->of.d * 4, 0);
}

KirRef simt_attend_exists(const SimtAttend *a, KirRef row) {
    KirFn *fn = a->fn;
    return kir_cmp(fn, KIR_LT, row, kir_mul(fn, a->count, kir_i64(fn, a->heads)));
}

// ---- loads -----------------------------------------------------------------------------------------------------

// Two neighbouring numbers of a cache row: f16 in one load.
static void load_pair(const SimtAttend *a, IrDtype dtype, KirRef row, KirRef channel, KirRef *out) {
    KirFn *fn = a->fn;
    KirRef ptr = kir_at(fn, row, channel, ir_dtype_info(dtype)->block_bytes, 0);
    if (dtype == IR_F16) {
        KirRef both = kir_load(fn, KT_I32, ptr);
        out[0] = kir_f16_f32(fn, kir_trunc(fn, both, KIR_I16));
        out[1] = kir_f16_f32(fn, kir_trunc(fn, kir_lshr(fn, both, kir_int(fn, KT_I32, 16)), KIR_I16));
    } else {
        for (int i = 0; i < 2; i++) out[i] = simt_load_number(fn, dtype, kir_offset_const(fn, ptr, i * ir_dtype_info(dtype)->block_bytes));
    }
}

typedef struct Keys { const SimtAttend *a; KirRef first, last; } Keys;

static void load_keys(void *user, KirRef row, KirRef channel, KirRef out[2]) {
    const Keys *x = user;
    KirFn *fn = x->a->fn;
    KirRef position = kir_min(fn, kir_add(fn, x->first, row), x->last);
    load_pair(x->a, x->a->of.cache, kir_at(fn, x->a->k, position, cg_attention_row_bytes(&x->a->of), 0), channel, out);
}

static void load_queries(void *user, KirRef row, KirRef channel, KirRef out[2]) {
    const Keys *x = user;
    load_pair(x->a, IR_F32, query(x->a, row), channel, out);
}

// A step of channels of the keys from `first` on, and behind them of the queries.
static void stage(const SimtAttend *a, KirRef first, KirRef last, KirRef channel) {
    Keys keys = {a, first, last};
    SimtBlock block = {.array = a->staged, .rows = POSITIONS, .step = a->step, .column = channel, .columns = a->of.d};
    simt_stage(a->build, &block, load_keys, &keys);
    block.to = POSITIONS * stage_stride(a), block.rows = a->rows;
    simt_stage(a->build, &block, load_queries, &keys);
}

// ---- scores ----------------------------------------------------------------------------------------------------

static KirRef score_position(const SimtAttend *a, uint32_t i) {
    return simt_plus(a->fn, kir_srem(a->fn, kir_lane(a->fn), kir_i64(a->fn, a->score_lanes)), (int64_t)i * a->score_lanes);
}
static KirRef score_row(const SimtAttend *a, uint32_t j) {
    return simt_plus(a->fn, kir_sdiv(a->fn, kir_lane(a->fn), kir_i64(a->fn, a->score_lanes)), (int64_t)j * (lanes(a) / a->score_lanes));
}

// The products of the channels that are staged.
static void add_step(const SimtAttend *a, KirRef *sums) {
    KirFn *fn = a->fn;
    uint32_t rows = score_rows(a), positions = score_positions(a);
    KirRef zero[MOST_SCORES], next[MOST_SCORES], key[POSITIONS], ask[MANY_ROWS];
    KirLoop loop;
    for (uint32_t i = 0; i < rows * positions; i++) zero[i] = kir_float(fn, KT_F32, 0);
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, a->step), kir_i64(fn, 1), rows * positions, zero, &loop);
    for (uint32_t i = 0; i < positions; i++) key[i] = kir_shared_load(fn, a->staged, simt_index(fn, score_position(a, i), stage_stride(a), loop.iv));
    for (uint32_t j = 0; j < rows; j++)
        ask[j] = kir_shared_load(fn, a->staged, simt_plus(fn, simt_index(fn, score_row(a, j), stage_stride(a), loop.iv), POSITIONS * stage_stride(a)));
    for (uint32_t n = 0; n < rows * positions; n++) next[n] = kir_fma(fn, key[n % positions], ask[n / positions], loop.carried[n]);
    kir_for_end(fn, &loop, next);
    for (uint32_t n = 0; n < rows * positions; n++) sums[n] = kir_add(fn, sums[n], loop.results[n]);
}

// Scores of positions first..first+63; LOWEST where a row does not see one.
static void put_scores(const SimtAttend *a, KirRef first, KirRef end) {
    KirFn *fn = a->fn;
    uint32_t positions = score_positions(a), count = score_rows(a) * positions;
    KirRef sums[MOST_SCORES], last = simt_plus(fn, end, -1);
    KirLoop loop;
    HD_ASSERT(count <= MOST_SCORES);
    for (uint32_t n = 0; n < count; n++) sums[n] = kir_float(fn, KT_F32, 0);
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, a->of.d), kir_i64(fn, a->step), count, sums, &loop);
    stage(a, first, last, loop.iv);
    cg_barrier(a->build);
    for (uint32_t n = 0; n < count; n++) sums[n] = loop.carried[n];
    add_step(a, sums);
    cg_barrier(a->build);
    kir_for_end(fn, &loop, sums);
    for (uint32_t n = 0; n < count; n++) {
        KirRef row = score_row(a, n / positions), place = score_position(a, n % positions), position = kir_add(fn, first, place);
        KirRef own = kir_add(fn, a->position, token_of(a, row));
        KirRef seen = kir_and(fn, kir_cmp(fn, KIR_LE, position, own), kir_cmp(fn, KIR_LT, position, end));
        KirRef score = kir_mul(fn, loop.results[n], kir_float(fn, KT_F32, a->of.scale));
        kir_shared_store(fn, a->scores, simt_index(fn, row, score_stride(a), place), kir_select(fn, seen, score, kir_float(fn, KT_F32, LOWEST)));
    }
    cg_barrier(a->build);
}

// ---- weights ---------------------------------------------------------------------------------------------------

// A lane's row, its number among the row's lanes, and whether it has a row.
typedef struct RowLane { KirRef row, number, has; } RowLane;

static RowLane row_lane(const SimtAttend *a) {
    KirFn *fn = a->fn;
    KirRef n = kir_i64(fn, lanes_of_row(a)), row = kir_sdiv(fn, kir_lane(fn), n), last = kir_i64(fn, a->rows - 1);
    return (RowLane){kir_min(fn, row, last), kir_srem(fn, kir_lane(fn), n), kir_cmp(fn, KIR_LE, row, last)};
}

static void put_part(const SimtAttend *a, const RowLane *own, KirRef value) {
    KirIf has;
    kir_if_begin(a->fn, own->has, &has);
    kir_shared_store(a->fn, a->parts, simt_index(a->fn, own->row, lanes_of_row(a), own->number), value);
    kir_if_end(a->fn, &has, NULL);
}

static KirRef join_parts(const SimtAttend *a, KirRef row, KirRef (*join)(KirFn *, KirRef, KirRef)) {
    KirFn *fn = a->fn;
    KirRef all = 0;
    for (uint32_t i = 0; i < lanes_of_row(a); i++) {
        KirRef part = kir_shared_load(fn, a->parts, simt_index(fn, row, lanes_of_row(a), kir_i64(fn, i)));
        all = all ? join(fn, all, part) : part;
    }
    return all;
}

KirRef simt_attend_total(const SimtAttend *a, KirRef row) { return join_parts(a, row, kir_add); }

// Scores become weights e^(score - most); `carried`: the row's largest score so far and this lane's part of the sum of its weights.
static void put_weights(const SimtAttend *a, const KirRef carried[2], KirRef out_next[2]) {
    KirFn *fn = a->fn;
    RowLane own = row_lane(a);
    uint32_t each = POSITIONS / lanes_of_row(a);
    KirRef place[POSITIONS], score[POSITIONS], most = 0, sum = 0, none = kir_float(fn, KT_F32, 0);
    for (uint32_t i = 0; i < each; i++) {
        place[i] = simt_plus(fn, simt_index(fn, own.row, score_stride(a), own.number), (int64_t)i * lanes_of_row(a));
        score[i] = kir_shared_load(fn, a->scores, place[i]);
        most = most ? kir_max(fn, most, score[i]) : score[i];
    }
    put_part(a, &own, most);
    cg_barrier(a->build);
    out_next[0] = kir_max(fn, carried[0], join_parts(a, own.row, kir_max));
    KirRef factor = kir_exp(fn, kir_sub(fn, carried[0], out_next[0])), unseen = kir_float(fn, KT_F32, LOWEST);
    KirIf has;
    for (uint32_t i = 0; i < each; i++) {
        KirRef weight = kir_exp(fn, kir_sub(fn, score[i], out_next[0]));
        score[i] = kir_select(fn, kir_cmp(fn, KIR_EQ, score[i], unseen), none, weight);
        sum = sum ? kir_add(fn, sum, score[i]) : score[i];
    }
    kir_if_begin(fn, own.has, &has);
    for (uint32_t i = 0; i < each; i++) kir_shared_store(fn, a->scores, place[i], score[i]);
    kir_shared_store(fn, a->factor, own.row, factor);   // the same from all lanes of the row
    kir_if_end(fn, &has, NULL);
    out_next[1] = kir_fma(fn, carried[1], factor, sum);
    cg_barrier(a->build);
}

// ---- values ----------------------------------------------------------------------------------------------------

// The first of channel pair j (i64); beyond the last pair the last.
static KirRef pair_channel(const SimtAttend *a, uint32_t j) {
    KirFn *fn = a->fn;
    KirRef pair = simt_plus(fn, kir_srem(fn, kir_lane(fn), kir_i64(fn, a->channel_lanes)), (int64_t)j * a->channel_lanes);
    if ((int64_t)(j + 1) * a->channel_lanes * 2 > a->of.d) pair = kir_min(fn, pair, kir_i64(fn, a->of.d / 2 - 1));
    return kir_mul(fn, pair, kir_i64(fn, 2));
}
static KirRef sum_row(const SimtAttend *a, uint32_t i) {
    return simt_plus(a->fn, kir_mul(a->fn, kir_sdiv(a->fn, kir_lane(a->fn), kir_i64(a->fn, a->channel_lanes)), kir_i64(a->fn, sum_rows(a))), i);
}

// sums * factor + weighted values of the positions first.. below end.
static void add_values(const SimtAttend *a, KirRef first, KirRef end, const KirRef *carried, KirRef *out_sums) {
    KirFn *fn = a->fn;
    uint32_t channels = 2 * pairs(a), count = sum_rows(a) * channels;
    KirRef sums[SIMT_MOST_SUMS], next[SIMT_MOST_SUMS], value[SIMT_MOST_SUMS], here = kir_min(fn, kir_i64(fn, POSITIONS), kir_sub(fn, end, first));
    KirLoop loop;
    for (uint32_t i = 0; i < sum_rows(a); i++) {
        KirRef factor = kir_shared_load(fn, a->factor, sum_row(a, i));
        for (uint32_t c = 0; c < channels; c++) sums[i * channels + c] = kir_mul(fn, carried[i * channels + c], factor);
    }
    kir_for_begin(fn, kir_i64(fn, 0), here, kir_i64(fn, 1), count, sums, &loop);
    KirRef row = kir_at(fn, a->v, kir_add(fn, first, loop.iv), cg_attention_row_bytes(&a->of), 0);
    for (uint32_t j = 0; j < pairs(a); j++) load_pair(a, a->of.cache, row, pair_channel(a, j), &value[2 * j]);
    for (uint32_t i = 0; i < sum_rows(a); i++) {
        KirRef weight = kir_shared_load(fn, a->scores, simt_index(fn, sum_row(a, i), score_stride(a), loop.iv));
        for (uint32_t c = 0; c < channels; c++) next[i * channels + c] = kir_fma(fn, value[c], weight, loop.carried[i * channels + c]);
    }
    kir_for_end(fn, &loop, next);
    for (uint32_t n = 0; n < count; n++) out_sums[n] = loop.results[n];
}

// ---- all positions ---------------------------------------------------------------------------------------------

void simt_attend(const SimtAttend *a, KirRef begin, KirRef end, SimtSums *out_sums) {
    KirFn *fn = a->fn;
    KirRef carried[SIMT_MOST_SUMS + 2], next[SIMT_MOST_SUMS + 2];
    KirLoop loop;
    *out_sums = (SimtSums){.row_count = sum_rows(a), .channel_count = 2 * pairs(a)};
    uint32_t count = out_sums->row_count * out_sums->channel_count;
    for (uint32_t n = 0; n < count + 2; n++) carried[n] = kir_float(fn, KT_F32, n == count ? LOWEST : 0);
    kir_for_begin(fn, begin, end, kir_i64(fn, POSITIONS), count + 2, carried, &loop);
    put_scores(a, loop.iv, end);
    put_weights(a, &loop.carried[count], &next[count]);
    add_values(a, loop.iv, end, loop.carried, next);
    kir_for_end(fn, &loop, next);
    RowLane own = row_lane(a);
    KirIf has;
    cg_barrier(a->build);
    put_part(a, &own, loop.results[count + 1]);
    kir_if_begin(fn, own.has, &has);
    kir_shared_store(fn, a->factor, own.row, loop.results[count]);
    kir_if_end(fn, &has, NULL);
    cg_barrier(a->build);
    for (uint32_t n = 0; n < count; n++) out_sums->sum[n] = loop.results[n];
    for (uint32_t i = 0; i < out_sums->row_count; i++) out_sums->row[i] = sum_row(a, i);
    for (uint32_t c = 0; c < out_sums->channel_count; c++) out_sums->channel[c] = simt_plus(fn, pair_channel(a, c / 2), c % 2);
}
