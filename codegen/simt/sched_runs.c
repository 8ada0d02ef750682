// SPDX-License-Identifier: Apache-2.0
// The argmax behind a product: of the run of SIMT_TILE_ROWS results that a unit has of each of its tokens, the largest and its column. The
// results lie in shared memory, [token][SIMT_TILE_ROWS]; WAYS lanes look through a share of a token's each and leave what they have found where
// their share begins, then one lane looks through these.
#include "codegen/simt/product.h"

#include <limits.h>
#include <math.h>

enum { WAYS = 8, SHARE = SIMT_TILE_ROWS / WAYS };

typedef struct Best { KirRef key, bits, column; } Best;   // i32; column: of the run

void simt_runs_open(SimtProduct *p, KirRef array) {
    const IrOp *op = ir_op(p->job->graph, p->job->argmax);
    p->run = array;
    p->run_to = (CgArgMax){cg_result(p->build, op->results[0]), cg_result(p->build, op->results[1])};
}

static KirRef load(const SimtProduct *p, KirRef at, int64_t by) { return kir_shared_load(p->fn, p->run, simt_plus(p->fn, at, by)); }

// The larger of the two; `best` where they are equal, and where the run has not so many columns (left: i32).
static Best larger(const SimtProduct *p, Best best, KirRef bits, KirRef column, KirRef left) {
    KirFn *fn = p->fn;
    KirRef key = cg_argmax_key(fn, kir_bitcast(fn, bits, KT_F32)), none = kir_int(fn, KT_I32, INT_MIN);
    key = kir_select(fn, kir_cmp(fn, KIR_LT, column, left), key, none);
    KirRef more = kir_cmp(fn, KIR_GT, key, best.key);
    return (Best){kir_select(fn, more, key, best.key), kir_select(fn, more, bits, best.bits), kir_select(fn, more, column, best.column)};
}

// Before any column is compared, from `column` on.
static Best none_yet(const SimtProduct *p, KirRef column) {
    return (Best){kir_int(p->fn, KT_I32, INT_MIN), kir_int(p->fn, KT_I32, 0), column};
}

static void look_through_share(const SimtProduct *p, KirRef share, KirRef left) {
    KirFn *fn = p->fn;
    KirRef at = kir_mul(fn, share, kir_i64(fn, SHARE)), first = kir_trunc(fn, kir_srem(fn, at, kir_i64(fn, SIMT_TILE_ROWS)), KIR_I32);
    Best best = none_yet(p, first);
    for (int i = 0; i < SHARE; i++) best = larger(p, best, load(p, at, i), kir_add(fn, first, kir_int(fn, KT_I32, i)), left);
    kir_shared_store(fn, p->run, at, best.bits);
    kir_shared_store(fn, p->run, simt_plus(fn, at, 1), best.column);
}

static void store_best(const SimtProduct *p, const Best *best, KirRef row) {
    KirFn *fn = p->fn;
    KirRef width = kir_i64(fn, SIMT_TILE_ROWS), runs = kir_i64(fn, hd_ceil_div(p->job->rows, SIMT_TILE_ROWS));
    KirRef number = kir_add(fn, kir_mul(fn, row, runs), kir_sdiv(fn, p->n0, width)), column = kir_add(fn, kir_trunc(fn, p->n0, KIR_I32), best->column);
    cg_argmax_store(fn, &p->run_to, number, best->key, kir_bitcast(fn, best->bits, KT_F32), column);
}

static Best look_through_ways(const SimtProduct *p, KirRef token, KirRef left) {
    KirRef at = kir_mul(p->fn, token, kir_i64(p->fn, SIMT_TILE_ROWS));
    Best best = none_yet(p, kir_int(p->fn, KT_I32, 0));
    for (int way = 0; way < WAYS; way++) best = larger(p, best, load(p, at, way * SHARE), load(p, at, way * SHARE + 1), left);
    return best;
}

void simt_runs_keep(const SimtProduct *p, KirRef token, KirRef column, KirRef value) {
    KirFn *fn = p->fn;
    KirRef row = kir_srem(fn, column, kir_i64(fn, SIMT_TILE_ROWS));
    kir_shared_store(fn, p->run, simt_index(fn, token, SIMT_TILE_ROWS, row), kir_bitcast(fn, value, KT_I32));
}

void simt_runs_store(const SimtProduct *p, KirRef first, KirRef count, MmTokenAt *at, void *user) {
    KirFn *fn = p->fn;
    KirLoop loop;
    MmToken of_token;
    KirRef tokens = kir_min(fn, kir_i64(fn, p->tokens), kir_sub(fn, count, first)), left = kir_trunc(fn, kir_sub(fn, p->job->n, p->n0), KIR_I32);
    KirRef share = simt_deal_begin(p->build, kir_mul(fn, tokens, kir_i64(fn, WAYS)), &loop);
    look_through_share(p, share, left);
    simt_deal_end(p->build, &loop);
    cg_barrier(p->build);
    KirRef token = simt_deal_begin(p->build, tokens, &loop);
    Best best = look_through_ways(p, token, left);
    at(p->job, user, kir_add(fn, first, token), &of_token);
    store_best(p, &best, of_token.row);
    simt_deal_end(p->build, &loop);
}
