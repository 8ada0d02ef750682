// SPDX-License-Identifier: Apache-2.0
// The work of one unit of a row-wise group. A unit fixes the leading dimensions that everything in the group shares; what is
// left of each value is its share. Operations are visited in order: a reduction over the unit's own row is prepared; one over
// shorter rows, and whatever several others read, is computed once and kept, in the result's own memory where it is one. Then
// the sinks are stored.
#include "codegen/region_internal.h"

#include <stdlib.h>
#include <string.h>

static const IrType *type_of(const IrGraph *graph, IrValue value) { return &ir_value(graph, value)->type; }

// ---- planning --------------------------------------------------------------------------------------------------

static void add_sink(CgUnit *unit, IrValue value, IrOpRef op) {
    HD_ASSERT(unit->sink_count < HD_COUNT(unit->sinks));
    unit->sinks[unit->sink_count++] = (CgSink){.value = value, .op = op};
}

static void limit_prefix(CgUnit *unit, const IrType *type) {
    unit->prefix = HD_MIN(unit->prefix, type->rank - 1);
    for (uint32_t i = 0; i < unit->prefix; i++)
        if (type->dims[i] != unit->dims[i]) unit->prefix = i;
}

static bool is_reduction(const IrOp *op) { return ir_op_info(op->kind)->role == IR_ROLE_REDUCE; }

// Visits the operations that `value` needs, once per path; what contractions and special operations give is taken as it is.
static void limit_by_rows(CgUnit *unit, const IrGraph *graph, IrValue value) {
    const IrOp *op = cg_region_op(graph, value);
    if (!op || ir_op_info(op->kind)->role == IR_ROLE_CONTRACT || ir_op_info(op->kind)->role == IR_ROLE_SPECIAL) return;
    if (is_reduction(op)) limit_prefix(unit, type_of(graph, op->operands[0]));
    for (uint32_t i = 0; i < op->operand_count; i++) limit_by_rows(unit, graph, op->operands[i]);
}

static bool fixed_share(const CgUnit *unit, const IrType *type) {
    bool fixed = true;
    for (uint32_t i = unit->prefix; i < type->rank; i++) fixed = fixed && !ir_dim_is_sym(type->dims[i]);
    return fixed;
}

// Rows that are shorter than the unit's are kept for all of it, so there must be a fixed number of them.
static HdStatus *check_kept(const CgUnit *unit, const IrGraph *graph, IrValue value) {
    const IrOp *op = cg_region_op(graph, value);
    if (!op || ir_op_info(op->kind)->role == IR_ROLE_CONTRACT || ir_op_info(op->kind)->role == IR_ROLE_SPECIAL) return NULL;
    if (is_reduction(op) && !fixed_share(unit, type_of(graph, op->operands[0])))
        return hd_error(HD_UNSUPPORTED, "%s: its rows do not share the leading dimensions of the group's results",
                        ir_op_info(op->kind)->name);
    for (uint32_t i = 0; i < op->operand_count; i++) HD_TRY(check_kept(unit, graph, op->operands[i]));
    return NULL;
}

HdStatus *cg_unit_plan(const IrGraph *graph, IrOpRef group, CgUnit *out_unit) {
    *out_unit = (CgUnit){.prefix = 3};
    const IrOp *fused = ir_op(graph, group);
    const IrBlockData *region = &graph->blocks.data[fused->region];
    for (size_t i = 0; i < region->yields.len; i++) add_sink(out_unit, cg_below_reshapes(graph, region->yields.data[i]), 0);
    IR_FOR_OPS(graph, fused->region, ref)
        if (ir_op(graph, ref)->kind == IR_OP_kv_append) add_sink(out_unit, ir_op(graph, ref)->operands[0], ref);
    if (!out_unit->sink_count) return hd_error(HD_UNSUPPORTED, "a group without results and effects");
    memcpy(out_unit->dims, type_of(graph, out_unit->sinks[0].value)->dims, sizeof out_unit->dims);
    for (uint32_t i = 0; i < out_unit->sink_count; i++) {
        HD_TRY(cg_region_supported(graph, group, out_unit->sinks[i].value));
        limit_prefix(out_unit, type_of(graph, out_unit->sinks[i].value));
    }
    for (uint32_t i = 0; i < out_unit->sink_count; i++) limit_by_rows(out_unit, graph, out_unit->sinks[i].value);
    for (uint32_t i = 0; i < out_unit->sink_count; i++) HD_TRY(check_kept(out_unit, graph, out_unit->sinks[i].value));
    return NULL;
}

void cg_unit_pointers(CgBuild *build, CgUnit *unit) {
    const IrOp *fused = ir_op(build->graph, build->group);
    for (uint32_t i = 0; i < unit->sink_count; i++)
        unit->sinks[i].to =
            cg_pointer(build, unit->sinks[i].op ? ir_op(build->graph, unit->sinks[i].op)->operands[1] : fused->results[i]);
}

