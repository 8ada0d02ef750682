// SPDX-License-Identifier: Apache-2.0
// MATMUL and GROUPED, for few tokens (sched_tile.c: for many). A work unit is a few rows of the matrices of a component times a few
// tokens. First LANES_PER_ROW lanes share a row of the matrix: each decodes every eighth group of 16 columns and multiplies it with all
// tokens of the unit. Through shared memory the sums come to one lane per row and token, which adds the eight parts and does the
// epilogue. Where the group norms or quantises its activations, a unit has one token: the work group first makes its row in shared memory.
#include "codegen/simt/product.h"

#include "codegen/simt/split.h"
#include "ir/moe_plan.h"

enum { LANES_PER_ROW = 8, MOST_TOKENS = LANES_PER_ROW };

// ---- sums of a lane ----------------------------------------------------------------------------------------------

static KirRef lane_row(const SimtProduct *p) { return kir_sdiv(p->fn, kir_lane(p->fn), kir_i64(p->fn, LANES_PER_ROW)); }
static KirRef lane_part(const SimtProduct *p) { return kir_srem(p->fn, kir_lane(p->fn), kir_i64(p->fn, LANES_PER_ROW)); }

static int64_t row_bytes(const MmFactor *f, int64_t columns) {
    return f->native ? ir_dtype_row_bytes(f->dtype, columns) : simt_split_row_bytes(f->dtype, columns);
}

KirRef simt_matrix_row(const SimtProduct *p, const MmFactor *f, KirRef row) {
    KirFn *fn = p->fn;
    row = kir_min(fn, row, kir_sub(fn, p->job->n, kir_i64(fn, 1)));
    if (p->expert) row = kir_add(fn, kir_mul(fn, p->expert, p->job->n), row);
    return kir_offset(fn, f->base, kir_mul(fn, row, cg_const(p->build, row_bytes(f, p->job->columns), "bytes of a row")));
}

SimtPlace simt_place(const SimtProduct *p, const MmFactor *f, KirRef row, KirRef part) {
    KirFn *fn = p->fn;
    const IrDtypeInfo *info = ir_dtype_info(f->dtype);
    if (simt_is_plain(f->dtype)) return (SimtPlace){row, part, 0};
    KirRef parts = kir_i64(fn, info->block / 16), block = kir_sdiv(fn, part, parts), sixteen = kir_srem(fn, part, parts);
    if (f->native) return (SimtPlace){kir_at(fn, row, block, info->block_bytes, 0), sixteen, 0};
    SimtSplit split = simt_split(f->dtype);
    KirRef scales = kir_offset(fn, row, cg_const(p->build, p->job->columns / info->block * split.body, "where a row's scales begin"));
    return (SimtPlace){kir_at(fn, row, block, split.body, 0), sixteen, kir_at(fn, scales, block, split.bytes, 0)};
}

static void decode_part(const SimtProduct *p, const MmFactor *f, KirRef row, KirRef part, KirRef out_values[16]) {
    SimtPlace place = simt_place(p, f, row, part);
    simt_decode16(p->fn, f->dtype, &place, out_values);
}

void simt_decode_part(const SimtProduct *p, const MmFactor *f, KirRef row, KirRef part, KirRef out_values[16]) {
    decode_part(p, f, simt_matrix_row(p, f, row), part, out_values);
}

// Where a column of the row in shared memory lies: eight lanes that read columns 16 apart at once shall not meet on one bank.
static KirRef shared_column(KirFn *fn, KirRef column) { return kir_add(fn, column, kir_sdiv(fn, column, kir_i64(fn, 16))); }

static KirRef activation(const SimtProduct *p, KirRef x, KirRef part, int i) {
    KirFn *fn = p->fn;
    if (p->row) return kir_shared_load(fn, p->row, kir_add(fn, kir_mul(fn, part, kir_i64(fn, 17)), kir_i64(fn, i)));
    return kir_load(fn, KT_F32, kir_at(fn, x, part, 64, 4 * i));
}

