// SPDX-License-Identifier: Apache-2.0
// A report as text and as JSON.
#include "passes/workbench/json.h"
#include "passes/workbench/workbench.h"

#include <string.h>

#define RED "\033[31m"
#define GREEN "\033[32m"
#define CYAN "\033[36m"
#define BOLD "\033[1m"
#define PLAIN "\033[0m"

static const char *colour(const WbPrint *print, const char *code) { return print->colour ? code : ""; }

// ---- text --------------------------------------------------------------------------------------------------------

static void put_event(const WbEvent *event, const WbPrint *print, HdBuf *out)
{
    const char *rule = pass_rule_info(event->rule)->name;
    if (event->fired) hd_buf_printf(out, "  %sfired%s   %-16s", colour(print, GREEN), colour(print, PLAIN), rule);
    else hd_buf_printf(out, "  %smissed%s  %-16s", colour(print, RED), colour(print, PLAIN), rule);
    if (event->layer >= 0) hd_buf_printf(out, " layer %d", event->layer);
    if (event->node[0]) hd_buf_printf(out, " %s", event->node);
    if (!event->fired) hd_buf_printf(out, ": %s", pass_missed_info(event->reason)->text);
    if (event->operand[0]) hd_buf_printf(out, " (%s)", event->operand);
    hd_buf_str(out, "\n");
}

static void put_events(const WbReport *report, const WbRecord *record, const WbPrint *print, HdBuf *out)
{
    const char *only = report->options->explain_only;
    if (only && only[0] && !record->events.len) return;
    hd_buf_printf(out, "%s%s on @%s%s: %u fired, %u missed\n", colour(print, BOLD), record->step, record->graph, colour(print, PLAIN), record->fired,
                  record->missed);
    for (size_t i = 0; i < record->events.len; i++) put_event(&record->events.data[i], print, out);
}

static const char *line_colour(const char *line)
{
    if (!strncmp(line, "---", 3) || !strncmp(line, "+++", 3)) return BOLD;
    return line[0] == '-' ? RED : line[0] == '+' ? GREEN : line[0] == '@' ? CYAN : "";
}

static void put_diff(const char *text, const WbPrint *print, HdBuf *out)
{
    for (size_t len; *text; text += len) {
        len = strcspn(text, "\n");
        const char *code = colour(print, line_colour(text));
        hd_buf_printf(out, "%s%.*s%s\n", code, (int)len, text, code[0] ? PLAIN : "");
        len += text[len] == '\n';
    }
}

// The columns of costs: what one is called in JSON and in a table, there its unit, and where it stands.
static const struct {
    const char *key, *name, *unit;
    double factor;
    size_t offset;
} columns[] = {
    {"launches", "launches", "", 1, offsetof(WbCost, launches)},
    {"bytes_read", "read", "KB", 1e-3, offsetof(WbCost, bytes_read)},
    {"bytes_written", "written", "KB", 1e-3, offsetof(WbCost, bytes_written)},
    {"flops", "flops", "M", 1e-6, offsetof(WbCost, flops)},
    {"arena", "arena", "KB", 1e-3, offsetof(WbCost, arena)},
    {"seconds", "time", "us", 1e6, offsetof(WbCost, seconds)},
};

// Without a device there is no time.
static size_t column_count(const WbReport *report) { return HD_COUNT(columns) - !report->options->device; }

static double column(const WbCost *cost, size_t c)
{
    double value;
    memcpy(&value, (const char *)cost + columns[c].offset, sizeof value);
    return value;
}

static void put_cost(const WbReport *report, const char *what, const WbCost *from, const WbCost *to, HdBuf *out)
{
    hd_buf_printf(out, "  %-24s", what);
    for (size_t c = 0; c < column_count(report); c++) {
        double value = (column(to, c) - (from ? column(from, c) : 0)) * columns[c].factor;
        char number[40];
        snprintf(number, sizeof number, from ? "%+.*f" : "%.*f", columns[c].factor != 1, value);
        hd_buf_printf(out, " %14s", from && value == 0 ? "." : number);
    }
    hd_buf_str(out, "\n");
}

