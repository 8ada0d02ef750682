// SPDX-License-Identifier: Apache-2.0
// ATTENTION: one causal softmax attention over the cache, and element-wise operations on its rows. A work unit is a token and a query
// head. Tiles of as many positions as the group has lanes: first a lane is a position and makes its score; the running maximum and sum
// go through shared memory; then a lane is a channel (or several) and sums the weighted values of the tile. A group has a lane for each
// channel, as far as it may: a decode step has few groups, so the more each does at once the better.
#include "codegen/simt/sched.h"

enum { MOST_CHANNELS = 4 };   // of a lane
#define LOWEST -1e30f   // below every score; e^(LOWEST - x) is 0

typedef struct Attention {
    CgBuild *build;
    KirFn *fn;
    int64_t H, heads, d;
    float scale;
    IrDtype cache;
    KirRef q, k, v;              // of this unit: its query row, and position 0 of its head in the caches
    KirRef weights;              // shared: [lanes]
} Attention;

static int64_t element_bytes(const Attention *a) { return ir_dtype_info(a->cache)->block_bytes; }
static int64_t row_bytes(const Attention *a) { return a->heads * a->d * element_bytes(a); }
static uint32_t lanes(const Attention *a) { return (uint32_t)HD_MIN(hd_align_up((uint64_t)a->d, SIMT_LANES), SIMT_MOST_LANES); }
static uint32_t channels(const Attention *a) { return (uint32_t)hd_ceil_div(a->d, lanes(a)); }
static KirRef channel(const Attention *a, uint32_t i) { return kir_add(a->fn, kir_lane(a->fn), kir_i64(a->fn, (int64_t)i * lanes(a))); }

static KirRef score(const Attention *a, KirRef position) {
    KirFn *fn = a->fn;
    KirRef row = kir_at(fn, a->k, position, row_bytes(a), 0), sum[2] = {kir_float(fn, KT_F32, 0), kir_float(fn, KT_F32, 0)}, next[2];
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, a->d), kir_i64(fn, 2), 2, sum, &loop);
    for (int i = 0; i < 2; i++) {
        KirRef c = kir_add(fn, loop.iv, kir_i64(fn, i)), key = simt_load_number(fn, a->cache, kir_at(fn, row, c, element_bytes(a), 0));
        next[i] = kir_fma(fn, kir_load(fn, KT_F32, kir_at(fn, a->q, c, 4, 0)), key, loop.carried[i]);
    }
    kir_for_end(fn, &loop, next);
    return kir_mul(fn, kir_add(fn, loop.results[0], loop.results[1]), kir_float(fn, KT_F32, a->scale));
}

// sum * factor + the tile's values, for channel number i of this lane; channels beyond the last take the last.
static KirRef add_values(const Attention *a, KirRef first, KirRef count, uint32_t i, KirRef sum, KirRef factor) {
    KirFn *fn = a->fn;
    KirRef zero = kir_float(fn, KT_F32, 0), c = kir_min(fn, channel(a, i), kir_i64(fn, a->d - 1));
    KirLoop loop;
    kir_for_begin(fn, kir_i64(fn, 0), count, kir_i64(fn, 1), 1, &zero, &loop);
    KirRef row = kir_at(fn, a->v, kir_add(fn, first, loop.iv), row_bytes(a), 0);
    KirRef value = simt_load_number(fn, a->cache, kir_at(fn, row, c, element_bytes(a), 0));
    KirRef next = kir_fma(fn, value, kir_shared_load(fn, a->weights, loop.iv), loop.carried[0]);
    kir_for_end(fn, &loop, &next);
    return kir_fma(fn, sum, factor, loop.results[0]);
}

// The running maximum, sum and channels over positions first..first+lanes-1 below count. No barrier is needed before the weights are
// stored: those of the maximum stand between, and behind the sum's everybody sees them.
static void tile(const Attention *a, KirRef first, KirRef count, const KirRef *old, KirRef *out_new) {
    KirFn *fn = a->fn;
    KirRef position = kir_add(fn, first, kir_lane(fn)), inside = kir_cmp(fn, KIR_LT, position, count);
    KirRef s = score(a, kir_min(fn, position, kir_sub(fn, count, kir_i64(fn, 1))));
    s = kir_select(fn, inside, s, kir_float(fn, KT_F32, LOWEST));
    KirRef most = kir_max(fn, old[0], cg_group_max(a->build, s)), factor = kir_exp(fn, kir_sub(fn, old[0], most));
    KirRef weight = kir_select(fn, inside, kir_exp(fn, kir_sub(fn, s, most)), kir_float(fn, KT_F32, 0));
    kir_shared_store(fn, a->weights, kir_lane(fn), weight);
    out_new[0] = most;
    out_new[1] = kir_fma(fn, old[1], factor, cg_group_sum(a->build, weight));
    KirRef here = kir_min(fn, kir_i64(fn, lanes(a)), kir_sub(fn, count, first));
    for (uint32_t i = 0; i < channels(a); i++) out_new[2 + i] = add_values(a, first, here, i, old[2 + i], factor);
}