// 16 columns from number 16 * part on times those of each token.
static void add_part(const SimtProduct *p, const MmFactor *f, KirRef row, KirRef part, const KirRef *x, KirRef *acc) {
    KirFn *fn = p->fn;
    KirRef w[16];
    decode_part(p, f, row, part, w);
    for (uint32_t t = 0; t < p->tokens; t++)
        for (int i = 0; i < 16; i++) acc[t] = kir_fma(fn, w[i], activation(p, x[t], part, i), acc[t]);
}

// What is left of a row of plain numbers behind the last whole 16: one column per lane of the row and round.
static void add_rest(const SimtProduct *p, IrDtype dtype, KirRef row, const KirRef *x, KirRef *acc) {
    KirFn *fn = p->fn;
    KirLoop loop;
    KirRef next[MOST_TOKENS];
    KirRef first = kir_add(fn, kir_i64(fn, p->job->columns / 16 * 16), lane_part(p));
    kir_for_begin(fn, first, kir_i64(fn, p->job->columns), kir_i64(fn, LANES_PER_ROW), p->tokens, acc, &loop);
    KirRef w = simt_load_number(fn, dtype, kir_at(fn, row, loop.iv, ir_dtype_info(dtype)->block_bytes, 0));
    for (uint32_t t = 0; t < p->tokens; t++) {
        KirRef from = p->row ? kir_shared_load(fn, p->row, shared_column(fn, loop.iv)) : kir_load(fn, KT_F32, kir_at(fn, x[t], loop.iv, 4, 0));
        next[t] = kir_fma(fn, w, from, loop.carried[t]);
    }
    kir_for_end(fn, &loop, next);
    for (uint32_t t = 0; t < p->tokens; t++) acc[t] = loop.results[t];
}

static void multiply(const SimtProduct *p, uint32_t index, const KirRef *x) {
    KirFn *fn = p->fn;
    const MmFactor *f = &p->job->factors[index];
    KirRef acc[MOST_TOKENS], next[MOST_TOKENS], row = simt_matrix_row(p, f, kir_add(fn, p->n0, lane_row(p)));
    KirLoop loop;
    for (uint32_t t = 0; t < p->tokens; t++) acc[t] = kir_float(fn, KT_F32, 0);
    KirRef parts = kir_sdiv(fn, p->job->k, kir_i64(fn, simt_is_int8(p->job) ? 32 : 16));
    kir_for_begin(fn, lane_part(p), parts, kir_i64(fn, LANES_PER_ROW), p->tokens, acc, &loop);
    for (uint32_t t = 0; t < p->tokens; t++) next[t] = loop.carried[t];
    (simt_is_int8(p->job) ? simt_int8_group : add_part)(p, f, row, loop.iv, x, next);
    kir_for_end(fn, &loop, next);
    for (uint32_t t = 0; t < p->tokens; t++) acc[t] = loop.results[t];
    if (p->job->columns % 16) add_rest(p, f->dtype, row, x, acc);
    for (uint32_t t = 0; t < p->tokens; t++)
        kir_shared_store(fn, p->sums[index], kir_add(fn, kir_i64(fn, (int64_t)t * p->build->lanes), kir_lane(fn)), acc[t]);
}

// ---- one lane per row and token ----------------------------------------------------------------------------------

// Row lane % rows, token lane / rows of the unit.
static KirRef whole_sum(const SimtProduct *p, uint32_t index, KirRef row, KirRef token) {
    KirFn *fn = p->fn;
    KirRef first = kir_add(fn, kir_mul(fn, token, kir_i64(fn, p->build->lanes)), kir_mul(fn, row, kir_i64(fn, LANES_PER_ROW))), sum = 0;
    for (int i = 0; i < LANES_PER_ROW; i++) {
        KirRef part = kir_shared_load(fn, p->sums[index], kir_add(fn, first, kir_i64(fn, i)));
        sum = sum ? kir_add(fn, sum, part) : part;
    }
    return sum;
}

