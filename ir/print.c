// SPDX-License-Identifier: Apache-2.0
// The text form. Names of values are given here and nowhere else: results are numbered in the order in which they are
// printed, other values by their kind, in the order of the graph's value table. Only what is used is printed, so a pass
// that drops a weight or a dimension drops it from the text too.
#include "ir/ir_internal.h"

#include <stdlib.h>
#include <string.h>

const char *const ir_input_names[IR_INPUT_COUNT] = {"tokens", "segments", "rows", "rope"};
const char *const ir_state_names[IR_STATE_COUNT] = {"kv", "conv", "delta"};

// ---- names ---------------------------------------------------------------------------------------------------

typedef struct IrNames {
    const IrGraph *graph;
    bool *used, *named;      // by value: printed at all; has its number
    uint32_t *number;        // by value: within its kind
    bool *sym_used;
    size_t values;           // length of the arrays of values
    uint32_t next[5];        // by IrValueKind: the next number
} Names;

static void use_value(Names *n, IrValue value) {
    if (value < n->graph->values.len) n->used[value] = true;
}

static void use_type(Names *n, const IrType *type) {
    for (uint32_t i = 0; i < type->rank && i < 4; i++)
        if (ir_dim_is_sym(type->dims[i]) && ir_dim_sym(type->dims[i]) < n->graph->syms.len)
            n->sym_used[ir_dim_sym(type->dims[i])] = true;
}

static void name_value(Names *n, IrValue value) {
    if (!n->named[value]) n->number[value] = n->next[ir_value(n->graph, value)->kind]++;
    n->named[value] = true;
    use_value(n, value);
}

static void name_block(Names *n, IrBlock block) {
    const IrBlockData *data = &n->graph->blocks.data[block];
    for (size_t i = 0; i < data->args.len; i++) name_value(n, data->args.data[i]);
    IR_FOR_OPS(n->graph, block, ref) {
        const IrOp *op = ir_op(n->graph, ref);
        for (uint32_t i = 0; i < op->operand_count; i++) use_value(n, op->operands[i]);
        for (uint32_t i = 0; i < op->result_count; i++) name_value(n, op->results[i]);
        if (op->region && block == 0) name_block(n, op->region);
    }
    for (size_t i = 0; i < data->yields.len; i++) use_value(n, data->yields.data[i]);
}

static void grow(void *array, size_t have, size_t need, size_t bytes) {
    void **data = array;
    *data = hd_xrealloc(*data, need * bytes);
    memset((char *)*data + have * bytes, 0, (need - have) * bytes);
}

// Names what has none yet.
static void update_names(Names *n) {
    const IrGraph *graph = n->graph;
    grow(&n->used, n->values, graph->values.len, sizeof *n->used);
    grow(&n->named, n->values, graph->values.len, sizeof *n->named);
    grow(&n->number, n->values, graph->values.len, sizeof *n->number);
    n->values = graph->values.len;
    memset(n->used, 0, n->values * sizeof *n->used);
    free(n->sym_used);
    n->sym_used = hd_xcalloc(graph->syms.len, sizeof *n->sym_used);
    name_block(n, 0);
    for (size_t i = 0; i < graph->results.len; i++) use_value(n, graph->results.data[i].value);
    for (IrValue v = 1; v < graph->values.len; v++) {
        if (!n->used[v]) continue;
        IrValueKind kind = ir_value(graph, v)->kind;
        if (kind == IR_VALUE_WEIGHT || kind == IR_VALUE_STATE) name_value(n, v);
        use_type(n, &ir_value(graph, v)->type);
    }
}

static Names names_of(const IrGraph *graph) {
    Names n = {.graph = graph};
    update_names(&n);
    return n;
}

static void names_free(Names *n) {
    free(n->used);
    free(n->named);
    free(n->number);
    free(n->sym_used);
}

// Values and types stand in the verifier's messages too, so nothing out of range may stop them.
static void put_value(const Names *n, IrValue value, HdBuf *out) {
    if (value == 0 || value >= n->values) {
        hd_buf_str(out, "%none");
        return;
    }
    const IrValueData *data = ir_value(n->graph, value);
    switch (data->kind) {
    case IR_VALUE_RESULT: hd_buf_printf(out, "%%%u", n->number[value]); break;
    case IR_VALUE_ARG: hd_buf_printf(out, "%%a%u", n->number[value]); break;
    case IR_VALUE_WEIGHT: hd_buf_printf(out, "%%w%u", n->number[value]); break;
    case IR_VALUE_STATE: hd_buf_printf(out, "%%s%u", n->number[value]); break;
    case IR_VALUE_INPUT: hd_buf_printf(out, "%%%s", data->index < IR_INPUT_COUNT ? ir_input_names[data->index] : "none"); break;
    }
}

