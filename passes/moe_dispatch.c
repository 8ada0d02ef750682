// SPDX-License-Identifier: Apache-2.0
// Gives grouped linears a dispatch plan: rows sorted by expert and cut into tiles, so that an expert's weights are read once per
// call and the number of tiles has a fixed bound. One token gathers its experts directly.
#include "passes/internal.h"

// An equal plan above `ref`; 0: none.
static IrOpRef plan_above(const IrGraph *graph, IrOpRef ref, IrValue ids, int64_t experts, int64_t tile)
{
    IrOpRef before = ir_op(graph, ref)->prev;
    for (; before; before = ir_op(graph, before)->prev) {
        const IrOp *op = ir_op(graph, before);
        if (op->kind == IR_OP_moe_plan && op->operands[0] == ids && op->attr[IR_ATTR_EXPERTS].i == experts &&
            op->attr[IR_ATTR_TILE].i == tile)
            break;
    }
    return before;
}

// The plan for a grouped_linear, one for all that have the same expert ids; 0 where its size is no dimension.
static IrOpRef plan_for(IrGraph *graph, IrOpRef ref, int64_t tile, bool *out_new)
{
    const IrOp *op = ir_op(graph, ref);
    int64_t experts = ir_value(graph, op->operands[1])->type.dims[0];
    IrOpRef plan = plan_above(graph, ref, op->operands[2], experts, tile);
    *out_new = !plan;
    if (plan) return plan;
    IrAttr attrs[] = {{IR_ATTR_EXPERTS, {.i = experts}}, {IR_ATTR_TILE, {.i = tile}}};
    IrValue ids = op->operands[2];
    IrBuild build = {
        .kind = IR_OP_moe_plan, .operands = &ids, .operand_count = 1, .attrs = attrs, .attr_count = 2, .before = ref};
    return pass_try_build(graph, &build, ref);
}

static void dispatch(IrGraph *graph, PassCtx *ctx, IrOpRef ref, int64_t tile)
{
    bool is_new;
    IrOpRef plan = plan_for(graph, ref, tile, &is_new);
    if (!plan) {
        pass_missed_for(ctx, RULE_moe_dispatch_dispatch, graph, ref, MISSED_other_shape, ir_op(graph, ref)->operands[2]);
    } else if (pass_fire(ctx, RULE_moe_dispatch_dispatch, graph, ref)) {
        ir_set_operand(graph, ref, ir_op(graph, ref)->operand_count, ir_op(graph, plan)->results[0]);
    } else if (is_new) {
        ir_erase(graph, plan);
    }
}

HdStatus *pass_moe_dispatch(IrGraph *graph, PassCtx *ctx)
{
    int64_t tile = pass_option_int(ctx, "tile"), tokens = ir_dim_most(graph, IR_DIM_T);
    if (tokens) tile = HD_MIN(tile, tokens);             // a token chooses an expert once
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        if (op->kind != IR_OP_grouped_linear || op->operand_count != 3) continue;
        if (tokens == 1) pass_missed(ctx, RULE_moe_dispatch_dispatch, graph, ref, MISSED_one_token);
        else dispatch(graph, ctx, ref, tile);
    }
    return NULL;
}
