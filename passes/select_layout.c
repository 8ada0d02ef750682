// SPDX-License-Identifier: Apache-2.0
// Chooses the storage order of every matrix that is multiplied, and adds its packing to @load, once for all step classes. A
// matrix whose rows are looked up stays as it is in the file; where it is multiplied too (a tied head), the product reads a
// packed copy. Types without a packed form stay as they are. GPUs read native blocks unless they are asked not to (layout=packed).
#include "passes/internal.h"

#include <string.h>

static bool is_packed(IrDtype dtype, IrLayout layout)
{
    static const bool packed[IR_DTYPE_COUNT] = {
#define IR_PACKED(name) [IR_##name] = true,
#include "ir/targets.def"
#undef IR_PACKED
    };
    return layout == IR_LAYOUT_SPLIT ? ir_dtype_splits(dtype) : packed[dtype];
}

// Adds `pack name` to @load unless it is there.
static void add_pack(IrModule *module, const char *name, IrType native, IrLayout layout)
{
    IrGraph *load = ir_graph_find(module, "load");
    if (!load) load = ir_graph_new(module, "load");
    IR_FOR_OPS(load, 0, ref)
    {
        const IrOp *op = ir_op(load, ref);
        if (!strcmp(ir_value(load, op->operands[0])->name, name) && op->attr[IR_ATTR_LAYOUT].layout == layout) return;
    }
    IrValue weight = ir_weight(load, name, native);
    IrAttr attr = {IR_ATTR_LAYOUT, {.layout = layout}};
    IrValue packed = ir_op1(load, IR_OP_pack, 1, &weight, 1, &attr);
    hd_vec_push(&load->results, ((IrResult){ir_intern(module, hd_str(name)), packed}));
}

// @load runs once, for calls of any size.
static bool has_fixed_size(const IrType *type)
{
    bool fixed = true;
    for (uint32_t i = 0; i < type->rank; i++) fixed = fixed && !ir_dim_is_sym(type->dims[i]);
    return fixed;
}

static void pack_operand(IrGraph *graph, PassCtx *ctx, IrOpRef ref, uint32_t index, IrLayout layout)
{
    IrValue weight = ir_op(graph, ref)->operands[index];
    const IrValueData *data = ir_value(graph, weight);
    if (data->type.layout != IR_LAYOUT_NATIVE) return;
    PassMissed reason = MISSED_refused;
    if (layout == IR_LAYOUT_NATIVE) reason = MISSED_option_off;
    else if (data->kind != IR_VALUE_WEIGHT) reason = MISSED_not_weight;
    else if (!has_fixed_size(&data->type)) reason = MISSED_other_shape;
    else if (!is_packed(data->type.dtype, layout)) reason = MISSED_no_layout;
    if (reason != MISSED_refused) {
        pass_missed_for(ctx, RULE_select_layout_pack, graph, ref, reason, reason == MISSED_option_off ? 0 : weight);
        return;
    }
    if (!pass_fire(ctx, RULE_select_layout_pack, graph, ref)) return;
    IrType native = data->type, type = data->type;
    type.layout = layout;
    const char *name = data->name;
    add_pack(graph->module, name, native, layout);
    ir_set_operand(graph, ref, index, ir_weight(graph, name, type));
}

HdStatus *pass_select_layout(IrGraph *graph, PassCtx *ctx)
{
    const char *wanted = pass_option(ctx, "layout");
    bool gpu = ir_target_is_gpu(ctx->target), native = !strcmp(wanted, "native") || (!strcmp(wanted, "auto") && gpu);
    IrLayout layout = native ? IR_LAYOUT_NATIVE : gpu ? IR_LAYOUT_SPLIT : IR_LAYOUT_R16;
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp op = *ir_op(graph, ref);
        switch (op.kind) {
        case IR_OP_linear:
        case IR_OP_grouped_linear: pack_operand(graph, ctx, ref, 1, layout); break;
        case IR_OP_multi_linear:
            for (uint32_t i = 1; i < op.operand_count; i++) pack_operand(graph, ctx, ref, i, layout);
            break;
        case IR_OP_embed: pass_missed_for(ctx, RULE_select_layout_pack, graph, ref, MISSED_not_row, op.operands[1]); break;
        default: break;
        }
    }
    return NULL;
}
