// SPDX-License-Identifier: Apache-2.0
// Places every group result in one arena: first fit by falling size. A value lives from the stage that makes it to the last stage
// that reads it (results of the graph: to the end); values that live at the same time do not overlap. Sizes hold at the bound of
// the step class.
#include "passes/internal.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 }; // a cache line, and the widest vector

typedef struct Life {
    IrValue value;
    int32_t first, last;
    uint64_t order; // of its group in the block
    int64_t bytes, offset;
} Life;
typedef HD_VEC(Life) Lives;

static int by_size(const void *a, const void *b)
{
    const Life *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    if (x->order != y->order) return x->order < y->order ? -1 : 1; // by the graph's text alone
    return x->value < y->value ? -1 : 1;                           // results of one group are numbered in order
}

// The last stage in which the group reads its operands.
static int32_t last_stage(const IrOp *op, const IrTarget *target)
{
    IrGroup kind;
    bool known = ir_op_group(op, &kind);
    return known ? op->stage + ir_group_later(target, kind) : op->stage;
}

static int32_t last_read(const IrGraph *graph, IrValue value, int32_t made, const IrTarget *target)
{
    int32_t last = made;
    if (pass_is_result(graph, value)) return INT32_MAX;
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        for (uint32_t i = 0; i < op->operand_count; i++)
            if (op->operands[i] == value) last = HD_MAX(last, last_stage(op, target));
    }
    return last;
}

static void collect(const IrGraph *graph, const IrBinding *bound, const IrTarget *target, Lives *out_lives)
{
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        for (uint32_t i = 0; i < op->result_count; i++) {
            Life life = {.value = op->results[i], .first = op->stage, .order = op->order, .last = last_read(graph, op->results[i], op->stage, target)};
            life.bytes = (int64_t)hd_align_up((uint64_t)ir_type_bytes(graph, &ir_value(graph, life.value)->type, bound), ALIGN);
            hd_vec_push(out_lives, life);
        }
    }
}

// The lowest offset at which lives[n] overlaps none of the placed ones that live with it. Each try moves behind the value in the
// way.
static int64_t first_fit(const Lives *lives, size_t n)
{
    const Life *life = &lives->data[n];
    int64_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        const Life *other = &lives->data[i];
        bool together = other->first <= life->last && life->first <= other->last;
        bool overlap = other->offset < offset + life->bytes && offset < other->offset + other->bytes;
        if (!together || !overlap) continue;
        offset = other->offset + other->bytes;
        i = (size_t)-1; // look at all of them again
    }
    return offset;
}

HdStatus *pass_plan_memory(IrGraph *graph, PassCtx *ctx)
{
    IrBinding bound = {{1, 1, 1, 1}};
    Lives lives = {0};
    ir_graph_bound(graph, &bound);
    graph->arena_bytes = 0;
    if (!strcmp(graph->name, "load")) return NULL; // what it makes are packed weights, which have a place of their own
    collect(graph, &bound, ctx->target, &lives);
    qsort(lives.data, lives.len, sizeof *lives.data, by_size);
    HdStatus *status = NULL;
    for (size_t i = 0; i < lives.len && !status; i++) {
        Life *life = &lives.data[i];
        life->offset = first_fit(&lives, i);
        graph->arena_bytes = HD_MAX(graph->arena_bytes, life->offset + life->bytes);
        if (!pass_fire(ctx, RULE_plan_memory_place, graph, ir_value(graph, life->value)->op))
            status = hd_error(HD_UNSUPPORTED, "a place was refused, so the graph cannot be compiled");
        ir_value(graph, life->value)->offset = life->offset;
    }
    hd_vec_free(&lives);
    return status;
}
