// SPDX-License-Identifier: Apache-2.0
// The graphs between passes, as the page draws them (page/data.js tells the form). An operation, or a value without one, is a record: a JSON object in which values
// are numbers of the graph (IrValue), which no pass changes. Equal records are one, and a graph at some moment, a shot, is a list of numbers of records: what a pass
// did is which numbers differ. Names in print change from pass to pass, and are lists of their own.
#include "passes/workbench/json.h"
#include "passes/workbench/workbench.h"

#include <stdlib.h>
#include <string.h>

// What was seen of one graph.
typedef struct Picture {
    const char *name;
    WbClass class;                         // whose step costs are for
    HdMap numbers;                         // of records, by their text
    HD_VEC(const char *) records, shots;
    HdBuf steps, names, events;            // JSON; of the pass under way: names before it, and what happened since
    HD_VEC(IrValue) heirs;                 // by value: its heir before that pass
} Picture;
typedef struct WbAlbum { HD_VEC(Picture) pictures; } WbAlbum;

// A graph as it is being written down.
typedef struct Writer {
    WbReport *report;
    Picture *picture;
    const IrGraph *graph;
    IrBinding bound;                       // what its places in the arena are for
} Writer;

static HdArena *arena(const Writer *w) { return &w->report->arena; }
static const IrBinding *at(const Writer *w) { return &w->report->at[w->picture->class]; }

static Picture *find_picture(WbReport *report, const IrGraph *graph)
{
    WbClass class = WB_DECODE;
    if (!report->album) report->album = hd_xcalloc(1, sizeof *report->album);
    for (size_t i = 0; i < report->album->pictures.len; i++)
        if (!strcmp(report->album->pictures.data[i].name, graph->name)) return &report->album->pictures.data[i];
    for (int c = 0; c < WB_CLASS_COUNT; c++) {     // of @model: the class that is asked for
        bool asked = report->options->graph && !strcmp(report->options->graph, wb_class_name((WbClass)c)) && !strcmp(graph->name, "model");
        if (asked || !strcmp(graph->name, wb_class_name((WbClass)c))) class = (WbClass)c;
    }
    hd_vec_push(&report->album->pictures, ((Picture){.name = graph->name, .class = class}));
    return &report->album->pictures.data[report->album->pictures.len - 1];
}

static Writer writer(WbReport *report, const IrGraph *graph)
{
    Writer w = {report, find_picture(report, graph), graph, {{1, 1, 1, 1}}};
    ir_graph_bound(graph, &w.bound);
    return w;
}

// ---- JSON --------------------------------------------------------------------------------------------------------

static void put_text(const char *text, HdBuf *out) { hd_buf_json(out, hd_str(text), false); }

// Commas between the elements of a list that begins at `start`.
static void put_comma(size_t start, HdBuf *out) { hd_buf_str(out, out->len > start ? ", " : ""); }

static void put_list(const char *key, const uint32_t *numbers, size_t count, HdBuf *out)
{
    wb_put_key(key, out);
    hd_buf_str(out, "[");
    for (size_t i = 0; i < count; i++) hd_buf_printf(out, "%s%u", i ? ", " : "", numbers[i]);
    hd_buf_str(out, "]");
}

static void put_type(const Writer *w, const IrType *type, HdBuf *out)
{
    HdBuf text = {0};
    ir_print_type(w->graph, type, &text);
    put_text(text.data, out);
    hd_buf_free(&text);
}

static const char *keep(HdArena *arena, HdBuf *text)
{
    const char *kept = text->len ? hd_arena_strndup(arena, text->data, text->len) : "";
    hd_buf_free(text);
    return kept;
}

// ---- records -----------------------------------------------------------------------------------------------------

static uint32_t record_number(Writer *w, HdBuf *text)
{
    uint32_t number;
    Picture *picture = w->picture;
    if (!hd_map_get(&picture->numbers, (HdStr){text->data, text->len}, &number)) {
        HdStr key = {NULL, text->len};
        number = (uint32_t)picture->records.len;
        key.data = keep(arena(w), text);
        hd_map_put(&picture->numbers, key, number);
        hd_vec_push(&picture->records, key.data);
    }
    hd_buf_free(text);
    return number;
}

