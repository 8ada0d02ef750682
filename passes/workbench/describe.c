// SPDX-License-Identifier: Apache-2.0
// What `heddle passes` says, from passes.def; the example of a pass is worked as it is shown.
#include "passes/workbench/workbench.h"

#include <string.h>

static const struct {
    const char *target, *statements;
} examples[PASS_COUNT] = {
#define EXAMPLE(pass, target, statements) [PASS_##pass] = {target, statements},
#include "passes/examples.def"
#undef EXAMPLE
};

// ---- the list ----------------------------------------------------------------------------------------------------

static const char *numerics_name(IrNumerics numerics)
{
    return numerics == IR_NUMERICS_EXACT ? "exact" : numerics == IR_NUMERICS_ORDERED ? "ordered" : "bounded";
}

// The default pipeline of a target: what runs on @model, and what then runs on every class.
static HdStatus *put_pipeline(const char *what, const char *target_name, HdBuf *out)
{
    IrTarget target;
    PassPipeline pipeline;
    size_t split;
    HD_TRY(ir_target_parse(target_name, &target));
    HD_TRY(pass_pipeline(&(PassConfig){.target = &target}, &pipeline));
    HdStatus *status = pass_find_step(&pipeline, "default", pass_name(PASS_specialise), &split);
    hd_buf_printf(out, "\n%s\n", what);
    for (int part = 0; part < 2 && !status; part++) {
        hd_buf_str(out, part ? "  on @decode, @small, @prefill, @load:" : "  on @model:                          ");
        for (size_t i = part ? split + 1 : 0; i < (part ? pipeline.steps.len : split + 1); i++) {
            const PassStep *step = &pipeline.steps.data[i];
            char name[PASS_STEP_NAME];
            hd_buf_printf(out, " %s", pass_step_name(step, name));
            pass_step_options(step, false, out);
        }
        hd_buf_str(out, "\n");
    }
    pass_pipeline_free(&pipeline);
    return status;
}

static HdStatus *put_list(HdBuf *out)
{
    hd_buf_str(out, "passes (`heddle passes PASS` says more of one); numerics: how far values may change; * mandatory\n");
    for (int pass = 0; pass < PASS_COUNT; pass++) {
        const PassInfo *info = pass_info((PassId)pass);
        hd_buf_printf(out, "%c %-21s %-8s %s\n", info->mandatory ? '*' : ' ', info->name, numerics_name(info->numerics), info->doc);
    }
    HD_TRY(put_pipeline("default pipeline of processors (cpu:..)", "cpu:x86-64-v3", out));
    return put_pipeline("default pipeline of GPUs (vulkan, cuda:..)", "vulkan", out);
}

// ---- one pass ----------------------------------------------------------------------------------------------------

static void put_options(PassId pass, HdBuf *out)
{
    const PassOptionInfo *option;
    if (pass_option_info(pass, 0)) hd_buf_str(out, "\noptions\n");
    for (uint32_t i = 0; (option = pass_option_info(pass, i)); i++) {
        long long low, high;
        bool number = sscanf(option->values, "int %lld %lld", &low, &high) == 2;
        if (number) hd_buf_printf(out, "  %s=N", option->name);
        else hd_buf_printf(out, "  %s=%s", option->name, option->values);
        hd_buf_printf(out, "  %s", option->doc);
        if (number) hd_buf_printf(out, "; %lld to %lld", low, high);
        hd_buf_printf(out, " (default %s)\n", option->initial);
    }
}

static void put_rules(PassId pass, HdBuf *out)
{
    static const struct {
        PassRule rule;
        PassMissed reason;
    } misses[] = {
#define MISS(pass, rule, reason) {RULE_##pass##_##rule, MISSED_##reason},
#include "passes/passes.def"
#undef MISS
    };
    hd_buf_str(out, "\nrules, and why one that is near does not fire\n");
    for (int rule = 0; rule < RULE_COUNT; rule++) {
        if (pass_rule_info((PassRule)rule)->pass != pass) continue;
        hd_buf_printf(out, "  %s: %s\n", pass_rule_info((PassRule)rule)->name, pass_rule_info((PassRule)rule)->doc);
        for (size_t i = 0; i < HD_COUNT(misses); i++)
            if ((int)misses[i].rule == rule) hd_buf_printf(out, "    - %s\n", pass_missed_info(misses[i].reason)->text);
    }
}

static HdStatus *work_example(PassId pass, IrModule *module, bool colour, HdBuf *out)
{
    IrTarget target;
    WbReport report;
    WbOptions options = {.diff = true, .explain = true};
    HD_TRY(ir_target_parse(examples[pass].target, &target));
    HdStatus *status = wb_run(module, &(PassConfig){.target = &target, .passes = pass_name(pass)}, &options, &report);
    if (!status) wb_print_text(&report, &(WbPrint){.colour = colour}, out);
    wb_report_free(&report);
    return status;
}

static HdStatus *put_example(PassId pass, bool colour, HdBuf *out)
{
    HdBuf text = {0};
    IrModule *module;
    bool whole = pass == PASS_specialise || pass == PASS_moe_dispatch;   // takes @model; has nothing to do for one token
    hd_buf_printf(&text, "module \"example\" {\n%s  graph @%s {\n%s}\n}\n", whole ? "" : "key \"bounds.decode\" = \"1 1 1 1\"\n",
                  whole ? "model" : "decode", examples[pass].statements);
    HdStatus *status = ir_parse_module("example", (HdStr){text.data, text.len}, &module);
    hd_buf_free(&text);
    HD_TRY(status);
    hd_buf_printf(out, "\nexample, for %s\n", examples[pass].target);
    ir_print_graph(module->graphs.data[0], out);
    hd_buf_str(out, "\n");
    status = work_example(pass, module, colour, out);
    ir_module_free(module);
    return status;
}

HdStatus *wb_describe(const char *name, bool colour, HdBuf *out_text)
{
    PassId pass;
    if (!name) return put_list(out_text);
    HD_TRY(pass_find(hd_str(name), &pass));
    const PassInfo *info = pass_info(pass);
    hd_buf_printf(out_text, "%s\n\n%s\n\nnumerics: %s\nmandatory: %s\n", info->name, info->doc, numerics_name(info->numerics), info->mandatory ? "yes" : "no");
    put_options(pass, out_text);
    put_rules(pass, out_text);
    return put_example(pass, colour, out_text);
}