void cg_unit_coords(KirFn *fn, KirRef number, const IrDim *dims, uint32_t count, KirRef *out_coord) {
    for (uint32_t i = count; i-- > 1; number = kir_sdiv(fn, number, kir_i64(fn, dims[i])))
        out_coord[i] = kir_srem(fn, number, kir_i64(fn, dims[i]));
    if (count) out_coord[0] = number;
}

// ---- rows of a share -------------------------------------------------------------------------------------------

typedef struct Emit { CgRegion *r; CgUnit *unit; CgIndex coord[4]; } Emit;

// Loops over the rows of a value's share: its leading dimensions beyond the prefix. Opened outermost first.
typedef struct Rows { uint32_t loops; KirLoop loop[3]; CgIndex row[4]; CgScope scope; } Rows;

static int64_t numeric(IrDim dim) { return ir_dim_is_sym(dim) ? 0 : dim; }

static void rows_begin(Emit *e, const IrType *type, Rows *out_rows) {
    KirFn *fn = e->r->fn;
    out_rows->loops = 0;
    out_rows->scope = cg_region_enter(e->r);
    for (uint32_t i = 0; i + 1 < type->rank; i++) {
        if (i < e->unit->prefix || type->dims[i] == 1) {
            out_rows->row[i] = i < e->unit->prefix ? e->coord[i] : cg_index_number(0);
            continue;
        }
        KirRef end = ir_dim_is_sym(type->dims[i]) ? cg_dim(e->r->build, type->dims[i]) : kir_i64(fn, type->dims[i]);
        KirLoop *loop = &out_rows->loop[out_rows->loops++];
        kir_for_begin(fn, kir_i64(fn, 0), end, kir_i64(fn, 1), 0, NULL, loop);
        out_rows->row[i] = cg_index(loop->iv, numeric(type->dims[i]));
    }
}

static void rows_end(Emit *e, Rows *rows) {
    if (rows->loops) cg_barrier(e->r->build);            // the next row takes the same scratch
    while (rows->loops) kir_for_end(e->r->fn, &rows->loop[--rows->loops], NULL);
    cg_region_leave(e->r, &rows->scope);
}

// Address of the row in a whole tensor of rows of `row_bytes`, or (share) in the unit's share of it.
static KirRef row_address(Emit *e, KirRef base, const IrType *type, const CgIndex *row, int64_t row_bytes, bool share) {
    KirFn *fn = e->r->fn;
    CgIndex sum = {0};
    int64_t stride = row_bytes;
    for (uint32_t i = type->rank - 1; i-- > (share ? e->unit->prefix : 0);) {
        sum = cg_index_sum(fn, sum, row[i], stride);
        stride *= numeric(type->dims[i]);
    }
    return kir_offset(fn, base, cg_index_ref(fn, &sum));
}

static int64_t row_bytes(const IrType *type) {
    return ir_dtype_row_bytes(type->dtype, ir_type_last(type));
}

static void store_rows(Emit *e, uint32_t count, const IrValue *values, const KirRef *to, bool share) {
    const IrType *type = type_of(e->r->graph, values[0]);
    IrDim n = ir_type_last(type);
    Rows rows;
    KirRef address[40];
    rows_begin(e, type, &rows);
    for (uint32_t i = 0; i < count; i++) {
        const IrOp *op = cg_region_op(e->r->graph, values[i]);
        const IrType *own = type_of(e->r->graph, values[i]);
        if (op && is_reduction(op) && !cg_region_binding(e->r, values[i]) && type->rank - 1 > e->unit->prefix)
            cg_region_reduce(e->r, values[i], rows.row);
        address[i] = row_address(e, to[i], own, rows.row, row_bytes(own), share);
    }
    rows.row[type->rank - 1] = cg_index_number(0);
    cg_region_store(e->r, count, values, address, rows.row, numeric(n), ir_dim_is_sym(n) ? cg_dim(e->r->build, n) : 0);
    rows_end(e, &rows);
}

// ---- what is kept ----------------------------------------------------------------------------------------------

// Operations that read `value`, sinks included, as far as the unit needs them.
static uint32_t count_uses(const Emit *e, const bool *needed, IrValue value) {
    const IrGraph *graph = e->r->graph;
    uint32_t uses = 0;
    IR_FOR_OPS(graph, ir_op(graph, e->r->build->group)->region, ref) {
        const IrOp *op = ir_op(graph, ref);
        bool reads = false;
        for (uint32_t i = 0; i < op->operand_count; i++) reads = reads || op->operands[i] == value;
        uses += reads && op->result_count && needed[op->results[0]];
    }
    for (uint32_t i = 0; i < e->unit->sink_count; i++) uses += e->unit->sinks[i].value == value;
    return uses;
}

