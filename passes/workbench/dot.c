// SPDX-License-Identifier: Apache-2.0
// Graphs for Graphviz. Nodes are operations; weights, states and inputs stand in the labels of those that read them. A dashed edge is a state that one operation
// writes and a later one reads.
#include "passes/workbench/workbench.h"

#include <stdlib.h>
#include <string.h>

typedef struct Drawing {
    const IrGraph *graph;
    const IrNames *names;
    size_t number;                         // of the graph in its module
    IrOpRef *writer;                       // of each state: the last operation that has written it
    HdBuf *out;
} Drawing;

// For a label in double quotes: ASCII, with the escapes that a .hir has, since a backslash would be one of Graphviz's, as would the name of a character behind an "&".
static void put_escaped(const char *text, HdBuf *out)
{
    for (const char *at = text; *at; at++) {
        unsigned char c = (unsigned char)*at;
        if (c == '"' || c == '\\') hd_buf_printf(out, c == '"' ? "\\\"" : "\\\\");
        else if (c == '&') hd_buf_str(out, "&amp;");
        else if (c < 0x20 || c >= 0x7f) hd_buf_printf(out, "\\\\x%02x", c);
        else hd_buf_bytes(out, at, 1);
    }
}

// Text of the IR, for a string in double quotes.
static void take_escaped(HdBuf *text, HdBuf *out)
{
    put_escaped(text->data ? text->data : "", out);
    hd_buf_free(text);
}

// The operation that makes a value, inside its group; 0: none does.
static IrOpRef maker(const IrGraph *graph, IrValue value)
{
    for (;;) {
        const IrValueData *data = ir_value(graph, value = ir_source(graph, value));
        if (data->kind != IR_VALUE_RESULT) return 0;
        const IrOp *op = ir_op(graph, data->op);
        if (!op->region) return data->op;
        value = graph->blocks.data[op->region].yields.data[data->index];
    }
}

// ---- nodes -------------------------------------------------------------------------------------------------------

static void put_source_line(const Drawing *d, IrValue operand)
{
    HdBuf text = {0};
    IrValue value = ir_source(d->graph, operand);
    if (ir_value(d->graph, value)->kind == IR_VALUE_RESULT) return;
    ir_print_source(d->graph, value, &text);
    hd_buf_str(d->out, "\\n");
    take_escaped(&text, d->out);
}

static void put_node(const Drawing *d, IrOpRef ref)
{
    const IrOp *op = ir_op(d->graph, ref);
    HdBuf name = {0}, attrs = {0};
    ir_names_op(d->names, ref, &name);
    ir_print_attrs(op, &attrs);
    hd_buf_printf(d->out, "      g%zu_op%u [label=\"", d->number, ref);
    take_escaped(&name, d->out);
    take_escaped(&attrs, d->out);
    for (uint32_t i = 0; i < op->operand_count; i++) put_source_line(d, op->operands[i]);
    for (uint32_t i = 0; i < op->result_count; i++) {
        HdBuf type = {0};
        ir_print_type(d->graph, &ir_value(d->graph, op->results[i])->type, &type);
        hd_buf_str(d->out, "\\n");
        take_escaped(&type, d->out);
    }
    hd_buf_str(d->out, "\"]\n");
}

static void put_group(const Drawing *d, IrOpRef ref)
{
    HdBuf name = {0}, attrs = {0};
    ir_names_op(d->names, ref, &name);
    ir_print_attrs(ir_op(d->graph, ref), &attrs);
    hd_buf_printf(d->out, "    subgraph cluster_g%zu_op%u {\n      label=\"", d->number, ref);
    take_escaped(&name, d->out);
    take_escaped(&attrs, d->out);
    hd_buf_str(d->out, "\"\n      style=\"filled,rounded\"\n      fillcolor=\"#e8eef7\"\n");
    IR_FOR_OPS(d->graph, ir_op(d->graph, ref)->region, member) put_node(d, member);
    hd_buf_str(d->out, "    }\n");
}

// ---- edges -------------------------------------------------------------------------------------------------------

static void put_edge(const Drawing *d, IrOpRef from, IrOpRef to, const char *attributes)
{
    if (from && from != to) hd_buf_printf(d->out, "    g%zu_op%u -> g%zu_op%u%s\n", d->number, from, d->number, to, attributes);
}

static void put_edges(const Drawing *d, IrOpRef ref)
{
    const IrOp *op = ir_op(d->graph, ref);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        IrValue value = ir_source(d->graph, op->operands[i]);
        put_edge(d, maker(d->graph, value), ref, "");
        if (ir_value(d->graph, value)->kind == IR_VALUE_STATE) put_edge(d, d->writer[value], ref, " [style=dashed]");
    }
    for (uint32_t i = 0; i < op->operand_count && ir_op_info(op->kind)->effect & IR_EFFECT_WRITE; i++) {
        IrValue value = ir_source(d->graph, op->operands[i]);
        if (ir_value(d->graph, value)->kind == IR_VALUE_STATE) d->writer[value] = ref;
    }
}

// ---- graphs ------------------------------------------------------------------------------------------------------

static void put_graph(const Drawing *d)
{
    hd_buf_printf(d->out, "  subgraph cluster_g%zu {\n    label=\"@", d->number);
    put_escaped(d->graph->name, d->out);
    hd_buf_str(d->out, "\"\n");
    IR_FOR_OPS(d->graph, 0, ref)
    {
        if (ir_op(d->graph, ref)->region) put_group(d, ref);
        else put_node(d, ref);
    }
    IR_FOR_OPS(d->graph, 0, ref)
    {
        IrBlock region = ir_op(d->graph, ref)->region;
        if (!region) put_edges(d, ref);
        else IR_FOR_OPS(d->graph, region, member) put_edges(d, member);
    }
    hd_buf_str(d->out, "  }\n");
}

void wb_print_dot(const IrModule *module, HdBuf *out_text)
{
    hd_buf_str(out_text, "digraph \"");
    put_escaped(module->name, out_text);
    hd_buf_str(out_text, "\" {\n  node [shape=box, style=filled, fillcolor=white, fontname=\"monospace\", fontsize=10]\n  graph [fontname=\"monospace\", fontsize=11]\n");
    for (size_t i = 0; i < module->graphs.len; i++) {
        const IrGraph *graph = module->graphs.data[i];
        IrNames *names = ir_names_new(graph);
        Drawing drawing = {graph, names, i, hd_xcalloc(graph->values.len, sizeof(IrOpRef)), out_text};
        put_graph(&drawing);
        free(drawing.writer);
        ir_names_free(names);
    }
    hd_buf_str(out_text, "}\n");
}
