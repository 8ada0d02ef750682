// SPDX-License-Identifier: Apache-2.0
// The parser of the text form: one statement at a time, values by name, every operation through ir_build, so that a
// parsed graph obeys the type rules. Regions do not nest, so nothing here recurses deeper than the grammar.
#include "ir/lex.h"

#include <string.h>

enum { NAME_MAX_LEN = 60, OPERANDS_MAX = 32, RESULTS_MAX = 8 };

typedef struct Parser {
    Lexer lex;
    IrModule *module;
    IrGraph *graph;
    HdMap values;              // of the graph: name to IrValue
    bool returned;
} Parser;

// ---- small pieces --------------------------------------------------------------------------------------------

static bool is_punct(const Parser *p, char c) { return p->lex.token.kind == TOKEN_PUNCT && p->lex.token.text.data[0] == c; }
static bool is_word(const Parser *p, const char *word) {
    return p->lex.token.kind == TOKEN_WORD && hd_str_is(p->lex.token.text, word);
}

static bool accept_punct(Parser *p, char c) {
    bool found = is_punct(p, c);
    if (found) lex_advance(&p->lex);
    return found;
}

static bool accept_word(Parser *p, const char *word) {
    bool found = is_word(p, word);
    if (found) lex_advance(&p->lex);
    return found;
}

static HdStatus *expect_punct(Parser *p, char c) {
    char what[4] = {'\'', c, '\'', 0};
    return accept_punct(p, c) ? NULL : lex_expected(&p->lex, what);
}

static HdStatus *expect_token(Parser *p, TokenKind kind, const char *what, Token *out_token) {
    *out_token = p->lex.token;
    if (out_token->kind != kind) return lex_expected(&p->lex, what);
    lex_advance(&p->lex);
    return NULL;
}

// "PROBLEM 'token'", at the token.
static HdStatus *token_error(const Parser *p, const Token *token, const char *problem) {
    return lex_error(&p->lex, token->at, "%s '" HD_STR_FMT "'", problem, HD_STR_ARG(token->text));
}

static HdStatus *parse_string(Parser *p, const char *what, const char **out_text) {
    Token token;
    HdBuf text = {0};
    HD_TRY(expect_token(p, TOKEN_STRING, what, &token));
    bool fine = lex_unquote(token.text, &text);
    if (fine) *out_text = ir_intern(p->module, (HdStr){text.data, text.len});
    hd_buf_free(&text);
    return fine ? NULL : token_error(p, &token, "bad escape in the string");
}

// A bare word or a string.
static HdStatus *parse_name(Parser *p, const char *what, const char **out_name) {
    if (p->lex.token.kind == TOKEN_STRING) return parse_string(p, what, out_name);
    Token token;
    HD_TRY(expect_token(p, TOKEN_WORD, what, &token));
    *out_name = ir_intern(p->module, token.text);
    return NULL;
}

static HdStatus *parse_int(Parser *p, const char *what, int64_t least, int64_t most, int64_t *out_value) {
    bool negative = accept_punct(p, '-');
    Token token;
    HD_TRY(expect_token(p, TOKEN_NUMBER, what, &token));
    if (!hd_parse_i64(token.text, out_value))
        return lex_error(&p->lex, token.at, "'" HD_STR_FMT "' is no number for %s", HD_STR_ARG(token.text), what);
    if (negative) *out_value = -*out_value;
    if (*out_value >= least && *out_value <= most) return NULL;
    return lex_error(&p->lex, token.at, "%s = %lld must be in %lld..%lld", what, (long long)*out_value, (long long)least,
                     (long long)most);
}

static HdStatus *parse_float(Parser *p, const char *what, float *out_value) {
    bool negative = accept_punct(p, '-');
    Token token = p->lex.token;
    double value;
    if ((token.kind != TOKEN_NUMBER && token.kind != TOKEN_WORD) || !hd_parse_f64(token.text, &value))
        return lex_expected(&p->lex, what);
    lex_advance(&p->lex);
    *out_value = (float)(negative ? -value : value);
    return NULL;
}

// ---- dimensions and types ------------------------------------------------------------------------------------

static HdStatus *parse_base(Parser *p, uint32_t *out_symbol) {
    Token token;
    HD_TRY(expect_token(p, TOKEN_WORD, "T, S, C, R or ceil(..)", &token));
    for (uint32_t i = 0; i < IR_SYM_BASE_COUNT; i++)
        if (hd_str_is(token.text, p->graph->syms.data[i].name)) return *out_symbol = i, NULL;
    return token_error(p, &token, "expected T, S, C, R or ceil(..), found");
}

