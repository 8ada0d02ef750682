// SPDX-License-Identifier: Apache-2.0
// Chooses the form of the gated delta rule: a step for one token, the token scan, or chunks in WY form (the UT transform):
// delta.chunk_prep makes U, W, P and the decays of all chunks in parallel, delta.chunk_scan goes through the chunks in order.
// Source of the chunked form: Yang et al., "Gated Delta Networks" (2024), section 3.3; formulas in ops.def and the interpreter.
#include "passes/internal.h"

#include <string.h>

static bool wy(IrGraph *graph, PassCtx *ctx, IrOpRef ref)
{
    const IrOp rule = *ir_op(graph, ref);
    const IrValue *in = rule.operands; // q k v g beta state segments
    IrAttr attrs[] = {{IR_ATTR_HEADS, rule.attr[IR_ATTR_HEADS]}, {IR_ATTR_CHUNK, {.i = pass_option_int(ctx, "chunk")}}};
    IrValue read[] = {in[0], in[1], in[2], in[3], in[4], in[6]};
    IrBuild build = {.operands = read, .operand_count = 6, .attrs = attrs, .attr_count = 2, .before = ref};
    build.kind = IR_OP_delta_chunk_prep;
    IrOpRef prep = pass_try_build(graph, &build, ref);
    if (!prep) {
        pass_missed(ctx, RULE_delta_net_wy, graph, ref, MISSED_other_shape);
        return false;
    }
    if (!pass_fire(ctx, RULE_delta_net_wy, graph, ref)) {
        ir_erase(graph, prep);
        return false;
    }
    const IrValue *made = ir_op(graph, prep)->results;
    IrValue rest[] = {in[0], in[1], made[0], made[1], made[2], made[3], in[5], in[6]};
    build.kind = IR_OP_delta_chunk_scan;
    build.operands = rest;
    build.operand_count = HD_COUNT(rest);
    IrOpRef scan = pass_build(graph, &build, ref);
    ir_replace_uses(graph, rule.results[0], ir_op(graph, scan)->results[0]);
    ir_erase(graph, ref);
    return true;
}

// The same operands, another way to compute.
static bool change_kind(IrGraph *graph, PassCtx *ctx, IrOpRef ref, PassRule rule, IrOpKind kind)
{
    if (!pass_fire(ctx, rule, graph, ref)) return false;
    ir_op(graph, ref)->kind = kind;
    return true;
}

// The forms in the order of preference: false when the caller refused all of them. tokens: the most that a step has.
static bool choose(IrGraph *graph, PassCtx *ctx, IrOpRef ref, int64_t tokens)
{
    bool off = strcmp(pass_option(ctx, "form"), "wy") != 0, few = tokens < pass_option_int(ctx, "least"), one_token = tokens == 1;
    if (off || few) pass_missed(ctx, RULE_delta_net_wy, graph, ref, one_token ? MISSED_one_token : off ? MISSED_option_off : MISSED_few_tokens);
    else if (wy(graph, ctx, ref)) return true;
    if (one_token && change_kind(graph, ctx, ref, RULE_delta_net_step, IR_OP_delta_step)) return true;
    return change_kind(graph, ctx, ref, RULE_delta_net_scan, IR_OP_delta_scan);
}

HdStatus *pass_delta_net(IrGraph *graph, PassCtx *ctx)
{
    IrBinding bound = {{2, 1, 1, 1}};
    ir_graph_bound(graph, &bound);
    IrOpRef next;
    for (IrOpRef ref = graph->blocks.data[0].first; ref; ref = next) {
        next = ir_op(graph, ref)->next;
        if (ir_op(graph, ref)->kind == IR_OP_delta_rule && !choose(graph, ctx, ref, bound.value[IR_SYM_T]))
            return hd_error(HD_UNSUPPORTED, "all forms of delta_rule (layer %d) were refused, so the graph cannot be compiled",
                            ir_op(graph, ref)->layer);
    }
    return NULL;
}
