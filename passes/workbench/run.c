// SPDX-License-Identifier: Apache-2.0
// Runs a pipeline and records what each pass did to each graph.
#include "passes/workbench/verify.h"

#include <stdlib.h>
#include <string.h>

typedef struct Watch {
    IrModule *module;
    const PassConfig *config;              // the caller's
    const WbOptions *options;
    WbReport *report;
    IrNames *names;                        // of the graph that a pass is working on, as it was before
    size_t named;                          // how many values had a name then
    HdBuf before;                          // its text, for the diff
    WbTrace *trace;                        // what it gave, to verify; NULL: not asked for, or it could not be evaluated
    HdStatus *trace_error;                 // why not
    IrGraph *copy;                         // itself, to bisect
    PassPipeline pipeline;                 // as `config` has it
    PassStep step;                         // the pass; its options are gone when the run is
    double start;
} Watch;

static bool is_reported(const WbOptions *options, const IrGraph *graph)
{
    return !options->graph || !strcmp(graph->name, options->graph) || !strcmp(graph->name, "model");
}

static HdStr text_of(const HdBuf *text) { return (HdStr){text->data, text->len}; }

static WbRecord *current(Watch *watch) { return &watch->report->records.data[watch->report->records.len - 1]; }

// ---- costs -------------------------------------------------------------------------------------------------------

// One sequence and one row of logits; tokens: those of the class, from the module's bounds, what specialise will be told, or its defaults.
static IrBinding binding_of(const IrModule *module, const PassPipeline *pipeline, WbClass class, int64_t context)
{
    char key[32];
    int64_t tokens[] = {[WB_DECODE] = 1, [WB_SMALL] = 0, [WB_PREFILL] = 0};
    for (uint32_t o = 0; o < 2; o++) {     // the options small and prefill
        const char *text = pass_option_info(PASS_specialise, o)->initial;
        for (size_t i = 0; i < pipeline->steps.len; i++)
            if (pipeline->steps.data[i].pass == PASS_specialise && pipeline->steps.data[i].options[o]) text = pipeline->steps.data[i].options[o];
        HD_ASSERT(hd_parse_i64(hd_str(text), &tokens[WB_SMALL + o]));
    }
    snprintf(key, sizeof key, "bounds.%s", wb_class_name(class));
    const char *bounds = ir_module_key(module, key);
    if (bounds) hd_parse_i64((HdStr){bounds, strcspn(bounds, " ")}, &tokens[class]);
    return (IrBinding){{tokens[class], 1, HD_MAX(context ? context : 4096, tokens[class]), 1}};
}

static void take_costs(const WbReport *report, const IrGraph *graph, WbCost *costs, bool *taken)
{
    for (int class = 0; class < WB_CLASS_COUNT; class++) {
        taken[class] = !strcmp(graph->name, "model") || !strcmp(graph->name, wb_class_name((WbClass)class));
        if (taken[class]) costs[class] = wb_graph_cost(graph, &report->at[class], report->options->device, NULL);
    }
}

// ---- values ------------------------------------------------------------------------------------------------------

// @load only packs weights, and @model is compared with each class where specialise makes them.
static void prepare_verify(Watch *watch, const PassStep *step, const IrGraph *graph)
{
    if (!watch->options->verify || !strcmp(graph->name, "load")) return;
    if (watch->options->bisect) watch->copy = ir_graph_copy(graph);
    if (step->pass != PASS_specialise) watch->trace_error = wb_trace_new(graph, NULL, step, &watch->options->weights, &watch->trace);
}

static HdStatus *verify_classes(Watch *watch, const IrGraph *model, WbVerdict *out_verdict)
{
    for (size_t i = 0; i < watch->module->graphs.len; i++) {
        const IrGraph *graph = watch->module->graphs.data[i];
        if (graph == model || !strcmp(graph->name, "load")) continue;
        HD_TRY(wb_trace_new(model, graph, NULL, &watch->options->weights, &watch->trace));
        WbVerdict verdict = wb_trace_compare(watch->trace, graph, 0);
        wb_trace_free(watch->trace);
        watch->trace = NULL;
        verdict.compared += out_verdict->compared;
        if (!out_verdict->failed) *out_verdict = verdict;
    }
    return NULL;
}

static const char *keep(WbReport *report, HdBuf *text)
{
    const char *kept = text->data ? hd_arena_strndup(&report->arena, text->data, text->len) : "";
    hd_buf_free(text);
    return kept;
}

static void find_culprit(Watch *watch, const PassStep *step, double tolerance, const char *message)
{
    HdBuf text = {0};
    WbSuspect suspect = {watch->copy, step, watch->config, watch->trace, tolerance, message};
    wb_find_rewrite(&suspect, &text);
    if (text.len) current(watch)->culprit = keep(watch->report, &text);
}