static HdStatus *parse_ceil(Parser *p, IrExpr *out_term) {
    uint32_t symbol;
    int64_t div;
    HD_TRY(expect_punct(p, '('));
    HD_TRY(parse_base(p, &symbol));
    HD_TRY(expect_punct(p, '/'));
    HD_TRY(parse_int(p, "divisor", 1, IR_DIM_MAX, &div));
    HD_TRY(expect_punct(p, ')'));
    IrExpr base = ir_expr_base(symbol);
    HD_ASSERT(ir_expr_ceil_div(&base, div, out_term));
    return NULL;
}

// number | [number *] (base | ceil(base/number))
static HdStatus *parse_term(Parser *p, IrExpr *out_term) {
    int64_t factor = 1;
    uint32_t symbol;
    if (p->lex.token.kind == TOKEN_NUMBER) {
        HD_TRY(parse_int(p, "coefficient", 0, IR_DIM_MAX, &factor));
        if (!accept_punct(p, '*')) return *out_term = ir_expr_number(factor), NULL;
    }
    if (accept_word(p, "ceil")) {
        HD_TRY(parse_ceil(p, out_term));
    } else {
        HD_TRY(parse_base(p, &symbol));
        *out_term = ir_expr_base(symbol);
    }
    HD_ASSERT(ir_expr_scale(out_term, factor));
    return NULL;
}

static HdStatus *parse_expr(Parser *p, IrExpr *out_expr) {
    size_t at = p->lex.token.at;
    bool negative = accept_punct(p, '-');
    *out_expr = (IrExpr){0};
    for (;;) {
        IrExpr term;
        HD_TRY(parse_term(p, &term));
        if (!ir_expr_scale(&term, negative ? -1 : 1) || !ir_expr_add(out_expr, &term))
            return lex_error(&p->lex, at, "expression out of range, or more than two different ceil terms");
        negative = is_punct(p, '-');
        if (!negative && !is_punct(p, '+')) return NULL;
        lex_advance(&p->lex);
    }
}

static bool find_sym(const IrGraph *graph, HdStr name, IrDim *out_dim) {
    for (size_t i = 0; i < graph->syms.len; i++)
        if (hd_str_is(name, graph->syms.data[i].name)) return *out_dim = ir_sym((uint32_t)i), true;
    return false;
}

static HdStatus *parse_dim_statement(Parser *p) {
    Token token;
    IrExpr expr;
    IrDim dim;
    HD_TRY(expect_token(p, TOKEN_WORD, "the name of a dimension", &token));
    if (token.text.len > NAME_MAX_LEN)
        return lex_error(&p->lex, token.at, "the name of a dimension is longer than %d characters", NAME_MAX_LEN);
    if (find_sym(p->graph, token.text, &dim))
        return lex_error(&p->lex, token.at, "dimension " HD_STR_FMT " is defined twice", HD_STR_ARG(token.text));
    HD_TRY(expect_punct(p, '='));
    size_t at = p->lex.token.at;
    HD_TRY(parse_expr(p, &expr));
    bool number = !expr.ceils && !expr.coef[0] && !expr.coef[1] && !expr.coef[2] && !expr.coef[3];
    if (number || ir_dim_find(p->graph, &expr, &dim))
        return lex_error(&p->lex, at, "dimension " HD_STR_FMT " is a number or has another name already", HD_STR_ARG(token.text));
    ir_dim(p->graph, ir_intern(p->module, token.text), &expr);
    return NULL;
}

static HdStatus *parse_type_dim(Parser *p, IrDim *out_dim) {
    if (p->lex.token.kind == TOKEN_NUMBER) return parse_int(p, "dimension", 1, IR_DIM_MAX, out_dim);
    Token token;
    HD_TRY(expect_token(p, TOKEN_WORD, "a dimension", &token));
    if (find_sym(p->graph, token.text, out_dim)) return NULL;
    return token_error(p, &token, "unknown dimension");
}

static HdStatus *parse_layout(Parser *p, IrLayout *out_layout) {
    Token token;
    HD_TRY(expect_token(p, TOKEN_WORD, "a layout", &token));
    if (ir_layout_named(token.text, out_layout)) return NULL;
    return token_error(p, &token, "unknown layout");
}

