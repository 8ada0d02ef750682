// SPDX-License-Identifier: Apache-2.0
// The pass manager: runs a pipeline, with the verifier between passes, and counts what fired and what did not.
#include "passes/passes.h"

#include <string.h>

// ---- what rules report -----------------------------------------------------------------------------------------

// A loaded pass names its own rules and reasons by their places in its tables, where each rule also declares its reasons; tests see to the shipped ones.
static bool is_own(PassCtx *ctx, PassRule *rule, PassMissed *reason)
{
    PassId pass = ctx->step->pass;
    bool own = pass_own_rule(pass, rule) && (!reason || pass_own_reason(pass, reason));
    bool declared = !own || !reason || pass < PASS_COUNT || pass_declares(*rule, *reason);
    if (own && declared) return true;
    if (!ctx->error && !own) ctx->error = hd_error(HD_INTERNAL, "it reports a rule or a reason that is not in its tables");
    if (!ctx->error)
        ctx->error = hd_error(HD_INTERNAL, "its rule %s gives the reason %s, which its table does not declare", pass_rule_info(*rule)->name, pass_missed_info(*reason)->name);
    return false;
}

bool pass_fire(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node)
{
    if (!is_own(ctx, &rule, NULL)) return false;
    PassEvent event = {ctx->step, rule, graph, node, true, MISSED_refused, 0};
    if (ctx->config->event && !ctx->config->event(ctx->config->user, &event)) {
        ctx->missed[rule][MISSED_refused]++;
        return false;
    }
    ctx->fired[rule]++;
    return true;
}

void pass_missed_for(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node, PassMissed reason, IrValue operand)
{
    if (!is_own(ctx, &rule, &reason)) return;
    PassEvent event = {ctx->step, rule, graph, node, false, reason, operand};
    if (ctx->config->event) (void)ctx->config->event(ctx->config->user, &event);
    ctx->missed[rule][reason]++;
}

void pass_missed(PassCtx *ctx, PassRule rule, const IrGraph *graph, IrOpRef node, PassMissed reason)
{
    pass_missed_for(ctx, rule, graph, node, reason, 0);
}

const char *pass_option(const PassCtx *ctx, const char *name)
{
    const PassOptionInfo *info;
    uint32_t index = 0;
    while ((info = pass_option_info(ctx->step->pass, index)) && strcmp(info->name, name) != 0) index++;
    HD_ASSERT(info);
    return ctx->step->options[index] ? ctx->step->options[index] : info->initial;
}

int64_t pass_option_int(const PassCtx *ctx, const char *name)
{
    int64_t value;
    HD_ASSERT(hd_parse_i64(hd_str(pass_option(ctx, name)), &value));
    return value;
}

const IrTarget *pass_target(const PassCtx *ctx) { return ctx->target; }

// ---- running ---------------------------------------------------------------------------------------------------

static PassRun *run_of(const PassConfig *config, PassId pass)
{
    bool other = config->runs && pass < PASS_COUNT && config->runs[pass];
    return other ? config->runs[pass] : pass_info(pass)->run;
}

HdStatus *pass_run_step(IrGraph *graph, const PassStep *step, PassCtx *ctx)
{
    const PassConfig *config = ctx->config;
    const char *file = pass_file(step->pass);
    ctx->step = step;
    if (config->before) config->before(config->user, step, graph);
    HdStatus *status = run_of(config, step->pass)(graph, ctx);
    if (!status) status = ctx->error;
    else hd_status_free(ctx->error);
    ctx->error = NULL;
    if (!status) status = ir_verify(graph);
    status = hd_annotate(status, "%s%spass %s on @%s", file ? file : "", file ? ": " : "", pass_name(step->pass), graph->name);
    if (!status && config->after) status = config->after(config->user, step, graph);
    return status;
}

static HdStatus *run_on_all(IrModule *module, const PassStep *step, PassCtx *ctx)
{
    bool specialised = module->graphs.len > 1 || step->pass == PASS_specialise;
    for (size_t i = 0; i < module->graphs.len; i++) {
        IrGraph *graph = module->graphs.data[i];
        bool is_model = !strcmp(graph->name, "model");
        if (step->pass == PASS_specialise ? !is_model : specialised && is_model) continue;
        HD_TRY(pass_run_step(graph, step, ctx));
        if (step->pass == PASS_specialise) break; // it adds graphs
    }
    return NULL;
}

static void record_pipeline(IrModule *module, const PassPipeline *pipeline, bool continues)
{
    HdBuf text = {0};
    const char *before = continues ? ir_module_key(module, "pipeline") : NULL;
    if (before && before[0]) hd_buf_printf(&text, "%s,", before);
    pass_pipeline_text(pipeline, &text);
    ir_module_set_key(module, "pipeline", text.data ? text.data : "");
    hd_buf_free(&text);
}

HdStatus *pass_run(IrModule *module, const PassConfig *config, PassCtx *out_counts)
{
    PassPipeline pipeline;
    PassCtx local = {0}, *ctx = out_counts ? out_counts : &local;
    HD_TRY(pass_pipeline(config, &pipeline));
    *ctx = (PassCtx){.config = config, .target = config->target};
    record_pipeline(module, &pipeline, config->start_from != NULL);
    HdStatus *status = NULL;
    for (size_t i = 0; i < module->graphs.len && !status; i++)
        status = hd_annotate(ir_verify(module->graphs.data[i]), "@%s before all passes", module->graphs.data[i]->name);
    for (size_t i = 0; i < pipeline.steps.len && !status; i++) status = run_on_all(module, &pipeline.steps.data[i], ctx);
    ctx->step = NULL; // it belongs to the pipeline
    pass_pipeline_free(&pipeline);
    return status;
}