static void mark_needed(const CgRegion *r, bool *needed, IrValue value) {
    const IrOp *op = cg_region_op(r->graph, value);
    if (!op || needed[value] || cg_region_binding(r, value)) return;
    needed[value] = true;
    for (uint32_t i = 0; i < op->operand_count; i++) mark_needed(r, needed, op->operands[i]);
}

static bool has_prefix(const CgUnit *unit, const IrType *type) {
    bool same = type->rank > unit->prefix;
    for (uint32_t i = 0; same && i < unit->prefix; i++) same = type->dims[i] == unit->dims[i];
    return same;
}

static CgSink *yield_of(const Emit *e, IrValue value) {
    for (uint32_t i = 0; i < e->unit->sink_count; i++)
        if (e->unit->sinks[i].value == value && !e->unit->sinks[i].op) return &e->unit->sinks[i];
    return NULL;
}

// Computes the share of `value` once: in its result if it is one, else in scratch.
static void keep(Emit *e, IrValue value) {
    KirFn *fn = e->r->fn;
    const IrType *type = type_of(e->r->graph, value);
    CgSink *yield = yield_of(e, value);
    if (yield) {
        store_rows(e, 1, &value, &yield->to, false);
        cg_barrier(e->r->build);
        cg_region_bind_memory(e->r, value, yield->to, NULL);
        yield->done = true;
        return;
    }
    int64_t elements = 1, stride = row_bytes(type);
    for (uint32_t i = e->unit->prefix; i < type->rank; i++) elements *= type->dims[i];
    KirRef base = cg_region_scratch(e->r, elements), strides[3] = {0};
    store_rows(e, 1, &value, &base, true);
    cg_barrier(e->r->build);
    for (uint32_t i = type->rank - 1; i-- > e->unit->prefix; stride *= type->dims[i]) strides[i] = kir_i64(fn, stride);
    cg_region_bind_memory(e->r, value, base, strides);
}

static void visit(Emit *e, const bool *needed, const IrOp *op) {
    const IrGraph *graph = e->r->graph;
    IrRole role = ir_op_info(op->kind)->role;
    if (!op->result_count || !needed[op->results[0]] || op->kind == IR_OP_quant_act ||
        (role != IR_ROLE_ELEMENTWISE && role != IR_ROLE_REDUCE))
        return;
    IrValue value = op->results[0];
    const IrType *rows = type_of(graph, op->operands[0]), *type = type_of(graph, value);
    bool own_row = rows->rank - 1 == e->unit->prefix;
    if (is_reduction(op) && own_row) cg_region_reduce(e->r, value, e->coord);
    bool again = count_uses(e, needed, value) > 1 && has_prefix(e->unit, type) && fixed_share(e->unit, type);
    if (again || (is_reduction(op) && !own_row)) keep(e, value);
}

// ---- sinks -----------------------------------------------------------------------------------------------------

// Row of a cache [C, H, d] for a token: its slot and position are in the token table.
static KirRef cache_row(Emit *e, const CgSink *sink, const IrType *cache, const CgIndex *row) {
    KirFn *fn = e->r->fn;
    KirRef info = kir_at(fn, cg_input(e->r->build, HEDDLE_INPUT_TOKEN_INFO), cg_index_ref(fn, &row[0]), 16, 0);
    KirRef slot = kir_sext(fn, kir_load(fn, KT_I32, kir_offset_const(fn, info, 4)), KIR_I64);
    KirRef position = kir_sext(fn, kir_load(fn, KT_I32, kir_offset_const(fn, info, 8)), KIR_I64);
    int64_t bytes = row_bytes(cache);
    KirRef slot_bytes = cg_state_slot_bytes(e->r->build, ir_op(e->r->graph, sink->op)->operands[1]);
    KirRef start = kir_at(fn, kir_offset(fn, sink->to, kir_mul(fn, slot, slot_bytes)), position, bytes * cache->dims[1], 0);
    return kir_at(fn, start, cg_index_ref(fn, &row[1]), bytes, 0);
}

static void append_rows(Emit *e, const CgSink *sink) {
    const IrType *type = type_of(e->r->graph, sink->value),
                 *cache = type_of(e->r->graph, ir_op(e->r->graph, sink->op)->operands[1]);
    Rows rows;
    rows_begin(e, type, &rows);
    KirRef to = cache_row(e, sink, cache, rows.row);
    rows.row[2] = cg_index_number(0);
    cg_region_store_as(e->r, sink->value, to, rows.row, ir_type_last(type), cache->dtype);
    rows_end(e, &rows);
}

