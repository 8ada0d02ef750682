// SPDX-License-Identifier: Apache-2.0
// The element-wise evaluator: emits the code for a few neighbouring elements of a region value at a place. It walks from the
// value to what is stored or bound; views change the place, element-wise operations work on lanes.
#include "codegen/region_internal.h"

#include <stdlib.h>
#include <string.h>

CgRegion *cg_region_new(CgBuild *build) {
    CgRegion *region = hd_xcalloc(1, sizeof *region);
    region->build = build;
    region->graph = build->graph;
    region->fn = build->fn;
    return region;
}

void cg_region_free(CgRegion *region) {
    if (!region) return;
    hd_vec_free(&region->bindings);
    hd_vec_free(&region->prepared);
    hd_vec_free(&region->memo);
    free(region);
}

// ---- bindings --------------------------------------------------------------------------------------------------

const CgBinding *cg_region_binding(const CgRegion *region, IrValue value) {
    for (size_t i = 0; i < region->bindings.len; i++)
        if (region->bindings.data[i].value == value) return &region->bindings.data[i];
    return NULL;
}

static void bind(CgRegion *region, CgBinding binding) {
    CgBinding *known = (CgBinding *)cg_region_binding(region, binding.value);
    if (known) *known = binding;
    else hd_vec_push(&region->bindings, binding);
}

void cg_region_bind_memory(CgRegion *region, IrValue value, KirRef base, const KirRef *strides) {
    CgBinding binding = {.value = value, .in_memory = true, .natural = !strides, .base = base};
    uint32_t leading = ir_value(region->graph, value)->type.rank - 1;
    for (uint32_t i = 0; strides && i < leading; i++) binding.stride[i] = strides[i];
    bind(region, binding);
}

void cg_region_bind_lanes(CgRegion *region, IrValue value, KirRef lanes) {
    bind(region, (CgBinding){.value = value, .lanes = lanes});
}

CgScope cg_region_enter(CgRegion *region) {
    CgScope scope = {.bindings = region->bindings.len, .prepared = region->prepared.len};
    scope.binding = hd_xcalloc(scope.bindings + 1, sizeof *scope.binding);
    scope.factor = hd_xcalloc(scope.prepared + 1, sizeof *scope.factor);
    if (scope.bindings) memcpy(scope.binding, region->bindings.data, scope.bindings * sizeof *scope.binding);
    if (scope.prepared) memcpy(scope.factor, region->prepared.data, scope.prepared * sizeof *scope.factor);
    return scope;
}

void cg_region_leave(CgRegion *region, CgScope *scope) {
    region->bindings.len = scope->bindings;
    region->prepared.len = scope->prepared;
    if (scope->bindings) memcpy(region->bindings.data, scope->binding, scope->bindings * sizeof *scope->binding);
    if (scope->prepared) memcpy(region->prepared.data, scope->factor, scope->prepared * sizeof *scope->factor);
    free(scope->binding);
    free(scope->factor);
}

const IrOp *cg_region_op(const IrGraph *graph, IrValue value) {
    const IrValueData *data = ir_value(graph, value);
    return data->kind == IR_VALUE_RESULT && data->block != 0 ? ir_op(graph, data->op) : NULL;
}

IrValue cg_below_reshapes(const IrGraph *graph, IrValue value) {
    for (const IrOp *op; (op = cg_region_op(graph, value)) && op->kind == IR_OP_reshape;) value = op->operands[0];
    return value;
}

bool cg_region_is_stored(const CgRegion *region, IrValue value) {
    const CgBinding *binding = cg_region_binding(region, value);
    const IrOp *op = cg_region_op(region->graph, value);
    if (binding || !op) return !binding || binding->in_memory;
    return (op->kind == IR_OP_reshape || op->kind == IR_OP_slice) && cg_region_is_stored(region, op->operands[0]);
}

int64_t cg_element_bytes(IrDtype dtype) { return ir_dtype_info(dtype)->block_bytes; }

