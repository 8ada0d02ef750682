// SPDX-License-Identifier: Apache-2.0
// What a graph takes in one step, by the cost of its operations (ir/cost.c).
#include "passes/workbench/workbench.h"

#include <stdlib.h>
#include <string.h>

static const char *const class_names[WB_CLASS_COUNT] = {"decode", "small", "prefill"};
const char *wb_class_name(WbClass class) { return class_names[class]; }

static bool is_view(const IrOp *op) { return ir_op_info(op->kind)->role == IR_ROLE_VIEW; }

// For each value, the place in the body (from 1) of the last operation that needs its bytes; behind all of them for a result of the graph. A view needs those of what
// it shows for as long as it is needed itself.
static int64_t *last_needs(const IrGraph *graph, int64_t count)
{
    int64_t *last = hd_xcalloc(graph->values.len, sizeof *last), place = count;
    for (size_t i = 0; i < graph->results.len; i++) last[graph->results.data[i].value] = count + 1;
    for (IrOpRef ref = graph->blocks.data[0].last; ref; ref = ir_op(graph, ref)->prev, place--) {
        const IrOp *op = ir_op(graph, ref);
        int64_t needed = is_view(op) ? last[op->results[0]] : place;
        for (uint32_t i = 0; i < op->operand_count; i++) last[op->operands[i]] = HD_MAX(last[op->operands[i]], needed);
    }
    return last;
}

// The most bytes of results that live at once when the operations run one after another.
static double peak_bytes(const IrGraph *graph, const IrBinding *at)
{
    int64_t count = 0, place = 0;
    IR_FOR_OPS(graph, 0, ref) count++;
    int64_t *last = last_needs(graph, count);
    double peak = 0, alive = 0, *dying = hd_xcalloc((size_t)count + 2, sizeof *dying);
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        place++;
        for (uint32_t i = 0; i < op->result_count && !is_view(op); i++) {
            double bytes = (double)ir_type_bytes(graph, &ir_value(graph, op->results[i])->type, at);
            alive += bytes;
            dying[HD_MAX(last[op->results[i]], place)] += bytes;
        }
        peak = HD_MAX(peak, alive);
        alive -= dying[place];
    }
    free(last);
    free(dying);
    return peak;
}

WbCost wb_graph_cost(const IrGraph *graph, const IrBinding *at, const WbDevice *device)
{
    WbCost sum = {.arena = graph->arena_bytes >= 0 ? (double)graph->arena_bytes : peak_bytes(graph, at),
                  .seconds = device ? wb_predict(device, graph, at, NULL) : 0};
    IR_FOR_OPS(graph, 0, ref)
    {
        IrCost cost = ir_op_cost(graph, ref, at);
        sum.launches += !is_view(ir_op(graph, ref));
        sum.bytes_read += cost.bytes_read;
        sum.bytes_written += cost.bytes_written;
        sum.flops += cost.flops;
    }
    return sum;
}
