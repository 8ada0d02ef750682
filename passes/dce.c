// SPDX-License-Identifier: Apache-2.0
// Removes operations whose results nobody reads and that write no state, the last ones first.
#include "passes/internal.h"

HdStatus *pass_dce(IrGraph *graph, PassCtx *ctx)
{
    IrOpRef before;
    for (IrOpRef ref = graph->blocks.data[0].last; ref; ref = before) {
        const IrOp *op = ir_op(graph, ref);
        before = op->prev;
        uint32_t uses = 0;
        for (uint32_t i = 0; i < op->result_count; i++) uses += ir_use_count(graph, op->results[i]);
        if (ir_op_effect(graph, op) & IR_EFFECT_WRITE) {
            if (op->result_count && !uses) pass_missed(ctx, RULE_dce_unused, graph, ref, MISSED_has_effect);
            continue;
        }
        if (!uses && pass_fire(ctx, RULE_dce_unused, graph, ref)) ir_erase(graph, ref);
    }
    return NULL;
}
