// SPDX-License-Identifier: Apache-2.0
// CONV: one causal depthwise convolution, then for each yield element-wise and row-wise operations on a range of its
// channels. One launch per yield; one work unit per segment and head (a block of channels: a row of the yield, or 64 channels
// where nothing needs whole rows).
//
// A unit walks through the tokens of its segment with the last K - 1 inputs of its channels at hand: at first those of the
// state's plane in, in the end what goes to plane out. That holds for segments shorter than K - 1, and when both planes are
// the same.
#include "codegen/cpu/sched.h"

enum { LANES = 16, BLOCK = 64, MAX_TAPS = 16 };

typedef struct Conv {
    CgBuild *build;
    KirFn *fn;
    const IrOp *op;
    int64_t N, K, d;             // channels of the operation, taps, channels of this unit
    KirRef u, w, channel;        // channel: the unit's first
    KirRef taps, past, row;      // scratch: [K][width], [K-1][width], [width]
} Conv;

static int64_t width(const Conv *c) { return (c->d + LANES - 1) / LANES * LANES; }
static KirRef scratch(CgBuild *build, int64_t floats) {
    return kir_offset_const(build->fn, kir_scratch(build->fn), cg_scratch(build, (uint64_t)floats * 4));
}

// ---- channels 16 at a time -------------------------------------------------------------------------------------

typedef void Chunk(void *user, KirRef channel, KirRef valid);   // channel: from the unit's first, i64

static void each_chunk(const Conv *c, Chunk *chunk, void *user) {
    KirFn *fn = c->fn;
    int64_t whole = c->d / LANES * LANES;
    if (whole) {
        KirLoop loop;
        kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, whole), kir_i64(fn, LANES), 0, NULL, &loop);
        chunk(user, loop.iv, 0);
        kir_for_end(fn, &loop, NULL);
    }
    if (whole < c->d) chunk(user, kir_i64(fn, whole), kir_i64(fn, c->d - whole));
}

static KirRef scratch_at(const Conv *c, KirRef base, int64_t row, KirRef channel) {
    return kir_at(c->fn, base, channel, 4, row * width(c) * 4);
}

// ---- weights ---------------------------------------------------------------------------------------------------

// Tap j of 16 channels out of K vectors that hold [16][K] numbers: each vector gives the lanes that lie in it.
static KirRef gather_tap(const Conv *c, const KirRef *vectors, int64_t tap) {
    KirRef lanes = vectors[0];
    for (int64_t v = 0; v < c->K; v++) {
        uint8_t from[LANES];
        for (int64_t lane = 0; lane < LANES; lane++) {
            int64_t at = lane * c->K + tap;
            from[lane] = (uint8_t)(at / LANES == v ? LANES + at % LANES : lane);   // else what is there already
        }
        lanes = kir_shuffle(c->fn, lanes, vectors[v], from, LANES);
    }
    return lanes;
}

// How many of a vector's 16 numbers belong to `valid` channels; 0: all.
static KirRef vector_part(const Conv *c, KirRef valid, int64_t vector) {
    KirFn *fn = c->fn;
    if (!valid) return 0;
    KirRef left = kir_sub(fn, kir_mul(fn, valid, kir_i64(fn, c->K)), kir_i64(fn, vector * LANES));
    return kir_max(fn, kir_i64(fn, 0), kir_min(fn, left, kir_i64(fn, LANES)));
}

static void take_weights(void *user, KirRef channel, KirRef valid) {
    const Conv *c = user;
    KirFn *fn = c->fn;
    KirRef vectors[MAX_TAPS], from = kir_at(fn, c->w, kir_add(fn, c->channel, channel), c->K * 4, 0);
    for (int64_t v = 0; v < c->K; v++)
        vectors[v] = cg_load16(fn, kir_offset_const(fn, from, v * LANES * 4), vector_part(c, valid, v));
    for (int64_t j = 0; j < c->K; j++) kir_store(fn, scratch_at(c, c->taps, j, channel), gather_tap(c, vectors, j));
}