void simt_store_results(const SimtProduct *p, KirRef column, const MmToken *of_token, const KirRef *sums) {
    KirFn *fn = p->fn;
    CgRegion *region = cg_region_new(p->build);
    for (uint32_t f = 0; f < p->job->factor_count; f++) cg_region_bind_lanes(region, p->job->factors[f].result, sums[f]);
    for (uint32_t i = 0; i < p->job->out_count; i++) {
        const MmOut *out = &p->job->outs[i];
        KirRef value = cg_region_eval(region, out->value, of_token->coord, column, 1, 0);
        KirRef to = kir_offset(fn, out->to, kir_mul(fn, of_token->row, kir_mul(fn, p->job->n, kir_i64(fn, out->element_bytes))));
        kir_store(fn, kir_at(fn, to, column, out->element_bytes, 0), value);
    }
    cg_region_free(region);
}

// `count`: how many tokens there are from `first` on; at: where a token's row lies.
static void do_unit(const SimtProduct *p, KirRef first, KirRef count, MmTokenAt *at, void *user) {
    KirFn *fn = p->fn;
    KirRef x[MOST_TOKENS], last = kir_sub(fn, count, kir_i64(fn, 1));
    MmToken token;
    for (uint32_t t = 0; t < p->tokens; t++) {           // beyond the last token: the last once more
        at(p->job, user, kir_min(fn, kir_add(fn, first, kir_i64(fn, t)), last), &token);
        x[t] = token.x;
    }
    for (uint32_t f = 0; f < p->job->factor_count; f++) multiply(p, f, x);
    cg_barrier(p->build);
    KirRef rows = kir_i64(fn, p->rows), row = kir_srem(fn, kir_lane(fn), rows), mine = kir_sdiv(fn, kir_lane(fn), rows);
    KirRef column = kir_add(fn, p->n0, row), wanted = kir_add(fn, first, mine);
    KirRef exists = kir_and(fn, kir_cmp(fn, KIR_LT, column, p->job->n), kir_cmp(fn, KIR_LT, wanted, count));
    exists = kir_and(fn, exists, kir_cmp(fn, KIR_LT, mine, kir_i64(fn, p->tokens)));
    KirIf branch;
    kir_if_begin(fn, exists, &branch);
    at(p->job, user, wanted, &token);
    KirRef sums[MM_MAX_FACTORS];
    for (uint32_t f = 0; f < p->job->factor_count; f++) sums[f] = whole_sum(p, f, row, mine);
    if (p->run) simt_runs_keep(p, mine, column, sums[0]);
    simt_store_results(p, column, &token, sums);
    kir_if_end(fn, &branch, NULL);
}

// ---- launches ----------------------------------------------------------------------------------------------------
// All components of a group are one launch: a unit is a block of rows among those of all of them, times a tile of tokens.

typedef struct Launch {
    CgBuild *build;
    KirFn *fn;
    uint32_t count, rows, tokens, lanes;   // components; rows, tokens and lanes of a unit (few tokens: rows in several rounds)
    const SimtTileForm *form;    // of tiles for many tokens; NULL: few
    MmJob *jobs;
    SimtProduct products[MM_MAX_OUTS];
    IrValue made;                // what is multiplied, rms_norm or quant_act of the group; 0: it is in memory
    KirRef first, total;         // i64: first token of the unit; how many tokens there are (of its tile, with a plan)
    int64_t ranks;               // GROUPED: rows of a token
    KirRef expert, row;          // GROUPED: i64; the unit's row t * k + r (i64), with a plan the address of its tile's rows
} Launch;

static int64_t row_blocks(const Launch *l, const MmJob *job) { return hd_ceil_div(job->rows, l->rows); }

static uint32_t shared_row(const MmJob *job) { return simt_is_int8(job) ? simt_int8_row(job) : (uint32_t)(job->columns + job->columns / 16); }

