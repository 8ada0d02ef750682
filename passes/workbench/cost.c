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

// ---- predicted times ---------------------------------------------------------------------------------------------

// What the CPU's kernels for an operation are called (codegen/cpu/sched_*.c); a device file knows them by these names.
static const struct {
    IrOpKind kind;
    const char *kernel;
} kernels[] = {{IR_OP_attention, "attention"},       {IR_OP_conv1d, "conv"},           {IR_OP_delta_step, "delta_step"},
               {IR_OP_delta_scan, "delta_scan"},     {IR_OP_delta_rule, "delta_scan"}, {IR_OP_delta_chunk_prep, "delta_prep"},
               {IR_OP_delta_chunk_scan, "delta_chunk"}, {IR_OP_take_rows, "rows"},     {IR_OP_topk, "topk"},
               {IR_OP_moe_plan, "moe_plan"},         {IR_OP_argmax, "argmax"}};

static bool is_product(const IrOp *op) { return op->kind == IR_OP_linear || op->kind == IR_OP_multi_linear || op->kind == IR_OP_grouped_linear; }

static const char *kernel_of(const IrOp *op)
{
    for (size_t i = 0; i < HD_COUNT(kernels); i++)
        if (kernels[i].kind == op->kind) return kernels[i].kernel;
    return is_product(op) ? "matmul" : op->kind == IR_OP_embed ? "embed" : NULL;
}

static const IrType *type_of(const IrGraph *graph, IrValue value) { return &ir_value(graph, value)->type; }

// The operation that decides which kernel a group has; the group itself when there is none, which is then row by row.
static const IrOp *chief_of(const IrGraph *graph, const IrOp *op)
{
    if (op->kind != IR_OP_fused) return op;
    IR_FOR_OPS(graph, op->region, ref)
        if (kernel_of(ir_op(graph, ref))) return ir_op(graph, ref);
    return op;
}

typedef HD_VEC(HdWork) Works;
typedef HD_VEC(size_t) Ends;

// A matrix of a product; of several matrices of one operation each has a kernel for its type.
static void push_product(const IrGraph *graph, const IrBinding *at, const IrOp *op, uint32_t result, HdWork work, Works *works, HdArena *arena)
{
    double all = 0, own = (double)ir_type_elements(graph, type_of(graph, op->results[result]), at);
    for (uint32_t i = 0; i < op->result_count; i++) all += (double)ir_type_elements(graph, type_of(graph, op->results[i]), at);
    const char *name = op->kind != IR_OP_grouped_linear ? "matmul" : op->operand_count == 4 ? "grouped" : "grouped_rows";
    const char *weight = ir_dtype_info(type_of(graph, op->operands[1 + result])->dtype)->name, *x = ir_dtype_info(type_of(graph, op->operands[0])->dtype)->name;
    work.kernel = hd_arena_printf(arena, "%s_%s_%s", name, weight, x);
    work.launches /= op->result_count, work.bytes *= own / all, work.flops *= own / all;
    hd_vec_push(works, work);
}

static void push_works(const IrGraph *graph, IrOpRef ref, const IrBinding *at, const IrCost *cost, Works *works, HdArena *arena)
{
    const IrOp *op = chief_of(graph, ir_op(graph, ref));
    HdWork work = {.kernel = kernel_of(op), .launches = 1, .tokens = (double)at->value[IR_SYM_T], .bytes = cost->bytes_read + cost->bytes_written,
                   .flops = cost->flops};
    if (!work.kernel) work.kernel = "rowwise";
    if (op->kind == IR_OP_delta_chunk_prep || op->kind == IR_OP_delta_chunk_scan)
        work.kernel = hd_arena_printf(arena, "%s_%d", work.kernel, (int)op->attr[IR_ATTR_CHUNK].i);
    if (op->kind == IR_OP_embed) work.kernel = hd_arena_printf(arena, "embed_%s", ir_dtype_info(type_of(graph, op->operands[1])->dtype)->name);
    for (uint32_t i = 0; is_product(op) && i < op->result_count; i++) push_product(graph, at, op, i, work, works, arena);
    if (!is_product(op)) hd_vec_push(works, work);
}

// ends: of each operation, where its works end.
static double predict(const HdFigures *device, const Works *works, const Ends *ends, double bytes, WbSeconds *out_each)
{
    double seconds = device->value[HD_FIGURE_step_us] * 1e-6;
    for (size_t op = 0, i = 0; op < ends->len; op++) {
        double own = 0;
        for (; i < ends->data[op]; i++) own += hd_predict(device, &works->data[i], bytes);
        if (out_each) hd_vec_push(out_each, own);
        seconds += own;
    }
    return seconds;
}

WbCost wb_graph_cost(const IrGraph *graph, const IrBinding *at, const HdFigures *device, WbSeconds *out_each)
{
    WbCost sum = {.arena = graph->arena_bytes >= 0 ? (double)graph->arena_bytes : peak_bytes(graph, at)};
    HdArena arena = {0};
    Works works = {0};
    Ends ends = {0};
    int32_t stages = 0;
    IR_FOR_OPS(graph, 0, ref)
    {
        if (!is_view(ir_op(graph, ref))) {                 // which costs nothing
            IrCost cost = ir_op_cost(graph, ref, at);
            sum.launches++;
            sum.bytes_read += cost.bytes_read;
            sum.bytes_written += cost.bytes_written;
            sum.flops += cost.flops;
            stages = HD_MAX(stages, ir_op(graph, ref)->stage + 1);
            if (device) push_works(graph, ref, at, &cost, &works, &arena);
        }
        hd_vec_push(&ends, works.len);
    }
    if (device) sum.seconds = predict(device, &works, &ends, sum.bytes_read + sum.bytes_written, out_each) + hd_predict_waiting(device, stages ? stages : sum.launches);
    hd_vec_free(&works);
    hd_vec_free(&ends);
    hd_arena_free(&arena);
    return sum;
}