static void put_cost_table(const WbReport *report, WbClass class, HdBuf *out)
{
    const WbCost *first = NULL, *last = NULL;
    const int64_t *at = report->at[class].value;
    for (size_t i = 0; i < report->records.len; i++) {
        const WbRecord *record = &report->records.data[i];
        if (!record->costed[class]) continue;
        if (!first) {
            first = &record->before[class];
            hd_buf_printf(out, "cost of a step of @%s: T = %lld, S = 1, C = %lld, R = 1\n  %-24s", wb_class_name(class), (long long)at[IR_SYM_T],
                          (long long)at[IR_SYM_C], "");
            for (size_t c = 0; c < column_count(report); c++) {
                char head[40];
                snprintf(head, sizeof head, "%s%s%s", columns[c].name, columns[c].unit[0] ? ", " : "", columns[c].unit);
                hd_buf_printf(out, " %14s", head);
            }
            hd_buf_str(out, "\n");
            put_cost(report, "at the beginning", NULL, first, out);
        }
        last = &record->after[class];
        put_cost(report, record->step, &record->before[class], last, out);
    }
    if (!first) return;
    put_cost(report, "at the end", NULL, last, out);
    put_cost(report, "change", first, last, out);
    for (size_t i = 0; i < report->steps.len; i++) {
        const WbStep *step = &report->steps.data[i];
        if (strcmp(step->graph, wb_class_name(class)) != 0) continue;
        hd_buf_printf(out, "  compiled: %.0f launches in %.0f stages, which move %.1f KB\n", step->launches, step->stages, step->bytes * 1e-3);
    }
}

static void put_verdicts(const WbReport *report, const WbPrint *print, HdBuf *out)
{
    hd_buf_str(out, "values before and after each pass: how many, and the largest NMSE\n");
    for (size_t i = 0; i < report->records.len; i++) {
        const WbRecord *record = &report->records.data[i];
        const WbVerdict *verdict = &record->verdict;
        if (!verdict->ran) continue;
        if (!verdict->failed) {
            hd_buf_printf(out, "  %sright%s  %8llu  %-10.3g %s on @%s\n", colour(print, GREEN), colour(print, PLAIN), (unsigned long long)verdict->compared,
                          verdict->worst, record->step, record->graph);
            continue;
        }
        hd_buf_printf(out, "  %sWRONG%s  %8llu  %-10.3g %s on @%s: %s%s%s\n", colour(print, RED), colour(print, PLAIN), (unsigned long long)verdict->compared,
                      verdict->error, record->step, record->graph, record->wrong, record->wrong[0] && verdict->what[0] ? ", " : "", verdict->what);
        if (record->culprit) hd_buf_printf(out, "         by %s\n", record->culprit);
    }
}

static bool wants_class(const WbReport *report, WbClass class)
{
    return !report->options->graph || !strcmp(report->options->graph, wb_class_name(class)) || !strcmp(report->options->graph, "model");
}

static void put_device(const HdFigures *device, HdBuf *out)
{
    hd_buf_printf(out, "times are predicted for %s\n", device->name);
    for (int f = 0; f < HD_FIGURE_COUNT; f++) {
        if (device->source[f][0]) hd_buf_printf(out, "  %-16s %-10.6g %s\n", hd_figure_name((HdFigure)f), device->value[f], device->source[f]);
        else hd_buf_printf(out, "  %-16s not known, and not counted\n", hd_figure_name((HdFigure)f));
    }
    if (device->kernel_count) hd_buf_printf(out, "  and the figures of %u kernels\n", device->kernel_count);
}

static void put_timing(const WbReport *report, HdBuf *out)
{
    double total = 0;
    for (size_t i = 0; i < report->records.len; i++) total += report->records.data[i].seconds;
    hd_buf_printf(out, "time of passes and the verifier behind each: %.3f ms\n", total * 1e3);
    for (size_t i = 0; i < report->records.len; i++) {
        const WbRecord *record = &report->records.data[i];
        hd_buf_printf(out, "  %9.3f ms %5.1f%%  %s on @%s\n", record->seconds * 1e3, total > 0 ? record->seconds / total * 100 : 0, record->step,
                      record->graph);
    }
}

void wb_print_text(const WbReport *report, const WbPrint *print, HdBuf *out_text)
{
    hd_buf_bytes(out_text, "", 0);
    for (size_t i = 0; i < report->records.len; i++) {
        const WbRecord *record = &report->records.data[i];
        if (report->options->explain) put_events(report, record, print, out_text);
        if (record->diff.data) put_diff(record->diff.data, print, out_text);
    }
    for (int class = 0; class < WB_CLASS_COUNT; class++)
        if (report->options->cost && wants_class(report, (WbClass)class)) put_cost_table(report, (WbClass)class, out_text);
    if (report->options->cost && report->options->device) put_device(report->options->device, out_text);
    if (report->options->verify) put_verdicts(report, print, out_text);
    if (print->timing) put_timing(report, out_text);
}

// ---- JSON --------------------------------------------------------------------------------------------------------

