// SPDX-License-Identifier: Apache-2.0
// Chooses the form of the gated delta rule: a step for one token, the token scan, or chunks in WY form (the UT transform):
// delta.chunk_prep makes U, W, P and the decays of all chunks in parallel, delta.chunk_scan goes through the chunks in order.
// Source of the chunked form: Yang et al., "Gated Delta Networks" (2024), section 3.3; formulas in ops.def and the interpreter.
#include "passes/internal.h"

#include <string.h>

// One operation with the operands of the delta rule in its place.
static void change_kind(IrGraph *graph, IrOpRef ref, IrOpKind kind) { ir_op(graph, ref)->kind = kind; }

static IrOpRef build_before(IrGraph *graph, IrOpRef ref, IrOpKind kind, const IrValue *operands, uint32_t count,
                            const IrAttr *attrs)
{
    IrBuild build = {.kind = kind, .operands = operands, .operand_count = count, .attrs = attrs, .attr_count = 2, .before = ref};
    return pass_build(graph, &build, ref);
}

static void chunk(IrGraph *graph, PassCtx *ctx, IrOpRef ref)
{
    const IrOp rule = *ir_op(graph, ref);
    const IrValue *in = rule.operands; // q k v g beta state segments
    IrAttr attrs[] = {{IR_ATTR_HEADS, rule.attr[IR_ATTR_HEADS]}, {IR_ATTR_CHUNK, {.i = pass_option_int(ctx, "chunk")}}};
    IrOpRef prep =
        build_before(graph, ref, IR_OP_delta_chunk_prep, (IrValue[]){in[0], in[1], in[2], in[3], in[4], in[6]}, 6, attrs);
    const IrOp made = *ir_op(graph, prep);
    IrValue operands[] = {in[0], in[1], made.results[0], made.results[1], made.results[2], made.results[3], in[5], in[6]};
    IrOpRef scan = build_before(graph, ref, IR_OP_delta_chunk_scan, operands, 8, attrs);
    ir_replace_uses(graph, rule.results[0], ir_op(graph, scan)->results[0]);
    ir_erase(graph, ref);
}

HdStatus *pass_delta_net(IrGraph *graph, PassCtx *ctx)
{
    IrBinding bound = {{2, 1, 1, 1}};
    ir_graph_bound(graph, &bound);
    bool one = bound.value[IR_SYM_T] == 1, wy = !strcmp(pass_option(ctx, "form"), "wy");
    IrOpRef next;
    for (IrOpRef ref = graph->blocks.data[0].first; ref; ref = next) {
        next = ir_op(graph, ref)->next;
        if (ir_op(graph, ref)->kind != IR_OP_delta_rule) continue;
        if (one && pass_fire(ctx, RULE_delta_net_step, graph, ref)) {
            change_kind(graph, ref, IR_OP_delta_step);
            continue;
        }
        if (!one && !wy) pass_missed(ctx, RULE_delta_net_wy, graph, ref, MISSED_option_off);
        if (one && wy) pass_missed(ctx, RULE_delta_net_wy, graph, ref, MISSED_one_token);
        if (!one && wy && pass_fire(ctx, RULE_delta_net_wy, graph, ref)) chunk(graph, ctx, ref);
        else if (pass_fire(ctx, RULE_delta_net_scan, graph, ref)) change_kind(graph, ref, IR_OP_delta_scan);
    }
    return NULL;
}