// ---- words, numbers, types -----------------------------------------------------------------------------------

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

bool ir_is_word(HdStr text) {
    if (text.len == 0 || !is_letter(text.data[0])) return false;
    for (size_t i = 1; i < text.len; i++)
        if (!is_letter(text.data[i]) && !(text.data[i] >= '0' && text.data[i] <= '9') && text.data[i] != '.') return false;
    return true;
}

static void put_quoted(const char *text, HdBuf *out) {
    hd_buf_str(out, "\"");
    for (const char *at = text; *at; at++) {
        unsigned char c = (unsigned char)*at;
        if (c == '"' || c == '\\') hd_buf_printf(out, "\\%c", c);
        else if (c == '\n') hd_buf_str(out, "\\n");
        else if (c < 0x20 || c >= 0x7f) hd_buf_printf(out, "\\x%02x", c);
        else hd_buf_bytes(out, at, 1);
    }
    hd_buf_str(out, "\"");
}

static void put_name(const char *name, HdBuf *out) {
    if (ir_is_word(hd_str(name))) hd_buf_str(out, name);
    else put_quoted(name, out);
}

// One term with its sign; `what` NULL: the number itself.
static void put_term(int64_t coef, const char *what, bool first, HdBuf *out) {
    int64_t size = coef < 0 ? -coef : coef;
    if (first) hd_buf_str(out, coef < 0 ? "-" : "");
    else hd_buf_str(out, coef < 0 ? " - " : " + ");
    if (!what) hd_buf_printf(out, "%lld", (long long)size);
    else if (size == 1) hd_buf_str(out, what);
    else hd_buf_printf(out, "%lld*%s", (long long)size, what);
}

void ir_print_expr(const IrExpr *expr, HdBuf *out_text) {
    static const char *const names[IR_SYM_BASE_COUNT] = {"T", "S", "C", "R"};
    size_t start = out_text->len;
    if (expr->constant) put_term(expr->constant, NULL, true, out_text);
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++)
        if (expr->coef[i]) put_term(expr->coef[i], names[i], out_text->len == start, out_text);
    for (uint32_t i = 0; i < expr->ceils; i++) {
        char text[48];
        snprintf(text, sizeof text, "ceil(%s/%lld)", names[expr->ceil[i].sym], (long long)expr->ceil[i].div);
        put_term(expr->ceil[i].coef, text, out_text->len == start, out_text);
    }
    if (out_text->len == start) hd_buf_str(out_text, "0");
}

void ir_print_dim(const IrGraph *graph, IrDim dim, HdBuf *out_text) {
    if (!ir_dim_is_sym(dim)) hd_buf_printf(out_text, "%lld", (long long)dim);
    else hd_buf_str(out_text, ir_dim_sym(dim) < graph->syms.len ? graph->syms.data[ir_dim_sym(dim)].name : "?");
}

void ir_print_type(const IrGraph *graph, const IrType *type, HdBuf *out_text) {
    hd_buf_printf(out_text, "%s[", (unsigned)type->dtype < IR_DTYPE_COUNT ? ir_dtype_info(type->dtype)->name : "?");
    for (uint32_t i = 0; i < type->rank && i < 4; i++) {
        hd_buf_str(out_text, i ? ", " : "");
        ir_print_dim(graph, type->dims[i], out_text);
    }
    hd_buf_str(out_text, "]");
    if (type->layout == IR_LAYOUT_NATIVE) return;
    hd_buf_printf(out_text, ":%s", (unsigned)type->layout < IR_LAYOUT_COUNT ? ir_layout_name(type->layout) : "?");
}

// ---- values without an operation -----------------------------------------------------------------------------

void ir_print_source(const IrGraph *graph, IrValue value, HdBuf *out_text) {
    const IrValueData *data = ir_value(graph, value);
    if (data->kind == IR_VALUE_INPUT) {
        hd_buf_printf(out_text, "input %s", ir_input_names[data->index]);
    } else {
        hd_buf_str(out_text, data->kind == IR_VALUE_WEIGHT ? "weight " : "state ");
        put_quoted(data->name, out_text);
        if (data->kind == IR_VALUE_STATE) hd_buf_printf(out_text, " %s", ir_state_names[data->index]);
    }
    if (data->kind == IR_VALUE_INPUT && data->index == IR_INPUT_ROPE) {
        hd_buf_str(out_text, " {theta = ");
        hd_buf_f32(out_text, data->theta);
        hd_buf_str(out_text, "}");
    }
    hd_buf_str(out_text, " : ");
    ir_print_type(graph, &data->type, out_text);
    if (data->offset >= 0) hd_buf_printf(out_text, " at %lld", (long long)data->offset);
}