static HdStatus *verify(Watch *watch, const PassStep *step, const IrGraph *graph)
{
    WbRecord *record = current(watch);
    HdStatus *status = watch->trace_error;
    double tolerance = wb_tolerance(step, graph);
    watch->trace_error = NULL;
    if (status || !watch->options->verify) return status;
    if (step->pass == PASS_specialise) status = verify_classes(watch, graph, &record->verdict);
    else if (watch->trace) record->verdict = wb_trace_compare(watch->trace, graph, tolerance);
    if (status || !record->verdict.failed) return status;
    HdBuf wrong = {0};
    if (record->verdict.op && record->verdict.op < graph->ops.len) {
        ir_names_update(watch->names);
        ir_names_op(watch->names, record->verdict.op, &wrong);
        if (ir_op(graph, record->verdict.op)->layer >= 0) hd_buf_printf(&wrong, " (layer %d)", ir_op(graph, record->verdict.op)->layer);
    }
    record->wrong = keep(watch->report, &wrong);
    if (watch->copy && watch->trace) find_culprit(watch, step, tolerance, NULL);
    return NULL;
}

// A failure that the verifier of graphs finds has no values to compare.
static void find_invalid(Watch *watch, const char *message)
{
    wb_trace_free(watch->trace);
    watch->trace = NULL;
    for (size_t i = 0; i < watch->pipeline.steps.len; i++) {
        const PassStep *step = &watch->pipeline.steps.data[i];
        if (step->pass == watch->step.pass && step->nth == watch->step.nth) find_culprit(watch, step, 0, message);
    }
}

static void forget(Watch *watch)
{
    ir_names_free(watch->names);
    ir_graph_free(watch->copy);
    wb_trace_free(watch->trace);
    hd_status_free(watch->trace_error);
    hd_buf_free(&watch->before);
    watch->names = NULL, watch->copy = NULL, watch->trace = NULL, watch->trace_error = NULL;
}

// ---- what a pass does --------------------------------------------------------------------------------------------

static void before_pass(void *user, const PassStep *step, const IrGraph *graph)
{
    Watch *watch = user;
    WbReport *report = watch->report;
    char name[PASS_STEP_NAME];
    if (!is_reported(watch->options, graph)) return;
    WbRecord record = {.step = hd_arena_printf(&report->arena, "%s", pass_step_name(step, name)), .graph = graph->name, .file = pass_file(step->pass)};
    if (watch->options->cost) take_costs(report, graph, record.before, record.costed);
    hd_vec_push(&report->records, record);
    watch->names = ir_names_new(graph);
    watch->named = graph->values.len;
    if (watch->options->diff) ir_names_graph(watch->names, &watch->before);
    if (watch->options->pictures) wb_picture_before(report, graph, watch->names);
    prepare_verify(watch, step, graph);
    watch->step = *step;
    watch->start = hd_seconds();
}

// A node that the pass has made itself gets its name now.
static void name_node(Watch *watch, const IrGraph *graph, const PassEvent *event)
{
    const IrOp *op = ir_op(graph, event->node);
    IrValue newest = HD_MAX(event->operand, op->result_count ? op->results[0] : op->operands[0]);
    if (newest < watch->named) return;
    ir_names_update(watch->names);
    watch->named = graph->values.len;
}

static void record_event(Watch *watch, const PassEvent *event)
{
    WbReport *report = watch->report;
    WbEvent said = {event->rule, event->fired, event->reason, "", "", -1};
    HdBuf node = {0}, operand = {0};
    if (event->node) {
        name_node(watch, event->graph, event);
        ir_names_op(watch->names, event->node, &node);
        said.layer = ir_op(event->graph, event->node)->layer;
    }
    if (event->operand) ir_names_value(watch->names, event->operand, &operand);
    said.node = keep(report, &node);
    said.operand = keep(report, &operand);
    if (wb_explains(watch->options, &said)) hd_vec_push(&current(watch)->events, said);
}

static bool on_event(void *user, const PassEvent *event)
{
    Watch *watch = user;
    if (!watch->names) return true;
    if (event->fired) watch->report->fired[event->rule]++, current(watch)->fired++;
    else watch->report->missed[event->rule][event->reason]++, current(watch)->missed++;
    if (watch->options->explain) record_event(watch, event);
    if (watch->options->pictures) wb_picture_event(watch->report, event);
    return true;
}

static void record_diff(Watch *watch, const IrGraph *graph)
{
    WbRecord *record = current(watch);
    HdBuf after = {0}, from = {0}, to = {0};
    ir_names_graph(watch->names, &after);
    hd_buf_printf(&from, "@%s before %s", graph->name, record->step);
    hd_buf_printf(&to, "@%s after %s", graph->name, record->step);
    wb_diff(text_of(&watch->before), text_of(&after), from.data, to.data, &record->diff);
    hd_buf_free(&after);
    hd_buf_free(&from);
    hd_buf_free(&to);
}

// As mlir-opt prints them, on standard error.
static void dump(const Watch *watch, const char *step, const IrGraph *graph)
{
    HdBuf text = {0};
    if (!is_reported(watch->options, graph)) return;
    ir_print_graph(graph, &text);
    fprintf(watch->options->dumps, "// -----// @%s after %s //----- //\n%s", graph->name, step, text.data);
    hd_buf_free(&text);
}

