// SPDX-License-Identifier: Apache-2.0
// Verification of what plan-memory and schedule add: stages and placements.
//
// A view (reshape, slice, concat) moves no data: it is no launch, may lack a stage, and its result may lie inside the
// storage of its source. A value therefore lives until the last consumer of its views, and a value may overlap with its
// own views.
#include "ir/verify.h"

#include <stdlib.h>
#include <string.h>

bool verify_is_view(const IrOp *op) { return ir_op_info(op->kind)->role == IR_ROLE_VIEW; }

// ---- stages ----------------------------------------------------------------------------------------------------

static bool has_stages(const IrGraph *graph) {
    IR_FOR_OPS(graph, 0, ref)
        if (ir_op(graph, ref)->stage >= 0) return true;
    return false;
}

// Latest stage in which an operand is made; -1 for inputs, weights and states.
static int32_t ready_stage(const IrOp *op, const int32_t *made) {
    int32_t ready = -1;
    for (uint32_t i = 0; i < op->operand_count; i++) ready = HD_MAX(ready, made[op->operands[i]]);
    return ready;
}

static HdStatus *check_stage(const IrGraph *graph, IrOpRef ref, int32_t *made) {
    const IrOp *op = ir_op(graph, ref);
    int32_t ready = ready_stage(op, made);
    bool view = verify_is_view(op);
    if (!view && op->stage < 0) return verify_op_error(graph, ref, "has no stage, although other operations have");
    bool early = view ? op->stage >= 0 && op->stage < ready : op->stage <= ready;
    if (early) return verify_op_error(graph, ref, "stage %d, but an operand is made in stage %d", op->stage, ready);
    for (uint32_t i = 0; i < op->result_count; i++) made[op->results[i]] = HD_MAX(op->stage, ready);
    return NULL;
}

// Each state has one writer at most (checked before), which comes before all readers; `writer` is by state value.
static HdStatus *check_state_stages(const IrGraph *graph, IrOpRef ref, IrOpRef *writer) {
    const IrOp *op = ir_op(graph, ref);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        IrValue state = op->operands[i];
        if (ir_value(graph, state)->kind != IR_VALUE_STATE) continue;
        if (writer[state] && writer[state] != ref && ir_op(graph, writer[state])->stage >= op->stage)
            return verify_op_error(graph, ref, "stage %d, but state \"%s\" is written in stage %d", op->stage,
                                   ir_value(graph, state)->name, ir_op(graph, writer[state])->stage);
        if (verify_state_access(graph, op, i) & IR_EFFECT_WRITE) writer[state] = ref;
    }
    return NULL;
}

HdStatus *verify_stages(const IrGraph *graph) {
    if (!has_stages(graph)) return NULL;
    int32_t *made = hd_xmalloc(graph->values.len * sizeof *made);
    IrOpRef *writer = hd_xcalloc(graph->values.len, sizeof *writer);
    HdStatus *status = NULL;
    memset(made, 0xff, graph->values.len * sizeof *made);   // -1
    for (IrOpRef ref = graph->blocks.data[0].first; ref && !status; ref = ir_op(graph, ref)->next) {
        status = check_stage(graph, ref, made);
        if (!status) status = check_state_stages(graph, ref, writer);
    }
    free(made);
    free(writer);
    return status;
}

// ---- live ranges -----------------------------------------------------------------------------------------------

typedef struct Range { int64_t begin, end; } Range;   // both inclusive, in stages or, before schedule, in operations

// When each operation runs: its stage, or its position where there are no stages; a view without a stage: with its source.
static void find_begins(const IrGraph *graph, Range *ranges, int64_t *when) {
    bool staged = has_stages(graph);
    int64_t position = 0;
    IR_FOR_OPS(graph, 0, ref) {
        const IrOp *op = ir_op(graph, ref);
        int64_t ready = 0;
        for (uint32_t i = 0; i < op->operand_count; i++) ready = HD_MAX(ready, ranges[op->operands[i]].begin);
        when[ref] = staged ? HD_MAX(op->stage, ready) : position;
        position++;
        for (uint32_t i = 0; i < op->result_count; i++) ranges[op->results[i]] = (Range){when[ref], when[ref]};
    }
}

// Backwards, so that a view's own end is known when its source is reached.
static void find_ends(const IrGraph *graph, Range *ranges, const int64_t *when) {
    for (size_t i = 0; i < graph->results.len; i++) ranges[graph->results.data[i].value].end = INT64_MAX;
    for (IrOpRef ref = graph->blocks.data[0].last; ref; ref = ir_op(graph, ref)->prev) {
        const IrOp *op = ir_op(graph, ref);
        int64_t end = verify_is_view(op) ? ranges[op->results[0]].end : when[ref];
        for (uint32_t i = 0; i < op->operand_count; i++) ranges[op->operands[i]].end = HD_MAX(ranges[op->operands[i]].end, end);
    }
}

// ---- aliases ---------------------------------------------------------------------------------------------------

// The value whose storage a chain of reshapes and slices shows.
static IrValue storage_of(const IrGraph *graph, IrValue value) {
    for (;;) {
        const IrValueData *data = ir_value(graph, value);
        if (data->kind != IR_VALUE_RESULT) return value;
        const IrOp *op = ir_op(graph, data->op);
        if (!verify_is_view(op) || op->kind == IR_OP_concat) return value;
        value = op->operands[0];
    }
}