// ---- the window ------------------------------------------------------------------------------------------------

typedef struct Window { const Conv *c; KirRef plane; } Window;

static void read_window(void *user, KirRef channel, KirRef valid) {
    const Window *x = user;
    const Conv *c = x->c;
    KirRef from = kir_at(c->fn, x->plane, kir_add(c->fn, c->channel, channel), 4, 0);
    for (int64_t j = 0; j + 1 < c->K; j++)
        kir_store(c->fn, scratch_at(c, c->past, j, channel),
                  cg_load16(c->fn, kir_offset_const(c->fn, from, j * c->N * 4), valid));
}

static void write_window(void *user, KirRef channel, KirRef valid) {
    const Window *x = user;
    const Conv *c = x->c;
    KirRef to = kir_at(c->fn, x->plane, kir_add(c->fn, c->channel, channel), 4, 0);
    for (int64_t j = 0; j + 1 < c->K; j++)
        cg_store16(c->fn, kir_offset_const(c->fn, to, j * c->N * 4),
                   kir_load(c->fn, KT_F32x16, scratch_at(c, c->past, j, channel)), valid);
}

// ---- a token ---------------------------------------------------------------------------------------------------

typedef struct Token { const Conv *c; KirRef inputs; } Token;   // inputs: the unit's channels of this token

// The sum over taps is rounded once: the taps often cancel, and the norms that follow make the remainder large again.
static void convolve(void *user, KirRef channel, KirRef valid) {
    const Token *t = user;
    const Conv *c = t->c;
    KirFn *fn = c->fn;
    KirRef x[MAX_TAPS], sum = 0, lost = 0;
    for (int64_t j = 0; j + 1 < c->K; j++) x[j] = kir_load(fn, KT_F32x16, scratch_at(c, c->past, j, channel));
    x[c->K - 1] = cg_load16(fn, kir_at(fn, t->inputs, channel, 4, 0), valid);
    for (int64_t j = 0; j < c->K; j++) {
        KirPair product = kir_exact_product(fn, kir_load(fn, KT_F32x16, scratch_at(c, c->taps, j, channel)), x[j]);
        KirPair both = sum ? kir_exact_sum(fn, sum, product.hi) : (KirPair){product.hi, 0};
        lost = sum ? kir_add(fn, lost, kir_add(fn, both.lo, product.lo)) : product.lo;
        sum = both.hi;
    }
    for (int64_t j = 0; j + 1 < c->K; j++) kir_store(fn, scratch_at(c, c->past, j, channel), x[j + 1]);
    kir_store(fn, scratch_at(c, c->row, 0, channel), kir_add(fn, sum, lost));
}

// Says that the convolution's values of this token lie in scratch, as far as they are this unit's.
static void bind_row(const Conv *c, CgRegion *region) {
    KirFn *fn = c->fn;
    KirRef base = kir_offset(fn, c->row, kir_mul(fn, c->channel, kir_i64(fn, -4)));
    cg_region_bind_memory(region, c->op->results[0], base, (KirRef[1]){0});
}

// ---- where a yield finds its channels --------------------------------------------------------------------------

typedef struct Walk { CgIndex at[4]; const IrGraph *graph; const IrOp *conv; KirFn *fn; bool whole_rows; } Walk;