static void prepare(Launch *l, uint32_t index, KirRef sums[MM_MAX_FACTORS]) {
    MmJob *job = &l->jobs[index];
    job->build = l->build, job->fn = l->fn;
    if (!l->made) job->x_base = cg_pointer(l->build, ir_op(job->graph, job->op)->operands[0]);
    job->x_bytes = cg_const(l->build, ir_dtype_row_bytes(job->x.dtype, job->columns), "bytes of an activation row");
    job->k = cg_const(l->build, job->columns, "K");
    job->n = cg_const(l->build, job->rows, "N");
    l->products[index] = (SimtProduct){.job = job, .build = l->build, .fn = l->fn, .tokens = l->tokens};
    l->products[index].rows = l->form ? l->rows : l->lanes / LANES_PER_ROW;
    for (uint32_t i = 0; i < job->factor_count; i++) {
        job->factors[i].base = cg_pointer(l->build, job->factors[i].weight);
        if (!l->form && !sums[i]) sums[i] = kir_shared(l->fn, KIR_F32, l->tokens * l->lanes);
        l->products[index].sums[i] = sums[i];
        cg_expr_add_elements(&l->build->flops, job->graph, cg_type(job->graph, job->factors[i].result), 2 * job->columns);
    }
    for (uint32_t i = 0; i < job->out_count; i++) job->outs[i].to = cg_pointer(l->build, job->outs[i].yield);
}

static int64_t begin(Launch *l, CgGroupBuilder *builder, const char *name) {
    char full[64];
    KirRef sums[MM_MAX_FACTORS] = {0};
    int64_t blocks = 0;
    snprintf(full, sizeof full, "%s_%s", name, ir_dtype_info(l->jobs[0].factors[0].dtype)->name);
    l->build = cg_simt_launch_begin(builder, full, l->lanes);
    l->fn = l->build->fn;
    cg_account(l->build);
    uint32_t shared = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        prepare(l, i, sums);
        blocks += row_blocks(l, &l->jobs[i]);
        if (l->form) shared = HD_MAX(shared, simt_tile_shared(l->form, &l->jobs[i]));
    }
    // Enough groups to a multiprocessor that one waits while others load. The way through a plan takes registers of a tile; sums of few tokens have
    // 128, with which (NVRTC 13.5) none spills; with more or fewer some do.
    if (!l->form) kir_set_resident(l->fn, 512 / l->lanes);
    else if (!l->ranks) kir_set_resident(l->fn, l->form->resident);
    KirRef tile = l->form ? kir_shared(l->fn, KIR_I32, shared) : 0, row = 0;
    if (l->made) row = kir_shared(l->fn, simt_is_int8(&l->jobs[0]) ? KIR_I32 : KIR_F32, shared_row(&l->jobs[0]));
    for (uint32_t i = 0; i < l->count; i++) {
        l->products[i].tile = tile, l->products[i].row = row;
        if (l->jobs[i].argmax)           // a tile has its one factor's results where they can be compared
            simt_runs_open(&l->products[i], l->form ? tile : kir_shared(l->fn, KIR_I32, l->tokens * SIMT_TILE_ROWS));
    }
    return blocks;
}

// Goes to the component that block number `block` is of, from component `index` on.
static void choose(Launch *l, uint32_t index, KirRef block, void (*emit)(Launch *l, SimtProduct *p)) {
    KirFn *fn = l->fn;
    SimtProduct *p = &l->products[index];
    KirIf here;
    if (index + 1 < l->count) {
        KirRef blocks = cg_const(l->build, row_blocks(l, p->job), "blocks of rows");
        kir_if_begin(fn, kir_cmp(fn, KIR_LT, block, blocks), &here);
        p->n0 = kir_mul(fn, block, kir_i64(fn, l->rows));
        emit(l, p);
        kir_if_else(fn, &here, 0, NULL);
        choose(l, index + 1, kir_sub(fn, block, blocks), emit);
        kir_if_end(fn, &here, NULL);
    } else {
        p->n0 = kir_mul(fn, block, kir_i64(fn, l->rows));
        emit(l, p);
    }
}

