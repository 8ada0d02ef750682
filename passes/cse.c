// SPDX-License-Identifier: Apache-2.0
// Common subexpressions: of two equal pure operations the later one is replaced by the earlier.
#include "passes/internal.h"

#include <string.h>

static bool equal_attrs(const IrOp *a, const IrOp *b)
{
    bool equal = a->attr_mask == b->attr_mask;
    for (uint32_t i = 0; i < IR_ATTR_COUNT && equal; i++) {
        if (!(a->attr_mask >> i & 1)) continue;
        switch (ir_attr_info((IrAttrId)i)->kind) {
        case IR_ATTR_KIND_INT: equal = a->attr[i].i == b->attr[i].i; break;
        case IR_ATTR_KIND_F32: equal = !memcmp(&a->attr[i].f, &b->attr[i].f, sizeof(float)); break;
        case IR_ATTR_KIND_DTYPE: equal = a->attr[i].dtype == b->attr[i].dtype; break;
        case IR_ATTR_KIND_LAYOUT: equal = a->attr[i].layout == b->attr[i].layout; break;
        case IR_ATTR_KIND_NAME: equal = a->attr[i].name == b->attr[i].name; break; // interned
        }
    }
    return equal;
}

static bool equal_ops(const IrGraph *graph, const IrOp *a, const IrOp *b)
{
    if (a->kind != b->kind || a->operand_count != b->operand_count || a->result_count != b->result_count) return false;
    if (memcmp(a->operands, b->operands, a->operand_count * sizeof a->operands[0])) return false;
    bool equal = equal_attrs(a, b);
    for (uint32_t i = 0; i < a->result_count && equal; i++) // a reshape's type is part of what it does
        equal = ir_type_eq(&ir_value(graph, a->results[i])->type, &ir_value(graph, b->results[i])->type);
    return equal;
}

// An earlier operation equal to `ref`; 0: none. Differences are reported for the nearest one of the same kind that reads the same
// first operand.
static IrOpRef find_equal(const IrGraph *graph, PassCtx *ctx, IrOpRef ref)
{
    const IrOp *op = ir_op(graph, ref);
    bool near = false;
    for (IrOpRef before = op->prev; before; before = ir_op(graph, before)->prev) {
        const IrOp *other = ir_op(graph, before);
        if (equal_ops(graph, other, op)) return before;
        near = near ||
               (other->kind == op->kind && other->operand_count && op->operand_count && other->operands[0] == op->operands[0]);
    }
    if (near) pass_missed(ctx, RULE_cse_equal, graph, ref, MISSED_not_equal);
    return 0;
}

HdStatus *pass_cse(IrGraph *graph, PassCtx *ctx)
{
    IrOpRef next;
    for (IrOpRef ref = graph->blocks.data[0].first; ref; ref = next) {
        const IrOp *op = ir_op(graph, ref);
        next = op->next;
        if (op->kind == IR_OP_fused) continue;
        IrOpRef same = find_equal(graph, ctx, ref);
        if (!same) continue;
        if (ir_op_effect(graph, op) != IR_EFFECT_PURE) {
            pass_missed(ctx, RULE_cse_equal, graph, ref, MISSED_has_effect);
            continue;
        }
        if (!pass_fire(ctx, RULE_cse_equal, graph, ref)) continue;
        for (uint32_t i = 0; i < op->result_count; i++) ir_replace_uses(graph, op->results[i], ir_op(graph, same)->results[i]);
        ir_erase(graph, ref);
    }
    return NULL;
}
