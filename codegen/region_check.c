// SPDX-License-Identifier: Apache-2.0
// What the evaluator can do: the same walk as region.c, on shapes only. A chunk of L lanes starts at a multiple of L of the
// last axis; the walk follows where its elements lie in each operand and stops where they would not be neighbours.
#include "codegen/region_internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct Walk { const IrGraph *graph; const CgRegion *region; int64_t lanes; } Walk;   // region NULL: nothing is bound
typedef struct Space {
    uint32_t rank;
    IrDim dims[4];
    bool aligned;
} Space; // aligned: chunks start at multiples of the lanes

static HdStatus *walk(const Walk *w, IrValue value, Space space);

static const IrType *type_of(const Walk *w, IrValue value) { return &ir_value(w->graph, value)->type; }

static HdStatus *refuse(const IrOp *op, const char *why) {
    return hd_error(HD_UNSUPPORTED, "%s: %s", op ? ir_op_info(op->kind)->name : "operand", why);
}

static Space space_of(const IrType *type, bool aligned) {
    Space space = {.rank = type->rank, .aligned = aligned};
    memcpy(space.dims, type->dims, sizeof space.dims);
    return space;
}

// Whether chunks stay within rows when the last axes of both shapes are these (of one group of equal products).
static bool rows_fit(const Walk *w, const CgDimGroup *group, const Space *from, const IrType *type, bool *out_aligned) {
    IrDim a = from->dims[group->a1 - 1], b = type->dims[group->b1 - 1];
    bool one_row = group->a1 - group->a0 == 1;
    *out_aligned = from->aligned && (one_row || a == b || (!ir_dim_is_sym(a) && a % w->lanes == 0));
    if (a == b || (group->b1 - group->b0 == 1)) return true;            // a row of `from` lies inside one of `type`
    if (!ir_dim_is_sym(a) && !ir_dim_is_sym(b) && b % a == 0) return true;
    return *out_aligned && !ir_dim_is_sym(b) && b % w->lanes == 0;
}

// Moves to the shape of `type`.
static HdStatus *enter(const Walk *w, const IrOp *op, Space *space, const IrType *type) {
    if (cg_place_has_dims(space->rank, space->dims, type)) return NULL;
    CgDimGroup groups[4];
    uint32_t count;
    if (!cg_split_dims(space->rank, space->dims, type->rank, type->dims, groups, &count))
        return refuse(op, "a reshape splits a symbolic dimension");
    bool aligned = space->aligned;
    bool last_is_one = space->dims[space->rank - 1] == 1 || ir_type_last(type) == 1;
    if (last_is_one ? w->lanes > 1 : count && !rows_fit(w, &groups[0], space, type, &aligned))
        return refuse(op, "a reshape cuts rows inside a chunk of lanes");
    *space = space_of(type, aligned);
    return NULL;
}

static HdStatus *check_stored(const Walk *w, IrValue value, Space space, bool natural) {
    IrDtype dtype = type_of(w, value)->dtype;
    if (dtype != IR_F32 && dtype != IR_F16 && dtype != IR_BF16 && dtype != IR_I32)
        return refuse(NULL, "only f32, f16, bf16 and i32 are element-wise");
    if (type_of(w, value)->layout != IR_LAYOUT_NATIVE) return refuse(NULL, "a packed weight is no element-wise operand");
    if (!natural) HD_TRY(enter(w, NULL, &space, type_of(w, value)));
    for (uint32_t i = 1; i < space.rank; i++)
        if (ir_dim_is_sym(space.dims[i])) return refuse(NULL, "only the slowest dimension may be symbolic");
    return NULL;
}

static HdStatus *check_slice(const Walk *w, const IrOp *op, Space space) {
    HD_TRY(enter(w, op, &space, type_of(w, op->results[0])));
    bool last = op->attr[IR_ATTR_AXIS].i + 1 == (int64_t)space.rank;
    return walk(w, op->operands[0],
                space_of(type_of(w, op->operands[0]), space.aligned && (!last || op->attr[IR_ATTR_BEGIN].i % w->lanes == 0)));
}

static HdStatus *check_concat(const Walk *w, const IrOp *op, Space space) {
    HD_TRY(enter(w, op, &space, type_of(w, op->results[0])));
    uint32_t axis = (uint32_t)op->attr[IR_ATTR_AXIS].i;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const IrType *part = type_of(w, op->operands[i]);
        bool cut = axis + 1 == part->rank && i + 1 < op->operand_count && (part->dims[axis] % w->lanes || !space.aligned);
        if (cut && w->lanes > 1) return refuse(op, "a part ends inside a chunk of lanes");
        HD_TRY(walk(w, op->operands[i], space_of(part, space.aligned)));
    }
    return NULL;
}