static void token_at(const MmJob *job, void *user, KirRef index, MmToken *out_token) {
    (void)user;
    out_token->x = job->x_base ? kir_offset(job->fn, job->x_base, kir_mul(job->fn, index, job->x_bytes)) : 0;
    out_token->row = out_token->coord[0] = index;
}

// The unit's rows in rounds.
static void do_rounds(Launch *l, SimtProduct *p) {
    KirFn *fn = l->fn;
    KirLoop loop;
    KirRef n0 = p->n0;
    kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, l->rows), kir_i64(fn, p->rows), 0, NULL, &loop);
    p->n0 = kir_add(fn, n0, loop.iv);
    do_unit(p, l->first, l->total, token_at, NULL);
    cg_barrier(l->build);
    kir_for_end(fn, &loop, NULL);
    p->n0 = n0;
}

static void emit_tokens(Launch *l, SimtProduct *p) {
    if (l->form) simt_tile(l->form, p, l->first, l->total, token_at, NULL);
    else if (l->rows > p->rows) do_rounds(l, p);
    else do_unit(p, l->first, l->total, token_at, NULL);
    if (p->run) simt_runs_store(p, l->first, l->total, token_at, NULL);
}

// Units of `tokens` rows of this dimension; false: it is more than a symbol.
static bool token_units(IrDim dim, uint32_t tokens, IrExpr *out_units) {
    *out_units = (IrExpr){.constant = hd_ceil_div(dim, tokens)};
    if (!ir_dim_is_sym(dim)) return true;
    *out_units = (IrExpr){.ceils = 1, .ceil = {{1, tokens, ir_dim_sym(dim)}}};
    return ir_dim_sym(dim) < IR_SYM_BASE_COUNT;
}

static void norm_row(const Launch *l, CgRegion *region, const KirRef *coord) {
    KirFn *fn = l->fn;
    KirLoop loop;
    KirRef c = simt_deal_begin(l->build, kir_i64(fn, l->jobs[0].columns), &loop);
    kir_shared_store(fn, l->products[0].row, shared_column(fn, c), cg_region_eval(region, l->made, coord, c, 1, 0));
    simt_deal_end(l->build, &loop);
}

static void quantise_row(const Launch *l, CgRegion *region, const CgIndex *row) {
    CgQ8Row to = simt_int8_shared(l->fn, l->products[0].row, l->jobs[0].columns);
    cg_region_quantise_group(region, l->made, row, &to);
}

// Norms or quantises the unit's row of activations, or both. Every work group does so for itself: a launch and a barrier for all would
// take longer. Where there is but one token, it does so once.
static void make_row(const Launch *l, const KirRef *coord) {
    const IrGraph *graph = l->jobs[0].graph;
    CgRegion *region = cg_region_new(l->build);
    CgIndex row[2];
    bool int8 = simt_is_int8(&l->jobs[0]);
    for (uint32_t i = 0; i + 1 < l->jobs[0].x.rank; i++) row[i] = cg_index(coord[i], 0);
    IrValue norm = int8 ? cg_region_op(graph, l->made)->operands[0] : l->made;
    const IrOp *op = cg_region_op(graph, norm);
    if (op && op->kind == IR_OP_rms_norm) cg_region_reduce(region, norm, row);
    if (int8) quantise_row(l, region, row);
    else norm_row(l, region, coord);
    cg_barrier(l->build);
    cg_region_free(region);
}

static bool has_argmax(const Launch *l) {
    bool has = false;
    for (uint32_t i = 0; i < l->count; i++) has = has || l->jobs[i].argmax;
    return has;
}

