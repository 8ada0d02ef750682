// SPDX-License-Identifier: Apache-2.0
// MATMUL: linears with element-wise operations. A work unit is a panel of 16 rows of all matrices of a component, for every token of the call:
// the panel is read from memory once and stays in cache while tiles of tokens pass.
#include "codegen/cpu/mm.h"

static void token_at(const MmJob *job, void *user, KirRef index, MmToken *out_token) {
    (void)user;
    out_token->x = kir_offset(job->fn, job->x_base, kir_mul(job->fn, index, job->x_bytes));
    out_token->row = out_token->coord[0] = index;
}

static void launch(CgGroupBuilder *builder, MmJob *job) {
    IrExpr one = {.constant = 1};
    mm_job_begin(job, builder, "matmul", &one);
    KirFn *fn = job->fn;
    IrDim tokens = job->x.dims[0];
    KirRef count = cg_dim(job->build, tokens);
    cg_units(job->build, NULL, 0, mm_job_panels(job));
    KirLoop units;
    kir_for_begin(fn, kir_unit_begin(fn), kir_unit_end(fn), kir_i64(fn, 1), 0, NULL, &units);
    mm_job_panel(job, units.iv, 0);
    mm_job_tokens(job, count, tokens, token_at, NULL);
    kir_for_end(fn, &units, NULL);
    cg_launch_end(builder);
}

HdStatus *cg_cpu_MATMUL(CgGroupBuilder *builder, const IrTarget *target, const IrGraph *graph, IrOpRef group) {
    MmJob jobs[MM_MAX_OUTS];
    uint32_t count;
    HD_TRY(mm_jobs(target, graph, group, jobs, &count));
    for (uint32_t i = 0; i < count; i++) launch(builder, &jobs[i]);
    return NULL;
}
