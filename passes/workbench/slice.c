// SPDX-License-Identifier: Apache-2.0
// A model with some of its layers: smaller graphs to look at, and faster ones to evaluate.
#include "passes/workbench/workbench.h"

#include <stdlib.h>

// The layer where a value is made; -1: outside the trunk, or it is no result.
static int32_t layer_of(const IrGraph *graph, IrValue value)
{
    const IrValueData *data = ir_value(graph, value);
    return data->kind == IR_VALUE_RESULT ? ir_op(graph, data->op)->layer : -1;
}

static int32_t layer_count(const IrGraph *graph)
{
    int32_t count = 0;
    IR_FOR_OPS(graph, 0, ref) count = HD_MAX(count, ir_op(graph, ref)->layer + 1);
    return count;
}

static bool is_before_trunk(const IrGraph *graph, IrOpRef ref)
{
    for (IrOpRef at = ref; at; at = ir_op(graph, at)->prev)
        if (ir_op(graph, at)->layer >= 0) return false;
    return true;
}

// Does an operation of a layer from `layer` on, or one behind the trunk, read what was made before that layer?
static bool crosses(const IrGraph *graph, IrOpRef ref, IrValue value, int32_t layer)
{
    const IrOp *op = ir_op(graph, ref);
    bool behind = op->layer >= layer || (op->layer < 0 && !is_before_trunk(graph, ref));
    if (!behind || ir_value(graph, value)->kind != IR_VALUE_RESULT) return false;
    int32_t made = layer_of(graph, value);
    return made >= 0 ? made < layer : is_before_trunk(graph, ir_value(graph, value)->op) && layer == 0;
}

// The one value that enters a layer (the number of layers: what lies behind the trunk) from the one before it.
static HdStatus *entering(const IrGraph *graph, int32_t layer, IrValue *out_value)
{
    *out_value = 0;
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        for (uint32_t i = 0; i < op->operand_count; i++) {
            if (!crosses(graph, ref, op->operands[i], layer) || *out_value == op->operands[i]) continue;
            if (*out_value)
                return hd_error(HD_UNSUPPORTED, "--layers: more than one value goes into layer %d of @%s, so it cannot be cut there; a model is cut "
                                "before its passes run", layer, graph->name);
            *out_value = op->operands[i];
        }
    }
    return *out_value ? NULL : hd_error(HD_UNSUPPORTED, "--layers: nothing goes into layer %d of @%s", layer, graph->name);
}

// Of the operations that stay, those that read `from` read `to`.
static void redirect(IrGraph *graph, IrValue from, IrValue to, int32_t first, int32_t end)
{
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        for (uint32_t i = 0; i < op->operand_count; i++)
            if (op->operands[i] == from && ((op->layer >= first && op->layer < end) || op->layer < 0)) ir_set_operand(graph, ref, i, to);
    }
}

HdStatus *wb_slice_layers(IrGraph *graph, int32_t first, int32_t end)
{
    IrValue begin, enter, leave, out;
    int32_t layers = layer_count(graph);
    if (first < 0 || first >= end || end > layers)
        return hd_error(HD_USAGE, "--layers %d:%d: @%s has layers 0 to %d; 0:%d stands for all of them", first, end, graph->name, layers - 1, layers);
    HD_TRY(entering(graph, 0, &begin));
    HD_TRY(entering(graph, first, &enter));
    HD_TRY(entering(graph, end, &leave));
    HD_TRY(entering(graph, layers, &out));
    if (first > 0) redirect(graph, enter, begin, first, end);
    if (end < layers) redirect(graph, out, leave, layers, layers);
    IrOpRef before;
    for (IrOpRef ref = graph->blocks.data[0].last; ref; ref = before) {   // readers before what they read
        int32_t layer = ir_op(graph, ref)->layer;
        before = ir_op(graph, ref)->prev;
        if (layer >= 0 && (layer < first || layer >= end)) ir_erase(graph, ref);
    }
    return NULL;
}
