// SPDX-License-Identifier: Apache-2.0
// Passes with one defect each: the real pass, but of its rewrites on one graph the Nth of a rule does something else. Put in place of the built-in passes by
// PassConfig.runs, so nothing of this is in the product.
#ifndef HEDDLE_TESTS_FAULTS_H
#define HEDDLE_TESTS_FAULTS_H

#include "passes/internal.h"

#include <string.h>

typedef struct Fault {
    const char *name;
    PassId pass;
    PassRule rule;
    const char *graph;
    uint32_t nth;                          // of the rule's rewrites, from 1
    // Makes the wrong of it, behind the rewrite; node: what the event named, which may be erased by now. False: this rewrite has nothing to spoil, the next one is tried.
    bool (*spoil)(IrGraph *graph, IrOpRef node);
} Fault;

typedef struct Seeding {
    const Fault *fault;
    IrGraph *graph;
    PassCtx *ctx;
    const PassConfig *config;              // the caller's
    uint32_t of_rule, fired;               // rewrites so far
    bool pending, done;
    IrOpRef node;
    uint32_t spoiled;                      // number of the rewrite among all of the pass on this graph
} Seeding;

static const Fault *seeded_fault;          // by the passes below
static uint32_t seeded_at;                 // what Seeding.spoiled was last; 0: the fault did not happen

static inline void seed_now(Seeding *s)
{
    if (!s->pending) return;
    s->pending = false;
    s->done = s->fault->spoil(s->graph, s->node);
    if (s->done) s->spoiled = s->fired;
}

static inline bool seeding_event(void *user, const PassEvent *event)
{
    Seeding *s = user;
    seed_now(s);
    bool allowed = !s->config->event || s->config->event(s->config->user, event);
    if (!event->fired || !allowed) return allowed;
    s->fired++;
    if (event->rule == s->fault->rule && ++s->of_rule >= s->fault->nth && !s->done) s->pending = true, s->node = event->node;
    return true;
}

static inline HdStatus *run_seeded(IrGraph *graph, PassCtx *ctx)
{
    const PassConfig *config = ctx->config;
    PassRun *run = pass_info(ctx->step->pass)->run;
    if (ctx->step->pass != seeded_fault->pass || strcmp(graph->name, seeded_fault->graph) != 0) return run(graph, ctx);
    Seeding seeding = {.fault = seeded_fault, .graph = graph, .ctx = ctx, .config = config};
    PassConfig seeded = *config;
    seeded.event = seeding_event, seeded.user = &seeding;
    ctx->config = &seeded;
    HdStatus *status = run(graph, ctx);
    ctx->config = config;
    seed_now(&seeding);
    if (seeding.spoiled) seeded_at = seeding.spoiled;
    return status;
}

// ---- what goes wrong ---------------------------------------------------------------------------------------------

static inline IrOpRef newest_op(const IrGraph *graph, IrOpKind kind)
{
    for (IrOpRef ref = (IrOpRef)graph->ops.len - 1; ref; ref--)
        if (!ir_op(graph, ref)->dead && ir_op(graph, ref)->kind == kind) return ref;
    return 0;
}

// In the region of the newest group: an operation of this kind.
static inline IrOpRef newest_member(const IrGraph *graph, IrOpKind kind)
{
    IrOpRef group = newest_op(graph, IR_OP_fused), found = 0;
    IR_FOR_OPS(graph, ir_op(graph, group)->region, ref) if (ir_op(graph, ref)->kind == kind) found = ref;
    return found;
}

// Of an earlier operation of this kind that computes something else, the first result of the same type as operand `index`.
static inline bool take_other(IrGraph *graph, IrOpRef ref, uint32_t index, IrOpKind kind)
{
    IrValue have = ir_op(graph, ref)->operands[index];
    IrOpRef maker = pass_producer(graph, have);
    for (IrOpRef before = ir_op(graph, ref)->prev; before; before = ir_op(graph, before)->prev) {
        const IrOp *op = ir_op(graph, before);
        if (op->kind == ir_op(graph, maker)->kind && op->operands[0] == ir_op(graph, maker)->operands[0]) continue;
        for (uint32_t r = 0; r < op->result_count && op->kind == kind; r++) {
            if (op->results[r] == have || !ir_type_eq(&ir_value(graph, op->results[r])->type, &ir_value(graph, have)->type)) continue;
            ir_set_operand(graph, ref, index, op->results[r]);
            return true;
        }
    }
    return false;
}

static inline bool swap_operands(IrGraph *graph, IrOpRef ref, uint32_t a, uint32_t b)
{
    IrValue x = ir_op(graph, ref)->operands[a], y = ir_op(graph, ref)->operands[b];
    if (x == y || !ir_type_eq(&ir_value(graph, x)->type, &ir_value(graph, y)->type)) return false;
    ir_set_operand(graph, ref, a, y);
    ir_set_operand(graph, ref, b, x);
    return true;
}

// canonicalize: slice of slice begins one element late
static inline bool off_by_one_view(IrGraph *graph, IrOpRef node)
{
    ir_op(graph, node)->attr[IR_ATTR_BEGIN].i++, ir_op(graph, node)->attr[IR_ATTR_END].i++;
    return true;
}

// canonicalize: the folded factor is applied twice
static inline bool scaled_twice(IrGraph *graph, IrOpRef node)
{
    (void)node;
    ir_op(graph, newest_op(graph, IR_OP_l2_norm))->attr[IR_ATTR_SCALE].f *= 2;
    return true;
}

// cse: who read the later of two equal operations reads something else
static inline bool wrong_equal(IrGraph *graph, IrOpRef node)
{
    (void)node;
    IrOpRef mul = newest_op(graph, IR_OP_mul);
    return take_other(graph, mul, 1, IR_OP_neg);
}

