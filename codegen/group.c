// SPDX-License-Identifier: Apache-2.0
// What all schedules share: a launch under construction, and the argument slots behind the values a kernel reads.
// A parameter of the kernel and its row in the argument list are always made together, so that they cannot come apart.
#include "codegen/internal.h"

#include <stdlib.h>
#include <string.h>

IrValue cg_yield_result(const IrGraph *graph, IrOpRef group, IrValue yielded)
{
    const IrOp *op = ir_op(graph, group);
    const IrBlockData *region = &graph->blocks.data[op->region];
    for (size_t i = 0; i < region->yields.len; i++)
        if (region->yields.data[i] == yielded) return op->results[i];
    return 0;
}

// The parameter for an argument; the same argument gives the same parameter.
static KirRef add_param(CgBuild *build, KirType type, HeddleArgKind kind, int64_t index, const char *text)
{
    for (size_t i = 0; i < build->args.len && kind != HEDDLE_ARG_CONST; i++)
        if (build->args.data[i].kind == kind && build->args.data[i].index == index) return build->params.data[i];
    hd_vec_push(&build->args, ((CgArg){kind, index}));
    KirRef ref = kir_param(build->fn, type, text);
    hd_vec_push(&build->params, ref);
    return ref;
}

// The row of `program`'s weight table for a name in a layout; added when new.
static uint32_t weight_row(CgProgram *program, const char *name, const IrType *type, IrLayout layout)
{
    for (uint32_t i = 0; i < program->weights.len; i++)
        if (program->weights.data[i].type.layout == layout && !strcmp(program->weights.data[i].name, name)) return i;
    int64_t rows = 1;
    for (uint32_t i = 0; i + 1 < type->rank; i++) rows *= type->dims[i];
    int64_t columns = type->dims[type->rank - 1];
    CgWeight weight = {hd_xstrdup(name), *type, 0};
    weight.type.layout = layout;
    if (layout != IR_LAYOUT_NATIVE) {
        // Experts are packed one after another, each padded to whole panels.
        int64_t experts = type->rank == 3 ? type->dims[0] : 1;
        weight.packed_bytes =
            (uint64_t)experts * cg_layout_bytes(type->dtype, layout, (uint64_t)(rows / experts), (uint64_t)columns);
    }
    hd_vec_push(&program->weights, weight);
    return (uint32_t)program->weights.len - 1;
}

static uint32_t state_row(CgProgram *program, const IrGraph *graph, const IrValueData *state)
{
    for (uint32_t i = 0; i < program->states.len; i++)
        if (!strcmp(program->states.data[i].name, state->name)) return i;
    IrBinding one = {{1, 1, 1, 1}}; // C = 1: bytes of one position
    CgState row = {hd_xstrdup(state->name), (IrStateKind)state->index, state->type.dtype,
                   (uint64_t)ir_type_bytes(graph, &state->type, &one)};
    hd_vec_push(&program->states, row);
    return (uint32_t)program->states.len - 1;
}

static HeddleInput input_of(IrInputKind kind)
{
    static const HeddleInput inputs[IR_INPUT_COUNT] = {[IR_INPUT_TOKENS] = HEDDLE_INPUT_TOKENS,
                                                       [IR_INPUT_SEGMENTS] = HEDDLE_INPUT_SEGMENTS,
                                                       [IR_INPUT_ROWS] = HEDDLE_INPUT_ROWS,
                                                       [IR_INPUT_ROPE] = HEDDLE_INPUT_ROPE};
    return inputs[kind];
}

// The argument that holds the address of a graph value.
static CgArg address_of(CgBuild *build, IrValue value)
{
    const IrGraph *graph = build->graph;
    const IrValueData *data = ir_value(graph, value);
    switch (data->kind) {
    case IR_VALUE_WEIGHT:
        return (CgArg){HEDDLE_ARG_WEIGHT, weight_row(build->program, data->name, &data->type, data->type.layout)};
    case IR_VALUE_STATE: return (CgArg){HEDDLE_ARG_STATE, state_row(build->program, graph, data)};
    case IR_VALUE_INPUT: return (CgArg){HEDDLE_ARG_INPUT, (int64_t)input_of((IrInputKind)data->index)};
    case IR_VALUE_RESULT: {
        // The result of a pack group is a weight of the program, not a value in the arena.
        const IrOp *op = ir_op(graph, data->op);
        IrGroup kind;
        if (ir_op_group(op, &kind) && kind == IR_GROUP_PACK) {
            const IrValueData *source = ir_value(graph, op->operands[0]);
            return (CgArg){HEDDLE_ARG_WEIGHT, weight_row(build->program, source->name, &source->type, data->type.layout)};
        }
        HD_ASSERT(data->offset >= 0);
        return (CgArg){HEDDLE_ARG_ARENA, data->offset};
    }
    case IR_VALUE_ARG: break;
    }
    HD_ASSERT(!"a region argument has no address of its own");
    return (CgArg){HEDDLE_ARG_CONST, 0};
}