// Follows `value` down to the convolution, turning the position in w->at from the one shape into the other. false: it does
// not get there, or by something that mixes channels.
static bool find_channels(Walk *w, IrValue value) {
    const IrValueData *data = ir_value(w->graph, value);
    if (data->kind != IR_VALUE_RESULT || !data->block) return false;
    const IrOp *op = ir_op(w->graph, data->op);
    if (op == w->conv) return true;
    IrRole role = ir_op_info(op->kind)->role;
    w->whole_rows = w->whole_rows || role == IR_ROLE_REDUCE;
    if (op->kind == IR_OP_reshape && !cg_index_reshape(w->fn, &data->type, w->at, cg_type(w->graph, op->operands[0]), w->at))
        return false;
    if (op->kind == IR_OP_slice) w->at[op->attr[IR_ATTR_AXIS].i].constant += op->attr[IR_ATTR_BEGIN].i;
    bool channelwise =
        op->kind == IR_OP_reshape || op->kind == IR_OP_slice || role == IR_ROLE_ELEMENTWISE || role == IR_ROLE_REDUCE;
    if (!channelwise || op->kind == IR_OP_rope || op->kind == IR_OP_moe_sum || op->kind == IR_OP_concat || op->kind == IR_OP_sum)
        return false;
    return find_channels(w, op->operands[0]);
}

// ---- a launch --------------------------------------------------------------------------------------------------

typedef struct Yield { CgUnit unit; IrType type; bool whole_rows; int64_t heads, d; } Yield;

// How the rows of a yield are dealt out, before anything is emitted for it.
static HdStatus *plan_yield(CgBuild *build, const IrOp *op, CgUnit *all, uint32_t index, Yield *out_yield) {
    IrValue value = all->sinks[index].value;
    const IrType *type = cg_type(build->graph, value);
    if (type->rank < 2 || type->rank > 3 || type->dims[0] != cg_type(build->graph, op->results[0])->dims[0])
        return hd_error(HD_UNSUPPORTED, "a conv group yields [T, n] or [T, H, d] only");
    Walk walk = {.graph = build->graph, .conv = op, .fn = build->fn};
    for (uint32_t i = 0; i < type->rank; i++)
        walk.at[i] = cg_index(kir_i64(build->fn, 0), ir_dim_is_sym(type->dims[i]) ? 0 : type->dims[i]);
    if (!find_channels(&walk, value)) return hd_error(HD_UNSUPPORTED, "a conv group yields channels of the convolution only");
    *out_yield = (Yield){.type = *type, .whole_rows = walk.whole_rows || type->rank == 3};
    out_yield->unit = (CgUnit){.prefix = type->rank - 1, .sink_count = 1, .sinks = {all->sinks[index]}};
    for (uint32_t i = 0; i < type->rank; i++) out_yield->unit.dims[i] = type->dims[i];
    int64_t last = ir_type_last(type);
    bool blocks = !out_yield->whole_rows && last % BLOCK == 0;
    out_yield->heads = type->rank == 3 ? type->dims[1] : blocks ? last / BLOCK : 1;
    out_yield->d = blocks ? BLOCK : last;
    return NULL;
}

// Evaluates the yield's row, or the unit's block of it, for one token.
static void emit_row(const Conv *c, Yield *yield, KirRef token, KirRef head) {
    KirFn *fn = c->fn;
    CgRegion *region = cg_region_new(c->build);
    bind_row(c, region);
    if (yield->whole_rows || yield->heads == 1) {
        cg_unit_emit(region, &yield->unit, (KirRef[2]){token, head});
    } else {
        CgIndex at[2] = {cg_index(token, 0), cg_index_sum(fn, cg_index_number(0), cg_index(head, yield->heads), BLOCK)};
        int64_t bytes = ir_dtype_info(yield->type.dtype)->block_bytes;
        KirRef row = kir_at(fn, yield->unit.sinks[0].to, token, ir_type_last(&yield->type) * bytes, 0),
               to = kir_at(fn, row, head, BLOCK * bytes, 0);
        cg_region_store(region, 1, &yield->unit.sinks[0].value, &to, at, BLOCK, 0);
    }
    cg_region_free(region);
}

static void emit_tokens(Conv *c, Yield *yield, const CgSegment *segment, KirRef head) {
    KirFn *fn = c->fn;
    KirLoop loop;
    KirRef i = cg_loop_begin(fn, kir_i64(fn, 0), segment->count, &loop);
    KirRef token = kir_add(fn, segment->first, i);
    Token t = {c, kir_at(fn, kir_at(fn, c->u, token, c->N * 4, 0), c->channel, 4, 0)};
    each_chunk(c, convolve, &t);
    emit_row(c, yield, token, head);
    cg_loop_end(fn, &loop);
}

