// SPDX-License-Identifier: Apache-2.0
// What MATMUL and GROUPED share (mm.h): the parameters of a component, its panels, and the loop over tokens with the epilogue.
#include "codegen/cpu/mm.h"
#include "codegen/sched.h"

enum { LINE = 64 };

// ---- parameters ----------------------------------------------------------------------------------------------------

static int64_t panel_bytes(const MmFactor *f, int64_t columns) { return (int64_t)cg_panel_bytes(f->dtype, (uint64_t)columns); }
static bool to_numbers(const MmJob *job, const MmFactor *f) { return f->expanded && job->x.dtype == IR_F32; }
static bool is_decoded(const MmJob *job, const MmFactor *f) { return (f->expanded && !to_numbers(job, f)) || (f->native && !cg_is_packed(f->dtype)); }
// Of a panel in scratch.
static int64_t made_bytes(const MmJob *job, const MmFactor *f) {
    if (to_numbers(job, f)) return (int64_t)cg_panel_bytes(IR_F32, (uint64_t)job->columns);
    return f->expanded ? job->columns / 32 * (int64_t)mm_decoded_bytes(f->dtype) : panel_bytes(f, job->columns);
}

// bytes: matrices, activations, operands of the epilogue, results. flops: 2 K per element of each product.
static void account(MmJob *job, const IrExpr *matrices) {
    CgBuild *build = job->build;
    int64_t matrix = 0;
    for (uint32_t i = 0; i < job->factor_count; i++) {
        const MmFactor *f = &job->factors[i];
        matrix +=
            f->native ? job->rows * ir_dtype_row_bytes(f->dtype, job->columns) : mm_job_panels(job) * panel_bytes(f, job->columns);
        cg_expr_add_elements(&build->flops, job->graph, cg_type(job->graph, f->result), 2 * job->columns);
    }
    build->bytes = *matrices;
    cg_expr_scale(&build->bytes, matrix);
    IrType rows = job->x;
    rows.dims[rows.rank - 1] = 1;
    cg_expr_add_elements(&build->bytes, job->graph, &rows, ir_dtype_row_bytes(job->x.dtype, job->columns));
    for (uint32_t i = 0; i < job->out_count; i++) {
        cg_expr_add_elements(&build->bytes, job->graph, cg_type(job->graph, job->outs[i].value), job->outs[i].element_bytes);
    }
    mm_account_operands(job);
}

void mm_job_expect_many(MmJob *job) {
    job->many = true;
    for (uint32_t i = 0; i < job->factor_count; i++) {
        MmFactor *f = &job->factors[i];
        bool numbers = job->x.dtype == IR_F32 && f->dtype != IR_F32;
        bool quants = job->x.dtype == IR_Q8A && f->dtype != IR_Q8_0;   // those of Q8_0 lie there as they are multiplied
        f->expanded = !f->native && (numbers || quants);
    }
}

void mm_job_begin(MmJob *job, CgGroupBuilder *builder, const char *name, const IrExpr *matrices) {
    char full[64];
    snprintf(full, sizeof full, "%s_%s_%s%s", name, ir_dtype_info(job->factors[0].dtype)->name, ir_dtype_info(job->x.dtype)->name,
             job->factors[0].native ? "_native" : "");
    CgBuild *build = job->build = cg_launch_begin(builder, full);
    job->fn = build->fn;
    job->x_base = cg_pointer(build, ir_op(job->graph, job->op)->operands[0]);
    job->x_bytes = cg_const(build, ir_dtype_row_bytes(job->x.dtype, job->columns), "bytes of an activation row");
    job->k = cg_const(build, job->columns, "K");
    job->n = cg_const(build, job->rows, "N");
    if (job->x.dtype == IR_Q8A) job->tile_scratch = kir_offset_const(job->fn, kir_scratch(job->fn), cg_scratch(build, MM_TILE_SCRATCH));
    for (uint32_t i = 0; i < job->factor_count; i++) {
        MmFactor *f = &job->factors[i];
        f->base = cg_pointer(build, f->weight);
        if (f->native || f->expanded) f->scratch = cg_scratch(build, MM_MAX_PANELS * (uint64_t)made_bytes(job, f));
        if (f->native && !cg_is_packed(f->dtype)) f->stage = cg_scratch(build, MM_STAGE_BYTES);
    }
    for (uint32_t i = 0; i < job->out_count; i++) job->outs[i].to = cg_pointer(build, job->outs[i].yield);
    account(job, matrices);
}

// ---- panels --------------------------------------------------------------------------------------------------------