KirRef cg_pointer(CgBuild *build, IrValue value)
{
    // A reshape inside a group is the same bytes.
    for (const IrValueData *data = ir_value(build->graph, value); data->kind == IR_VALUE_RESULT && data->block != 0;
         data = ir_value(build->graph, value)) {
        const IrOp *op = ir_op(build->graph, data->op);
        if (op->kind != IR_OP_reshape || cg_yield_result(build->graph, build->group, value)) break;
        value = op->operands[0];
    }
    IrValue outer = ir_source(build->graph, value);
    if (ir_value(build->graph, outer)->kind == IR_VALUE_RESULT && ir_value(build->graph, outer)->block != 0) {
        outer = cg_yield_result(build->graph, build->group, outer);
        HD_ASSERT(outer && "a value inside a group has an address only when it is yielded");
    }
    CgArg arg = address_of(build, outer);
    static const char *const texts[] = {
        [HEDDLE_ARG_ARENA] = "value", [HEDDLE_ARG_WEIGHT] = "weight", [HEDDLE_ARG_STATE] = "state", [HEDDLE_ARG_INPUT] = "input"};
    return add_param(build, KT_PTR, arg.kind, arg.index, texts[arg.kind]);
}

static bool expr_eq(const IrExpr *a, const IrExpr *b)
{
    bool equal = a->constant == b->constant && a->ceils == b->ceils && !memcmp(a->coef, b->coef, sizeof a->coef);
    for (uint32_t i = 0; i < a->ceils && equal; i++)
        equal = a->ceil[i].coef == b->ceil[i].coef && a->ceil[i].div == b->ceil[i].div && a->ceil[i].sym == b->ceil[i].sym;
    return equal;
}

uint32_t cg_expr_row(CgProgram *program, const IrExpr *expr)
{
    for (uint32_t i = 0; i < program->exprs.len; i++)
        if (expr_eq(&program->exprs.data[i], expr)) return i;
    hd_vec_push(&program->exprs, *expr);
    return (uint32_t)program->exprs.len - 1;
}

KirRef cg_expr(CgBuild *build, const IrExpr *expr, const char *text)
{
    bool number = expr->ceils == 0;
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) number = number && expr->coef[i] == 0;
    if (number) return cg_const(build, expr->constant, text);
    return add_param(build, KT_I64, HEDDLE_ARG_EXPR, cg_expr_row(build->program, expr), text);
}

KirRef cg_dim(CgBuild *build, IrDim dim)
{
    if (!ir_dim_is_sym(dim)) return cg_const(build, dim, "dim");
    IrExpr expr = ir_dim_expr(build->graph, dim);
    return cg_expr(build, &expr, "dim");
}

KirRef cg_const(CgBuild *build, int64_t value, const char *text)
{
    return add_param(build, KT_I64, HEDDLE_ARG_CONST, value, text);
}

KirRef cg_input(CgBuild *build, HeddleInput input) { return add_param(build, KT_PTR, HEDDLE_ARG_INPUT, (int64_t)input, "input"); }

KirRef cg_status(CgBuild *build) { return add_param(build, KT_PTR, HEDDLE_ARG_STATUS, 0, "status"); }

static KirRef state_bytes(CgBuild *build, IrValue state, HeddleArgKind kind, const char *text)
{
    const IrValueData *data = ir_value(build->graph, ir_source(build->graph, state));
    HD_ASSERT(data->kind == IR_VALUE_STATE);
    return add_param(build, KT_I64, kind, state_row(build->program, build->graph, data), text);
}

KirRef cg_state_slot_bytes(CgBuild *build, IrValue state)
{
    return state_bytes(build, state, HEDDLE_ARG_STATE_SLOT, "slot bytes");
}
KirRef cg_state_plane_bytes(CgBuild *build, IrValue state)
{
    return state_bytes(build, state, HEDDLE_ARG_STATE_PLANE, "plane bytes");
}

void cg_expr_scale(IrExpr *expr, int64_t factor)
{
    expr->constant *= factor;
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) expr->coef[i] *= factor;
    for (uint32_t i = 0; i < expr->ceils; i++) expr->ceil[i].coef *= factor;
}

void cg_units(CgBuild *build, const IrDim *dims, uint32_t count, int64_t factor)
{
    IrExpr units = {.constant = 1};
    bool symbolic = false;
    for (uint32_t i = 0; i < count; i++) {
        if (!ir_dim_is_sym(dims[i])) {
            factor *= dims[i];
            continue;
        }
        HD_ASSERT(!symbolic && "units are the product of at most one symbolic dimension and numbers");
        symbolic = true;
        units = ir_dim_expr(build->graph, dims[i]);
    }
    cg_expr_scale(&units, factor);
    build->units = units;
}

KirRef cg_units_begin(CgBuild *build, KirLoop *out_loop)
{
    KirFn *fn = build->fn;
    KirRef begin = kir_unit_begin(fn), step = kir_i64(fn, 1);
    if (build->lanes) begin = kir_add(fn, begin, kir_group(fn)), step = kir_groups(fn);
    kir_for_begin(fn, begin, kir_unit_end(fn), step, 0, NULL, out_loop);
    return out_loop->iv;
}

// The next unit's stores must not overtake this one's loads.
void cg_units_end(CgBuild *build, KirLoop *loop)
{
    cg_barrier(build);
    kir_for_end(build->fn, loop, NULL);
}

void cg_barrier(CgBuild *build)
{
    if (build->lanes > 1) kir_barrier(build->fn);
}

uint32_t cg_scratch(CgBuild *build, uint64_t bytes)
{
    uint64_t at = hd_align_up(build->scratch, 64);
    HD_ASSERT(at + bytes < UINT32_MAX);
    build->scratch = (uint32_t)(at + bytes);
    return (uint32_t)at;
}