static void quantise_rows(Emit *e, const CgSink *sink) {
    const IrType *type = type_of(e->r->graph, sink->value);
    Rows rows;
    rows_begin(e, type, &rows);
    cg_region_quantise(e->r, sink->value, rows.row, row_address(e, sink->to, type, rows.row, row_bytes(type), false));
    rows_end(e, &rows);
}

// Stores sink `first` and all later yields of the same shape in one loop.
static void store_alike(Emit *e, uint32_t first) {
    IrValue values[40];
    KirRef to[40];
    uint32_t count = 0;
    const IrType *type = type_of(e->r->graph, e->unit->sinks[first].value);
    for (uint32_t i = first; i < e->unit->sink_count; i++) {
        CgSink *sink = &e->unit->sinks[i];
        const IrType *other = type_of(e->r->graph, sink->value);
        if (sink->done || sink->op || other->dtype == IR_Q8A || !cg_place_has_dims(type->rank, type->dims, other)) continue;
        sink->done = true;
        values[count] = sink->value;
        to[count++] = sink->to;
    }
    store_rows(e, count, values, to, false);
}

void cg_unit_emit(CgRegion *region, CgUnit *unit, const KirRef *coord) {
    Emit e = {.r = region, .unit = unit};
    const IrGraph *graph = region->graph;
    for (uint32_t i = 0; i < unit->prefix; i++) e.coord[i] = cg_index(coord[i], numeric(unit->dims[i]));
    bool *needed = hd_xcalloc(graph->values.len, sizeof *needed);
    for (uint32_t i = 0; i < unit->sink_count; i++)
        mark_needed(region, needed, unit->sinks[i].value), unit->sinks[i].done = false;
    IR_FOR_OPS(graph, ir_op(graph, region->build->group)->region, ref) visit(&e, needed, ir_op(graph, ref));
    for (uint32_t i = 0; i < unit->sink_count; i++) {
        const CgSink *sink = &unit->sinks[i];
        if (sink->done) continue;
        if (sink->op) append_rows(&e, sink);
        else if (type_of(graph, sink->value)->dtype == IR_Q8A) quantise_rows(&e, sink);
        else store_alike(&e, i);
    }
    free(needed);
}

// ---- what a launch moves and computes --------------------------------------------------------------------------

bool cg_expr_add(IrExpr *to, const IrExpr *term) {
    IrExpr sum = *to;
    sum.constant += term->constant;
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) sum.coef[i] += term->coef[i];
    for (uint32_t i = 0; i < term->ceils; i++) {
        uint32_t at = 0;
        while (at < sum.ceils && (sum.ceil[at].sym != term->ceil[i].sym || sum.ceil[at].div != term->ceil[i].div)) at++;
        if (at == HD_COUNT(sum.ceil)) return false;
        if (at == sum.ceils) sum.ceil[sum.ceils++] = term->ceil[i];
        else sum.ceil[at].coef += term->ceil[i].coef;
    }
    *to = sum;
    return true;
}

void cg_expr_add_elements(IrExpr *to, const IrGraph *graph, const IrType *type, int64_t factor) {
    IrExpr elements = {.constant = 1};
    for (uint32_t i = 0; i < type->rank; i++)
        if (ir_dim_is_sym(type->dims[i])) elements = ir_dim_expr(graph, type->dims[i]);
        else factor *= type->dims[i];
    cg_expr_scale(&elements, factor);
    (void)cg_expr_add(to, &elements);   // an estimate may lose a term
}

static void add_bytes(CgBuild *build, IrValue value) {
    IrType type = *type_of(build->graph, value);
    const IrDtypeInfo *info = ir_dtype_info(type.dtype);
    if (!ir_dim_is_sym(ir_type_last(&type))) {
        type.dims[type.rank - 1] = ir_type_last(&type) / info->block;
        cg_expr_add_elements(&build->bytes, build->graph, &type, info->block_bytes);
    } else {
        cg_expr_add_elements(&build->bytes, build->graph, &type, info->block_bytes);
    }
}

void cg_account(CgBuild *build) {
    const IrGraph *graph = build->graph;
    const IrOp *op = ir_op(graph, build->group);
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (ir_value(graph, op->operands[i])->kind != IR_VALUE_STATE) add_bytes(build, op->operands[i]);
    for (uint32_t i = 0; i < op->result_count; i++) add_bytes(build, op->results[i]);
    IR_FOR_OPS(graph, op->region, ref) {
        const IrOp *inner = ir_op(graph, ref);
        if (ir_op_info(inner->kind)->role == IR_ROLE_VIEW || !inner->result_count) continue;
        cg_expr_add_elements(&build->flops, graph, type_of(graph, inner->results[0]), 1);
    }
}
