// SPDX-License-Identifier: Apache-2.0
// CONV: as codegen/cpu/sched_conv.c, with lanes as channels. Earlier inputs are read again where they are, in the call's own input or,
// before its first token, in the state's plane in. So tokens do not depend on each other: a launch does them all, and one a stage later
// writes the windows. A call of one token does both in one launch.
#include "codegen/simt/sched.h"

// What a unit does beside a head: all tokens of a segment and its window; one token; a segment's window.
typedef enum Work { SEGMENT, TOKEN, WINDOW } Work;

typedef struct Conv {
    CgBuild *build;
    KirFn *fn;
    const IrOp *op;
    int64_t N, K, d;             // channels of the operation, taps, channels of this unit
    KirRef u, w, row;            // row: scratch, [d]
    Work work;
    KirRef channel, in, out;     // the unit's first channel; its planes
    KirRef token;                // i64, TOKEN: its number in the segment
    CgSegment segment;
} Conv;

// The input `back` tokens before number `at` of the segment, of this channel.
static KirRef input(const Conv *c, KirRef at, int64_t back, KirRef channel) {
    KirFn *fn = c->fn;
    KirRef place = kir_sub(fn, at, kir_i64(fn, back)), inside = kir_cmp(fn, KIR_GE, place, kir_i64(fn, 0));
    KirRef here = kir_at(fn, kir_at(fn, c->u, kir_add(fn, c->segment.first, place), c->N * 4, 0), channel, 4, 0);
    KirRef before = kir_at(fn, kir_at(fn, c->in, kir_add(fn, place, kir_i64(fn, c->K - 1)), c->N * 4, 0), channel, 4, 0);
    KirIf branch;
    kir_if_begin(fn, inside, &branch);
    KirRef value = kir_load(fn, KT_F32, here);
    kir_if_else(fn, &branch, 1, &value);
    value = kir_load(fn, KT_F32, before);
    kir_if_end(fn, &branch, &value);
    return branch.results[0];
}

// The sum over taps is rounded once: the taps often cancel, and the norms that follow make the remainder large again.
static void convolve(const Conv *c, KirRef at) {
    KirFn *fn = c->fn;
    KirLoop loop;
    KirRef mine = simt_deal_begin(c->build, kir_i64(fn, c->d), &loop), channel = kir_add(fn, c->channel, mine), sum = 0, lost = 0;
    for (int64_t j = 0; j < c->K; j++) {
        KirRef tap = kir_load(fn, KT_F32, kir_at(fn, c->w, channel, c->K * 4, j * 4));
        KirPair product = kir_exact_product(fn, tap, input(c, at, c->K - 1 - j, channel));
        KirPair both = sum ? kir_exact_sum(fn, sum, product.hi) : (KirPair){product.hi, 0};
        lost = sum ? kir_add(fn, lost, kir_add(fn, both.lo, product.lo)) : product.lo;
        sum = both.hi;
    }
    kir_store(fn, kir_at(fn, c->row, mine, 4, 0), kir_add(fn, sum, lost));
    simt_deal_end(c->build, &loop);
}

// All of a channel's new window is read before any of it is written: the planes may be the same.
static void write_window(const Conv *c) {
    KirFn *fn = c->fn;
    KirLoop loop;
    KirRef mine = simt_deal_begin(c->build, kir_i64(fn, c->d), &loop), channel = kir_add(fn, c->channel, mine), x[CG_CONV_MOST_TAPS];
    for (int64_t j = 0; j + 1 < c->K; j++) x[j] = input(c, c->segment.count, c->K - 1 - j, channel);
    for (int64_t j = 0; j + 1 < c->K; j++) kir_store(fn, kir_at(fn, c->out, channel, 4, j * c->N * 4), x[j]);
    simt_deal_end(c->build, &loop);
}

static void do_token(Conv *c, CgConvYield *yield, KirRef at, KirRef head) {
    convolve(c, at);
    cg_barrier(c->build);
    cg_conv_store(c->build, c->op, yield, c->row, c->channel, kir_add(c->fn, c->segment.first, at), head);
    cg_barrier(c->build);
}

// Head `head` of a yield, for the segment and the token that were gone to.
static void emit_head(Conv *c, CgConvYield *yield, KirRef head) {
    KirFn *fn = c->fn;
    KirLoop tokens;
    c->d = yield->d;
    c->channel = cg_conv_channel(c->build, c->op, yield, head);
    if (c->work == TOKEN) do_token(c, yield, c->token, head);
    if (c->work == SEGMENT) {
        KirRef at = cg_loop_begin(fn, kir_i64(fn, 0), c->segment.count, &tokens);
        do_token(c, yield, at, head);
        cg_loop_end(fn, &tokens);
    }
    if (c->work != TOKEN) write_window(c);
}

