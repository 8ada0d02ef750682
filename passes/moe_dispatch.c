// SPDX-License-Identifier: Apache-2.0
// Gives grouped linears a dispatch plan: rows sorted by expert and cut into tiles, so that an expert's weights are read once per
// call and the number of tiles has a fixed bound. One token gathers its experts directly.
#include "passes/internal.h"

// The plan for these expert ids, made behind them; the same ids give the same plan.
static IrValue plan_for(IrGraph *graph, PassCtx *ctx, IrOpRef ref, IrValue ids, int64_t experts)
{
    IrOpRef users[64];
    uint32_t count = HD_MIN(pass_users(graph, ids, users, HD_COUNT(users)), HD_COUNT(users));
    for (uint32_t i = 0; i < count; i++)
        if (ir_op(graph, users[i])->kind == IR_OP_moe_plan) return ir_op(graph, users[i])->results[0];
    IrAttr attrs[] = {{IR_ATTR_EXPERTS, {.i = experts}}, {IR_ATTR_TILE, {.i = pass_option_int(ctx, "tile")}}};
    IrBuild build = {
        .kind = IR_OP_moe_plan, .operands = &ids, .operand_count = 1, .attrs = attrs, .attr_count = 2, .before = ref};
    return ir_op(graph, pass_build(graph, &build, ref))->results[0];
}

HdStatus *pass_moe_dispatch(IrGraph *graph, PassCtx *ctx)
{
    IrBinding bound = {{2, 1, 1, 1}};
    ir_graph_bound(graph, &bound);
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        if (op->kind != IR_OP_grouped_linear || op->operand_count != 3) continue;
        if (bound.value[IR_SYM_T] == 1) {
            pass_missed(ctx, RULE_moe_dispatch_dispatch, graph, ref, MISSED_one_token);
            continue;
        }
        if (!pass_fire(ctx, RULE_moe_dispatch_dispatch, graph, ref)) continue;
        IrValue plan = plan_for(graph, ctx, ref, op->operands[2], ir_value(graph, op->operands[1])->type.dims[0]);
        IrOp *changed = ir_op(graph, ref);
        changed->operands[changed->operand_count++] = plan;
    }
    return NULL;
}