static HdStatus *parse_dtype(Parser *p, IrDtype *out_dtype) {
    Token token;
    HD_TRY(expect_token(p, TOKEN_WORD, "a data type", &token));
    if (ir_dtype_named(token.text, out_dtype)) return NULL;
    return token_error(p, &token, "unknown data type");
}

static HdStatus *parse_type(Parser *p, IrType *out_type) {
    size_t at = p->lex.token.at;
    *out_type = (IrType){0};
    HD_TRY(parse_dtype(p, &out_type->dtype));
    HD_TRY(expect_punct(p, '['));
    do {
        if (out_type->rank == 4) return lex_error(&p->lex, p->lex.token.at, "more than 4 dimensions");
        HD_TRY(parse_type_dim(p, &out_type->dims[out_type->rank++]));
    } while (accept_punct(p, ','));
    HD_TRY(expect_punct(p, ']'));
    if (accept_punct(p, ':')) HD_TRY(parse_layout(p, &out_type->layout));
    return lex_locate(&p->lex, at, ir_check_type(p->graph, out_type));
}

// ---- values --------------------------------------------------------------------------------------------------

static HdStatus *define(Parser *p, const Token *name, IrValue value) {
    if (hd_map_put(&p->values, name->text, value)) return NULL;
    return lex_error(&p->lex, name->at, "%%" HD_STR_FMT " is defined twice", HD_STR_ARG(name->text));
}

// A region sees its own values only, the body all but those of regions.
static bool is_visible(const IrGraph *graph, IrValue value, IrBlock from) {
    const IrValueData *data = ir_value(graph, value);
    bool local = data->kind == IR_VALUE_RESULT || data->kind == IR_VALUE_ARG;
    return (local ? data->block : 0) == from;
}

static HdStatus *parse_value(Parser *p, IrBlock block, IrValue *out_value) {
    Token token;
    HD_TRY(expect_token(p, TOKEN_VALUE, "a value", &token));
    if (!hd_map_get(&p->values, token.text, out_value))
        return lex_error(&p->lex, token.at, "%%" HD_STR_FMT " is not defined before its use", HD_STR_ARG(token.text));
    if (is_visible(p->graph, *out_value, block)) return NULL;
    return lex_error(&p->lex, token.at,
                     block ? "a region cannot use %%" HD_STR_FMT " of the body" : "%%" HD_STR_FMT " belongs to a region",
                     HD_STR_ARG(token.text));
}

static HdStatus *parse_placement(Parser *p, IrValue value) {
    if (!accept_word(p, "at")) return NULL;
    return parse_int(p, "offset", 0, INT64_MAX, &ir_value(p->graph, value)->offset);
}

static HdStatus *parse_theta(Parser *p, IrInputKind kind, float *out_theta) {
    *out_theta = 0;
    if (kind != IR_INPUT_ROPE) return NULL;
    HD_TRY(expect_punct(p, '{'));
    if (!accept_word(p, "theta")) return lex_expected(&p->lex, "theta");
    HD_TRY(expect_punct(p, '='));
    HD_TRY(parse_float(p, "a number for theta", out_theta));
    return expect_punct(p, '}');
}

static HdStatus *parse_word_of(Parser *p, const char *const *words, uint32_t count, const char *what, uint32_t *out_index) {
    for (*out_index = 0; *out_index < count; ++*out_index)
        if (accept_word(p, words[*out_index])) return NULL;
    return lex_expected(&p->lex, what);
}

static bool has_input(const IrGraph *graph, IrInputKind kind) {
    for (IrValue v = 1; v < graph->values.len; v++)
        if (ir_value(graph, v)->kind == IR_VALUE_INPUT && ir_value(graph, v)->index == kind) return true;
    return false;
}

