// SPDX-License-Identifier: Apache-2.0
// MATMUL: linears with element-wise operations. A work unit is a panel of 16 rows (or two) of all matrices of a component, for
// every token of the call: panels are read from memory once and stay in cache while tiles of tokens pass.
#include "codegen/cpu/mm.h"

static void token_at(const MmJob *job, void *user, KirRef index, MmToken *out_token) {
    (void)user;
    out_token->x = kir_offset(job->fn, job->x_base, kir_mul(job->fn, index, job->x_bytes));
    out_token->row = out_token->coord[0] = index;
}

static void launch(CgGroupBuilder *builder, MmJob *job) {
    enum { MANY = 64 };
    IrExpr one = {.constant = 1};
    int64_t most = ir_dim_most(job->graph, job->x.dims[0]);
    if (!most || most >= MANY) mm_job_expect_many(job);
    mm_job_begin(job, builder, "matmul", &one);
    KirRef tokens = cg_dim(job->build, job->x.dims[0]);
    uint32_t panels = most == 1 ? 1 : mm_unit_panels(job->build->target);
    cg_units(job->build, NULL, 0, mm_job_units(job, panels));
    KirLoop units;
    mm_job_unit(job, cg_units_begin(job->build, &units), panels, 0, tokens, most, token_at, NULL);
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