static KirScalar scalar_of(IrDtype dtype) {
    return dtype == IR_F32 ? KIR_F32 : dtype == IR_I32 ? KIR_I32 : KIR_I16;
}

// ---- evaluation ------------------------------------------------------------------------------------------------

typedef struct Lanes { uint32_t count; KirRef valid; } Lanes;
static KirRef eval(CgRegion *r, IrValue value, const CgPlace *place, Lanes lanes);

static const IrType *type_of(const CgRegion *r, IrValue value) { return &ir_value(r->graph, value)->type; }

static KirRef load(CgRegion *r, const IrType *type, KirRef base, const CgIndex *at, Lanes lanes) {
    int64_t bytes = cg_element_bytes(type->dtype);
    CgIndex moving = *at;
    moving.constant = 0;
    KirRef address = kir_at(r->fn, base, cg_index_ref(r->fn, &moving), bytes, at->constant * bytes);
    KirType wanted = KIR_T(scalar_of(type->dtype), (uint8_t)lanes.count);
    return lanes.valid && lanes.count > 1 ? kir_load_part(r->fn, wanted, address, lanes.valid) : kir_load(r->fn, wanted, address);
}

static KirRef load_strided(CgRegion *r, const CgBinding *binding, const CgPlace *place, Lanes lanes) {
    const IrType *type = type_of(r, binding->value);
    CgPlace own = cg_place_in(r->fn, place, type);
    KirRef base = binding->base;
    for (uint32_t i = 0; i + 1 < own.rank; i++)
        if (binding->stride[i])
            base = kir_offset(r->fn, base, kir_mul(r->fn, cg_index_ref(r->fn, &own.at[i]), binding->stride[i]));
    return load(r, type, base, &own.at[own.rank - 1], lanes);
}

static KirRef eval_bound(CgRegion *r, const CgBinding *binding, const CgPlace *place, Lanes lanes) {
    if (!binding->in_memory) {
        HD_ASSERT(kir_type(r->fn, binding->lanes).lanes == lanes.count || kir_type(r->fn, binding->lanes).lanes == 1);
        return binding->lanes;
    }
    if (!binding->natural) return load_strided(r, binding, place, lanes);
    CgIndex at = cg_place_linear(r->fn, place);
    return load(r, type_of(r, binding->value), binding->base, &at, lanes);
}

// ---- views -----------------------------------------------------------------------------------------------------

static KirRef eval_slice(CgRegion *r, const IrOp *op, const CgPlace *place, Lanes lanes) {
    CgPlace from = cg_place_in(r->fn, place, type_of(r, op->results[0]));
    const IrType *type = type_of(r, op->operands[0]);
    for (uint32_t i = 0; i < from.rank; i++) from.dims[i] = type->dims[i];
    from.at[op->attr[IR_ATTR_AXIS].i].constant += op->attr[IR_ATTR_BEGIN].i;
    return eval(r, op->operands[0], &from, lanes);
}

// Part `part` of a concat if the position lies there, else those after it: a chain of branches, as parts must not be read
// beyond their end.
static KirRef eval_part(CgRegion *r, const IrOp *op, uint32_t part, CgPlace place, Lanes lanes) {
    uint32_t axis = (uint32_t)op->attr[IR_ATTR_AXIS].i;
    const IrType *type = type_of(r, op->operands[part]);
    int64_t size = type->dims[axis];
    CgPlace here = place;
    here.dims[axis] = size;
    if (part + 1 == op->operand_count) return eval(r, op->operands[part], &here, lanes);
    KirRef below = kir_cmp(r->fn, KIR_LT, cg_index_ref(r->fn, &place.at[axis]), kir_i64(r->fn, size));
    KirIf branch;
    size_t known = r->memo.len;
    kir_if_begin(r->fn, below, &branch);
    KirRef value = eval(r, op->operands[part], &here, lanes);
    r->memo.len = known;   // what a branch computed is not seen outside
    kir_if_else(r->fn, &branch, 1, &value);
    place.at[axis].constant -= size;
    place.dims[axis] -= size;
    KirRef other = eval_part(r, op, part + 1, place, lanes);
    r->memo.len = known;
    kir_if_end(r->fn, &branch, &other);
    return branch.results[0];
}

