// SPDX-License-Identifier: Apache-2.0
// Removes operations that change nothing and joins chains of views.
#include "passes/internal.h"

static IrType type_of(const IrGraph *graph, IrValue value) { return ir_value(graph, value)->type; }

// scale by 1, a view of the type that its operand has already
static bool identity(IrGraph *graph, PassCtx *ctx, IrOpRef ref)
{
    const IrOp *op = ir_op(graph, ref);
    bool same = false;
    switch (op->kind) {
    case IR_OP_scale: same = op->attr[IR_ATTR_VALUE].f == 1.0f; break;
    case IR_OP_reshape:
    case IR_OP_slice:
    case IR_OP_concat: {
        IrType in = type_of(graph, op->operands[0]), out = type_of(graph, op->results[0]);
        same = ir_type_eq(&in, &out); // of a concat: there is one part
        break;
    }
    default: return false;
    }
    if (!same) {
        pass_missed_for(ctx, RULE_canonicalize_identity, graph, ref, MISSED_not_identity, op->operands[0]);
        return false;
    }
    if (!pass_fire(ctx, RULE_canonicalize_identity, graph, ref)) return false;
    pass_replace(graph, ref, op->operands[0]);
    return true;
}

// reshape of reshape: one; slice of slice along the same axis: one with the sum of the beginnings
static bool view_chain(IrGraph *graph, PassCtx *ctx, IrOpRef ref)
{
    PassMatch m;
    if (!pass_match(graph, ref, "reshape(reshape(x))", &m) && !pass_match(graph, ref, "slice(slice(x))", &m)) return false;
    IrOp *outer = ir_op(graph, ref), *inner = ir_op(graph, m.op[1]);
    if (outer->kind == IR_OP_slice && outer->attr[IR_ATTR_AXIS].i != inner->attr[IR_ATTR_AXIS].i) {
        pass_missed_for(ctx, RULE_canonicalize_view_chain, graph, ref, MISSED_not_equal, outer->operands[0]);
        return false;
    }
    if (!pass_fire(ctx, RULE_canonicalize_view_chain, graph, ref)) return false;
    ir_set_operand(graph, ref, 0, m.value[0]);
    if (outer->kind == IR_OP_slice) {
        outer->attr[IR_ATTR_BEGIN].i += inner->attr[IR_ATTR_BEGIN].i;
        outer->attr[IR_ATTR_END].i += inner->attr[IR_ATTR_BEGIN].i;
    }
    return true;
}

// scale(l2_norm(x)): the norm's own factor
static bool fold_scale(IrGraph *graph, PassCtx *ctx, IrOpRef ref)
{
    PassMatch m;
    if (!pass_match(graph, ref, "scale(l2_norm(_))", &m)) return false;
    const IrOp *op = ir_op(graph, ref);
    if (!pass_is_private(graph, &m)) {
        pass_missed_for(ctx, RULE_canonicalize_fold_scale, graph, ref, MISSED_has_uses, op->operands[0]);
        return false;
    }
    if (!pass_fire(ctx, RULE_canonicalize_fold_scale, graph, ref)) return false;
    ir_op(graph, m.op[1])->attr[IR_ATTR_SCALE].f *= op->attr[IR_ATTR_VALUE].f;
    pass_replace(graph, ref, op->operands[0]);
    return true;
}

HdStatus *pass_canonicalize(IrGraph *graph, PassCtx *ctx)
{
    IrOpRef next;
    for (IrOpRef ref = graph->blocks.data[0].first; ref; ref = next) {
        next = ir_op(graph, ref)->next;
        while (view_chain(graph, ctx, ref)) {}
        if (!fold_scale(graph, ctx, ref)) identity(graph, ctx, ref);
    }
    return NULL;
}