// dce: takes what writes a state with it
static inline bool lost_write(IrGraph *graph, IrOpRef node)
{
    (void)node;
    ir_erase(graph, newest_op(graph, IR_OP_kv_append));
    return true;
}

// delta-net: value heads are paired with key heads in the other order
static inline bool wrong_pairing(IrGraph *graph, IrOpRef node)
{
    ir_op(graph, node)->attr[IR_ATTR_HEADS].name = ir_intern(graph->module, HD_STR("div"));
    return true;
}

// delta-net: the scan over chunks takes W for U
static inline bool swapped_chunks(IrGraph *graph, IrOpRef node)
{
    (void)node;
    return swap_operands(graph, newest_op(graph, IR_OP_delta_chunk_scan), 2, 3);
}

// delta-net: the scan goes in chunks of another length than those that were prepared
static inline bool other_chunk(IrGraph *graph, IrOpRef node)
{
    (void)node;
    ir_op(graph, newest_op(graph, IR_OP_delta_chunk_scan))->attr[IR_ATTR_CHUNK].i *= 2;
    return true;
}

// moe-dispatch: the experts of an earlier layer
static inline bool other_experts(IrGraph *graph, IrOpRef node) { return take_other(graph, node, 2, IR_OP_topk); }

// quantise-activations: a product of an earlier conversion
static inline bool other_activation(IrGraph *graph, IrOpRef node) { return take_other(graph, node, 0, IR_OP_quant_act); }

// merge-projections: gate and up change places
static inline bool swapped_gate(IrGraph *graph, IrOpRef node)
{
    IrOpRef merged = newest_op(graph, IR_OP_multi_linear);
    (void)node;
    return ir_op(graph, merged)->operand_count == 3 && swap_operands(graph, merged, 1, 2);
}

// select-layout: the weight of an earlier product
static inline bool other_weight(IrGraph *graph, IrOpRef node)
{
    IrValue have = ir_op(graph, node)->operands[1];
    for (IrValue v = 1; v < have; v++) {
        if (ir_value(graph, v)->kind != IR_VALUE_WEIGHT || !ir_type_eq(&ir_value(graph, v)->type, &ir_value(graph, have)->type)) continue;
        ir_set_operand(graph, node, 1, v);
        return true;
    }
    return false;
}

// fuse-epilogue: the group gives the product without what was added to it
static inline bool lost_epilogue(IrGraph *graph, IrOpRef node)
{
    IrOpRef product = newest_member(graph, IR_OP_linear), group = newest_op(graph, IR_OP_fused);
    IrValue *yields = graph->blocks.data[ir_op(graph, group)->region].yields.data;
    (void)node;
    if (!product || !ir_type_eq(&ir_value(graph, yields[0])->type, &ir_value(graph, ir_op(graph, product)->results[0])->type)) return false;
    yields[0] = ir_op(graph, product)->results[0];
    return true;
}

// fuse-epilogue: the cache is written behind the attention that reads it
static inline bool stale_state(IrGraph *graph, IrOpRef node)
{
    IrOpRef group = newest_op(graph, IR_OP_fused);
    (void)node;
    if (!newest_member(graph, IR_OP_kv_append) || ir_op(graph, group)->result_count) return false;
    for (IrOpRef attention = ir_op(graph, group)->next; attention; attention = ir_op(graph, attention)->next) {
        const IrOp *op = ir_op(graph, attention);
        bool reads = op->kind == IR_OP_attention;
        if (op->kind == IR_OP_fused) IR_FOR_OPS(graph, op->region, ref) reads = reads || ir_op(graph, ref)->kind == IR_OP_attention;
        if (!reads) continue;
        ir_move_before(graph, group, op->next);
        return true;
    }
    return false;
}

// fuse-norm: a norm loses its attribute
static inline bool wrong_eps(IrGraph *graph, IrOpRef node)
{
    IrOpRef norm = newest_member(graph, IR_OP_rms_norm);
    (void)node;
    if (!norm) return false;
    ir_op(graph, norm)->attr[IR_ATTR_EPS].f = 0.5f;
    return true;
}

// fuse-epilogue: a sum takes one of its operands twice
static inline bool dropped_operand(IrGraph *graph, IrOpRef node)
{
    IrOpRef add = newest_member(graph, IR_OP_add);
    (void)node;
    if (!add || !ir_type_eq(&ir_value(graph, ir_op(graph, add)->operands[0])->type, &ir_value(graph, ir_op(graph, add)->operands[1])->type)) return false;
    ir_set_operand(graph, add, 0, ir_op(graph, add)->operands[1]);
    return true;
}

// fuse-epilogue: attention reads the cache of values where it means that of keys
static inline bool swapped_caches(IrGraph *graph, IrOpRef node)
{
    IrOpRef attention = newest_member(graph, IR_OP_attention);
    (void)node;
    return attention && swap_operands(graph, attention, 1, 2);
}

// partition: the copy of a view takes its neighbours
static inline bool wrong_view(IrGraph *graph, IrOpRef node)
{
    IrOpRef slice = newest_member(graph, IR_OP_slice);
    (void)node;
    if (!slice || !ir_op(graph, slice)->attr[IR_ATTR_BEGIN].i) return false;
    ir_op(graph, slice)->attr[IR_ATTR_BEGIN].i--, ir_op(graph, slice)->attr[IR_ATTR_END].i--;
    return true;
}

// schedule: a group in the stage of what it reads
static inline bool early_stage(IrGraph *graph, IrOpRef node)
{
    if (ir_op(graph, node)->stage <= 0) return false;
    ir_op(graph, node)->stage = 0;
    return true;
}

#endif