static KirRef eval_concat(CgRegion *r, const IrOp *op, const CgPlace *place, Lanes lanes) {
    return eval_part(r, op, 0, cg_place_in(r->fn, place, type_of(r, op->results[0])), lanes);
}

// ---- element-wise ----------------------------------------------------------------------------------------------

// The second operand of a binary operation, aligned at the last dimension; dimensions of 1 (where `shape` has more) and
// absent ones are repeated.
static KirRef eval_broadcast(CgRegion *r, IrValue value, const IrType *shape, const CgPlace *place, Lanes lanes) {
    const IrType *type = type_of(r, value);
    if (cg_place_has_dims(shape->rank, shape->dims, type)) return eval(r, value, place, lanes);
    CgPlace from = cg_place_in(r->fn, place, shape), to = {.rank = type->rank};
    for (uint32_t i = 0; i < type->rank; i++) {
        uint32_t source = shape->rank - type->rank + i;
        to.dims[i] = type->dims[i];
        to.at[i] = type->dims[i] == shape->dims[source] ? from.at[source] : cg_index_number(0);
    }
    bool scalar = ir_type_last(type) == 1 && ir_type_last(shape) != 1;
    return eval(r, value, &to, scalar ? (Lanes){1, 0} : lanes);
}

static KirRef eval_binary(CgRegion *r, const IrOp *op, const CgPlace *place, Lanes lanes) {
    KirRef a = eval(r, op->operands[0], place, lanes);
    KirRef b = eval_broadcast(r, op->operands[1], type_of(r, op->operands[0]), place, lanes);
    switch (op->kind) {
    case IR_OP_add: return kir_add(r->fn, a, b);
    case IR_OP_sub: return kir_sub(r->fn, a, b);
    case IR_OP_mul: return kir_mul(r->fn, a, b);
    default: return kir_div(r->fn, a, b);
    }
}

static KirRef eval_unary(CgRegion *r, const IrOp *op, const CgPlace *place, Lanes lanes) {
    KirRef a = eval(r, op->operands[0], place, lanes);
    switch (op->kind) {
    case IR_OP_scale: return kir_mul(r->fn, a, kir_float(r->fn, KT_F32, op->attr[IR_ATTR_VALUE].f));
    case IR_OP_neg: return kir_neg(r->fn, a);
    case IR_OP_exp: return kir_exp(r->fn, a);
    case IR_OP_sigmoid: return kir_sigmoid(r->fn, a);
    case IR_OP_silu: return kir_silu(r->fn, a);
    default: return kir_softplus(r->fn, a);
    }
}

static KirRef eval_cast(CgRegion *r, const IrOp *op, const CgPlace *place, Lanes lanes) {
    KirRef a = eval(r, op->operands[0], place, lanes);
    IrDtype from = type_of(r, op->operands[0])->dtype, to = op->attr[IR_ATTR_TO].dtype;
    if (from == IR_F16) return kir_f16_f32(r->fn, a);
    if (from == IR_BF16) return kir_bf16_f32(r->fn, a);
    return to == IR_F16 ? kir_f32_f16(r->fn, a) : kir_f32_bf16(r->fn, a);
}

// Which third of the head the chunk of lanes lies in: first (pairs with +half), second (pairs with -half), or beyond.
typedef struct RopeZone { KirRef first, turned; CgIndex partner, table; } RopeZone;

