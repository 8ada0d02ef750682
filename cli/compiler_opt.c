// SPDX-License-Identifier: Apache-2.0
// `heddle opt` and `heddle passes` in the compiler's library: reads a graph or makes that of a model, and hands it to the workbench.
#include "cli/compiler_internal.h"

#include "codegen/codegen.h"
#include "models/models.h"
#include "passes/workbench/workbench.h"

#include <stdlib.h>
#include <string.h>

// ---- the module that passes begin with ---------------------------------------------------------------------------

static HdStatus *build_model(const HeddleOptOptions *options, IrModule **out_module)
{
    GgufFile *file;
    GgufOptions header_only = {.header_only = true};
    ModelOptions model = {.kv = MODEL_KV_AUTO};
    if (options->kv_type) model.kv = strcmp(options->kv_type, "f16") ? MODEL_KV_F32 : MODEL_KV_F16;
    HD_TRY(gguf_open(options->input, &header_only, &file));
    HdStatus *status = model_build(file, &model, out_module);
    gguf_close(file);
    return status;
}

static HdStatus *read_module(const HeddleOptOptions *options, IrModule **out_module)
{
    return options->text ? compiler_graph_parse(options->input, (HdStr){options->text, options->text_len}, out_module) : build_model(options, out_module);
}

// "A:B"
static HdStatus *slice(IrModule *module, const char *layers)
{
    int64_t first, end;
    const char *colon = strchr(layers, ':');
    bool numbers = colon && hd_parse_i64((HdStr){layers, (size_t)(colon - layers)}, &first) && hd_parse_i64(hd_str(colon + 1), &end);
    if (!numbers || first < 0 || end > INT16_MAX || first > end)
        return hd_error(HD_USAGE, "--layers %s: expected A:B for the layers A to B-1, such as 0:4", layers);
    for (size_t i = 0; i < module->graphs.len; i++)
        if (strcmp(module->graphs.data[i]->name, "load") != 0) HD_TRY(wb_slice_layers(module->graphs.data[i], (int32_t)first, (int32_t)end));
    if (ir_module_key(module, "layers")) {
        char count[24];
        snprintf(count, sizeof count, "%lld", (long long)(end - first));
        ir_module_set_key(module, "layers", count);
    }
    return NULL;
}

// ---- which passes ------------------------------------------------------------------------------------------------

typedef struct Plan {
    IrTarget target;
    PassConfig stage, run;                 // what comes before the stage, what is looked at
    const char **stage_sets, **run_sets;
    bool runs;
} Plan;

// Is a set of the passes that run? Else it is of those before the stage.
static bool set_fits(const PassConfig *run, const char *set)
{
    PassPipeline pipeline;
    PassConfig one = *run;
    one.sets = &set, one.set_count = 1;
    HdStatus *status = pass_pipeline(&one, &pipeline);
    if (!status) pass_pipeline_free(&pipeline);
    bool fits = !status;
    hd_status_free(status);
    return fits;
}

static void share_sets(const HeddleOptOptions *options, Plan *plan)
{
    plan->stage_sets = hd_xcalloc(options->set_count + 1, sizeof *plan->stage_sets);
    plan->run_sets = hd_xcalloc(options->set_count + 1, sizeof *plan->run_sets);
    for (size_t i = 0; i < options->set_count; i++) {
        bool to_stage = options->stage && (!plan->runs || !set_fits(&plan->run, options->sets[i]));
        if (to_stage) plan->stage_sets[plan->stage.set_count++] = options->sets[i];
        else plan->run_sets[plan->run.set_count++] = options->sets[i];
    }
    plan->stage.sets = plan->stage_sets, plan->run.sets = plan->run_sets;
}

static HdStatus *make_plan(const HeddleOptOptions *options, Plan *out_plan)
{
    *out_plan = (Plan){.stage = {.stop_after = options->stage},
                       .run = {.passes = options->passes, .disabled = options->disabled, .disabled_count = options->disabled_count,
                               .start_from = options->start_from, .stop_after = options->stop_after}};
    HD_TRY(pass_load(options->loads, options->load_count));
    if (options->text && options->stage) return hd_error(HD_USAGE, "--stage %s is for a model: a .hir file is at the stage it is at", options->stage);
    const char *target = options->target ? options->target : "cpu:native";
    size_t used = 0;
    if (strchr(target, ',')) return hd_error(HD_USAGE, "--target %s: passes run for one target", target);
    HD_TRY(compiler_target(target, options->devices, options->device_count, &used, &out_plan->target));
    out_plan->stage.target = out_plan->run.target = &out_plan->target;
    bool edited = options->disabled_count || options->start_from || options->stop_after || (options->set_count && !options->stage);
    out_plan->runs = options->passes || edited || (!options->text && !options->stage);
    share_sets(options, out_plan);
    return NULL;
}

