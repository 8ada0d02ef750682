// SPDX-License-Identifier: Apache-2.0
// Linears that read the same value become one multi_linear, each weight with a type of its own: published files mix types within
// such a set, so weights are never concatenated.
#include "passes/internal.h"

enum { MAX_WEIGHTS = 8 };

// The linears from `first` on that read what it reads, at most MAX_WEIGHTS.
static uint32_t readers_of(const IrGraph *graph, PassCtx *ctx, IrOpRef first, IrOpRef *out_refs)
{
    uint32_t count = 0;
    IrValue x = ir_op(graph, first)->operands[0];
    for (IrOpRef ref = first; ref; ref = ir_op(graph, ref)->next) {
        const IrOp *op = ir_op(graph, ref);
        if (op->kind != IR_OP_linear || op->operands[0] != x) continue;
        if (count < MAX_WEIGHTS) out_refs[count++] = ref;
        else pass_missed(ctx, RULE_merge_projections_merge, graph, ref, MISSED_too_many);
    }
    return count;
}

static void merge(IrGraph *graph, const IrOpRef *refs, uint32_t count)
{
    IrValue operands[MAX_WEIGHTS + 1] = {ir_op(graph, refs[0])->operands[0]};
    for (uint32_t i = 0; i < count; i++) operands[i + 1] = ir_op(graph, refs[i])->operands[1];
    IrBuild build = {.kind = IR_OP_multi_linear, .operands = operands, .operand_count = count + 1, .before = refs[0]};
    IrOpRef made = pass_build(graph, &build, refs[0]);
    for (uint32_t i = 0; i < count; i++) {
        ir_replace_uses(graph, ir_op(graph, refs[i])->results[0], ir_op(graph, made)->results[i]);
        ir_erase(graph, refs[i]);
    }
}

HdStatus *pass_merge_projections(IrGraph *graph, PassCtx *ctx)
{
    PassWalk walk = pass_walk_begin(graph);
    for (IrOpRef ref; (ref = pass_walk_next(&walk));) {
        IrOpRef refs[MAX_WEIGHTS];
        if (ir_op(graph, ref)->kind != IR_OP_linear) continue;
        uint32_t count = readers_of(graph, ctx, ref, refs);
        if (count < 2) pass_missed(ctx, RULE_merge_projections_merge, graph, ref, MISSED_single_reader);
        else if (pass_fire(ctx, RULE_merge_projections_merge, graph, ref)) merge(graph, refs, count);
    }
    pass_walk_end(&walk);
    return NULL;
}
