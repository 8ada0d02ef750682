// SPDX-License-Identifier: Apache-2.0
// The two products of a tile of attention (attention.h): queries with keys, weights with values.
//
// For one token a key is loaded once for all of its heads, converted on the way. Several tokens have the tile's keys and values converted once; then
// blocks of 4 rows and 4 keys, or 4 rows and 64 channels, are multiplied in registers. Both give a number by the same operations.
#include "codegen/cpu/attention.h"

enum { LANES = ATTENTION_LANES, TILE = ATTENTION_TILE, BLOCK = 4 };

// 16 channels of a cache row.
static KirRef load_cache(const Attention *a, KirRef row, CgIndex channel, KirRef valid) {
    KirFn *fn = a->fn;
    KirRef at = kir_at(fn, row, cg_index_ref(fn, &channel), a->half ? 2 : 4, 0);
    if (!a->half) return cg_load16(fn, at, valid);
    return kir_f16_f32(fn, valid ? kir_load_part(fn, KT_I16x16, at, valid) : kir_load(fn, KT_I16x16, at));
}

static KirRef cache_row(const Attention *a, KirRef cache, KirRef position) { return kir_at(a->fn, cache, position, cg_attention_row_bytes(&a->of), 0); }

// The rows of a cache head lie apart, those of other heads between them: no processor foresees them. Those of keys are asked for AHEAD positions before
// they are read, those of values (for one token) while the scores of their tile are computed.
enum { AHEAD = 16 };
static void ask_for(const Attention *a, KirRef cache, KirRef position) {
    cg_prefetch_row(a->fn, cache_row(a, cache, position), a->half ? a->d / 2 : a->d);
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

static CgIndex chunk_of(CgIndex channel, uint32_t c) {
    channel.constant += c * LANES;
    return channel;
}

// ---- values ----------------------------------------------------------------------------------------------------

typedef struct Values { const Attention *a; KirRef count; } Values;   // positions of the tile
// 16 channels of a position (i64, within the tile).
typedef KirRef LoadValue(const Values *x, KirRef position, CgIndex channel, KirRef valid);

// Sums over the tile for `rows` rows from `row` (i64) on, `chunks` vectors of channels each; then they join those of the span.
static void add_values(const Values *x, KirRef row, uint32_t rows, CgIndex channel, uint32_t chunks, KirRef valid, LoadValue *load) {
    const Attention *a = x->a;
    KirFn *fn = a->fn;
    uint32_t n = rows * chunks;
    KirRef acc[KIR_MAX_CARRIED], v[8], score = kir_at(fn, a->score, row, TILE * 4, 0);
    for (uint32_t i = 0; i < n; i++) acc[i] = kir_float(fn, KT_F32x16, 0);
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), x->count, kir_i64(fn, 1), n, acc, &loop);
    for (uint32_t c = 0; c < chunks; c++) v[c] = load(x, loop.iv, chunk_of(channel, c), valid);
    for (uint32_t i = 0; i < n; i++) {
        KirRef weight = kir_load(fn, KT_F32, kir_at(fn, score, loop.iv, 4, i / chunks * TILE * 4));
        acc[i] = kir_fma(fn, v[i % chunks], weight, loop.carried[i]);
    }
    kir_for_end(fn, &loop, acc);
    KirRef to = kir_at(fn, kir_at(fn, a->span_o, row, attention_width(a) * 4, 0), cg_index_ref(fn, &channel), 4, 0);
    for (uint32_t i = 0; i < n; i++) {
        KirRef sum = kir_offset_const(fn, to, (i / chunks * attention_width(a) + i % chunks * LANES) * 4);
        KirRef factor = kir_load(fn, KT_F32, kir_at(fn, a->factor, row, 4, i / chunks * 4));
        kir_store(fn, sum, kir_fma(fn, kir_load(fn, KT_F32x16, sum), factor, loop.results[i]));
    }
}

// ---- one token -------------------------------------------------------------------------------------------------

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

