// SPDX-License-Identifier: Apache-2.0
// Converts the activations of a matrix product to what the target multiplies with the weight's type: int8 with a scale per 32 for
// the quantised types, bf16 for BF16 weights where the processor has such products (table IR_ACT in ir/targets.def). Each product
// gets a conversion of its own; cse makes equal ones one.
#include "passes/internal.h"

#include <string.h>

static const struct {
    IrDtype weight, activation;
    int feature;
    bool on_cuda;
} pairs[] = {
#define C false
#define N true
#define IR_ACT(weight, activation, feature, targets) {IR_##weight, IR_##activation, feature, targets},
#include "ir/targets.def"
#undef IR_ACT
#undef C
#undef N
};

static bool activation_for(const IrTarget *target, IrDtype weight, IrDtype *out_activation)
{
    for (size_t i = 0; i < HD_COUNT(pairs); i++) {
        if (pairs[i].weight != weight || (ir_target_is_gpu(target) && (!pairs[i].on_cuda || !ir_target_is_cuda(target)))) continue;
        if (pairs[i].feature >= 0 && !ir_target_has(target, (IrFeature)pairs[i].feature)) continue;
        *out_activation = pairs[i].activation;
        return true;
    }
    return false;
}

static bool is_read_by_experts(const IrGraph *graph, IrValue x)
{
    const IrOpRefs *users = ir_users(graph, x);
    for (size_t i = 0; i < users->len; i++) {
        const IrOp *op = ir_op(graph, users->data[i]);
        if (op->kind == IR_OP_grouped_linear || (op->kind == IR_OP_quant_act && is_read_by_experts(graph, op->results[0]))) return true;
    }
    return false;
}

// A linear of the one row that experts multiply too, on a GPU: with the router, whose matrix is float32, it stays one launch.
static bool stays_with_router(const IrGraph *graph, const IrTarget *target, const IrOp *op)
{
    IrType type = ir_value(graph, op->operands[0])->type;
    return ir_target_is_gpu(target) && op->kind == IR_OP_linear && ir_dim_most(graph, type.dims[0]) == 1 && is_read_by_experts(graph, op->operands[0]);
}

// The converted value, made before `ref`. Any x has the shape for it: the blocks of the weight's type fill its rows.
static IrValue convert(IrGraph *graph, IrOpRef ref, IrValue x, IrDtype to)
{
    IrAttr attr = {IR_ATTR_TO, {.dtype = to}};
    IrBuild build = {.kind = to == IR_Q8A ? IR_OP_quant_act : IR_OP_cast,
                     .operands = &x,
                     .operand_count = 1,
                     .attrs = &attr,
                     .attr_count = to == IR_Q8A ? 0 : 1,
                     .before = ref};
    return ir_op(graph, pass_build(graph, &build, ref))->results[0];
}

HdStatus *pass_quantise_activations(IrGraph *graph, PassCtx *ctx)
{
    bool off = !strcmp(pass_option(ctx, "act"), "f32");
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        if (op->kind != IR_OP_linear && op->kind != IR_OP_grouped_linear) continue;
        IrDtype weight = ir_value(graph, op->operands[1])->type.dtype, to;
        PassRule rule = weight == IR_BF16 ? RULE_quantise_activations_bf16 : RULE_quantise_activations_quantise;
        if (ir_value(graph, op->operands[0])->type.dtype != IR_F32) continue; // done already
        bool has = activation_for(ctx->target, weight, &to);
        if (off || !has) {
            if (off) pass_missed(ctx, rule, graph, ref, MISSED_option_off);
            else pass_missed_for(ctx, rule, graph, ref, MISSED_target_lacks, op->operands[1]);
            continue;
        }
        if (stays_with_router(graph, ctx->target, op)) {
            pass_missed(ctx, rule, graph, ref, MISSED_with_router);
            continue;
        }
        if (!pass_fire(ctx, rule, graph, ref)) continue;
        IrValue x = convert(graph, ref, op->operands[0], to);
        ir_set_operand(graph, ref, 0, x);
    }
    return NULL;
}