static bool is_dumped(const WbOptions *options, const char *step)
{
    bool found = false;
    for (size_t i = 0; i < options->print_after_count; i++)
        found = found || !strcmp(options->print_after[i], step) || !strcmp(options->print_after[i], "all");
    return found;
}

static HdStatus *after_pass(void *user, const PassStep *step, const IrGraph *graph)
{
    Watch *watch = user;
    double seconds = hd_seconds() - watch->start;
    if (!watch->names) return NULL;
    WbRecord *record = current(watch);
    record->seconds = seconds;
    if (watch->options->cost) take_costs(watch->report, graph, record->after, record->costed);
    ir_names_update(watch->names);
    if (watch->options->diff) record_diff(watch, graph);
    if (watch->options->pictures) wb_picture_after(watch->report, graph, watch->names, record);
    if (is_dumped(watch->options, record->step)) {
        dump(watch, record->step, graph);
        for (size_t i = 0; i < watch->module->graphs.len && step->pass == PASS_specialise; i++)   // what it has made
            if (watch->module->graphs.data[i] != graph) dump(watch, record->step, watch->module->graphs.data[i]);
    }
    HdStatus *status = verify(watch, step, graph);
    forget(watch);
    return status;
}

// ---- a run -------------------------------------------------------------------------------------------------------

static HdStatus *check_options(const PassPipeline *pipeline, const WbOptions *options)
{
    size_t index;
    for (size_t i = 0; i < options->print_after_count; i++)
        if (strcmp(options->print_after[i], "all") != 0) HD_TRY(pass_find_step(pipeline, "--print-after", options->print_after[i], &index));
    return options->explain ? wb_check_explain(options->explain_only) : NULL;
}

HdStatus *wb_run(IrModule *module, const PassConfig *config, const WbOptions *options, WbReport *out_report)
{
    Watch watch = {.module = module, .config = config, .options = options, .report = out_report};
    PassConfig watched = *config;
    *out_report = (WbReport){.options = options, .target = config->target};
    HD_TRY(pass_pipeline(config, &watch.pipeline));
    pass_pipeline_text(&watch.pipeline, &out_report->pipeline);
    for (int class = 0; class < WB_CLASS_COUNT; class++)
        out_report->at[class] = binding_of(module, &watch.pipeline, (WbClass)class, options->context);
    watched.before = before_pass, watched.event = on_event, watched.after = after_pass, watched.user = &watch;
    HdStatus *status = check_options(&watch.pipeline, options);
    if (!status) status = pass_run(module, &watched, NULL);
    if (status && watch.copy) find_invalid(&watch, hd_status_message(status));
    if (status && watch.copy && current(&watch)->culprit) status = hd_annotate(status, "%s", current(&watch)->culprit);
    forget(&watch);
    pass_pipeline_free(&watch.pipeline);
    return status;
}

HdStatus *wb_verified(const WbReport *report)
{
    char error[64];
    for (size_t i = 0; i < report->records.len; i++) {
        const WbRecord *record = &report->records.data[i];
        const WbVerdict *verdict = &record->verdict;
        if (!verdict->failed) continue;
        snprintf(error, sizeof error, "NMSE %.3g, allowed is %.3g", verdict->error, verdict->allowed);
        return hd_error(HD_MISMATCH, "%s%s%s on @%s changes values: %s%s%s: %s%s%s", record->file ? record->file : "", record->file ? ": " : "", record->step, record->graph, record->wrong,
                        record->wrong[0] && verdict->what[0] ? ", " : "", verdict->what, error, record->culprit ? "; " : "",
                        record->culprit ? record->culprit : "");
    }
    return NULL;
}

// A picture of a graph that no pass runs over.
static void show(WbReport *report, const IrGraph *graph, const WbRecord *record)
{
    IrNames *names = ir_names_new(graph);
    wb_picture_before(report, graph, names);
    wb_picture_after(report, graph, names, record);
    ir_names_free(names);
}

void wb_look(const IrModule *module, const WbOptions *options, WbReport *report)
{
    report->options = options;
    for (int class = 0; class < WB_CLASS_COUNT; class++)
        report->at[class] = binding_of(module, &(PassPipeline){0}, (WbClass)class, options->context);
    for (size_t i = 0; i < module->graphs.len; i++) {
        const IrGraph *graph = module->graphs.data[i];
        WbRecord record = {.step = "no pass", .graph = graph->name};
        if (!is_reported(options, graph)) continue;
        if (options->cost) {
            take_costs(report, graph, record.before, record.costed);
            memcpy(record.after, record.before, sizeof record.after);
            hd_vec_push(&report->records, record);
        }
        if (options->pictures) show(report, graph, &record);
    }
}

void wb_report_free(WbReport *report)
{
    for (size_t i = 0; i < report->records.len; i++) {
        hd_vec_free(&report->records.data[i].events);
        hd_buf_free(&report->records.data[i].diff);
    }
    hd_vec_free(&report->records);
    hd_vec_free(&report->steps);
    hd_buf_free(&report->pipeline);
    wb_pictures_free(report);
    hd_arena_free(&report->arena);
}
