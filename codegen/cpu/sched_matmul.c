// SPDX-License-Identifier: Apache-2.0
// MATMUL: linears with element-wise operations. A work unit is a panel of 16 rows (or two) of all matrices of a component, for
// every token of the call: panels are read from memory once and stay in cache while tiles of tokens pass.
#include "codegen/cpu/mm.h"

static void token_at(const MmJob *job, void *user, KirRef index, MmToken *out_token) {
    (void)user;
    out_token->x = kir_offset(job->fn, job->x_base, kir_mul(job->fn, index, job->x_bytes));
    out_token->row = out_token->coord[0] = index;
}

static void do_panels(MmJob *job, KirRef first, uint32_t panels, KirRef tokens, int64_t most) {
    mm_job_open(job, first, panels, 0);
    mm_job_make(job);
    mm_job_tokens(job, tokens, most, token_at, NULL);
}

// How many panels a unit for several tokens takes. Two share the loads of the activations, which is what limits processors with
// two 512-bit multipliers (measured on Zen 5: 700 against 510 GOPS). Zen 4, with half of that, is near its peak with one and
// loses a tenth with two; it is the AVX-512 processor with bf16 products that has no short VNNI forms.
static int64_t panels_of_unit(const IrTarget *target) {
    bool half_width = ir_target_has(target, IR_FEATURE_AVX512BF16) && !ir_target_has(target, IR_FEATURE_AVXVNNI);
    return ir_target_has(target, IR_FEATURE_AVX512VNNI) && !half_width ? MM_MAX_PANELS : 1;
}

static void launch(CgGroupBuilder *builder, MmJob *job) {
    IrExpr one = {.constant = 1};
    int64_t most = ir_dim_most(job->graph, job->x.dims[0]);
    mm_job_expect(job, most);
    mm_job_begin(job, builder, "matmul", &one);
    KirFn *fn = job->fn;
    KirRef tokens = cg_dim(job->build, job->x.dims[0]);
    int64_t panels = mm_job_panels(job),
            per_unit = most == 1 ? 1 : panels_of_unit(job->build->target);
    cg_units(job->build, NULL, 0, hd_ceil_div(panels, per_unit));
    KirLoop units;
    KirRef first = kir_mul(fn, cg_units_begin(job->build, &units), kir_i64(fn, per_unit));
    if (panels % per_unit == 0) {
        do_panels(job, first, (uint32_t)per_unit, tokens, most);
    } else {
        KirIf pair;
        KirRef last = cg_const(job->build, panels - 1, "last panel");
        kir_if_begin(fn, kir_cmp(fn, KIR_LT, first, last), &pair);
        do_panels(job, first, (uint32_t)per_unit, tokens, most);
        kir_if_else(fn, &pair, 0, NULL);
        do_panels(job, first, 1, tokens, most);
        kir_if_end(fn, &pair, NULL);
    }
    cg_units_end(job->build, &units);
    cg_launch_end(builder);
}

HdStatus *cg_cpu_MATMUL(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    MmJob jobs[MM_MAX_OUTS];
    uint32_t count;
    HD_TRY(mm_jobs(target, graph, group, jobs, &count));
    for (uint32_t i = 0; i < count; i++) launch(builder, &jobs[i]);
    return NULL;
}
