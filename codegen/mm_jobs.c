// SPDX-License-Identifier: Apache-2.0
// See mm.h: the components of a group with matrix products.
#include "codegen/mm.h"
#include "codegen/sched.h"

#include <string.h>

// ---- components ----------------------------------------------------------------------------------------------------

static bool is_product(const IrOp *op) { return op && ir_op_info(op->kind)->role == IR_ROLE_CONTRACT; }

typedef struct Set { IrValue values[MM_MAX_FACTORS]; uint32_t count; bool full; } Set;

static bool set_has(const Set *set, IrValue value) {
    for (uint32_t i = 0; i < set->count; i++)
        if (set->values[i] == value) return true;
    return false;
}

static void set_add(Set *set, IrValue value) {
    if (set_has(set, value)) return;
    if (set->count == MM_MAX_FACTORS) set->full = true;
    else set->values[set->count++] = value;
}

// Products that `value` is computed from.
static void find_products(const IrGraph *graph, IrValue value, Set *out_set) {
    const IrOp *op = cg_region_op(graph, value);
    if (is_product(op)) set_add(out_set, value);
    for (uint32_t i = 0; op && !is_product(op) && i < op->operand_count; i++) find_products(graph, op->operands[i], out_set);
}

static HdStatus *refuse(const IrGraph *graph, IrOpRef group, const char *what) {
    return hd_error(HD_UNSUPPORTED, "@%s: a group with matrix products (layer %d): %s", graph->name, ir_op(graph, group)->layer,
                    what);
}

// Merges what shares a product: sets[i] becomes empty when it joined another; component[i] says which set yield i belongs to.
static void merge_sets(Set *sets, uint32_t count, uint32_t *component) {
    for (uint32_t i = 0; i < count; i++) component[i] = i;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < i; j++) {
            bool shared = false;
            if (component[j] == component[i]) continue;
            for (uint32_t v = 0; v < sets[component[i]].count; v++)
                shared = shared || set_has(&sets[component[j]], sets[component[i]].values[v]);
            if (!shared) continue;
            uint32_t to = HD_MIN(component[i], component[j]), from = HD_MAX(component[i], component[j]);
            for (uint32_t v = 0; v < sets[from].count; v++) set_add(&sets[to], sets[from].values[v]);
            sets[to].full |= sets[from].full;
            sets[from].count = 0;
            for (uint32_t y = 0; y <= i; y++)
                if (component[y] == from) component[y] = to;
        }
}

// ---- one component -------------------------------------------------------------------------------------------------

static IrValue weight_of(const IrOp *op, IrValue result) {
    for (uint32_t i = 0; i < op->result_count; i++)
        if (op->results[i] == result) return op->operands[1 + i];
    return 0;
}

static HdStatus *add_factor(const IrTarget *target, IrOpRef group, MmJob *job, IrValue result) {
    const IrOp *op = cg_region_op(job->graph, result);
    IrValue weight = weight_of(op, result);
    const IrType *w = cg_type(job->graph, weight), *x = cg_type(job->graph, op->operands[0]);
    int64_t rows = w->dims[w->rank - 2], columns = w->dims[w->rank - 1];
    if (!ir_target_is_gpu(target)) HD_TRY(cg_check_operands(job->graph, op));
    if (!job->factor_count) {
        *job = (MmJob){.graph = job->graph, .op = ir_value(job->graph, result)->op, .x = *x, .columns = columns, .rows = rows};
        job->experts = w->rank == 3 ? w->dims[0] : 1;
    }
    if (rows != job->rows || columns != job->columns)
        return refuse(job->graph, group, "an element-wise operation joins products of different heights");
    if (x->dtype == IR_BF16 && columns % 2) return refuse(job->graph, group, "bf16 activations need an even row length");
    HD_TRY(cg_linear_supported(target, w->dtype, w->layout, x->dtype));
    MmFactor *factor = &job->factors[job->factor_count++];
    *factor = (MmFactor){.result = result, .weight = weight, .dtype = w->dtype, .native = w->layout == IR_LAYOUT_NATIVE};
    return NULL;
}

static HdStatus *add_argmax(const IrTarget *target, IrOpRef group, MmJob *job, const IrOp *op) {
    bool fits = ir_target_is_gpu(target) && job->factor_count == 1 && op->operands[0] == job->factors[0].result &&
                op->attr[IR_ATTR_WIDTH].i == HD_MIN(job->rows, IR_GPU_RUN);
    if (!fits) return refuse(job->graph, group, "an argmax that is not, on a GPU, of a linear's runs of 64 columns");
    IrOpRef ref = ir_value(job->graph, op->results[0])->op;
    if (job->argmax && job->argmax != ref) return refuse(job->graph, group, "more than one argmax");
    job->argmax = ref;
    return NULL;
}