static void emit_unit(Conv *c, Yield *yield, KirRef number) {
    KirFn *fn = c->fn;
    KirRef coord[2];
    cg_unit_coords(fn, number, (IrDim[2]){IR_DIM_S, yield->heads}, 2, coord);
    Walk walk = {.graph = c->build->graph, .conv = c->op, .fn = fn};
    uint32_t last = yield->type.rank - 1;
    bool blocks = last == 1 && yield->heads > 1;
    walk.at[0] = cg_index_number(0);   // only the channel is wanted
    if (last == 2) walk.at[1] = cg_index(coord[1], yield->heads);
    walk.at[last] = blocks ? cg_index_sum(fn, cg_index_number(0), cg_index(coord[1], yield->heads), BLOCK) : cg_index_number(0);
    HD_ASSERT(find_channels(&walk, yield->unit.sinks[0].value));
    c->channel = cg_index_ref(fn, &walk.at[1]);
    CgSegment segment = cg_segment(c->build, coord[0]);
    Window in = {c, cg_state_base(c->build, c->op->operands[2], segment.slot, segment.plane_in)};
    Window out = {c, cg_state_base(c->build, c->op->operands[2], segment.slot, segment.plane_out)};
    each_chunk(c, take_weights, c);
    each_chunk(c, read_window, &in);
    emit_tokens(c, yield, &segment, coord[1]);
    each_chunk(c, write_window, &out);
}

static HdStatus *build_yield(CgGroupBuilder *builder, const IrOp *op, CgUnit *all, uint32_t index) {
    CgBuild *build = cg_launch_begin(builder, "conv");
    KirFn *fn = build->fn;
    Yield yield;
    HdStatus *status = plan_yield(build, op, all, index, &yield);
    if (status) {
        kir_free(fn);
        return status;
    }
    Conv c = {.build = build,
              .fn = fn,
              .op = op,
              .N = cg_type(build->graph, op->operands[0])->dims[1],
              .K = cg_type(build->graph, op->operands[1])->dims[1],
              .d = yield.d};
    cg_units(build, (IrDim[2]){IR_DIM_S, yield.heads}, 2, 1);
    cg_expr_add_elements(&build->bytes, build->graph, &yield.type, 8);
    cg_expr_add_elements(&build->flops, build->graph, &yield.type, 2 * c.K);
    c.u = cg_operand(build, op->operands[0]), c.w = cg_operand(build, op->operands[1]);
    yield.unit.sinks[0].to = cg_pointer(build, ir_op(build->graph, build->group)->results[index]);
    c.taps = scratch(build, c.K * width(&c)), c.past = scratch(build, (c.K - 1) * width(&c)), c.row = scratch(build, width(&c));
    KirLoop loop;
    KirRef number = cg_loop_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), &loop);
    emit_unit(&c, &yield, number);
    cg_loop_end(fn, &loop);
    cg_launch_end(builder);
    return NULL;
}

HdStatus *cg_cpu_CONV(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    IrOpRef ref = cg_find_op(graph, group, IR_OP_conv1d);
    if (!ref) return hd_error(HD_INTERNAL, "a conv group holds one conv1d");
    const IrOp *op = ir_op(graph, ref);
    HD_TRY(cg_check_operands(graph, op));
    if (cg_type(graph, op->operands[1])->dims[1] > MAX_TAPS)
        return hd_error(HD_UNSUPPORTED, "conv1d: more than %d taps", MAX_TAPS);
    CgUnit all;
    HD_TRY(cg_unit_plan(graph, group, &all));
    for (uint32_t i = 0; i < all.sink_count; i++) {
        if (all.sinks[i].op) return hd_error(HD_UNSUPPORTED, "a conv group appends to no cache");
        HD_TRY(build_yield(builder, op, &all, i));
    }
    return NULL;
}
