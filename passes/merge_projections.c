// SPDX-License-Identifier: Apache-2.0
// Linears that read the same value become one multi_linear, each weight with a type of its own: published files mix types within
// such a set, so weights are never concatenated.
#include "passes/internal.h"

enum { MAX_WEIGHTS = 8 };

// A linear of x by a weight. (A matrix that is computed may not be there yet where the first linear stands.)
static bool is_projection(const IrGraph *graph, IrOpRef ref, IrValue x)
{
    const IrOp *op = ir_op(graph, ref);
    return op->kind == IR_OP_linear && op->operands[0] == x && ir_value(graph, op->operands[1])->kind == IR_VALUE_WEIGHT;
}

// Does an earlier linear speak for this one?
static bool has_leader(const IrGraph *graph, IrOpRef ref)
{
    IrValue x = ir_op(graph, ref)->operands[0];
    for (IrOpRef before = ir_op(graph, ref)->prev; before; before = ir_op(graph, before)->prev)
        if (is_projection(graph, before, x)) return true;
    return false;
}

// The linears from `first` on that read what it reads, at most MAX_WEIGHTS.
static uint32_t readers_of(const IrGraph *graph, IrOpRef first, IrOpRef *out_refs)
{
    uint32_t count = 0;
    IrValue x = ir_op(graph, first)->operands[0];
    for (IrOpRef ref = first; ref && count < MAX_WEIGHTS; ref = ir_op(graph, ref)->next)
        if (is_projection(graph, ref, x)) out_refs[count++] = ref;
    return count;
}

// Why a linear stays alone: a multi_linear of the same value is full, or there is no other.
static PassMissed why_single(const IrGraph *graph, IrOpRef single)
{
    IrValue x = ir_op(graph, single)->operands[0];
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        if (op->kind == IR_OP_multi_linear && op->operands[0] == x && op->result_count == MAX_WEIGHTS) return MISSED_too_many;
    }
    return MISSED_single_reader;
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
        const IrOp *op = ir_op(graph, ref);
        if (op->kind != IR_OP_linear) continue;
        if (!is_projection(graph, ref, op->operands[0])) {
            pass_missed_for(ctx, RULE_merge_projections_merge, graph, ref, MISSED_not_weight, op->operands[1]);
            continue;
        }
        if (has_leader(graph, ref)) continue; // the rule was refused there
        uint32_t count = readers_of(graph, ref, refs);
        if (count < 2) pass_missed_for(ctx, RULE_merge_projections_merge, graph, ref, why_single(graph, ref), op->operands[0]);
        else if (pass_fire(ctx, RULE_merge_projections_merge, graph, ref)) merge(graph, refs, count);
    }
    pass_walk_end(&walk);
    return NULL;
}