// Goes to the yield that head number `head` among those of all yields is of, from yield `index` on.
static void choose(Conv *c, CgConvYield *yields, uint32_t index, uint32_t count, KirRef head) {
    KirFn *fn = c->fn;
    KirIf here;
    if (index + 1 == count) {
        emit_head(c, &yields[index], head);
        return;
    }
    KirRef heads = kir_i64(fn, yields[index].heads);
    kir_if_begin(fn, kir_cmp(fn, KIR_LT, head, heads), &here);
    emit_head(c, &yields[index], head);
    kir_if_else(fn, &here, 0, NULL);
    choose(c, yields, index + 1, count, kir_sub(fn, head, heads));
    kir_if_end(fn, &here, NULL);
}

static void emit_unit(Conv *c, CgConvYield *yields, uint32_t count, int64_t heads, KirRef number) {
    KirFn *fn = c->fn;
    KirRef place = kir_sdiv(fn, number, kir_i64(fn, heads)), segment = place;
    if (c->work == TOKEN) {
        KirRef info = kir_at(fn, cg_input(c->build, HEDDLE_INPUT_TOKEN_INFO), place, 16, 0);
        segment = cg_load_i32(fn, info, 0);
        c->token = cg_load_i32(fn, info, 12);
    }
    c->segment = cg_segment(c->build, segment);
    c->in = cg_state_base(c->build, c->op->operands[2], c->segment.slot, c->segment.plane_in);
    c->out = cg_state_base(c->build, c->op->operands[2], c->segment.slot, c->segment.plane_out);
    choose(c, yields, 0, count, kir_srem(fn, number, kir_i64(fn, heads)));
}

enum { MOST_YIELDS = 8 };

// All yields are one launch: a unit is a segment and a head among those of all yields.
static HdStatus *plan(CgBuild *build, const IrOp *op, const CgUnit *all, CgConvYield *out_yields, int64_t *out_heads, int64_t *out_d) {
    *out_heads = *out_d = 0;
    if (all->sink_count > MOST_YIELDS) return hd_error(HD_UNSUPPORTED, "a conv group of more than %d results", MOST_YIELDS);
    for (uint32_t i = 0; i < all->sink_count; i++) {
        if (all->sinks[i].op) return hd_error(HD_UNSUPPORTED, "a conv group appends to no cache");
        HD_TRY(cg_conv_plan(build, op, all, i, &out_yields[i]));
        out_yields[i].unit.sinks[0].to = cg_pointer(build, ir_op(build->graph, build->group)->results[i]);
        *out_heads += out_yields[i].heads;
        *out_d = HD_MAX(*out_d, out_yields[i].d);
    }
    return NULL;
}

static HdStatus *launch(CgGroupBuilder *builder, const IrGraph *graph, const IrOp *op, const CgUnit *all, Work work) {
    static const char *const names[] = {[SEGMENT] = "conv", [TOKEN] = "conv_tokens", [WINDOW] = "conv_window"};
    CgConvYield yields[MOST_YIELDS];
    int64_t heads, d;
    CgBuild *build = cg_simt_launch_begin(builder, names[work], 2 * SIMT_LANES);
    HdStatus *status = plan(build, op, all, yields, &heads, &d);
    if (status) return kir_free(build->fn), status;
    Conv c = {.build = build, .fn = build->fn, .op = op, .work = work, .N = cg_type(graph, op->operands[0])->dims[1],
              .K = cg_type(graph, op->operands[1])->dims[1]};
    cg_units(build, (IrDim[2]){work == TOKEN ? IR_DIM_T : IR_DIM_S, heads}, 2, 1);
    build->later = work == WINDOW;                       // the window that is written may be the one that tokens read
    cg_account(build);
    cg_expr_add_elements(&build->flops, graph, cg_type(graph, op->results[0]), 2 * c.K);
    c.u = cg_operand(build, op->operands[0]), c.w = cg_operand(build, op->operands[1]);
    c.row = work == WINDOW ? 0 : kir_offset_const(c.fn, kir_scratch(c.fn), cg_scratch(build, (uint64_t)d * 4));
    KirLoop loop;
    emit_unit(&c, yields, all->sink_count, heads, cg_units_begin(build, &loop));
    cg_units_end(build, &loop);
    cg_launch_end(builder);
    return NULL;
}

HdStatus *cg_simt_CONV(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    (void)target;
    const IrOp *op;
    CgUnit all;
    HD_TRY(cg_conv_group(graph, group, &op, &all));
    if (ir_dim_most(graph, IR_DIM_T) == 1) return launch(builder, graph, op, &all, SEGMENT);
    HD_TRY(launch(builder, graph, op, &all, TOKEN));
    return launch(builder, graph, op, &all, WINDOW);
}