// input KIND [{theta = x}] : type | weight "name" : type | state "name" KIND : type, behind `%name =`.
static HdStatus *parse_source(Parser *p, const Token *name, IrValueKind source) {
    uint32_t kind = 0;
    const char *text = NULL;
    float theta = 0;
    IrType type;
    if (source != IR_VALUE_INPUT) HD_TRY(parse_string(p, "the name in quotes", &text));
    if (source == IR_VALUE_INPUT)
        HD_TRY(parse_word_of(p, ir_input_names, IR_INPUT_COUNT, "tokens, segments, rows or rope", &kind));
    if (source == IR_VALUE_STATE) HD_TRY(parse_word_of(p, ir_state_names, IR_STATE_COUNT, "kv, conv or delta", &kind));
    if (source == IR_VALUE_INPUT) HD_TRY(parse_theta(p, (IrInputKind)kind, &theta));
    HD_TRY(expect_punct(p, ':'));
    HD_TRY(parse_type(p, &type));
    size_t before = p->graph->values.len;
    if (source == IR_VALUE_INPUT && has_input(p->graph, (IrInputKind)kind))
        return lex_error(&p->lex, name->at, "input %s is declared twice", ir_input_names[kind]);
    IrValue value = source == IR_VALUE_INPUT    ? ir_input(p->graph, (IrInputKind)kind, type, theta)
                    : source == IR_VALUE_WEIGHT ? ir_weight(p->graph, text, type)
                                                : ir_state(p->graph, (IrStateKind)kind, text, type);
    if (value < before) return lex_error(&p->lex, name->at, "\"%s\" is declared twice", text);
    HdStatus *status = ir_check_source(p->graph, ir_value(p->graph, value));
    HD_TRY(lex_locate(&p->lex, name->at, hd_annotate(status, "%%" HD_STR_FMT, HD_STR_ARG(name->text))));
    HD_TRY(define(p, name, value));
    return parse_placement(p, value);
}

// ---- operations ----------------------------------------------------------------------------------------------

// One operation while it is read: what ir_build needs, and where each piece stands.
typedef struct Reading {
    IrBuild build;
    size_t at;
    Token names[RESULTS_MAX];
    uint32_t name_count;
    IrValue operands[OPERANDS_MAX];
    IrAttr attrs[IR_ATTR_COUNT];
    IrType types[RESULTS_MAX];
    size_t types_at[RESULTS_MAX];
    int64_t offsets[RESULTS_MAX];
} Reading;

static HdStatus *parse_attr(Parser *p, IrAttr *out_attr) {
    Token token;
    HD_TRY(expect_token(p, TOKEN_WORD, "an attribute", &token));
    if (!ir_attr_named(token.text, &out_attr->id)) return token_error(p, &token, "unknown attribute");
    HD_TRY(expect_punct(p, '='));
    const IrAttrInfo *info = ir_attr_info(out_attr->id);
    switch (info->kind) {
    case IR_ATTR_KIND_INT: return parse_int(p, info->name, INT64_MIN, INT64_MAX, &out_attr->value.i);
    case IR_ATTR_KIND_F32: return parse_float(p, info->name, &out_attr->value.f);
    case IR_ATTR_KIND_DTYPE: return parse_dtype(p, &out_attr->value.dtype);
    case IR_ATTR_KIND_LAYOUT: return parse_layout(p, &out_attr->value.layout);
    case IR_ATTR_KIND_NAME: return parse_name(p, info->name, &out_attr->value.name);
    }
    return NULL;
}

static HdStatus *parse_attrs(Parser *p, Reading *r) {
    if (!accept_punct(p, '{')) return NULL;
    do {
        if (r->build.attr_count == IR_ATTR_COUNT) return lex_error(&p->lex, p->lex.token.at, "too many attributes");
        HD_TRY(parse_attr(p, &r->attrs[r->build.attr_count++]));
    } while (accept_punct(p, ','));
    return expect_punct(p, '}');
}

static HdStatus *parse_operands(Parser *p, Reading *r) {
    do {
        if (r->build.operand_count == OPERANDS_MAX)
            return lex_error(&p->lex, p->lex.token.at, "more than %d operands", OPERANDS_MAX);
        HD_TRY(parse_value(p, r->build.block, &r->operands[r->build.operand_count++]));
    } while (accept_punct(p, ','));
    return NULL;
}

static HdStatus *parse_result_types(Parser *p, Reading *r) {
    if (r->name_count == 0) return NULL;
    HD_TRY(expect_punct(p, ':'));
    for (uint32_t i = 0; i < r->name_count; i++) {
        if (i) HD_TRY(expect_punct(p, ','));
        r->types_at[i] = p->lex.token.at;
        HD_TRY(parse_type(p, &r->types[i]));
        r->offsets[i] = -1;
        if (accept_word(p, "at")) HD_TRY(parse_int(p, "offset", 0, INT64_MAX, &r->offsets[i]));
    }
    return NULL;
}

static HdStatus *type_mismatch(Parser *p, const Reading *r, uint32_t index, const IrType *by_rule) {
    HdBuf want = {0}, have = {0};
    ir_print_type(p->graph, by_rule, &want);
    ir_print_type(p->graph, &r->types[index], &have);
    HdStatus *status = lex_error(&p->lex, r->types_at[index], "%s: result %u is %s by its type rule, not %s",
                                 ir_op_info(r->build.kind)->name, index, want.data, have.data);
    hd_buf_free(&want);
    hd_buf_free(&have);
    return status;
}