// [value, type, bytes in a step], and of one that has a place in the arena where it begins and how many bytes it has there.
static void put_value(const Writer *w, IrValue value, HdBuf *out)
{
    const IrValueData *data = ir_value(w->graph, value);
    hd_buf_printf(out, "[%u, ", value);
    put_type(w, &data->type, out);
    hd_buf_printf(out, ", %lld", (long long)ir_type_bytes(w->graph, &data->type, at(w)));
    if (data->offset >= 0) hd_buf_printf(out, ", %lld, %lld", (long long)data->offset, (long long)ir_type_bytes(w->graph, &data->type, &w->bound));
    hd_buf_str(out, "]");
}

static void put_values(const Writer *w, const char *key, const IrValue *values, size_t count, HdBuf *out)
{
    wb_put_key(key, out);
    hd_buf_str(out, "[");
    for (size_t i = 0; i < count; i++) {
        hd_buf_str(out, i ? ", " : "");
        put_value(w, values[i], out);
    }
    hd_buf_str(out, "]");
}

static uint32_t op_record(Writer *w, IrOpRef ref);

static void put_region(Writer *w, const IrOp *op, HdBuf *out)
{
    const IrBlockData *region = &w->graph->blocks.data[op->region];
    IrGroup kind;
    bool known = ir_op_group(op, &kind);
    HD_VEC(uint32_t) members = {0};
    IR_FOR_OPS(w->graph, op->region, ref) hd_vec_push(&members, op_record(w, ref));
    if (known) {
        wb_put_text("group", ir_group_name(kind), out);
        wb_put_integer("later", ir_group_later(w->report->target, kind), out);
    }
    put_values(w, "args", region->args.data, region->args.len, out);
    put_list("body", members.data, members.len, out);
    put_list("yield", region->yields.data, region->yields.len, out);
    hd_vec_free(&members);
}

static uint32_t op_record(Writer *w, IrOpRef ref)
{
    const IrOp *op = ir_op(w->graph, ref);
    HdBuf text = {0}, attrs = {0};
    hd_buf_printf(&text, "{\"op\": %u", ref);
    wb_put_text("kind", ir_op_info(op->kind)->name, &text);
    put_list("in", op->operands, op->operand_count, &text);
    put_values(w, "out", op->results, op->result_count, &text);
    ir_print_attrs(op, &attrs);
    wb_put_text("attrs", attrs.len ? attrs.data : "", &text);
    hd_buf_free(&attrs);
    if (op->layer >= 0) wb_put_integer("layer", op->layer, &text);
    if (op->stage >= 0) wb_put_integer("stage", op->stage, &text);
    if (op->block == 0) {
        IrCost cost = ir_op_cost(w->graph, ref, at(w));
        wb_put_number("read", cost.bytes_read, &text);
        wb_put_number("written", cost.bytes_written, &text);
        wb_put_number("flops", cost.flops, &text);
    }
    if (op->region) put_region(w, op, &text);
    hd_buf_str(&text, "}");
    return record_number(w, &text);
}

static bool is_source(const IrGraph *graph, IrValue value)
{
    IrValueKind kind = ir_value(graph, value)->kind;
    return kind != IR_VALUE_RESULT && kind != IR_VALUE_ARG && ir_use_count(graph, value) > 0;
}

static uint32_t source_record(Writer *w, IrValue value)
{
    static const char *const kinds[] = {[IR_VALUE_INPUT] = "input", [IR_VALUE_WEIGHT] = "weight", [IR_VALUE_STATE] = "state"};
    const IrValueData *data = ir_value(w->graph, value);
    HdBuf text = {0}, printed = {0};
    ir_print_source(w->graph, value, &printed);
    hd_buf_printf(&text, "{\"value\": %u, \"source\": \"%s\"", value, kinds[data->kind]);
    wb_put_text("name", data->name ? data->name : "", &text);
    wb_put_key("type", &text);
    put_type(w, &data->type, &text);
    wb_put_integer("bytes", ir_type_bytes(w->graph, &data->type, at(w)), &text);
    wb_put_text("text", printed.data, &text);
    hd_buf_str(&text, "}");
    hd_buf_free(&printed);
    return record_number(w, &text);
}

// ---- shots -------------------------------------------------------------------------------------------------------

static void put_results(const IrGraph *graph, HdBuf *out)
{
    wb_put_key("results", out);
    hd_buf_str(out, "[");
    for (size_t i = 0; i < graph->results.len; i++) {
        hd_buf_str(out, i ? ", [" : "[");
        put_text(graph->results.data[i].name, out);
        hd_buf_printf(out, ", %u]", graph->results.data[i].value);
    }
    hd_buf_str(out, "]");
}

