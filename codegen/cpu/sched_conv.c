// SPDX-License-Identifier: Apache-2.0
// CONV: one causal depthwise convolution, then for each yield element-wise and row-wise operations on a range of its
// channels. One launch per yield; one work unit per segment and head (a block of channels: a row of the yield, or 64 channels
// where nothing needs whole rows).
//
// A unit walks through the tokens of its segment, TOKENS at a time, with the last K - 1 inputs of its channels at hand: at first
// those of the state's plane in, in the end what goes to plane out. That holds for segments shorter than K - 1, and when both
// planes are the same.
#include "codegen/sched.h"

enum { LANES = 16, MAX_TAPS = CG_CONV_MOST_TAPS, TOKENS = 8 };

typedef struct Conv {
    CgBuild *build;
    KirFn *fn;
    const IrOp *op;
    int64_t N, K, d;             // channels of the operation, taps, channels of this unit
    KirRef u, w, channel;        // channel: the unit's first
    KirRef taps, past, rows;     // scratch: [K][width], [K-1][width], [TOKENS][width]
} Conv;

static int64_t width(const Conv *c) { return (c->d + LANES - 1) / LANES * LANES; }

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

// ---- tokens ----------------------------------------------------------------------------------------------------

typedef struct Tokens { const Conv *c; KirRef inputs, rows; uint32_t count; } Tokens;   // of the first: the unit's channels; where results go

// The sum over taps is rounded once: the taps often cancel, and the norms that follow make the remainder large again.
static void convolve(void *user, KirRef channel, KirRef valid) {
    const Tokens *t = user;
    const Conv *c = t->c;
    KirFn *fn = c->fn;
    KirRef x[MAX_TAPS + TOKENS], taps[MAX_TAPS], inputs = kir_at(fn, t->inputs, channel, 4, 0);
    int64_t past = c->K - 1;
    for (int64_t j = 0; j < past; j++) x[j] = kir_load(fn, KT_F32x16, scratch_at(c, c->past, j, channel));
    for (int64_t j = 0; j < c->K; j++) taps[j] = kir_load(fn, KT_F32x16, scratch_at(c, c->taps, j, channel));
    for (uint32_t i = 0; i < t->count; i++) {
        x[past + i] = cg_load16(fn, kir_offset_const(fn, inputs, i * c->N * 4), valid);
        kir_store(fn, scratch_at(c, t->rows, i, channel), kir_sum_products(fn, (uint32_t)c->K, taps, x + i));
    }
    for (int64_t j = 0; j < past; j++) kir_store(fn, scratch_at(c, c->past, j, channel), x[t->count + j]);
}

// The unit's channels of a token.
static KirRef inputs_of(const Conv *c, KirRef token) { return kir_at(c->fn, kir_at(c->fn, c->u, token, c->N * 4, 0), c->channel, 4, 0); }

// Tokens first.. of the call into rows row.. of scratch (i64 both).
static void convolve_tokens(const Conv *c, KirRef first, KirRef row, uint32_t count) {
    KirFn *fn = c->fn;
    Tokens tokens = {c, inputs_of(c, first), kir_at(fn, c->rows, row, width(c) * 4, 0), count};
    each_chunk(c, convolve, &tokens);
}

// ---- a launch --------------------------------------------------------------------------------------------------

static void emit_tokens(Conv *c, CgConvYield *yield, const CgSegment *segment, KirRef head) {
    KirFn *fn = c->fn;
    KirLoop block, one, row;
    KirIf whole;
    KirRef zero = kir_i64(fn, 0), most = kir_i64(fn, TOKENS), last = kir_sub(fn, kir_add(fn, segment->first, segment->count), kir_i64(fn, 1));
    kir_for_begin(fn, zero, segment->count, most, 0, NULL, &block);
    KirRef first = kir_add(fn, segment->first, block.iv), count = kir_min(fn, most, kir_sub(fn, segment->count, block.iv));
    kir_if_begin(fn, kir_cmp(fn, KIR_EQ, count, most), &whole);
    convolve_tokens(c, first, zero, TOKENS);
    kir_if_else(fn, &whole, 0, NULL);
    KirRef i = cg_loop_begin(fn, zero, count, &one);
    convolve_tokens(c, kir_add(fn, first, i), i, 1);
    cg_loop_end(fn, &one);
    kir_if_end(fn, &whole, NULL);
    i = cg_loop_begin(fn, zero, count, &row);
    KirRef later = kir_min(fn, kir_add(fn, kir_add(fn, first, most), i), last);
    cg_prefetch_row(fn, inputs_of(c, later), HD_MIN(c->d, 256));   // rows are pages apart: no processor foresees them
    cg_conv_store(c->build, c->op, yield, kir_at(fn, c->rows, i, width(c) * 4, 0), c->channel, kir_add(fn, first, i), head);
    cg_loop_end(fn, &row);
    kir_for_end(fn, &block, NULL);
}

static void emit_unit(Conv *c, CgConvYield *yield, KirRef number) {
    KirFn *fn = c->fn;
    KirRef coord[2];
    cg_unit_coords(fn, number, (IrDim[2]){IR_DIM_S, yield->heads}, 2, coord);
    c->channel = cg_conv_channel(c->build, c->op, yield, coord[1]);
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
    CgConvYield yield;
    HdStatus *status = cg_conv_plan(build, op, all, index, &yield);
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
    c.taps = cg_scratch_words(build, c.K * width(&c)), c.past = cg_scratch_words(build, (c.K - 1) * width(&c));
    c.rows = cg_scratch_words(build, TOKENS * width(&c));
    KirLoop loop;
    emit_unit(&c, &yield, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

HdStatus *cg_cpu_CONV(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    CgUnit all;
    HD_TRY(cg_conv_group(graph, group, &op, &all));
    for (uint32_t i = 0; i < all.sink_count; i++) {
        if (all.sinks[i].op) return hd_error(HD_UNSUPPORTED, "a conv group appends to no cache");
        HD_TRY(build_yield(builder, op, &all, i));
    }
    return NULL;
}