// The weighted means of this lane's channels.
static void attend(const Attention *a, KirRef count, KirRef *out_means) {
    KirFn *fn = a->fn;
    KirRef carried[2 + MOST_CHANNELS], next[2 + MOST_CHANNELS];
    KirLoop loop;
    carried[0] = kir_float(fn, KT_F32, LOWEST);
    for (uint32_t i = 0; i <= channels(a); i++) carried[1 + i] = kir_float(fn, KT_F32, 0);
    kir_for_begin(fn, kir_i64(fn, 0), count, kir_i64(fn, lanes(a)), 2 + channels(a), carried, &loop);
    tile(a, loop.iv, count, loop.carried, next);
    kir_for_end(fn, &loop, next);
    for (uint32_t i = 0; i < channels(a); i++) out_means[i] = kir_div(fn, loop.results[2 + i], loop.results[1]);
}

// Evaluates and stores the yields at one channel of the head's row.
static void store_channel(const Attention *a, const IrOp *op, const CgUnit *unit, KirRef token, KirRef head, KirRef c, KirRef mean) {
    KirFn *fn = a->fn;
    const IrGraph *graph = a->build->graph;
    CgRegion *region = cg_region_new(a->build);
    CgIndex row[3] = {cg_index(token, 0), cg_index(head, a->H), cg_index(c, a->d)}, at[4];
    cg_region_bind_lanes(region, op->results[0], mean);
    for (uint32_t i = 0; i < unit->sink_count; i++) {
        const IrType *type = cg_type(graph, unit->sinks[i].value);
        cg_index_reshape(fn, cg_type(graph, op->results[0]), row, type, at);
        KirRef value = cg_region_eval_at(region, unit->sinks[i].value, at, 1, 0);
        KirRef element = kir_add(fn, kir_mul(fn, kir_add(fn, kir_mul(fn, token, kir_i64(fn, a->H)), head), kir_i64(fn, a->d)), c);
        kir_store(fn, kir_at(fn, unit->sinks[i].to, element, ir_dtype_info(type->dtype)->block_bytes, 0), value);
    }
    cg_region_free(region);
}

static void emit_unit(Attention *a, const IrOp *op, const CgUnit *unit, KirRef number) {
    KirFn *fn = a->fn;
    KirRef coord[2], means[MOST_CHANNELS];
    cg_unit_coords(fn, number, (IrDim[2]){IR_DIM_T, a->H}, 2, coord);
    KirRef info = kir_at(fn, cg_input(a->build, HEDDLE_INPUT_TOKEN_INFO), coord[0], 16, 0), slot = cg_load_i32(fn, info, 4);
    KirRef head = kir_sdiv(fn, coord[1], kir_i64(fn, a->H / a->heads));
    a->k = kir_at(fn, cg_state_base(a->build, op->operands[1], slot, 0), head, a->d * element_bytes(a), 0);
    a->v = kir_at(fn, cg_state_base(a->build, op->operands[2], slot, 0), head, a->d * element_bytes(a), 0);
    a->q = kir_at(fn, cg_operand(a->build, op->operands[0]), number, a->d * 4, 0);
    attend(a, kir_add(fn, cg_load_i32(fn, info, 8), kir_i64(fn, 1)), means);
    for (uint32_t i = 0; i < channels(a); i++) {
        KirIf exists;
        KirRef c = channel(a, i);
        kir_if_begin(fn, kir_cmp(fn, KIR_LT, c, kir_i64(fn, a->d)), &exists);
        store_channel(a, op, unit, coord[0], coord[1], c, means[i]);
        kir_if_end(fn, &exists, NULL);
    }
}

HdStatus *cg_simt_ATTENTION(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    IrOpRef ref = cg_find_op(graph, group, IR_OP_attention);
    if (!ref) return hd_error(HD_INTERNAL, "an attention group holds one attention");
    const IrOp *op = ir_op(graph, ref);
    HD_TRY(cg_check_operands(graph, op));
    const IrType *q = cg_type(graph, op->operands[0]), *k = cg_type(graph, op->operands[1]);
    CgUnit unit;
    HD_TRY(cg_attention_plan(graph, group, op, &unit));
    Attention a = {.H = q->dims[1], .heads = k->dims[1], .d = q->dims[2], .scale = op->attr[IR_ATTR_SCALE].f, .cache = k->dtype};
    if (channels(&a) > MOST_CHANNELS || a.d % 2)
        return hd_error(HD_UNSUPPORTED, "attention: heads of %lld channels; an even number up to %d", (long long)a.d,
                        MOST_CHANNELS * SIMT_MOST_LANES);
    CgBuild *build = a.build = cg_simt_launch_begin(builder, "attention", lanes(&a));
    a.fn = build->fn;
    cg_units(build, (IrDim[2]){q->dims[0], a.H}, 2, 1);
    cg_account(build);
    cg_attention_account(build, op);
    cg_unit_pointers(build, &unit);
    a.weights = kir_shared(a.fn, KIR_F32, lanes(&a));
    KirLoop loop;
    emit_unit(&a, op, &unit, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}