static void put_dims(const IrGraph *graph, HdBuf *out)
{
    wb_put_key("dims", out);
    hd_buf_str(out, "[");
    for (size_t i = IR_SYM_BASE_COUNT; i < graph->syms.len; i++) {
        HdBuf expr = {0};
        ir_print_expr(&graph->syms.data[i].expr, &expr);
        hd_buf_str(out, i > IR_SYM_BASE_COUNT ? ", [" : "[");
        put_text(graph->syms.data[i].name, out);
        hd_buf_str(out, ", ");
        put_text(expr.data, out);
        hd_buf_str(out, "]");
        hd_buf_free(&expr);
    }
    hd_buf_str(out, "]");
}

static void put_seconds(const WbSeconds *seconds, HdBuf *out)
{
    wb_put_key("seconds", out);
    hd_buf_str(out, "[");
    for (size_t i = 0; i < seconds->len; i++) {
        hd_buf_str(out, i ? ", " : "");
        hd_buf_f64(out, seconds->data[i]);
    }
    hd_buf_str(out, "]");
}

// The number of the shot: the last one's, where the graph has not changed.
static size_t take_shot(Writer *w)
{
    WbSeconds seconds = {0};
    WbCost cost = wb_graph_cost(w->graph, at(w), w->report->options->device, &seconds);
    Picture *picture = w->picture;
    HdBuf text = {0};
    HD_VEC(uint32_t) items = {0};
    for (IrValue v = 1; v < w->graph->values.len; v++)
        if (is_source(w->graph, v)) hd_vec_push(&items, source_record(w, v));
    IR_FOR_OPS(w->graph, 0, ref) hd_vec_push(&items, op_record(w, ref));
    hd_buf_str(&text, "{");
    put_list("items", items.data, items.len, &text);
    put_results(w->graph, &text);
    put_dims(w->graph, &text);
    wb_put_integer("arena", w->graph->arena_bytes, &text);
    hd_buf_str(&text, ", ");
    wb_print_cost_json("cost", &cost, &text);
    if (w->report->options->device) put_seconds(&seconds, &text);
    hd_buf_str(&text, "}");
    hd_vec_free(&items);
    hd_vec_free(&seconds);
    if (!picture->shots.len || strcmp(picture->shots.data[picture->shots.len - 1], text.data) != 0) hd_vec_push(&picture->shots, keep(arena(w), &text));
    hd_buf_free(&text);
    return picture->shots.len - 1;
}

// ---- names -------------------------------------------------------------------------------------------------------
// The numbers in names ("%w12": 12) of sources but inputs, and of each operation its results, then its region's arguments and operations: the order in which the page
// meets them.

static void put_name(const IrNames *names, IrValue value, size_t start, HdBuf *out)
{
    HdBuf name = {0};
    ir_names_value(names, value, &name);
    put_comma(start, out);
    hd_buf_str(out, name.data + strcspn(name.data, "0123456789"));
    hd_buf_free(&name);
}

static void put_block_names(const IrGraph *graph, const IrNames *names, IrBlock block, size_t start, HdBuf *out)
{
    IR_FOR_OPS(graph, block, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        for (uint32_t i = 0; i < op->result_count; i++) put_name(names, op->results[i], start, out);
        if (!op->region) continue;
        const IrBlockData *region = &graph->blocks.data[op->region];
        for (size_t i = 0; i < region->args.len; i++) put_name(names, region->args.data[i], start, out);
        put_block_names(graph, names, op->region, start, out);
    }
}

static void put_names(const IrGraph *graph, const IrNames *names, HdBuf *out)
{
    size_t start = out->len + 1;
    hd_buf_str(out, "[");
    for (IrValue v = 1; v < graph->values.len; v++)
        if (is_source(graph, v) && ir_value(graph, v)->kind != IR_VALUE_INPUT) put_name(names, v, start, out);
    put_block_names(graph, names, 0, start, out);
    hd_buf_str(out, "]");
}

// ---- a pass ------------------------------------------------------------------------------------------------------

static void keep_heirs(Picture *picture, const IrGraph *graph)
{
    picture->heirs.len = 0;
    for (IrValue v = 0; v < graph->values.len; v++) hd_vec_push(&picture->heirs, ir_value(graph, v)->heir);
}