static void plan_free(Plan *plan)
{
    free(plan->stage_sets);
    free(plan->run_sets);
}

// A misspelt option is said before a model is read.
static HdStatus *check_plan(const HeddleOptOptions *options, const Plan *plan)
{
    PassPipeline pipeline;
    if (options->stage) {
        size_t index;
        HD_TRY(pass_pipeline(&(PassConfig){.target = &plan->target}, &pipeline));
        HdStatus *status = pass_find_step(&pipeline, "--stage", options->stage, &index);
        pass_pipeline_free(&pipeline);
        HD_TRY(status);
        HD_TRY(pass_pipeline(&plan->stage, &pipeline));
        pass_pipeline_free(&pipeline);
    }
    if (plan->runs) {
        HD_TRY(pass_pipeline(&plan->run, &pipeline));
        pass_pipeline_free(&pipeline);
    } else {
        const char *vain = options->print_after_count ? "--print-after" : options->verify ? "--verify" : options->bisect ? "--bisect"
                         : options->diff ? "--diff" : options->explain ? "--explain" : NULL;
        if (vain) return hd_error(HD_USAGE, "no passes run, so %s has no effect: give --passes", vain);
    }
    if (options->kv_type && options->text) return hd_error(HD_USAGE, "--kv-type has no effect on a graph in text form, whose states have their types");
    if (options->model && !options->text) return hd_error(HD_USAGE, "--model is for a graph in text form: %s has weights of its own", options->input);
    if (options->model && !options->verify && !options->bisect) return hd_error(HD_USAGE, "--model %s has no effect without --verify", options->model);
    if (options->device && !options->cost && !options->html)
        return hd_error(HD_USAGE, "--device-file %s has no effect without --cost or --html", options->device);
    return wb_check_requires(options->requires, options->require_count);
}

// ---- the result --------------------------------------------------------------------------------------------------

// The graph of a class alone.
static HdStatus *keep_class(IrModule *module, const char *name)
{
    HdBuf names = {0};
    bool found = ir_graph_find(module, name) != NULL;
    for (size_t i = 0; i < module->graphs.len; i++) hd_buf_printf(&names, "%s@%s", i ? ", " : "", module->graphs.data[i]->name);
    HdStatus *status = found ? NULL : hd_error(HD_USAGE, "--class %s: there is no such graph, but %s (specialise makes those of the classes)", name,
                                               names.len ? names.data : "none");
    hd_buf_free(&names);
    for (size_t i = module->graphs.len; i-- > 0 && found;)
        if (strcmp(module->graphs.data[i]->name, name) != 0) ir_graph_remove(module, module->graphs.data[i]);
    return status;
}

static void print_report(const HeddleOptOptions *options, const WbReport *report, HdBuf *out_report)
{
    WbPrint print = {.timing = options->timing, .colour = options->colour};
    if (options->json) wb_print_json(report, &print, out_report);
    else wb_print_text(report, &print, out_report);
}

// The model's weights; without a model random ones.
static HdStatus *open_weights(const HeddleOptOptions *options, GgufFile **out_file, IrWeights *out_weights)
{
    const char *path = options->text ? options->model : options->input;
    *out_weights = wb_random_weights();
    if (!path || (!options->verify && !options->bisect)) return NULL;
    HD_TRY(gguf_open(path, NULL, out_file));
    *out_weights = (IrWeights){*out_file, ir_weights_from_gguf};
    return NULL;
}

// ---- what it is compiled to --------------------------------------------------------------------------------------

static IrBinding binding_of(const WbReport *report, const char *graph)
{
    for (int class = 0; class < WB_CLASS_COUNT; class++)
        if (!strcmp(graph, wb_class_name((WbClass)class))) return report->at[class];
    return (IrBinding){{1, 1, 1, 1}};      // of @load nothing depends on a call
}