static HdStatus *define_results(Parser *p, const Reading *r, IrOpRef ref) {
    const IrOp *op = ir_op(p->graph, ref);
    if (op->result_count != r->name_count)
        return lex_error(&p->lex, r->at, "%s gives %u results, not %u", ir_op_info(op->kind)->name, op->result_count,
                         r->name_count);
    for (uint32_t i = 0; i < r->name_count; i++) {
        IrValueData *result = ir_value(p->graph, op->results[i]);
        if (!ir_type_eq(&result->type, &r->types[i])) return type_mismatch(p, r, i, &result->type);
        result->offset = r->offsets[i];
        HD_TRY(define(p, &r->names[i], op->results[i]));
    }
    return NULL;
}

// The rule makes the types of a reshape and a fused operation out of the written ones.
static HdStatus *build_reading(Parser *p, Reading *r, IrOpRef *out_op) {
    bool given = r->build.kind == IR_OP_reshape || r->build.kind == IR_OP_fused;
    r->build.operands = r->operands;
    r->build.attrs = r->attrs;
    r->build.given = given ? r->types : NULL;
    r->build.given_count = given ? r->name_count : 0;
    HdStatus *status;
    *out_op = ir_build(p->graph, &r->build, &status);
    HD_TRY(lex_locate(&p->lex, r->at, status));
    return define_results(p, r, *out_op);
}

static HdStatus *parse_tail(Parser *p, IrOpRef ref) {
    int64_t stage = -1, layer = -1;
    if (accept_word(p, "stage")) HD_TRY(parse_int(p, "stage", 0, INT32_MAX, &stage));
    if (accept_word(p, "layer")) HD_TRY(parse_int(p, "layer", 0, INT32_MAX, &layer));
    ir_op(p->graph, ref)->stage = (int32_t)stage;
    ir_op(p->graph, ref)->layer = (int32_t)layer;
    return NULL;
}

static HdStatus *parse_region(Parser *p, IrBlock region);

// name operands {attributes} [region] : types stage layer, with the current token at the name.
static HdStatus *parse_op(Parser *p, Reading *r) {
    Token token;
    IrOpRef ref;
    HD_TRY(expect_token(p, TOKEN_WORD, "an operation", &token));
    r->at = token.at;
    if (!ir_op_named(token.text, &r->build.kind)) return token_error(p, &token, "unknown operation");
    HD_TRY(parse_operands(p, r));
    HD_TRY(parse_attrs(p, r));
    if (r->build.kind == IR_OP_fused) {
        if (r->build.block) return lex_error(&p->lex, token.at, "fused operations do not nest");
        r->build.region = ir_block_new(p->graph);
        HD_TRY(parse_region(p, r->build.region));
    }
    HD_TRY(parse_result_types(p, r));
    HD_TRY(build_reading(p, r, &ref));
    return parse_tail(p, ref);
}

static HdStatus *parse_result_names(Parser *p, Reading *r) {
    do {
        if (r->name_count == RESULTS_MAX) return lex_error(&p->lex, p->lex.token.at, "more than %d results", RESULTS_MAX);
        HD_TRY(expect_token(p, TOKEN_VALUE, "a value", &r->names[r->name_count++]));
    } while (accept_punct(p, ','));
    return expect_punct(p, '=');
}

static HdStatus *parse_assignment(Parser *p, IrBlock block) {
    Reading r = {.build = {.block = block}};
    HD_TRY(parse_result_names(p, &r));
    bool single = r.name_count == 1 && block == 0;
    if (single && accept_word(p, "input")) return parse_source(p, &r.names[0], IR_VALUE_INPUT);
    if (single && accept_word(p, "weight")) return parse_source(p, &r.names[0], IR_VALUE_WEIGHT);
    if (single && accept_word(p, "state")) return parse_source(p, &r.names[0], IR_VALUE_STATE);
    return parse_op(p, &r);
}

static HdStatus *parse_statement(Parser *p, IrBlock block) {
    if (p->lex.token.kind == TOKEN_VALUE) return parse_assignment(p, block);
    Reading r = {.build = {.block = block}};
    return parse_op(p, &r);
}

// ---- regions, graphs, modules --------------------------------------------------------------------------------