// A value, and what has taken its place since.
static void put_heirs(const Picture *picture, const IrGraph *graph, HdBuf *out)
{
    wb_put_key("heirs", out);
    hd_buf_str(out, "[");
    size_t start = out->len;
    for (IrValue v = 1; v < graph->values.len; v++) {
        IrValue heir = ir_value(graph, v)->heir;
        if (heir == (v < picture->heirs.len ? picture->heirs.data[v] : 0)) continue;
        put_comma(start, out);
        hd_buf_printf(out, "[%u, %u]", v, heir);
    }
    hd_buf_str(out, "]");
}

void wb_picture_before(WbReport *report, const IrGraph *graph, const IrNames *names)
{
    Writer w = writer(report, graph);
    if (!w.picture->shots.len) take_shot(&w);
    w.picture->names.len = w.picture->events.len = 0;
    put_names(graph, names, &w.picture->names);
    keep_heirs(w.picture, graph);
}

// [operation (0: the graph), rule, what is to say of it, value that was in the way (0: none)]; "" is to say of one that fired.
void wb_picture_event(WbReport *report, const PassEvent *event)
{
    HdBuf *events = &find_picture(report, event->graph)->events;
    put_comma(0, events);
    hd_buf_printf(events, "[%u, ", event->node);
    put_text(pass_rule_name(event->rule), events);
    hd_buf_str(events, ", ");
    put_text(event->fired ? "" : pass_missed_info(event->reason)->text, events);
    hd_buf_printf(events, ", %u]", event->operand);
}

void wb_picture_after(WbReport *report, const IrGraph *graph, const IrNames *names, const WbRecord *record)
{
    Writer w = writer(report, graph);
    HdBuf *out = &w.picture->steps;
    size_t before = w.picture->shots.len - 1, after = take_shot(&w);
    hd_buf_str(out, out->len ? ",\n{" : "{");
    wb_put_text("pass", record->step, out);
    wb_put_integer("before", (int64_t)before, out);
    wb_put_integer("after", (int64_t)after, out);
    wb_put_key("names", out);
    hd_buf_printf(out, "[%s,\n", w.picture->names.data);
    put_names(graph, names, out);
    hd_buf_str(out, "]");
    put_heirs(w.picture, graph, out);
    hd_buf_printf(out, ",\n\"events\": [%s]}", w.picture->events.len ? w.picture->events.data : "");
}

// ---- all ---------------------------------------------------------------------------------------------------------

static void put_all(const char *key, const char *const *texts, size_t count, HdBuf *out)
{
    wb_put_key(key, out);
    hd_buf_str(out, "[");
    for (size_t i = 0; i < count; i++) hd_buf_printf(out, "%s%s", i ? ",\n" : "", texts[i]);
    hd_buf_str(out, "]");
}

void wb_print_pictures(const WbReport *report, HdBuf *out_json)
{
    hd_buf_str(out_json, "[");
    for (size_t i = 0; report->album && i < report->album->pictures.len; i++) {
        const Picture *picture = &report->album->pictures.data[i];
        const int64_t *at = report->at[picture->class].value;
        hd_buf_str(out_json, i ? ",\n{" : "{");
        wb_put_text("name", picture->name, out_json);
        wb_put_text("class", wb_class_name(picture->class), out_json);
        wb_put_key("at", out_json);
        hd_buf_printf(out_json, "[%lld, %lld, %lld, %lld]", (long long)at[IR_SYM_T], (long long)at[IR_SYM_S], (long long)at[IR_SYM_C], (long long)at[IR_SYM_R]);
        put_all("records", picture->records.data, picture->records.len, out_json);
        put_all("shots", picture->shots.data, picture->shots.len, out_json);
        hd_buf_printf(out_json, ",\n\"steps\": [%s]}", picture->steps.len ? picture->steps.data : "");
    }
    hd_buf_str(out_json, "]");
}

void wb_pictures_free(WbReport *report)
{
    for (size_t i = 0; report->album && i < report->album->pictures.len; i++) {
        Picture *picture = &report->album->pictures.data[i];
        hd_map_free(&picture->numbers);
        hd_vec_free(&picture->records);
        hd_vec_free(&picture->shots);
        hd_buf_free(&picture->steps);
        hd_buf_free(&picture->names);
        hd_buf_free(&picture->events);
        hd_vec_free(&picture->heirs);
    }
    if (report->album) hd_vec_free(&report->album->pictures);
    free(report->album);
    report->album = NULL;
}
