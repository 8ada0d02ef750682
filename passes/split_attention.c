// SPDX-License-Identifier: Apache-2.0
// Splits the attention of a step of few tokens: attention.spans works on a fixed number of spans of the positions seen, each by itself, and
// attention.merge joins what they give. A GPU has many more work groups at once than such a step has tokens and cache heads.
#include "passes/internal.h"

static void split(IrGraph *graph, PassCtx *ctx, IrOpRef ref)
{
    const IrOp attention = *ir_op(graph, ref);
    IrAttr attrs[] = {{IR_ATTR_SCALE, attention.attr[IR_ATTR_SCALE]}, {IR_ATTR_SPANS, {.i = pass_option_int(ctx, "spans")}}};
    IrBuild build = {.kind = IR_OP_attention_spans, .operands = attention.operands, .operand_count = 4, .attrs = attrs, .attr_count = 2, .before = ref};
    IrOpRef spans = pass_build(graph, &build, ref);
    IrValue made[3];
    for (int i = 0; i < 3; i++) made[i] = ir_op(graph, spans)->results[i];
    IrOpRef merge = pass_build(graph, &(IrBuild){.kind = IR_OP_attention_merge, .operands = made, .operand_count = 3, .before = ref}, ref);
    ir_replace_uses(graph, attention.results[0], ir_op(graph, merge)->results[0]);
    ir_erase(graph, ref);
}

HdStatus *pass_split_attention(IrGraph *graph, PassCtx *ctx)
{
    IrBinding bound = {{2, 1, 1, 1}};
    ir_graph_bound(graph, &bound);
    IrOpRef next;
    for (IrOpRef ref = graph->blocks.data[0].first; ref; ref = next) {
        next = ir_op(graph, ref)->next;
        if (ir_op(graph, ref)->kind != IR_OP_attention) continue;
        bool many = bound.value[IR_SYM_T] > pass_option_int(ctx, "most");
        if (many) pass_missed(ctx, RULE_split_attention_spans, graph, ref, MISSED_many_tokens);
        else if (pass_fire(ctx, RULE_split_attention_spans, graph, ref)) split(graph, ctx, ref);
    }
    return NULL;
}
