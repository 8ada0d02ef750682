// SPDX-License-Identifier: Apache-2.0
// Groups, stages and placements for a random graph: what partition, schedule and plan-memory would add, chosen at random
// but valid. Written without the verifier's code, so that the two check each other.
#ifndef HEDDLE_TESTS_RANDOM_PLAN_H
#define HEDDLE_TESTS_RANDOM_PLAN_H

#include "tests/support/random_graph.h"

#include <stdlib.h>

// ---- groups --------------------------------------------------------------------------------------------------

typedef struct RgGroup {
    IrOpRef ops[6];
    uint32_t op_count;
    IrValue operands[32], made[32], yields[8];   // values from outside, of members, and those of `made` used outside
    uint32_t operand_count, made_count, yield_count;
} RgGroup;

static inline uint32_t rg_index_of(const IrValue *values, uint32_t count, IrValue value) {
    uint32_t i = 0;
    while (i < count && values[i] != value) i++;
    return i;
}

static inline bool rg_in_group(const RgGroup *group, IrOpRef op) {
    for (uint32_t i = 0; i < group->op_count; i++)
        if (group->ops[i] == op) return true;
    return false;
}

static inline bool rg_used_outside(const IrGraph *graph, const RgGroup *group, IrValue value) {
    for (size_t i = 0; i < graph->results.len; i++)
        if (graph->results.data[i].value == value) return true;
    IR_FOR_OPS(graph, 0, ref) {
        const IrOp *op = ir_op(graph, ref);
        if (!rg_in_group(group, ref) && rg_index_of(op->operands, op->operand_count, value) < op->operand_count) return true;
    }
    return false;
}

// Fills in the borders; false when there are too many, or nothing would come out.
static inline bool rg_group_borders(const IrGraph *graph, RgGroup *group) {
    bool writes = false;
    for (uint32_t m = 0; m < group->op_count; m++) {
        const IrOp *op = ir_op(graph, group->ops[m]);
        writes = writes || (ir_op_effect(graph, op) & IR_EFFECT_WRITE);
        for (uint32_t i = 0; i < op->operand_count; i++) {
            IrValue value = op->operands[i];
            if (rg_index_of(group->made, group->made_count, value) < group->made_count) continue;
            if (rg_index_of(group->operands, group->operand_count, value) < group->operand_count) continue;
            if (group->operand_count == 32) return false;
            group->operands[group->operand_count++] = value;
        }
        for (uint32_t i = 0; i < op->result_count; i++) {
            if (group->made_count == 32) return false;
            group->made[group->made_count++] = op->results[i];
        }
    }
    for (uint32_t i = 0; i < group->made_count; i++) {
        if (!rg_used_outside(graph, group, group->made[i])) continue;
        if (group->yield_count == 8) return false;
        group->yields[group->yield_count++] = group->made[i];
    }
    return writes || group->yield_count > 0;
}

static inline void rg_redirect(IrGraph *graph, const RgGroup *group, IrOpRef fused) {
    for (uint32_t y = 0; y < group->yield_count; y++) {
        IrValue from = group->yields[y], to = ir_op(graph, fused)->results[y];
        for (size_t i = 0; i < graph->results.len; i++)
            if (graph->results.data[i].value == from) graph->results.data[i].value = to;
        IR_FOR_OPS(graph, 0, ref) {
            IrOp *op = ir_op(graph, ref);
            for (uint32_t i = 0; i < op->operand_count; i++)
                if (op->operands[i] == from) ir_set_operand(graph, ref, i, to);
        }
    }
}

static inline void rg_make_fused(IrGraph *graph, RgGroup *group, IrOpRef before, const char *kind) {
    IrBlock region = ir_block_new(graph);
    IrValue args[32];
    IrAttr attr = {IR_ATTR_KIND, {.name = kind}};
    for (uint32_t i = 0; i < group->operand_count; i++)
        args[i] = ir_block_arg(graph, region, ir_value(graph, group->operands[i])->type);
    for (uint32_t m = 0; m < group->op_count; m++) {
        IrOp *op = ir_op(graph, group->ops[m]);
        ir_move_to_block(graph, group->ops[m], region);
        for (uint32_t i = 0; i < op->operand_count; i++) {
            uint32_t at = rg_index_of(group->operands, group->operand_count, op->operands[i]);
            if (at < group->operand_count) ir_set_operand(graph, group->ops[m], i, args[at]);
        }
    }
    for (uint32_t i = 0; i < group->yield_count; i++) hd_vec_push(&graph->blocks.data[region].yields, group->yields[i]);
    HdStatus *status;
    IrBuild build = {.kind = IR_OP_fused, .operands = group->operands, .operand_count = group->operand_count, .attrs = &attr,
                     .attr_count = kind ? 1 : 0, .before = before, .region = region};
    IrOpRef fused = ir_build(graph, &build, &status);
    if (status) hd_assert_failed(__FILE__, __LINE__, hd_status_message(status));
    rg_redirect(graph, group, fused);
}