// A few positions at a time; beyond count the last one is repeated.
static void scores_of_one(const Attention *a, KirRef count) {
    KirFn *fn = a->fn;
    Scores s = {.a = a, .rows = score_rows(a)};
    KirRef last = kir_sub(fn, count, kir_i64(fn, 1)), acc[KIR_MAX_CARRIED];
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), count, kir_i64(fn, s.rows), 0, NULL, &loop);
    for (uint32_t i = 0; i < s.rows; i++) s.row[i] = cache_row(a, a->k, kir_add(fn, a->first, kir_min(fn, kir_add(fn, loop.iv, kir_i64(fn, i)), last)));
    for (uint32_t i = 0; i < s.rows; i++) {
        KirRef position = kir_add(fn, a->first, kir_add(fn, loop.iv, kir_i64(fn, i)));
        ask_for(a, a->k, kir_add(fn, position, kir_i64(fn, AHEAD)));
        ask_for(a, a->v, position);
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

static KirRef cached_value(const Values *x, KirRef position, CgIndex channel, KirRef valid) {
    return load_cache(x->a, cache_row(x->a, x->a->v, kir_add(x->a->fn, x->a->first, position)), channel, valid);
}

static void values_of_one(void *user, CgIndex channel, uint32_t chunks, KirRef valid, KirRef *unused) {
    const Values *x = user;
    (void)unused;
    add_values(x, kir_i64(x->a->fn, 0), (uint32_t)x->a->G, channel, chunks, valid, cached_value);
}

// ---- several tokens --------------------------------------------------------------------------------------------

// Vector c of channels of a position lies at (c * along + position * across) bytes: keys row by row, values vector by vector (and a vector of room between),
// so that neither what is written together nor what is read together falls into few sets of the first cache.
typedef struct Copy { const Attention *a; KirRef from, to; int64_t along; } Copy;
enum { VECTOR = 4 * LANES, VALUES_ALONG = (TILE + 1) * VECTOR };

static KirRef vector_at(const Attention *a, KirRef row, CgIndex channel, int64_t along) {
    return kir_at(a->fn, row, cg_index_ref(a->fn, &channel), along / LANES, 0);
}

static void copy_block(void *user, CgIndex channel, uint32_t chunks, KirRef valid, KirRef *unused) {
    const Copy *copy = user;
    KirFn *fn = copy->a->fn;
    (void)unused;
    for (uint32_t c = 0; c < chunks; c++) {
        CgIndex at = chunk_of(channel, c);
        kir_store(fn, vector_at(copy->a, copy->to, at, copy->along), load_cache(copy->a, copy->from, at, valid));
    }
}

// The tile's first `count` positions, as float32; channels beyond d are 0.
static void copy_tile(const Attention *a, KirRef cache, KirRef count, KirRef to, int64_t along, int64_t across) {
    KirFn *fn = a->fn;
    KirLoop loop;
    KirRef at = cg_loop_begin(fn, kir_i64(fn, 0), count, &loop), position = kir_add(fn, a->first, at);
    Copy copy = {a, cache_row(a, cache, position), kir_at(fn, to, at, across, 0), along};
    ask_for(a, cache, kir_add(fn, position, kir_i64(fn, AHEAD)));
    each_block(a, 4, 0, NULL, copy_block, &copy);
    cg_loop_end(fn, &loop);
}

// Sums over the lanes of 16 vectors, as kir_reduce_add has them, in the lanes of one: of half as many vectors at each step, lanes of two lie in one.
static KirRef reduce_all(KirFn *fn, KirRef *v) {
    for (uint32_t count = LANES; count > 1; count /= 2) {
        uint32_t part = count / 2;                          // lanes that are left of each
        for (uint32_t i = 0; i < count / 2; i++) {
            uint8_t low[LANES], high[LANES];
            for (uint32_t l = 0; l < LANES; l++) low[l] = (uint8_t)(l / part * count + l % part), high[l] = (uint8_t)(low[l] + part);
            v[i] = kir_add(fn, kir_shuffle(fn, v[2 * i], v[2 * i + 1], low, LANES), kir_shuffle(fn, v[2 * i], v[2 * i + 1], high, LANES));
        }
    }
    return v[0];
}

typedef struct Square { const Attention *a; KirRef q[BLOCK], k; } Square;   // query rows; the first of the keys

static void square_block(void *user, CgIndex channel, uint32_t chunks, KirRef valid, KirRef *acc) {
    const Square *s = user;
    KirFn *fn = s->a->fn;
    (void)chunks;
    KirRef k[BLOCK], at = cg_index_ref(fn, &channel);
    for (uint32_t j = 0; j < BLOCK; j++) k[j] = kir_load(fn, KT_F32x16, kir_at(fn, s->k, at, 4, j * attention_width(s->a) * 4));
    for (uint32_t i = 0; i < BLOCK; i++) {
        KirRef q = cg_load16(fn, kir_at(fn, s->q[i], at, 4, 0), valid);
        for (uint32_t j = 0; j < BLOCK; j++) acc[i * BLOCK + j] = kir_fma(fn, q, k[j], acc[i * BLOCK + j]);
    }
}

// Of row r; beyond the last row that one.
static KirRef query_row(const Attention *a, KirRef r) {
    KirFn *fn = a->fn;
    KirRef row = kir_min(fn, r, kir_sub(fn, a->rows, kir_i64(fn, 1))), G = kir_i64(fn, a->G);
    return kir_at(fn, kir_at(fn, a->q, kir_sdiv(fn, row, G), a->of.H * a->d * 4, 0), kir_srem(fn, row, G), a->d * 4, 0);
}

static void scores_of_block(const Attention *a, KirRef row, KirRef key) {
    KirFn *fn = a->fn;
    Square s = {.a = a, .k = kir_at(fn, a->keys, key, attention_width(a) * 4, 0)};
    KirRef acc[BLOCK * BLOCK];
    for (uint32_t i = 0; i < BLOCK; i++) s.q[i] = query_row(a, kir_add(fn, row, kir_i64(fn, i)));
    for (uint32_t i = 0; i < BLOCK * BLOCK; i++) acc[i] = kir_float(fn, KT_F32x16, 0);
    each_block(a, 1, BLOCK * BLOCK, acc, square_block, &s);
    KirRef scores = kir_mul(fn, reduce_all(fn, acc), kir_float(fn, KT_F32x16, a->of.scale));
    KirRef to = kir_at(fn, kir_at(fn, a->score, row, TILE * 4, 0), key, 4, 0);
    for (uint32_t i = 0; i < BLOCK; i++) {
        uint8_t lanes[BLOCK];
        for (uint32_t j = 0; j < BLOCK; j++) lanes[j] = (uint8_t)(i * BLOCK + j);
        kir_store(fn, kir_offset_const(fn, to, i * TILE * 4), kir_shuffle(fn, scores, scores, lanes, BLOCK));
    }
}

// Four keys stay in the first cache while all rows pass.
static void scores_of_many(const Attention *a, KirRef count) {
    KirFn *fn = a->fn;
    KirRef step = kir_i64(fn, BLOCK);
    KirLoop keys, rows;
    copy_tile(a, a->k, count, a->keys, VECTOR, attention_width(a) * 4);
    kir_for_begin(fn, kir_i64(fn, 0), count, step, 0, NULL, &keys);
    kir_for_begin(fn, kir_i64(fn, 0), a->rows, step, 0, NULL, &rows);
    scores_of_block(a, rows.iv, keys.iv);
    kir_for_end(fn, &rows, NULL);
    kir_for_end(fn, &keys, NULL);
}

static KirRef copied_value(const Values *x, KirRef position, CgIndex channel, KirRef valid) {
    KirFn *fn = x->a->fn;
    (void)valid;
    return kir_load(fn, KT_F32x16, vector_at(x->a, kir_at(fn, x->a->values, position, VECTOR, 0), channel, VALUES_ALONG));
}

// So do the values of 64 channels.
static void values_of_many(void *user, CgIndex channel, uint32_t chunks, KirRef valid, KirRef *unused) {
    const Values *x = user;
    KirFn *fn = x->a->fn;
    (void)unused;
    KirLoop rows;
    kir_for_begin(fn, kir_i64(fn, 0), x->a->rows, kir_i64(fn, BLOCK), 0, NULL, &rows);
    add_values(x, rows.iv, BLOCK, channel, chunks, valid, copied_value);
    kir_for_end(fn, &rows, NULL);
}

// ---- either ----------------------------------------------------------------------------------------------------

void attention_tile_scratch(Attention *a) {
    int64_t rows = hd_align_up(a->G * a->tokens, BLOCK);
    a->score = cg_scratch_words(a->build, rows * TILE), a->factor = cg_scratch_words(a->build, rows);
    if (a->tokens == 1) return;
    a->keys = cg_scratch_words(a->build, TILE * attention_width(a)), a->values = cg_scratch_words(a->build, attention_width(a) / LANES * VALUES_ALONG / 4);
}

void attention_scores(const Attention *a, KirRef count) { (a->tokens == 1 ? scores_of_one : scores_of_many)(a, count); }

void attention_values(const Attention *a, KirRef count) {
    Values x = {a, count};
    if (a->tokens > 1) copy_tile(a, a->v, count, a->values, VALUES_ALONG, VECTOR);
    if (a->tokens > 1) each_block(a, BLOCK, 0, NULL, values_of_many, &x);
    else each_block(a, a->G == 1 ? 8 : a->G <= 4 ? 4 : a->G <= 8 ? 2 : 1, 0, NULL, values_of_one, &x);
}