static WbStep step_of(const CgProgram *program, const CgClass *class, WbReport *report)
{
    IrBinding at = binding_of(report, class->name);
    WbStep step = {.graph = hd_arena_printf(&report->arena, "%s", class->name), .tokens = (double)at.value[IR_SYM_T],
                   .launches = (double)class->launches.len, .arena = (double)class->arena_bytes};
    for (size_t i = 0; i < class->launches.len; i++) {
        const CgLaunch *launch = &class->launches.data[i];
        step.stages += i == 0 || launch->stage != launch[-1].stage;
        step.bytes += (double)ir_expr_eval(&program->exprs.data[launch->bytes], &at);
        step.flops += (double)ir_expr_eval(&program->exprs.data[launch->flops], &at);
    }
    return step;
}

// Only of graphs that code generation takes for this target; others have no steps yet.
static void take_steps(const IrModule *module, WbReport *report)
{
    CgProgram *program = NULL;
    HdStatus *status = compiler_graph_check(module);
    if (!status) status = cg_compile(module, report->target, &(CgOptions){.launches_only = true}, &program);
    for (size_t i = 0; !status && i < program->classes.len; i++) {
        const CgClass *class = &program->classes.data[i];
        if (!report->options->graph || !strcmp(report->options->graph, class->name)) hd_vec_push(&report->steps, step_of(program, class, report));
    }
    if (!status) cg_program_free(program);
    hd_status_free(status);
}

static HdStatus *run_passes(const HeddleOptOptions *options, const Plan *plan, IrModule *module, HeddleOptResult *out_result)
{
    WbReport report = {0};
    GgufFile *weights = NULL;
    WbOptions watch = {.graph = options->class_name, .diff = options->diff, .cost = options->cost, .explain = options->explain != NULL,
                       .explain_only = options->explain, .print_after = options->print_after, .print_after_count = options->print_after_count,
                       .verify = options->verify || options->bisect,
                       .bisect = options->bisect, .dumps = stderr, .context = options->context, .pictures = options->html};
    HdFigures device;
    bool wanted = options->diff || options->cost || options->explain || options->timing || options->json || watch.verify;
    if (options->device) {
        HD_TRY(hd_figures(options->device, &device));
        watch.device = &device;
    }
    HD_TRY(open_weights(options, &weights, &watch.weights));
    report.target = &plan->target;
    HdStatus *status = plan->runs ? wb_run(module, &plan->run, &watch, &report) : NULL;
    if (!plan->runs) wb_look(module, &watch, &report);
    if (!status && options->cost) take_steps(module, &report);
    if (!status) status = wb_verified(&report);
    if (!status) status = wb_require(report.fired, report.missed, options->requires, options->require_count);
    if (weights) gguf_close(weights);
    if (wanted) print_report(options, &report, &out_result->report);
    if (options->html && !status) wb_print_html(&report, options->input, &out_result->html);
    wb_report_free(&report);
    return status;
}

static HdStatus *work(const HeddleOptOptions *options, const Plan *plan, IrModule *module, HeddleOptResult *out_result)
{
    if (options->layers) HD_TRY(slice(module, options->layers));
    if (options->stage) HD_TRY(pass_run(module, &plan->stage, NULL));
    HD_TRY(run_passes(options, plan, module, out_result));
    if (options->class_name) HD_TRY(keep_class(module, options->class_name));
    ir_print_module(module, &out_result->ir);
    if (options->dot) wb_print_dot(module, &out_result->dot);
    return NULL;
}

HdStatus *heddle_opt(const HeddleOptOptions *options, HeddleOptResult *out_result)
{
    Plan plan;
    IrModule *module = NULL;
    HdStatus *status = make_plan(options, &plan);
    if (!status) status = check_plan(options, &plan);
    if (!status) status = read_module(options, &module);
    if (!status) {
        status = work(options, &plan, module, out_result);
        ir_module_free(module);
    }
    plan_free(&plan);
    return status;
}

HdStatus *heddle_passes(const char *pass, const char *const *loads, size_t load_count, bool colour, HdBuf *out_text)
{
    HD_TRY(pass_load(loads, load_count));
    return wb_describe(pass, colour, out_text);
}