static RopeZone rope_zone(CgRegion *r, const CgIndex *col, int64_t n) {
    KirFn *fn = r->fn;
    KirRef at = cg_index_ref(fn, col), half = kir_i64(fn, n / 2);
    RopeZone zone = {.first = kir_cmp(fn, KIR_LT, at, half), .turned = kir_cmp(fn, KIR_LT, at, kir_i64(fn, n))};
    KirRef back = kir_select(fn, zone.turned, kir_sub(fn, at, half), kir_i64(fn, 0));   // beyond n nothing of the pair is used
    zone.partner = cg_index(kir_select(fn, zone.first, kir_add(fn, at, half), back), 0);
    zone.table = cg_index(kir_select(fn, zone.first, at, back), 0);
    return zone;
}

// x cos - y sin in the first half of the n turned channels, x cos + y sin in the second; every product and sum is rounded.
static KirRef eval_rope(CgRegion *r, const IrOp *op, const CgPlace *place, Lanes lanes) {
    KirFn *fn = r->fn;
    const IrType *table = type_of(r, op->operands[1]);
    int64_t n = ir_type_last(table);
    CgPlace own = cg_place_in(fn, place, type_of(r, op->results[0])), partner = own;
    RopeZone zone = rope_zone(r, &own.at[2], n);
    partner.at[2] = zone.partner;
    CgPlace cosine = {.rank = 2, .dims = {table->dims[0], n}, .at = {own.at[0], zone.table}}, sine = cosine;
    sine.at[1].constant += n / 2;
    KirRef x = eval(r, op->operands[0], &own, lanes), y = eval(r, op->operands[0], &partner, lanes);
    KirRef a = kir_mul(fn, x, eval(r, op->operands[1], &cosine, lanes)),
           b = kir_mul(fn, y, eval(r, op->operands[1], &sine, lanes));
    KirRef turned = kir_select(fn, zone.first, kir_sub(fn, a, b), kir_add(fn, a, b));
    return kir_select(fn, zone.turned, turned, x);
}

static KirRef eval_moe_sum(CgRegion *r, const IrOp *op, const CgPlace *place, Lanes lanes) {
    const IrType *y = type_of(r, op->operands[0]);
    CgPlace own = cg_place_in(r->fn, place, type_of(r, op->results[0]));
    KirRef sum = 0;
    for (int64_t rank = 0; rank < y->dims[1]; rank++) {
        CgPlace row = {.rank = 3,
                       .dims = {y->dims[0], y->dims[1], y->dims[2]},
                       .at = {own.at[0], cg_index_number(rank), own.at[1]}};
        CgPlace one = {.rank = 2, .dims = {y->dims[0], y->dims[1]}, .at = {own.at[0], cg_index_number(rank)}};
        KirRef weight = eval(r, op->operands[1], &one, (Lanes){1, 0}), value = eval(r, op->operands[0], &row, lanes);
        sum = sum ? kir_fma(r->fn, value, weight, sum) : kir_mul(r->fn, value, weight);
    }
    return sum;
}

// ---- operations along a row, after cg_region_reduce --------------------------------------------------------------

static KirPair prepared_factor(const CgRegion *r, const IrOp *op) {
    for (size_t i = 0; i < r->prepared.len; i++)
        if (r->prepared.data[i].value == op->results[0]) return r->prepared.data[i].factor;
    HD_ASSERT(!"a reduction is prepared before its elements are asked for");
    return (KirPair){0};
}

// Norms round once: x w (hi + lo), where x w is exact.
static KirRef eval_reduced(CgRegion *r, const IrOp *op, const CgPlace *place, Lanes lanes) {
    KirFn *fn = r->fn;
    KirPair f = prepared_factor(r, op);
    if (op->kind == IR_OP_sum) return f.hi;
    KirRef x = eval(r, op->operands[0], place, lanes);
    if (op->kind == IR_OP_l2_norm) return kir_fma_exact(fn, x, f.hi, kir_mul(fn, x, f.lo));
    KirRef w = eval_broadcast(r, op->operands[1], type_of(r, op->operands[0]), place, lanes);
    KirPair xw = kir_exact_product(fn, x, w);
    return kir_fma_exact(fn, xw.hi, f.hi, kir_fma(fn, xw.hi, f.lo, kir_mul(fn, xw.lo, f.hi)));
}