static void put_event_json(const WbEvent *event, HdBuf *out)
{
    hd_buf_str(out, "{");
    wb_put_text("rule", pass_rule_info(event->rule)->name, out);
    hd_buf_printf(out, ", \"fired\": %s", event->fired ? "true" : "false");
    wb_put_text("node", event->node, out);
    if (event->layer >= 0) hd_buf_printf(out, ", \"layer\": %d", event->layer);
    if (!event->fired) {
        wb_put_text("reason", pass_missed_info(event->reason)->name, out);
        wb_put_text("text", pass_missed_info(event->reason)->text, out);
    }
    if (event->operand[0]) wb_put_text("operand", event->operand, out);
    hd_buf_str(out, "}");
}

void wb_print_cost_json(const char *key, const WbCost *cost, HdBuf *out_text)
{
    hd_buf_printf(out_text, "\"%s\": {", key);
    for (size_t c = 0; c < HD_COUNT(columns) - !(cost->seconds > 0); c++) wb_put_number(columns[c].key, column(cost, c), out_text);
    hd_buf_str(out_text, "}");
}

static void put_costs_json(const WbReport *report, const WbRecord *record, HdBuf *out)
{
    const char *before = "";
    hd_buf_str(out, ", \"cost\": {");
    for (int class = 0; class < WB_CLASS_COUNT; class++) {
        if (!record->costed[class] || !wants_class(report, (WbClass)class)) continue;
        hd_buf_printf(out, "%s\"%s\": {", before, wb_class_name((WbClass)class));
        wb_print_cost_json("before", &record->before[class], out);
        hd_buf_str(out, ", ");
        wb_print_cost_json("after", &record->after[class], out);
        hd_buf_str(out, "}");
        before = ", ";
    }
    hd_buf_str(out, "}");
}

static void put_verdict_json(const WbRecord *record, HdBuf *out)
{
    const WbVerdict *verdict = &record->verdict;
    hd_buf_printf(out, ", \"values\": {\"right\": %s, \"compared\": %llu", verdict->failed ? "false" : "true", (unsigned long long)verdict->compared);
    wb_put_number("nmse", verdict->failed ? verdict->error : verdict->worst, out);
    if (verdict->failed) {
        wb_put_text("node", record->wrong, out);
        wb_put_text("what", verdict->what, out);
        wb_put_text("rewrite", record->culprit ? record->culprit : "", out);
    }
    hd_buf_str(out, "}");
}

static void put_record_json(const WbReport *report, const WbRecord *record, const WbPrint *print, HdBuf *out)
{
    hd_buf_str(out, "{");
    wb_put_text("pass", record->step, out);
    wb_put_text("graph", record->graph, out);
    hd_buf_printf(out, ", \"fired\": %u, \"missed\": %u", record->fired, record->missed);
    if (print->timing) wb_put_number("seconds", record->seconds, out);
    if (report->options->explain) {
        hd_buf_str(out, ", \"events\": [");
        for (size_t i = 0; i < record->events.len; i++) {
            hd_buf_str(out, i ? ",\n    " : "\n    ");
            put_event_json(&record->events.data[i], out);
        }
        hd_buf_str(out, "]");
    }
    if (report->options->diff) wb_put_text("diff", record->diff.data ? record->diff.data : "", out);
    if (report->options->cost) put_costs_json(report, record, out);
    if (record->verdict.ran) put_verdict_json(record, out);
    hd_buf_str(out, "}");
}

static void put_step_json(const WbStep *step, HdBuf *out)
{
    const struct { const char *name; double value; } numbers[] = {{"tokens", step->tokens}, {"launches", step->launches}, {"stages", step->stages},
                                                                  {"bytes", step->bytes}, {"flops", step->flops}, {"arena", step->arena}};
    hd_buf_printf(out, "\n  \"%s\": {", step->graph);
    for (size_t i = 0; i < HD_COUNT(numbers); i++) wb_put_number(numbers[i].name, numbers[i].value, out);
    hd_buf_str(out, "}");
}

void wb_print_json(const WbReport *report, const WbPrint *print, HdBuf *out_text)
{
    hd_buf_str(out_text, "{");
    wb_put_text("target", report->target->name, out_text);
    wb_put_text("pipeline", report->pipeline.data ? report->pipeline.data : "", out_text);
    hd_buf_str(out_text, ",\n \"passes\": [");
    for (size_t i = 0; i < report->records.len; i++) {
        hd_buf_str(out_text, i ? ",\n  " : "\n  ");
        put_record_json(report, &report->records.data[i], print, out_text);
    }
    hd_buf_str(out_text, "]");
    for (size_t i = 0; i < report->steps.len; i++) {
        hd_buf_str(out_text, i ? "," : ",\n \"steps\": {");
        put_step_json(&report->steps.data[i], out_text);
    }
    hd_buf_str(out_text, report->steps.len ? "}}\n" : "}\n");
}
