// SPDX-License-Identifier: Apache-2.0
// What `heddle passes` says, from passes.def; the example of a pass is worked as it is shown.
#include "passes/workbench/workbench.h"

#include <string.h>

typedef struct Example {
    const char *target, *statements;
} Example;
static const Example examples[PASS_COUNT] = {
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
    for (uint32_t pass = 0; pass < pass_count(); pass++) {
        const PassInfo *info = pass_info((PassId)pass);
        const char *file = pass_file((PassId)pass);
        hd_buf_printf(out, "%c %-21s %-8s %s", info->mandatory ? '*' : ' ', info->name, numerics_name(info->numerics), info->doc);
        hd_buf_printf(out, file ? " (%s)\n" : "\n", file);
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
    hd_buf_str(out, "\nrules, and why one that is near does not fire\n");
    for (uint32_t rule = 0; rule < pass_rule_count(); rule++) {
        if (pass_rule_info((PassRule)rule)->pass != pass) continue;
        hd_buf_printf(out, "  %s: %s\n", pass_rule_info((PassRule)rule)->name, pass_rule_info((PassRule)rule)->doc);
        for (uint32_t reason = 0; reason < pass_missed_count(); reason++)
            if (pass_declares((PassRule)rule, (PassMissed)reason)) hd_buf_printf(out, "    - %s\n", pass_missed_info((PassMissed)reason)->text);
    }
}

// What a pass works as its example; no statements: it has none.
static Example example_of(PassId pass)
{
    const PassText *loaded = pass_text(pass);
    return loaded ? (Example){"cpu:x86-64-v3", loaded->example} : examples[pass];
}

static HdStatus *work_example(PassId pass, IrModule *module, bool colour, HdBuf *out)
{
    IrTarget target;
    WbReport report;
    WbOptions options = {.diff = true, .explain = true};
    HD_TRY(ir_target_parse(example_of(pass).target, &target));
    HdStatus *status = wb_run(module, &(PassConfig){.target = &target, .passes = pass_name(pass)}, &options, &report);
    if (!status) wb_print_text(&report, &(WbPrint){.colour = colour}, out);
    wb_report_free(&report);
    return status;
}

static HdStatus *put_example(PassId pass, bool colour, HdBuf *out)
{
    HdBuf text = {0};
    IrModule *module;
    Example example = example_of(pass);
    if (!example.statements) return NULL;
    bool whole = pass == PASS_specialise || pass == PASS_moe_dispatch;   // takes @model; has nothing to do for one token
    hd_buf_printf(&text, "module \"example\" {\n%s  graph @%s {\n%s}\n}\n", whole ? "" : "key \"bounds.decode\" = \"1 1 1 1\"\n",
                  whole ? "model" : "decode", example.statements);
    HdStatus *status = ir_parse_module("example", (HdStr){text.data, text.len}, &module);
    hd_buf_free(&text);
    HD_TRY(status);
    hd_buf_printf(out, "\nexample, for %s\n", example.target);
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
    const PassText *loaded = pass_text(pass);
    hd_buf_printf(out_text, "%s\n\n%s\n\nnumerics: %s\nmandatory: %s\n", info->name, info->doc, numerics_name(info->numerics), info->mandatory ? "yes" : "no");
    if (loaded) hd_buf_printf(out_text, "file: %s\n", pass_file(pass));
    if (loaded && loaded->before) hd_buf_printf(out_text, "in the default pipelines: before %s\n", loaded->before);
    put_options(pass, out_text);
    put_rules(pass, out_text);
    return put_example(pass, colour, out_text);
}