static HdStatus *check_broadcast(const Walk *w, const IrOp *op, IrValue value, const IrType *shape, Space space) {
    const IrType *type = type_of(w, value);
    if (cg_place_has_dims(shape->rank, shape->dims, type)) return walk(w, value, space);
    HD_TRY(enter(w, op, &space, shape));
    Walk one = *w;
    if (ir_type_last(type) == 1) one.lanes = 1;
    return walk(&one, value, space_of(type, space.aligned));
}

static HdStatus *check_rope(const Walk *w, const IrOp *op, Space space) {
    HD_TRY(enter(w, op, &space, type_of(w, op->results[0])));
    if (w->lanes > 1 && (!space.aligned || ir_type_last(type_of(w, op->operands[1])) / 2 % w->lanes))
        return refuse(op, "its halves end inside a chunk of lanes");
    HD_TRY(walk(w, op->operands[1], space_of(type_of(w, op->operands[1]), true)));
    return walk(w, op->operands[0], space);
}

static HdStatus *check_moe_sum(const Walk *w, const IrOp *op, Space space) {
    HD_TRY(enter(w, op, &space, type_of(w, op->results[0])));
    if (ir_dim_is_sym(type_of(w, op->operands[0])->dims[1])) return refuse(op, "the number of ranks must be fixed");
    Walk one = {w->graph, w->region, 1};
    HD_TRY(walk(&one, op->operands[1], space_of(type_of(w, op->operands[1]), true)));
    return walk(w, op->operands[0], space_of(type_of(w, op->operands[0]), space.aligned));
}

// Reductions read whole rows of their operand, prepared apart; here it is read at the chunk.
static HdStatus *check_reduce(const Walk *w, const IrOp *op, Space space) {
    const IrType *x = type_of(w, op->operands[0]);
    if (op->kind == IR_OP_quant_act) return refuse(op, "its rows can only leave the group");
    if (ir_dim_is_sym(ir_type_last(x))) return refuse(op, "the row length must be fixed");
    if (op->kind == IR_OP_sum) return walk(&(Walk){w->graph, w->region, 1}, op->operands[0], space_of(x, true));
    HD_TRY(enter(w, op, &space, x));
    if (op->kind == IR_OP_rms_norm) HD_TRY(check_broadcast(w, op, op->operands[1], x, space));
    return walk(w, op->operands[0], space);
}

static HdStatus *check_op(const Walk *w, const IrOp *op, Space space) {
    switch (op->kind) {
    case IR_OP_reshape: return walk(w, op->operands[0], space);
    case IR_OP_slice: return check_slice(w, op, space);
    case IR_OP_concat: return check_concat(w, op, space);
    case IR_OP_rope: return check_rope(w, op, space);
    case IR_OP_moe_sum: return check_moe_sum(w, op, space);
    case IR_OP_kv_append: return refuse(op, "it has no result");
    default: break;
    }
    if (ir_op_info(op->kind)->role == IR_ROLE_REDUCE) return check_reduce(w, op, space);
    HD_TRY(walk(w, op->operands[0], space));
    return op->operand_count == 2 ? check_broadcast(w, op, op->operands[1], type_of(w, op->operands[0]), space) : NULL;
}

static HdStatus *walk(const Walk *w, IrValue value, Space space) {
    const CgBinding *binding = w->region ? cg_region_binding(w->region, value) : NULL;
    const IrOp *op = cg_region_op(w->graph, value);
    if (binding && !binding->in_memory) return NULL;
    if (binding || !op) return check_stored(w, value, space, !binding || binding->natural);
    IrRole role = ir_op_info(op->kind)->role;
    if (role == IR_ROLE_CONTRACT || role == IR_ROLE_SPECIAL) return enter(w, op, &space, type_of(w, value));
    if (role == IR_ROLE_NONE) return refuse(op, "a group holds primitive operations only");
    return check_op(w, op, space);
}

static HdStatus *check_lanes(const IrGraph *graph, const CgRegion *region, IrValue value, int64_t lanes) {
    Walk w = {graph, region, lanes};
    return walk(&w, value, space_of(type_of(&w, value), true));
}

uint32_t cg_region_lanes(const CgRegion *region, IrValue value) {
    uint32_t lanes = ir_type_last(&ir_value(region->graph, value)->type) == 1 ? 1 : 16;
    for (; lanes > 1; lanes /= 2) {
        HdStatus *status = check_lanes(region->graph, region, value, lanes);
        if (!status) break;
        hd_status_free(status);
    }
    return lanes;
}

HdStatus *cg_region_supported(const IrGraph *graph, IrOpRef group, IrValue value) {
    (void)group;
    const IrOp *op = cg_region_op(graph, value);
    if (op && op->kind == IR_OP_quant_act) value = op->operands[0];
    return check_lanes(graph, NULL, value, 1);
}