static void put_source(const Names *n, IrValue value, HdBuf *out) {
    hd_buf_str(out, "    ");
    put_value(n, value, out);
    hd_buf_str(out, " = ");
    ir_print_source(n->graph, value, out);
    hd_buf_str(out, "\n");
}

static void put_sources(const Names *n, IrValueKind kind, HdBuf *out) {
    for (IrValue v = 1; v < n->graph->values.len; v++)
        if (n->used[v] && ir_value(n->graph, v)->kind == kind) put_source(n, v, out);
}

// ---- operations ----------------------------------------------------------------------------------------------

static void put_attr(IrAttrId id, IrAttrValue value, HdBuf *out) {
    hd_buf_printf(out, "%s = ", ir_attr_info(id)->name);
    switch (ir_attr_info(id)->kind) {
    case IR_ATTR_KIND_INT: hd_buf_printf(out, "%lld", (long long)value.i); break;
    case IR_ATTR_KIND_F32: hd_buf_f32(out, value.f); break;
    case IR_ATTR_KIND_DTYPE: hd_buf_str(out, ir_dtype_info(value.dtype)->name); break;
    case IR_ATTR_KIND_LAYOUT: hd_buf_str(out, ir_layout_name(value.layout)); break;
    case IR_ATTR_KIND_NAME: put_name(value.name, out); break;
    }
}

void ir_print_attrs(const IrOp *op, HdBuf *out_text) {
    const char *before = " {";
    for (int id = 0; id < IR_ATTR_COUNT; id++) {
        if (!(op->attr_mask >> id & 1)) continue;
        hd_buf_str(out_text, before);
        put_attr((IrAttrId)id, op->attr[id], out_text);
        before = ", ";
    }
    if (op->attr_mask) hd_buf_str(out_text, "}");
}

static void put_values(const Names *n, const IrValue *values, size_t count, HdBuf *out) {
    for (size_t i = 0; i < count; i++) {
        hd_buf_str(out, i ? ", " : "");
        put_value(n, values[i], out);
    }
}

static void put_op(const Names *n, const IrOp *op, int depth, HdBuf *out);

static void put_region(const Names *n, IrBlock block, int depth, HdBuf *out) {
    const IrBlockData *region = &n->graph->blocks.data[block];
    hd_buf_str(out, " (");
    for (size_t i = 0; i < region->args.len; i++) {
        hd_buf_str(out, i ? ", " : "");
        put_value(n, region->args.data[i], out);
        hd_buf_str(out, ": ");
        ir_print_type(n->graph, &ir_value(n->graph, region->args.data[i])->type, out);
    }
    hd_buf_str(out, ") {\n");
    IR_FOR_OPS(n->graph, block, ref) put_op(n, ir_op(n->graph, ref), depth + 1, out);
    hd_buf_printf(out, "%*syield%s", 4 + 2 * depth, "", region->yields.len ? " " : "");
    put_values(n, region->yields.data, region->yields.len, out);
    hd_buf_printf(out, "\n%*s}", 2 + 2 * depth, "");
}

static void put_result_types(const Names *n, const IrOp *op, HdBuf *out) {
    for (uint32_t i = 0; i < op->result_count; i++) {
        const IrValueData *data = ir_value(n->graph, op->results[i]);
        hd_buf_str(out, i ? ", " : " : ");
        ir_print_type(n->graph, &data->type, out);
        if (data->offset >= 0) hd_buf_printf(out, " at %lld", (long long)data->offset);
    }
}

static void put_op_head(const Names *n, const IrOp *op, HdBuf *out) {
    put_values(n, op->results, op->result_count, out);
    hd_buf_printf(out, "%s%s", op->result_count ? " = " : "", ir_op_info(op->kind)->name);
}