// Where panel p of the unit lies: in the matrix, or in scratch, where those of native and expanded factors are made. Sizes are parameters, so
// that one kernel serves all shapes.
static void place_panel(const MmJob *job, MmFactor *f, uint32_t p, KirRef panel) {
    KirFn *fn = job->fn;
    if (!f->native) {
        KirRef bytes = cg_const(job->build, panel_bytes(f, job->columns), "bytes of a panel");
        f->packed[p] = f->panel[p] = kir_offset(fn, f->base, kir_mul(fn, panel, bytes));
    }
    if (!f->native && !f->expanded) return;
    KirRef bytes = cg_const(job->build, made_bytes(job, f), "bytes of a panel in scratch");
    KirRef first = kir_offset(fn, kir_scratch(fn), cg_const(job->build, f->scratch, "panels in scratch"));
    f->panel[p] = p ? kir_offset(fn, first, kir_mul(fn, kir_i64(fn, p), bytes)) : first;
}

// Goes to the panels from `first` on.
static void open_panels(MmJob *job, KirRef first, uint32_t count, KirRef expert) {
    KirFn *fn = job->fn;
    bool whole = job->rows % CG_PANEL_ROWS == 0;
    job->panel_count = count;
    for (uint32_t p = 0; p < count; p++) {
        KirRef panel = kir_add(fn, first, kir_i64(fn, p));
        job->n0[p] = kir_mul(fn, panel, kir_i64(fn, CG_PANEL_ROWS));
        job->valid[p] = whole ? 0 : kir_min(fn, kir_sub(fn, job->n, job->n0[p]), kir_i64(fn, CG_PANEL_ROWS));
        if (expert)
            panel = kir_add(fn, kir_mul(fn, expert, cg_const(job->build, mm_job_panels(job), "panels of an expert")), panel);
        for (uint32_t i = 0; i < job->factor_count; i++)
            place_panel(job, &job->factors[i], p, panel);
    }
    job->row0 = expert ? kir_add(fn, kir_mul(fn, expert, job->n), job->n0[0]) : job->n0[0];
}

// Panel p (i64) of the unit: a loop, so that the code to make one stands in the kernel once.
static void make_panel(const MmJob *job, const MmFactor *f, KirRef p) {
    KirFn *fn = job->fn;
    KirRef begin = kir_mul(fn, p, kir_i64(fn, CG_PANEL_ROWS)), valid = kir_i64(fn, CG_PANEL_ROWS);
    KirRef row_bytes = cg_const(job->build, ir_dtype_row_bytes(f->dtype, job->columns), "bytes of a native row");
    KirRef rows = kir_offset(fn, f->base, kir_mul(fn, kir_add(fn, job->row0, begin), row_bytes));
    KirRef bytes = cg_const(job->build, panel_bytes(f, job->columns), "bytes of a panel");
    KirRef panel = kir_offset(fn, f->panel[0], kir_mul(fn, p, bytes));
    if (job->valid[0]) valid = kir_min(fn, kir_sub(fn, job->n, kir_add(fn, job->n0[0], begin)), valid);
    if (cg_is_packed(f->dtype)) mm_pack(fn, f->dtype, rows, job->columns, job->k, valid, panel);
    else {
        KirRef stage = kir_offset(fn, kir_scratch(fn), cg_const(job->build, f->stage, "stage in scratch"));
        mm_decode(fn, f->dtype, rows, job->k, valid, stage, panel);
    }
}

// Those that are not multiplied where they lie.
static void make_panels(const MmJob *job) {
    KirFn *fn = job->fn;
    for (uint32_t i = 0; i < job->factor_count; i++) {
        const MmFactor *f = &job->factors[i];
        KirLoop panels;
        for (uint32_t p = 0; p < job->panel_count && f->expanded; p++)
            (to_numbers(job, f) ? mm_expand_numbers : mm_expand)(fn, f->dtype, f->packed[p], job->k, f->panel[p]);
        if (!f->native) continue;
        kir_for_begin(fn, kir_i64(fn, 0), kir_i64(fn, job->panel_count), kir_i64(fn, 1), 0, NULL, &panels);
        make_panel(job, f, panels.iv);
        kir_for_end(fn, &panels, NULL);
    }
}

// ---- tokens --------------------------------------------------------------------------------------------------------

static KirRef result_at(const MmJob *job, const MmOut *out, const MmToken *token, uint32_t p) {
    KirFn *fn = job->fn;
    KirRef row = kir_offset(fn, out->to, kir_mul(fn, token->row, kir_mul(fn, job->n, kir_i64(fn, out->element_bytes))));
    return kir_at(fn, row, job->n0[p], out->element_bytes, 0);
}