// Puts about `percent` of 100 runs of neighbouring operations into fused ones.
static inline void rg_fuse(IrGraph *graph, uint64_t seed, uint32_t percent) {
    static const char *const kinds[] = {NULL, "rowwise", "matmul", "a kind"};
    uint64_t state = seed;
    for (IrOpRef ref = graph->blocks.data[0].first; ref;) {
        RgGroup group = {0};
        uint32_t want = 1 + (uint32_t)(rg_next(&state) % HD_COUNT(group.ops));
        bool chosen = rg_next(&state) % 100 < percent;
        for (; ref && group.op_count < want; ref = ir_op(graph, ref)->next) group.ops[group.op_count++] = ref;
        if (chosen && rg_group_borders(graph, &group))
            rg_make_fused(graph, &group, ref, kinds[rg_next(&state) % HD_COUNT(kinds)]);
    }
}

// ---- stages --------------------------------------------------------------------------------------------------

static inline bool rg_is_view(const IrOp *op) { return ir_op_info(op->kind)->role == IR_ROLE_VIEW; }

// Each launch after all that makes its operands and after all launches that touch its states, with a gap now and then.
static inline void rg_stages(IrGraph *graph, uint64_t seed) {
    uint64_t state = seed;
    int32_t *made = hd_xcalloc(graph->values.len, sizeof *made);   // first stage in which a value may be used
    IR_FOR_OPS(graph, 0, ref) {
        IrOp *op = ir_op(graph, ref);
        int32_t stage = 0;
        for (uint32_t i = 0; i < op->operand_count; i++) stage = HD_MAX(stage, made[op->operands[i]]);
        if (!rg_is_view(op) && rg_next(&state) % 8 == 0) stage += 2;
        op->stage = rg_is_view(op) ? -1 : stage;
        for (uint32_t i = 0; i < op->result_count; i++) made[op->results[i]] = stage + !rg_is_view(op);
        for (uint32_t i = 0; i < op->operand_count; i++)
            if (ir_value(graph, op->operands[i])->kind == IR_VALUE_STATE) made[op->operands[i]] = stage + 1;
    }
    free(made);
}

// ---- placements ----------------------------------------------------------------------------------------------

// Last stage in which a value or one of its views is read; far away for a result.
static inline int64_t rg_last_use(const IrGraph *graph, IrValue value) {
    int64_t last = ir_value(graph, value)->kind == IR_VALUE_RESULT ? ir_op(graph, ir_value(graph, value)->op)->stage : 0;
    for (size_t i = 0; i < graph->results.len; i++)
        if (graph->results.data[i].value == value) return INT64_MAX;
    IR_FOR_OPS(graph, 0, ref) {
        const IrOp *op = ir_op(graph, ref);
        if (rg_index_of(op->operands, op->operand_count, value) == op->operand_count) continue;
        int64_t use = rg_is_view(op) ? rg_last_use(graph, op->results[0]) : op->stage;
        last = HD_MAX(last, use);
    }
    return last;
}

typedef struct RgPlaced { int64_t first, last, begin, end; } RgPlaced;   // stages and bytes

// Lowest multiple of 64 where [first, last] x bytes meets no other.
static inline int64_t rg_free_place(const RgPlaced *placed, size_t count, const RgPlaced *want, int64_t bytes) {
    int64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const RgPlaced *other = &placed[i];
        bool together = want->first <= other->last && other->first <= want->last;
        if (!together || at + bytes <= other->begin || other->end <= at) continue;
        at = (int64_t)hd_align_up((uint64_t)other->end, 64);
        i = (size_t)-1;   // from the start again
    }
    return at;
}

// Places the results of all launches; reshapes of placed values lie on them.
static inline void rg_place(IrGraph *graph, const IrBinding *bounds) {
    HD_VEC(RgPlaced) placed = {0};
    int64_t arena = 0;
    IR_FOR_OPS(graph, 0, ref) {
        const IrOp *op = ir_op(graph, ref);
        if (op->kind == IR_OP_reshape) ir_value(graph, op->results[0])->offset = ir_value(graph, op->operands[0])->offset;
        for (uint32_t i = 0; !rg_is_view(op) && i < op->result_count; i++) {
            IrValueData *data = ir_value(graph, op->results[i]);
            int64_t bytes = ir_type_bytes(graph, &data->type, bounds);
            RgPlaced place = {op->stage, rg_last_use(graph, op->results[i]), 0, 0};
            place.begin = rg_free_place(placed.data, placed.len, &place, bytes);
            place.end = place.begin + bytes;
            data->offset = place.begin;
            arena = HD_MAX(arena, place.end);
            hd_vec_push(&placed, place);
        }
    }
    graph->arena_bytes = arena;
    hd_vec_free(&placed);
}

// Stages and placements at the bounds T S C R = 16 3 64 5, which it writes into the module's keys.
static inline void rg_plan(IrGraph *graph, uint64_t seed) {
    HdBuf key = {0};
    hd_buf_printf(&key, "bounds.%s", graph->name);
    ir_module_set_key(graph->module, key.data, "16 3 64 5");
    hd_buf_free(&key);
    rg_stages(graph, seed);
    rg_place(graph, &(IrBinding){{16, 3, 64, 5}});
}

#endif