// One row of activations that the group makes: more lanes and rows share the work, as many as norm it where it is a launch of its own, so
// that its sum has the same bits. Few tokens: all that a unit can take. More than that: tiles, where the products have the form for it. An argmax
// needs the results of a whole run in one unit.
static void choose_unit(Launch *l, const IrTarget *target, IrDim rows, IrExpr *out_units) {
    int64_t most = l->made ? 1 : ir_dim_most(l->jobs[0].graph, rows);
    bool few_sums = true;                // of a lane, which lie beside the row in shared memory
    l->form = most > 4 * MOST_TOKENS ? simt_tile_form(target, l->jobs, l->count) : NULL;
    if (l->form && token_units(rows, l->form->tokens, out_units)) {
        l->rows = SIMT_TILE_ROWS, l->tokens = l->form->tokens, l->lanes = l->form->lanes;
        return;
    }
    l->form = NULL;
    for (uint32_t i = 0; i < l->count; i++) few_sums = few_sums && l->jobs[i].factor_count <= 2;
    l->lanes = l->made && few_sums ? simt_row_lanes(l->jobs[0].columns) : SIMT_LANES;
    l->rows = has_argmax(l) ? SIMT_TILE_ROWS : l->lanes / LANES_PER_ROW, l->tokens = MOST_TOKENS;
    if (most != 1 && token_units(rows, l->tokens, out_units)) return;
    l->tokens = 1;
    *out_units = ir_dim_expr(l->jobs[0].graph, rows);
}

// Which of the blocks of all components a unit is, and of which token or row. In 32 bits, for a GPU divides 64 by a function, and what is in
// registers there goes to memory; products have some millions of units at most.
typedef struct Where { KirRef block, index; } Where;
static Where where(KirFn *fn, KirRef unit, KirRef blocks) {
    KirRef u = kir_trunc(fn, unit, KIR_I32), all = kir_trunc(fn, blocks, KIR_I32);
    return (Where){kir_sext(fn, kir_srem(fn, u, all), KIR_I64), kir_sext(fn, kir_sdiv(fn, u, all), KIR_I64)};
}

static const char *launch_name(const Launch *l) {
    bool int8 = simt_is_int8(&l->jobs[0]);
    if (l->form) return l->form->name;
    if (l->made) return int8 ? "quantise_matmul" : "norm_matmul";
    return int8 ? "matmul_int8" : "matmul";
}

static void launch_matmul(CgGroupBuilder *builder, const IrTarget *target, MmJob *jobs, uint32_t count, IrValue made) {
    IrExpr units;
    IrDim rows = jobs[0].x.dims[0];
    Launch l = {.jobs = jobs, .count = count, .made = made};
    choose_unit(&l, target, rows, &units);
    int64_t blocks = begin(&l, builder, launch_name(&l));
    KirFn *fn = l.fn;
    cg_expr_scale(&units, blocks);
    l.build->units = units;
    l.total = cg_dim(l.build, rows);
    bool one = made && ir_dim_most(jobs[0].graph, rows) == 1;
    KirLoop loop;
    l.first = kir_i64(fn, 0);
    if (one) make_row(&l, &l.first);
    KirRef unit = cg_units_begin(l.build, &loop), all = cg_const(l.build, blocks, "blocks of all");
    Where at = where(fn, unit, all);
    if (!one) l.first = kir_mul(fn, at.index, kir_i64(fn, l.tokens));
    if (made && !one) make_row(&l, &l.first);
    choose(&l, 0, at.block, emit_tokens);
    cg_units_end(l.build, &loop);
    cg_launch_end(builder);
}

// ---- GROUPED -----------------------------------------------------------------------------------------------------
// With a dispatch plan a unit is a tile of it times a block of rows, else one row of tokens and ranks: the expert comes from ids.

static void choice_at(const MmJob *job, void *user, KirRef index, MmToken *out_token) {
    const Launch *l = user;
    (void)index;
    mm_grouped_token(job, l->ranks, l->row, out_token);
}