// ---- dispatch --------------------------------------------------------------------------------------------------

static KirRef eval_op(CgRegion *r, const IrOp *op, const CgPlace *place, Lanes lanes) {
    switch (op->kind) {
    case IR_OP_reshape: return eval(r, op->operands[0], place, lanes);
    case IR_OP_slice: return eval_slice(r, op, place, lanes);
    case IR_OP_concat: return eval_concat(r, op, place, lanes);
    case IR_OP_add: case IR_OP_sub: case IR_OP_mul: case IR_OP_div: return eval_binary(r, op, place, lanes);
    case IR_OP_cast: return eval_cast(r, op, place, lanes);
    case IR_OP_rope: return eval_rope(r, op, place, lanes);
    case IR_OP_moe_sum: return eval_moe_sum(r, op, place, lanes);
    case IR_OP_rms_norm: case IR_OP_l2_norm: case IR_OP_sum: return eval_reduced(r, op, place, lanes);
    default: HD_ASSERT(ir_op_info(op->kind)->role == IR_ROLE_ELEMENTWISE); return eval_unary(r, op, place, lanes);
    }
}

static bool same_index(const CgIndex *a, const CgIndex *b) {
    bool same = a->count == b->count && a->constant == b->constant;
    for (uint32_t i = 0; same && i < a->count; i++)
        same = a->term[i].ref == b->term[i].ref && a->term[i].scale == b->term[i].scale;
    return same;
}

static bool same_place(const CgPlace *a, const CgPlace *b) {
    bool same = a->rank == b->rank;
    for (uint32_t i = 0; same && i < a->rank; i++) same = a->dims[i] == b->dims[i] && same_index(&a->at[i], &b->at[i]);
    return same;
}

static const CgMemo *remembered(const CgRegion *r, IrValue value, const CgPlace *place, Lanes lanes) {
    for (size_t i = 0; i < r->memo.len; i++) {
        const CgMemo *memo = &r->memo.data[i];
        if (memo->value == value && memo->lanes == lanes.count && memo->valid == lanes.valid && same_place(&memo->place, place))
            return memo;
    }
    return NULL;
}

static KirRef eval(CgRegion *r, IrValue value, const CgPlace *place, Lanes lanes) {
    const CgMemo *known = remembered(r, value, place, lanes);
    if (known) return known->result;
    const CgBinding *binding = cg_region_binding(r, value);
    const IrOp *op = cg_region_op(r->graph, value);
    KirRef result;
    if (binding) result = eval_bound(r, binding, place, lanes);
    else if (op) result = eval_op(r, op, place, lanes);
    else {
        CgIndex at = cg_place_linear(r->fn, place);
        result = load(r, type_of(r, value), cg_pointer(r->build, value), &at, lanes);
    }
    hd_vec_push(&r->memo, ((CgMemo){value, *place, lanes.count, lanes.valid, result}));
    return result;
}

KirRef cg_region_eval_at(CgRegion *region, IrValue value, const CgIndex *at, uint32_t lanes, KirRef valid) {
    const IrType *type = type_of(region, value);
    CgPlace place = {.rank = type->rank};
    for (uint32_t i = 0; i < type->rank; i++) place.dims[i] = type->dims[i], place.at[i] = at[i];
    region->memo.len = 0;
    return eval(region, value, &place, (Lanes){lanes, valid});
}

KirRef cg_region_eval(CgRegion *region, IrValue value, const KirRef *coord, KirRef col, uint32_t lanes, KirRef valid) {
    const IrType *type = type_of(region, value);
    CgIndex at[4];
    for (uint32_t i = 0; i < type->rank; i++)
        at[i] = cg_index(i + 1 < type->rank ? coord[i] : col, ir_dim_is_sym(type->dims[i]) ? 0 : type->dims[i]);
    return cg_region_eval_at(region, value, at, lanes, valid);
}