// Element-wise operations on the sums of one token and panel p, and the stores.
static void epilogue(const MmJob *job, const MmToken *token, uint32_t p, const KirRef *sums) {
    CgRegion *region = cg_region_new(job->build);
    for (uint32_t f = 0; f < job->factor_count; f++) cg_region_bind_lanes(region, job->factors[f].result, sums[f]);
    for (uint32_t i = 0; i < job->out_count; i++) {
        const MmOut *out = &job->outs[i];
        KirRef lanes = cg_region_eval(region, out->value, token->coord, job->n0[p], CG_PANEL_ROWS, job->valid[p]);
        cg_store16(job->fn, result_at(job, out, token, p), lanes, job->valid[p]);
    }
    cg_region_free(region);
}

// Asks for the lines where a tile's results go. They are pages apart: no processor foresees them, and a store that waits holds up all that follow.
static void expect_results(const MmJob *job, const MmToken *token, uint32_t tokens) {
    for (uint32_t i = 0; i < tokens; i++)
        for (uint32_t out = 0; out < job->out_count; out++)
            for (uint32_t p = 0; p < job->panel_count; p++) kir_prefetch(job->fn, result_at(job, &job->outs[out], &token[i], p));
}

// Without instructions for unsigned times signed bytes, or with one for signed bytes only.
static bool multiplies_signed(const IrTarget *target) {
    return !ir_target_has(target, IR_FEATURE_AVX512VNNI) && !ir_target_has(target, IR_FEATURE_AVXVNNI) && !ir_target_has(target, IR_FEATURE_I8MM);
}

static void tile(const MmJob *job, KirRef first, uint32_t tokens, MmTokenAt *at, void *user) {
    KirFn *fn = job->fn;
    MmToken token[MM_MAX_TOKENS];
    KirRef rows[MM_MAX_TOKENS], sums[MM_MAX_FACTORS][MM_MAX_LANES], of_token[MM_MAX_FACTORS];
    for (uint32_t i = 0; i < tokens; i++) {
        at(job, user, kir_add(fn, first, kir_i64(fn, i)), &token[i]);
        rows[i] = token[i].x;
    }
    if (tokens > 1) expect_results(job, token, tokens);
    for (uint32_t f = 0; f < job->factor_count; f++) {
        const MmFactor *factor = &job->factors[f];
        MmProduct product = {.weight = to_numbers(job, factor) ? IR_F32 : factor->dtype, .activation = job->x.dtype, .columns = job->columns, .k = job->k,
                             .panel_count = job->panel_count, .prefetch = !factor->native && !job->many, .decoded = is_decoded(job, factor),
                             .fused = ir_target_has_fma(job->build->target), .is_signed = multiplies_signed(job->build->target), .scratch = job->tile_scratch};
        for (uint32_t p = 0; p < job->panel_count; p++) product.panel[p] = factor->panel[p];
        mm_tile(fn, &product, rows, tokens, sums[f]);
    }
    for (uint32_t i = 0; i < tokens; i++)
        for (uint32_t p = 0; p < job->panel_count; p++) {
            for (uint32_t f = 0; f < job->factor_count; f++) of_token[f] = sums[f][p * tokens + i];
            epilogue(job, &token[i], p, of_token);
        }
}

// A unit's tiles ask in turn for the panels of the next one, each for some lines, so that it does not begin by waiting for memory.
typedef struct Ahead { KirRef lines[MM_MAX_FACTORS]; } Ahead;   // i64, bytes for each tile; 0: not asked for

static KirRef bytes_of_unit(const MmJob *job, const MmFactor *f) {
    return cg_const(job->build, job->panel_count * panel_bytes(f, job->columns), "bytes of a unit's panels");
}

static void ahead_open(const MmJob *job, KirRef tiles, Ahead *out_ahead) {
    enum { ENOUGH = 8 };
    KirFn *fn = job->fn;
    *out_ahead = (Ahead){{0}};
    KirRef few = kir_cmp(fn, KIR_LT, tiles, kir_i64(fn, ENOUGH)), divisor = kir_mul(fn, kir_max(fn, tiles, kir_i64(fn, 1)), kir_i64(fn, LINE));
    for (uint32_t f = 0; f < job->factor_count; f++) {
        if (job->factors[f].native) continue;
        KirRef each = kir_add(fn, kir_sdiv(fn, bytes_of_unit(job, &job->factors[f]), divisor), kir_i64(fn, 1));
        out_ahead->lines[f] = kir_select(fn, few, kir_i64(fn, 0), kir_mul(fn, each, kir_i64(fn, LINE)));
    }
}

