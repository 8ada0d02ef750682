// SPDX-License-Identifier: Apache-2.0
// Adds what greedy generation reads to a graph with logits: result "argmax", i32 [R, 1], the number of the largest logit of each row. A long
// row is cut into runs that work groups can share, and the largest of these into runs again until one is left.
#include "passes/internal.h"

#include <string.h>

enum { RUN = 2048, WHOLE = 2 * RUN };   // columns: of a run; of a row that is not cut

static IrValue result_named(const IrGraph *graph, const char *name)
{
    for (size_t i = 0; i < graph->results.len; i++)
        if (!strcmp(graph->results.data[i].name, name)) return graph->results.data[i].value;
    return 0;
}

static IrValue build_argmax(IrGraph *graph, IrValue x)
{
    IrValue operands[2] = {x};
    uint32_t count = 1;
    do {
        int64_t columns = ir_value(graph, operands[0])->type.dims[1];
        IrAttr width = {IR_ATTR_WIDTH, {.i = columns > WHOLE ? RUN : columns}};
        IrBuild build = {.kind = IR_OP_argmax, .operands = operands, .operand_count = count, .attrs = &width, .attr_count = 1};
        IrOpRef ref = pass_build(graph, &build, 0);
        memcpy(operands, ir_op(graph, ref)->results, sizeof operands);
        count = 2;
    } while (ir_value(graph, operands[0])->type.dims[1] > 1);
    return operands[1];
}

HdStatus *pass_arg_max(IrGraph *graph, PassCtx *ctx)
{
    IrValue logits = result_named(graph, "logits");
    if (!logits) return NULL;
    const IrType *type = &ir_value(graph, logits)->type;
    IrOpRef maker = pass_producer(graph, logits);
    if (result_named(graph, "argmax")) pass_missed(ctx, RULE_arg_max_add, graph, maker, MISSED_exists);
    else if (type->rank != 2 || type->dtype != IR_F32 || ir_dim_is_sym(type->dims[1]))
        pass_missed(ctx, RULE_arg_max_add, graph, maker, MISSED_other_shape);
    else if (pass_fire(ctx, RULE_arg_max_add, graph, maker))
        hd_vec_push(&graph->results, ((IrResult){ir_intern(graph->module, hd_str("argmax")), build_argmax(graph, logits)}));
    return NULL;
}