enum { CONCAT_DEPTH = 4 };

static bool is_part_of(const IrGraph *graph, IrValue part, IrValue whole, int depth) {
    const IrValueData *data = ir_value(graph, whole);
    if (part == whole) return true;
    if (depth == CONCAT_DEPTH || data->kind != IR_VALUE_RESULT || ir_op(graph, data->op)->kind != IR_OP_concat) return false;
    const IrOp *op = ir_op(graph, data->op);
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (is_part_of(graph, part, storage_of(graph, op->operands[i]), depth + 1)) return true;
    return false;
}

static bool may_overlap(const IrGraph *graph, IrValue a, IrValue b) {
    IrValue x = storage_of(graph, a), y = storage_of(graph, b);
    return is_part_of(graph, x, y, 0) || is_part_of(graph, y, x, 0);
}

// ---- placements ------------------------------------------------------------------------------------------------

typedef struct Placed { IrValue value; int64_t begin, end; } Placed;   // bytes begin..end-1 of the arena
typedef HD_VEC(Placed) PlacedList;

static HdStatus *value_plan_error(const IrGraph *graph, IrValue value, const char *fmt, ...) HD_PRINTF(3, 4);
static HdStatus *value_plan_error(const IrGraph *graph, IrValue value, const char *fmt, ...) {
    HdBuf name = {0};
    va_list args;
    ir_print_value(graph, value, &name);
    va_start(args, fmt);
    HdStatus *status = hd_annotate(hd_verror(HD_INTERNAL, fmt, args), "@%s: %s", graph->name, name.data);
    va_end(args);
    hd_buf_free(&name);
    return status;
}

// Which values are placed, of those that count; sizes are set later, when there are bounds.
static HdStatus *find_placed(const IrGraph *graph, PlacedList *out_placed) {
    for (IrValue value = 1; value < graph->values.len; value++) {
        const IrValueData *data = ir_value(graph, value);
        if (data->offset < 0 || (data->kind == IR_VALUE_RESULT && ir_op(graph, data->op)->dead)) continue;
        bool body = data->kind == IR_VALUE_INPUT || (data->kind == IR_VALUE_RESULT && data->block == 0);
        if (!body) return value_plan_error(graph, value, "only inputs and results of the body are placed in the arena");
        if (graph->arena_bytes < 0) return value_plan_error(graph, value, "is placed, but the graph has no arena");
        hd_vec_push(out_placed, ((Placed){value, data->offset, data->offset}));
    }
    return NULL;
}

static HdStatus *check_overlaps(const IrGraph *graph, const PlacedList *placed, const Range *ranges) {
    for (size_t i = 0; i < placed->len; i++)
        for (size_t k = 0; k < i; k++) {
            const Placed *a = &placed->data[i], *b = &placed->data[k];
            const Range *x = &ranges[a->value], *y = &ranges[b->value];
            if (a->begin >= b->end || b->begin >= a->end || x->begin > y->end || y->begin > x->end ||
                may_overlap(graph, a->value, b->value))
                continue;
            HdBuf other = {0};
            ir_print_value(graph, b->value, &other);
            HdStatus *status =
                value_plan_error(graph, a->value, "bytes %lld..%lld overlap with those of %s, which lives at the same time",
                                 (long long)a->begin, (long long)a->end - 1, other.data);
            hd_buf_free(&other);
            return status;
        }
    return NULL;
}

static HdStatus *check_placed(const IrGraph *graph, PlacedList *placed, const IrBinding *bounds) {
    for (size_t i = 0; i < placed->len; i++) {
        Placed *p = &placed->data[i];
        p->end = ir_sat_add(p->begin, ir_type_bytes(graph, &ir_value(graph, p->value)->type, bounds));
        if (p->end > graph->arena_bytes)
            return value_plan_error(graph, p->value, "ends at byte %lld, the arena has %lld", (long long)p->end,
                                    (long long)graph->arena_bytes);
    }
    Range *ranges = hd_xcalloc(graph->values.len, sizeof *ranges);
    int64_t *when = hd_xcalloc(graph->ops.len, sizeof *when);
    find_begins(graph, ranges, when);
    find_ends(graph, ranges, when);
    HdStatus *status = check_overlaps(graph, placed, ranges);
    free(ranges);
    free(when);
    return status;
}

HdStatus *verify_placements(const IrGraph *graph) {
    PlacedList placed = {0};
    IrBinding bounds;
    HdBuf key = {0};
    hd_buf_printf(&key, "bounds.%s", graph->name);
    bool has_key = ir_module_key(graph->module, key.data) != NULL, known = ir_graph_bound(graph, &bounds);
    HdStatus *status = find_placed(graph, &placed);
    if (!status && has_key && !known)
        status = hd_error(HD_INTERNAL, "@%s: key \"%s\" must be four positive numbers T S C R", graph->name, key.data);
    if (!status && known) status = check_placed(graph, &placed, &bounds);
    hd_buf_free(&key);
    hd_vec_free(&placed);
    return status;
}