static void ahead_ask(const MmJob *job, const Ahead *ahead, KirRef tile) {
    KirFn *fn = job->fn;
    for (uint32_t f = 0; f < job->factor_count; f++) {
        const MmFactor *factor = &job->factors[f];
        if (!ahead->lines[f]) continue;
        KirRef begin = kir_add(fn, bytes_of_unit(job, factor), kir_mul(fn, tile, ahead->lines[f]));
        KirLoop loop;
        kir_for_begin(fn, begin, kir_add(fn, begin, ahead->lines[f]), kir_i64(fn, LINE), 0, NULL, &loop);
        kir_prefetch_later(fn, kir_offset(fn, factor->packed[0], loop.iv));
        kir_for_end(fn, &loop, NULL);
    }
}

// Sizes of tiles, the largest first. Each tile reads its panels from the second cache, so that larger ones multiply faster (6 tokens and two
// panels: an eighth, with panels that are unpacked for each tile a fifth, measured on Emerald Rapids), as long as the sums are in registers: two
// for each token and panel. In float32 there are four, of which those that are used once in 16 columns may lie in memory. Where tokens are few,
// each tile unpacks its panels (products of experts reach half the speed of panels decoded before): there a tile less is worth sums in memory and
// the code of more sizes.
// Which size a token falls into changes no bit.
static const uint32_t *tile_sizes(const MmJob *job) {
    static const uint32_t many_wide[] = {6, 2, 1, 0}, few_wide[] = {8, 6, 4, 3, 2, 1, 0}, many[] = {4, 1, 0}, few[] = {4, 3, 2, 1, 0};
    if (ir_target_has(job->build->target, IR_FEATURE_AVX512F)) return job->many ? many_wide : few_wide;
    return job->many ? many : few;
}

static void multiply_tokens(const MmJob *job, KirRef count, int64_t most, MmTokenAt *at, void *user) {
    const uint32_t *sizes = tile_sizes(job);
    KirFn *fn = job->fn;
    KirRef from = kir_i64(fn, 0);
    if (most == 1) {
        tile(job, from, 1, at, user);
        return;
    }
    for (size_t i = 0; sizes[i]; i++) {
        KirRef left = kir_sub(fn, count, from), step = kir_i64(fn, sizes[i]);
        KirRef to = sizes[i] == 1 ? count : kir_sub(fn, count, kir_srem(fn, left, step));
        KirLoop loop;
        Ahead ahead;
        if (!i && job->many) ahead_open(job, kir_sdiv(fn, count, step), &ahead);
        kir_for_begin(fn, from, to, step, 0, NULL, &loop);
        if (!i && job->many) ahead_ask(job, &ahead, kir_sdiv(fn, loop.iv, step));
        tile(job, loop.iv, sizes[i], at, user);
        kir_for_end(fn, &loop, NULL);
        from = to;
    }
}

// ---- units ---------------------------------------------------------------------------------------------------------

// Two panels share the loads of the activations, which is what limits processors with two 512-bit multipliers (measured on Zen 5: 700 against 510
// GOPS). Zen 4, with half of that, is near its peak with one and loses a tenth with two; it is the AVX-512 processor with bf16 products that has no
// short VNNI forms.
uint32_t mm_unit_panels(const IrTarget *target) {
    bool half_width = ir_target_has(target, IR_FEATURE_AVX512BF16) && !ir_target_has(target, IR_FEATURE_AVXVNNI);
    return ir_target_has(target, IR_FEATURE_AVX512VNNI) && !half_width ? MM_MAX_PANELS : 1;
}

void mm_job_unit(MmJob *job, KirRef unit, uint32_t panels, KirRef expert, KirRef count, int64_t most, MmTokenAt *at, void *user) {
    KirFn *fn = job->fn;
    KirIf whole;
    KirRef first = kir_mul(fn, unit, kir_i64(fn, panels));
    bool has_rest = mm_job_panels(job) % panels != 0;
    if (has_rest) kir_if_begin(fn, kir_cmp(fn, KIR_LT, first, cg_const(job->build, mm_job_panels(job) - 1, "last panel")), &whole);
    for (uint32_t i = 0; i < (has_rest ? 2 : 1); i++) {
        if (i) kir_if_else(fn, &whole, 0, NULL);
        open_panels(job, first, panels - i, expert);
        make_panels(job);
        multiply_tokens(job, count, most, at, user);
    }
    if (has_rest) kir_if_end(fn, &whole, NULL);
}