static void emit_choice(Launch *l, SimtProduct *p) {
    p->expert = l->expert;
    do_unit(p, kir_i64(l->fn, 0), kir_i64(l->fn, 1), choice_at, l);
}

static void tile_at(const MmJob *job, void *user, KirRef index, MmToken *out_token) {
    const Launch *l = user;
    mm_grouped_token(job, l->ranks, cg_load_i32(job->fn, kir_at(job->fn, l->row, index, 4, 0), 0), out_token);
}

// The tile's rows, as many at a time as a unit can take: none for tiles that are not used. All lanes go through the loop, so there is no
// branch around barriers.
static void emit_tile(Launch *l, SimtProduct *p) {
    KirFn *fn = l->fn;
    KirLoop loop;
    p->expert = l->expert;
    kir_for_begin(fn, kir_i64(fn, 0), l->total, kir_i64(fn, l->tokens), 0, NULL, &loop);
    if (l->form) simt_tile(l->form, p, loop.iv, l->total, tile_at, l);
    else do_unit(p, loop.iv, l->total, tile_at, l), cg_barrier(l->build);
    kir_for_end(fn, &loop, NULL);
}

// Where experts have many rows each, tiles; else up to twice as many at once as they have on average, when the class is full.
static void choose_grouped_unit(Launch *l, const IrTarget *target, const IrType *ids) {
    int64_t rows = ir_dim_most(l->jobs[0].graph, ids->dims[0]) * l->ranks, experts = l->jobs[0].experts;
    l->form = rows >= MOST_TOKENS * experts ? simt_tile_form(target, l->jobs, l->count) : NULL;
    if (l->form) {
        l->rows = SIMT_TILE_ROWS, l->tokens = l->form->tokens, l->lanes = l->form->lanes;
        return;
    }
    l->rows = l->lanes / LANES_PER_ROW;
    for (l->tokens = 1; l->tokens < MOST_TOKENS && l->tokens * experts < 2 * rows;) l->tokens *= 2;
}

static void launch_planned(CgGroupBuilder *builder, const IrTarget *target, Launch *l, const IrOp *op) {
    KirFn *fn;
    KirRef rows, list;
    char name[64];
    choose_grouped_unit(l, target, cg_type(l->jobs[0].graph, op->operands[2]));
    snprintf(name, sizeof name, "grouped_%s", launch_name(l));
    int64_t blocks = begin(l, builder, name);
    cg_plan_open(l->build, op, cg_pointer(l->build, op->operands[3]), &rows, &list);
    l->build->units = cg_plan_bound(l->jobs[0].graph, op);
    cg_expr_scale(&l->build->units, blocks);
    fn = l->fn;
    KirLoop loop;
    KirRef unit = cg_units_begin(l->build, &loop), all = cg_const(l->build, blocks, "blocks of all");
    Where at = where(fn, unit, all);
    KirRef tile = kir_at(fn, list, at.index, 4 * IR_MOE_TILE_WORDS, 0);
    l->expert = cg_load_i32(fn, tile, 0), l->total = cg_load_i32(fn, tile, 8);
    l->row = kir_at(fn, rows, cg_load_i32(fn, tile, 4), 4, 0);
    choose(l, 0, at.block, emit_tile);
    cg_units_end(l->build, &loop);
    cg_launch_end(builder);
}

// Of all experts' matrices (cg_account), T * k are read.
static void account_chosen(const Launch *l, const IrType *ids) {
    for (uint32_t i = 0; i < l->count; i++)
        for (uint32_t f = 0; f < l->jobs[i].factor_count; f++) {
            const MmJob *job = &l->jobs[i];
            int64_t matrix = job->rows * ir_dtype_row_bytes(job->factors[f].dtype, job->columns);
            cg_expr_add_elements(&l->build->bytes, job->graph, ids, matrix);
            l->build->bytes.constant -= job->experts * matrix;
        }
}