static HdStatus *parse_region_args(Parser *p, IrBlock region) {
    HD_TRY(expect_punct(p, '('));
    if (accept_punct(p, ')')) return NULL;
    do {
        Token name;
        IrType type;
        HD_TRY(expect_token(p, TOKEN_VALUE, "a region argument", &name));
        HD_TRY(expect_punct(p, ':'));
        HD_TRY(parse_type(p, &type));
        HD_TRY(define(p, &name, ir_block_arg(p->graph, region, type)));
    } while (accept_punct(p, ','));
    return expect_punct(p, ')');
}

static HdStatus *parse_region(Parser *p, IrBlock region) {
    HD_TRY(parse_region_args(p, region));
    HD_TRY(expect_punct(p, '{'));
    while (!accept_word(p, "yield")) HD_TRY(parse_statement(p, region));
    while (p->lex.token.kind == TOKEN_VALUE) {
        IrValue value;
        HD_TRY(parse_value(p, region, &value));
        hd_vec_push(&p->graph->blocks.data[region].yields, value);
        if (!accept_punct(p, ',')) break;
    }
    return expect_punct(p, '}');
}

static HdStatus *parse_return(Parser *p) {
    p->returned = true;
    if (is_punct(p, '}')) return NULL;
    do {
        IrResult result;
        size_t at = p->lex.token.at;
        HD_TRY(parse_name(p, "the name of a result", &result.name));
        for (size_t i = 0; i < p->graph->results.len; i++)
            if (p->graph->results.data[i].name == result.name)
                return lex_error(&p->lex, at, "result %s is given twice", result.name);
        HD_TRY(expect_punct(p, '='));
        HD_TRY(parse_value(p, 0, &result.value));
        hd_vec_push(&p->graph->results, result);
    } while (accept_punct(p, ','));
    return NULL;
}

static HdStatus *parse_graph_statement(Parser *p) {
    size_t at = p->lex.token.at;
    if (accept_word(p, "dim")) return parse_dim_statement(p);
    if (accept_word(p, "return")) return parse_return(p);
    if (!accept_word(p, "arena")) return parse_statement(p, 0);
    if (p->graph->arena_bytes >= 0) return lex_error(&p->lex, at, "arena is given twice");
    return parse_int(p, "arena", 0, INT64_MAX, &p->graph->arena_bytes);
}

static HdStatus *parse_graph(Parser *p) {
    Token token;
    HD_TRY(expect_token(p, TOKEN_GRAPH, "the name of the graph, as in @model", &token));
    const char *name = ir_intern(p->module, token.text);
    if (!ir_is_word(token.text)) return lex_error(&p->lex, token.at, "@%.60s is no name", name);
    if (ir_graph_find(p->module, name)) return lex_error(&p->lex, token.at, "graph @%s is given twice", name);
    p->graph = ir_graph_new(p->module, name);
    p->returned = false;
    hd_map_free(&p->values);
    HD_TRY(expect_punct(p, '{'));
    while (!p->returned) HD_TRY(parse_graph_statement(p));
    return expect_punct(p, '}');
}

static HdStatus *parse_key(Parser *p) {
    const char *key, *value;
    size_t at = p->lex.token.at;
    HD_TRY(parse_string(p, "a key in quotes", &key));
    HD_TRY(expect_punct(p, '='));
    HD_TRY(parse_string(p, "a value in quotes", &value));
    if (ir_module_key(p->module, key)) return lex_error(&p->lex, at, "key \"%s\" is given twice", key);
    ir_module_set_key(p->module, key, value);
    return NULL;
}

static HdStatus *parse_module(Parser *p) {
    if (!accept_word(p, "module")) return lex_expected(&p->lex, "module");
    HD_TRY(parse_string(p, "the name of the module in quotes", &p->module->name));
    HD_TRY(expect_punct(p, '{'));
    while (!accept_punct(p, '}')) {
        if (accept_word(p, "key")) HD_TRY(parse_key(p));
        else if (accept_word(p, "graph")) HD_TRY(parse_graph(p));
        else return lex_expected(&p->lex, "key, graph or '}'");
    }
    return p->lex.token.kind == TOKEN_END ? NULL : lex_expected(&p->lex, "the end of the text");
}

HdStatus *ir_parse_module(const char *name, HdStr text, IrModule **out_module) {
    Parser p = {.module = ir_module_new("")};
    lex_start(&p.lex, name, text);
    HdStatus *status = parse_module(&p);
    hd_map_free(&p.values);
    if (status) ir_module_free(p.module);
    else *out_module = p.module;
    return status;
}
