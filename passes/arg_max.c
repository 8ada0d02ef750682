// SPDX-License-Identifier: Apache-2.0
// Adds what generation reads to a graph with logits: result "argmax", i32 [R, 1], the number of the largest logit of each row, and "top",
// f32 [R, k, 1 + width], the runs of `width` columns in which the k largest are. The runs are those of a product's work groups.
#include "passes/internal.h"

#include <string.h>

static IrValue result_named(const IrGraph *graph, const char *name)
{
    for (size_t i = 0; i < graph->results.len; i++)
        if (!strcmp(graph->results.data[i].name, name)) return graph->results.data[i].value;
    return 0;
}

static void add_result(IrGraph *graph, const char *name, IrValue value)
{
    hd_vec_push(&graph->results, ((IrResult){ir_intern(graph->module, hd_str(name)), value}));
}

static void add_largest(IrGraph *graph, IrValue logits, int64_t most)
{
    int64_t columns = ir_value(graph, logits)->type.dims[1], width = HD_MIN(columns, IR_GPU_RUN);
    IrAttr attrs[] = {{IR_ATTR_WIDTH, {.i = width}}, {IR_ATTR_K, {.i = HD_MIN(hd_ceil_div(columns, width), most)}}};
    IrBuild build = {.kind = IR_OP_argmax, .operands = &logits, .operand_count = 1, .attrs = attrs, .attr_count = 1};
    const IrValue *runs = ir_op(graph, pass_build(graph, &build, 0))->results;
    IrValue operands[] = {logits, runs[0], runs[1]};
    build = (IrBuild){.kind = IR_OP_top_runs, .operands = operands, .operand_count = 3, .attrs = attrs, .attr_count = 2};
    IrOpRef top = pass_build(graph, &build, 0);
    add_result(graph, "argmax", ir_op(graph, top)->results[1]);
    add_result(graph, "top", ir_op(graph, top)->results[0]);
}

HdStatus *pass_arg_max(IrGraph *graph, PassCtx *ctx)
{
    IrValue logits = result_named(graph, "logits");
    if (!logits) return NULL;
    const IrType *type = &ir_value(graph, logits)->type;
    IrOpRef maker = pass_producer(graph, logits);
    if (result_named(graph, "argmax") || result_named(graph, "top")) pass_missed(ctx, RULE_arg_max_add, graph, maker, MISSED_exists);
    else if (type->rank != 2 || type->dtype != IR_F32 || ir_dim_is_sym(type->dims[1]) || hd_ceil_div(type->dims[1], IR_GPU_RUN) > IR_MOST_RUNS)
        pass_missed(ctx, RULE_arg_max_add, graph, maker, MISSED_other_shape);
    else if (pass_fire(ctx, RULE_arg_max_add, graph, maker)) add_largest(graph, logits, pass_option_int(ctx, "top"));
    return NULL;
}