static void launch_chosen(CgGroupBuilder *builder, Launch *l, const IrOp *op) {
    static const char *const names[2][2] = {{"grouped", "grouped_int8"}, {"norm_grouped", "quantise_grouped"}};
    const IrType *chosen = cg_type(l->jobs[0].graph, op->operands[2]);
    KirFn *fn;
    if (l->made) l->lanes = simt_row_lanes(l->jobs[0].columns);
    l->rows = l->lanes / LANES_PER_ROW, l->tokens = 1;
    int64_t blocks = begin(l, builder, names[l->made != 0][simt_is_int8(&l->jobs[0])]);
    KirRef ids = cg_pointer(l->build, op->operands[2]);
    account_chosen(l, chosen);
    cg_units(l->build, &chosen->dims[0], 1, l->ranks * blocks);
    fn = l->fn;
    KirLoop loop;
    KirRef unit = cg_units_begin(l->build, &loop), all = cg_const(l->build, blocks, "blocks of all"), ranks = kir_i64(fn, l->ranks);
    Where at = where(fn, unit, all);
    l->row = at.index;
    l->expert = cg_load_i32(fn, kir_at(fn, ids, l->row, 4, 0), 0);
    if (l->made) make_row(l, (KirRef[]){kir_sdiv(fn, l->row, ranks), kir_srem(fn, l->row, ranks)});
    choose(l, 0, at.block, emit_choice);
    cg_units_end(l->build, &loop);
    cg_launch_end(builder);
}

static void launch_grouped(CgGroupBuilder *builder, const IrTarget *target, MmJob *jobs, uint32_t count, IrValue made) {
    const IrOp *op = ir_op(jobs[0].graph, jobs[0].op);
    Launch l = {.jobs = jobs, .count = count, .lanes = SIMT_LANES, .ranks = cg_type(jobs[0].graph, op->operands[2])->dims[1], .made = made};
    if (op->operand_count == 4) launch_planned(builder, target, &l, op);
    else launch_chosen(builder, &l, op);
}

// ---- groups ------------------------------------------------------------------------------------------------------

// The rms_norm or quant_act inside the group whose rows are multiplied; 0: they come from outside.
static HdStatus *find_made(const IrGraph *graph, const MmJob *job, IrValue *out_made) {
    const IrOp *product = ir_op(graph, job->op), *op = cg_region_op(graph, product->operands[0]);
    bool norm = op && op->kind == IR_OP_rms_norm, quantised = op && op->kind == IR_OP_quant_act;
    *out_made = norm || quantised ? product->operands[0] : 0;
    if (!*out_made) return cg_check_operands(graph, product);
    int64_t most = product->operand_count == 4 && product->kind == IR_OP_grouped_linear ? 0 : quantised ? IR_CUDA_MOST_QUANTISED : IR_GPU_MOST_NORMED;
    if (job->columns > most)
        return hd_error(HD_UNSUPPORTED, "@%s: %s of %lld columns that its group makes; of at most %lld", graph->name,
                        ir_op_info(product->kind)->name, (long long)job->columns, (long long)most);
    return cg_region_supported(graph, 0, *out_made);
}

static HdStatus *launch_all(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group,
                            void (*launch)(CgGroupBuilder *, const IrTarget *, MmJob *, uint32_t, IrValue)) {
    MmJob jobs[MM_MAX_OUTS];
    uint32_t count;
    IrValue made;
    HD_TRY(mm_jobs(target, graph, group, jobs, &count));
    HD_TRY(find_made(graph, &jobs[0], &made));
    for (uint32_t i = 1; i < count; i++)
        if (jobs[i].x.dims[0] != jobs[0].x.dims[0])
            return hd_error(HD_UNSUPPORTED, "@%s: products of different numbers of rows in one group", graph->name);
    launch(builder, target, jobs, count, made);
    return NULL;
}

HdStatus *cg_simt_MATMUL(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    return launch_all(builder, target, graph, group, launch_matmul);
}

HdStatus *cg_simt_GROUPED(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    return launch_all(builder, target, graph, group, launch_grouped);
}