static HdStatus *add_out(const IrTarget *target, IrOpRef group, MmJob *job, IrValue yield) {
    IrValue value = cg_below_reshapes(job->graph, yield);
    const IrOp *maker = cg_region_op(job->graph, value);
    if (maker->kind == IR_OP_argmax) return add_argmax(target, group, job, maker);
    const IrType *type = cg_type(job->graph, value), *product = cg_type(job->graph, job->factors[0].result);
    bool same = type->rank == product->rank && !memcmp(type->dims, product->dims, type->rank * sizeof *type->dims);
    if (!same) return refuse(job->graph, group, "a result has another shape than the product");
    HD_TRY(cg_region_supported(job->graph, group, value));
    CgBuild shapes_only = {.graph = job->graph, .group = group};
    CgRegion *region = cg_region_new(&shapes_only);
    uint32_t lanes = cg_region_lanes(region, value);
    cg_region_free(region);
    if (lanes < 16 && ir_type_last(type) != 1) return refuse(job->graph, group, "a view cuts rows inside a panel");
    job->outs[job->out_count++] =
        (MmOut){.value = value, .yield = yield, .element_bytes = ir_dtype_info(type->dtype)->block_bytes};
    return NULL;
}

HdStatus *mm_jobs(const IrTarget *target, const IrGraph *graph, IrOpRef group, MmJob out_jobs[MM_MAX_OUTS], uint32_t *out_count) {
    const IrBlockData *region = &graph->blocks.data[ir_op(graph, group)->region];
    Set sets[MM_MAX_OUTS] = {0};
    uint32_t component[MM_MAX_OUTS], yields = (uint32_t)region->yields.len;
    if (yields > MM_MAX_OUTS) return refuse(graph, group, "more than 8 results");
    for (uint32_t i = 0; i < yields; i++) {
        find_products(graph, region->yields.data[i], &sets[i]);
        if (!sets[i].count) return refuse(graph, group, "a result that depends on no product");
    }
    merge_sets(sets, yields, component);
    *out_count = 0;
    for (uint32_t i = 0; i < yields; i++) {
        if (component[i] != i) continue;
        MmJob *job = &out_jobs[(*out_count)++];
        *job = (MmJob){.graph = graph};
        if (sets[i].full) return refuse(graph, group, "more than 8 products in one expression");
        for (uint32_t v = 0; v < sets[i].count; v++) HD_TRY(add_factor(target, group, job, sets[i].values[v]));
        for (uint32_t y = 0; y < yields; y++)
            if (component[y] == i) HD_TRY(add_out(target, group, job, region->yields.data[y]));
    }
    return NULL;
}

// ---- bytes -----------------------------------------------------------------------------------------------------------

// What the epilogue reads from outside: operands of element-wise operations, each once.
static void account_operands(const MmJob *job, IrValue value, Set *seen) {
    const IrOp *op = cg_region_op(job->graph, value);
    if (is_product(op) || set_has(seen, value)) return;
    set_add(seen, value);
    const IrType *type = cg_type(job->graph, value);
    if (!op) cg_expr_add_elements(&job->build->bytes, job->graph, type, ir_dtype_info(type->dtype)->block_bytes);
    for (uint32_t i = 0; op && i < op->operand_count; i++) account_operands(job, op->operands[i], seen);
}

void mm_account_operands(const MmJob *job) {
    Set seen = {0};
    for (uint32_t i = 0; i < job->out_count; i++) account_operands(job, job->outs[i].value, &seen);
}

// ---- rows of grouped products --------------------------------------------------------------------------------------

void mm_grouped_token(const MmJob *job, int64_t ranks, KirRef row, MmToken *out_token) {
    KirFn *fn = job->fn;
    KirRef divisor = kir_i64(fn, ranks);
    out_token->row = row;
    out_token->coord[0] = kir_sdiv(fn, row, divisor);
    out_token->coord[1] = ranks == 1 ? kir_i64(fn, 0) : kir_srem(fn, row, divisor);
    KirRef source = job->x.rank == 3 ? row : out_token->coord[0];
    out_token->x = job->x_base ? kir_offset(fn, job->x_base, kir_mul(fn, source, job->x_bytes)) : 0;
}