static void put_op(const Names *n, const IrOp *op, int depth, HdBuf *out) {
    hd_buf_printf(out, "%*s", 2 + 2 * depth, "");
    put_op_head(n, op, out);
    hd_buf_str(out, " ");
    put_values(n, op->operands, op->operand_count, out);
    ir_print_attrs(op, out);
    if (op->region && depth == 1) put_region(n, op->region, depth, out);
    put_result_types(n, op, out);
    if (op->stage >= 0) hd_buf_printf(out, " stage %d", op->stage);
    if (op->layer >= 0) hd_buf_printf(out, " layer %d", op->layer);
    hd_buf_str(out, "\n");
}

// ---- graphs and modules --------------------------------------------------------------------------------------

static void put_dims(const Names *n, HdBuf *out) {
    for (size_t i = IR_SYM_BASE_COUNT; i < n->graph->syms.len; i++) {
        if (!n->sym_used[i]) continue;
        hd_buf_printf(out, "    dim %s = ", n->graph->syms.data[i].name);
        ir_print_expr(&n->graph->syms.data[i].expr, out);
        hd_buf_str(out, "\n");
    }
}

static void put_results(const Names *n, HdBuf *out) {
    hd_buf_str(out, "    return");
    for (size_t i = 0; i < n->graph->results.len; i++) {
        hd_buf_str(out, i ? ", " : " ");
        put_name(n->graph->results.data[i].name, out);
        hd_buf_str(out, " = ");
        put_value(n, n->graph->results.data[i].value, out);
    }
    hd_buf_str(out, "\n");
}

static void put_graph(const Names *n, HdBuf *out) {
    const IrGraph *graph = n->graph;
    hd_buf_printf(out, "  graph @%s {\n", graph->name);
    put_dims(n, out);
    if (graph->arena_bytes >= 0) hd_buf_printf(out, "    arena %lld\n", (long long)graph->arena_bytes);
    put_sources(n, IR_VALUE_INPUT, out);
    put_sources(n, IR_VALUE_WEIGHT, out);
    put_sources(n, IR_VALUE_STATE, out);
    IR_FOR_OPS(graph, 0, ref) put_op(n, ir_op(graph, ref), 1, out);
    put_results(n, out);
    hd_buf_str(out, "  }\n");
}

void ir_print_graph(const IrGraph *graph, HdBuf *out_text) {
    Names n = names_of(graph);
    put_graph(&n, out_text);
    names_free(&n);
}

void ir_print_module(const IrModule *module, HdBuf *out_text) {
    hd_buf_str(out_text, "module ");
    put_quoted(module->name, out_text);
    hd_buf_str(out_text, " {\n");
    for (size_t i = 0; i < module->keys.len; i++) {
        hd_buf_str(out_text, "  key ");
        put_quoted(module->keys.data[i].key, out_text);
        hd_buf_str(out_text, " = ");
        put_quoted(module->keys.data[i].value, out_text);
        hd_buf_str(out_text, "\n");
    }
    for (size_t i = 0; i < module->graphs.len; i++) ir_print_graph(module->graphs.data[i], out_text);
    hd_buf_str(out_text, "}\n");
}

void ir_print_value(const IrGraph *graph, IrValue value, HdBuf *out_text) {
    Names n = names_of(graph);
    put_value(&n, value, out_text);
    names_free(&n);
}

static void put_label(const Names *n, IrOpRef ref, HdBuf *out) {
    const IrOp *op = ir_op(n->graph, ref);
    put_op_head(n, op, out);
    if (op->result_count == 0) {
        hd_buf_str(out, " ");
        put_values(n, op->operands, op->operand_count, out);
    }
}

void ir_print_op_label(const IrGraph *graph, IrOpRef ref, HdBuf *out_text) {
    Names n = names_of(graph);
    put_label(&n, ref, out_text);
    names_free(&n);
}

// ---- names that stay -------------------------------------------------------------------------------------------

IrNames *ir_names_new(const IrGraph *graph) {
    IrNames *names = hd_xmalloc(sizeof *names);
    *names = names_of(graph);
    return names;
}

void ir_names_free(IrNames *names) {
    if (names) names_free(names);
    free(names);
}

void ir_names_update(IrNames *names) { update_names(names); }

void ir_names_follow(IrNames *names, const IrGraph *graph) {
    names->graph = graph;
    update_names(names);
}

void ir_names_graph(const IrNames *names, HdBuf *out_text) { put_graph(names, out_text); }
void ir_names_value(const IrNames *names, IrValue value, HdBuf *out_text) { put_value(names, value, out_text); }
void ir_names_op(const IrNames *names, IrOpRef op, HdBuf *out_text) { put_label(names, op, out_text); }
