// SPDX-License-Identifier: Apache-2.0
// Gives every group a stage: one after the latest stage of its operands, and after every earlier access to a state that it, or
// they, write. Groups of one stage are independent; a barrier follows each stage.
#include "passes/internal.h"

static int32_t after(int32_t stage, const IrOp *before) { return HD_MAX(stage, before->stage + 1); }

static bool has_operand(const IrOp *op, IrValue value)
{
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (op->operands[i] == value) return true;
    return false;
}

// Accesses to one state keep their order where one of them writes.
static int32_t after_states(const IrGraph *graph, IrOpRef ref, IrValue state, int32_t stage)
{
    IrEffect effect = ir_op_effect(graph, ir_op(graph, ref));
    for (IrOpRef before = ir_op(graph, ref)->prev; before; before = ir_op(graph, before)->prev) {
        const IrOp *op = ir_op(graph, before);
        if (has_operand(op, state) && ((effect | ir_op_effect(graph, op)) & IR_EFFECT_WRITE)) stage = after(stage, op);
    }
    return stage;
}

HdStatus *pass_schedule(IrGraph *graph, PassCtx *ctx)
{
    IR_FOR_OPS(graph, 0, ref)
    {
        int32_t stage = 0;
        const IrOp *op = ir_op(graph, ref);
        for (uint32_t i = 0; i < op->operand_count; i++) {
            const IrValueData *value = ir_value(graph, op->operands[i]);
            if (value->kind == IR_VALUE_RESULT) stage = after(stage, ir_op(graph, value->op));
            if (value->kind == IR_VALUE_STATE) stage = after_states(graph, ref, op->operands[i], stage);
        }
        if (!pass_fire(ctx, RULE_schedule_stage, graph, ref))
            return hd_error(HD_UNSUPPORTED, "a stage was refused, so the graph cannot be compiled");
        ir_op(graph, ref)->stage = stage;
    }
    return NULL;
}
