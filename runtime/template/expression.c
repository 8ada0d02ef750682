// SPDX-License-Identifier: Apache-2.0
// Expressions to trees, with Jinja's precedence: if-else, or, and, not, comparisons, + -, ~, * / // %, **, sign, then filters,
// tests, calls and subscripts from left to right.
#include "runtime/template/internal.h"

#include <string.h>

static HdStatus *parse_unary(TplParser *parser, bool filters, TplNode **out);

// ---- literals ------------------------------------------------------------------------------------------------

static HdStatus *constant(TplParser *parser, TplValue value, TplNode **out) {
    *out = tpl_node(parser, TPL_NODE_CONSTANT);
    (*out)->value = value;
    parser->at++;
    return NULL;
}

// Strings that stand side by side are one.
static HdStatus *parse_literal(TplParser *parser, TplNode **out) {
    HdBuf text = {0};
    HD_TRY(constant(parser, parser->at->value, out));
    TplValue *value = &(*out)->value;
    if (value->kind != TPL_STRING || parser->at->kind != TPL_LITERAL || parser->at->value.kind != TPL_STRING) return NULL;
    hd_buf_bytes(&text, value->text.data, value->text.len);
    for (; parser->at->kind == TPL_LITERAL && parser->at->value.kind == TPL_STRING; parser->at++)
        hd_buf_bytes(&text, parser->at->value.text.data, parser->at->value.text.len);
    value->text = (HdStr){hd_arena_strndup(parser->arena, text.data, text.len), text.len};
    hd_buf_free(&text);
    return NULL;
}

static void note_special_name(TplParser *parser, HdStr name) {
    if (!parser->macro) return;
    parser->macro->takes_varargs |= hd_str_is(name, "varargs");
    parser->macro->takes_kwargs |= hd_str_is(name, "kwargs");
    parser->macro->takes_caller |= hd_str_is(name, "caller");
}

static HdStatus *parse_name(TplParser *parser, TplNode **out) {
    HdStr name = parser->at->text;
    bool truth = hd_str_is(name, "true") || hd_str_is(name, "True");
    if (truth || hd_str_is(name, "false") || hd_str_is(name, "False")) return constant(parser, tpl_bool(truth), out);
    if (hd_str_is(name, "none") || hd_str_is(name, "None")) return constant(parser, tpl_none(), out);
    note_special_name(parser, name);
    *out = tpl_node(parser, TPL_NODE_NAME);
    (*out)->text = name;
    parser->at++;
    return NULL;
}

// Items up to a closing bracket; a comma may stand behind the last. `pairs`: key: value.
static HdStatus *parse_items(TplParser *parser, TplNodeKind kind, const char *close, bool pairs, TplNode **out) {
    TplNode *node = *out = tpl_node(parser, kind), *item;
    parser->at++;
    while (!tpl_skip_operator(parser, close)) {
        if (node->count) HD_TRY(tpl_expect_operator(parser, ","));
        if (tpl_skip_operator(parser, close)) break;
        HD_TRY(tpl_parse_expression(parser, &item));
        tpl_add(parser, node, item);
        if (!pairs) continue;
        HD_TRY(tpl_expect_operator(parser, ":"));
        HD_TRY(tpl_parse_expression(parser, &item));
        tpl_add(parser, node, item);
    }
    return NULL;
}

// Is this the end of expressions that commas separate?
static bool at_tuple_end(const TplParser *parser) { return parser->at->kind == TPL_CLOSE || tpl_at_operator(parser, ")"); }

HdStatus *tpl_parse_tuple(TplParser *parser, bool conditions, TplNode **out) {
    TplNode *first, *item;
    HD_TRY(conditions ? tpl_parse_expression(parser, &first) : tpl_parse_or(parser, &first));
    *out = first;
    if (!tpl_at_operator(parser, ",")) return NULL;
    *out = tpl_node(parser, TPL_NODE_MAKE_TUPLE);
    tpl_add(parser, *out, first);
    while (tpl_skip_operator(parser, ",") && !at_tuple_end(parser)) {
        HD_TRY(conditions ? tpl_parse_expression(parser, &item) : tpl_parse_or(parser, &item));
        tpl_add(parser, *out, item);
    }
    return NULL;
}

static HdStatus *parse_parentheses(TplParser *parser, TplNode **out) {
    parser->at++;
    if (tpl_at_operator(parser, ")")) *out = tpl_node(parser, TPL_NODE_MAKE_TUPLE);
    else HD_TRY(tpl_parse_tuple(parser, true, out));
    return tpl_expect_operator(parser, ")");
}

static HdStatus *parse_primary(TplParser *parser, TplNode **out) {
    if (parser->at->kind == TPL_WORD) return parse_name(parser, out);
    if (parser->at->kind == TPL_LITERAL) return parse_literal(parser, out);
    if (tpl_at_operator(parser, "(")) return parse_parentheses(parser, out);
    if (tpl_at_operator(parser, "[")) return parse_items(parser, TPL_NODE_MAKE_LIST, "]", false, out);
    if (tpl_at_operator(parser, "{")) return parse_items(parser, TPL_NODE_MAKE_DICT, "}", true, out);
    return tpl_unexpected(parser, "an expression");
}

// ---- calls, subscripts ---------------------------------------------------------------------------------------

static bool at_keyword_argument(const TplParser *parser) {
    return parser->at->kind == TPL_WORD && parser->at[1].kind == TPL_OPERATOR && hd_str_is(parser->at[1].text, "=");
}

// (a, b, name=c): to the items of `node`.
static HdStatus *parse_arguments(TplParser *parser, TplNode *node) {
    bool named = false;
    HD_TRY(tpl_expect_operator(parser, "("));
    for (bool first = true; !tpl_skip_operator(parser, ")"); first = false) {
        TplNode *argument;
        HdStr name = {0};
        if (!first) HD_TRY(tpl_expect_operator(parser, ","));
        if (tpl_skip_operator(parser, ")")) break;
        if (tpl_at_operator(parser, "*") || tpl_at_operator(parser, "**"))
            return tpl_fail_at(parser->name, parser->at->line, HD_UNSUPPORTED,
                               "arguments from a list or mapping (* or **) are not supported");
        if (at_keyword_argument(parser)) name = parser->at->text, parser->at += 2, named = true;
        else if (named) return tpl_unexpected(parser, "an argument with a name");
        HD_TRY(tpl_parse_expression(parser, &argument));
        tpl_add_named(parser, node, name, argument);
    }
    return NULL;
}

static HdStatus *parse_call(TplParser *parser, TplNode *callee, TplNode **out) {
    *out = tpl_node(parser, TPL_NODE_CALL);
    (*out)->a = callee;
    return parse_arguments(parser, *out);
}

static HdStatus *parse_dot(TplParser *parser, TplNode *object, TplNode **out) {
    *out = tpl_node(parser, TPL_NODE_ATTRIBUTE);
    (*out)->a = object;
    parser->at++;
    if (parser->at->kind == TPL_LITERAL && parser->at->value.kind == TPL_INT) {
        (*out)->kind = TPL_NODE_ITEM;
        return parse_literal(parser, &(*out)->b);
    }
    return tpl_expect_word(parser, &(*out)->text);
}

// Between brackets: an item, or start:stop:step.
static HdStatus *parse_brackets(TplParser *parser, TplNode *object, TplNode **out) {
    TplNode *bounds[3] = {0};
    uint32_t count = 0;
    *out = tpl_node(parser, TPL_NODE_ITEM);
    (*out)->a = object;
    parser->at++;
    for (; count < 3; count++) {
        if (!tpl_at_operator(parser, ":") && !tpl_at_operator(parser, "]")) HD_TRY(tpl_parse_expression(parser, &bounds[count]));
        if (!tpl_skip_operator(parser, ":")) break;
    }
    if (count == 0 && !bounds[0]) return tpl_unexpected(parser, "an expression");
    (*out)->b = bounds[0];
    if (count) (*out)->kind = TPL_NODE_SLICE;
    for (uint32_t i = 0; count && i < 3; i++) tpl_add(parser, *out, bounds[i]);
    if (tpl_at_operator(parser, ","))
        return tpl_fail_at(parser->name, parser->at->line, HD_UNSUPPORTED, "subscripts with commas are not supported");
    return tpl_expect_operator(parser, "]");
}

static HdStatus *parse_postfix(TplParser *parser, TplNode **node) {
    for (;;) {
        if (tpl_at_operator(parser, ".")) HD_TRY(parse_dot(parser, *node, node));
        else if (tpl_at_operator(parser, "[")) HD_TRY(parse_brackets(parser, *node, node));
        else if (tpl_at_operator(parser, "(")) HD_TRY(parse_call(parser, *node, node));
        else return NULL;
    }
}

// ---- filters and tests ---------------------------------------------------------------------------------------

static HdStatus *parse_filter(TplParser *parser, TplNode *operand, TplNode **out) {
    TplNode *node = *out = tpl_node(parser, TPL_NODE_FILTER);
    node->a = operand;
    HD_TRY(tpl_expect_word(parser, &node->text));
    node->builtin = tpl_filter_named(node->text);
    return tpl_at_operator(parser, "(") ? parse_arguments(parser, node) : NULL;
}

// The one argument that a test may have without parentheses.
static bool at_test_argument(const TplParser *parser) {
    if (parser->at->kind == TPL_LITERAL || tpl_at_operator(parser, "[") || tpl_at_operator(parser, "{")) return true;
    return parser->at->kind == TPL_WORD && !tpl_at_word(parser, "else") && !tpl_at_word(parser, "or")
           && !tpl_at_word(parser, "and");
}

static HdStatus *parse_test(TplParser *parser, TplNode *operand, TplNode **out) {
    TplNode *node = *out = tpl_node(parser, TPL_NODE_TEST), *argument;
    node->a = operand;
    parser->at++;
    if (tpl_skip_word(parser, "not")) {
        *out = tpl_node(parser, TPL_NODE_NOT);
        (*out)->a = node;
    }
    HD_TRY(tpl_expect_word(parser, &node->text));
    node->builtin = tpl_test_named(node->text);
    if (tpl_at_operator(parser, "(")) return parse_arguments(parser, node);
    if (!at_test_argument(parser)) return NULL;
    if (tpl_at_word(parser, "is")) return tpl_unexpected(parser, "one test at a time");
    HD_TRY(parse_primary(parser, &argument));
    HD_TRY(parse_postfix(parser, &argument));
    tpl_add_named(parser, node, (HdStr){0}, argument);
    return NULL;
}

static HdStatus *parse_filters_and_tests(TplParser *parser, TplNode **node) {
    for (;;) {
        if (tpl_skip_operator(parser, "|")) HD_TRY(parse_filter(parser, *node, node));
        else if (tpl_at_word(parser, "is")) HD_TRY(parse_test(parser, *node, node));
        else if (tpl_at_operator(parser, "(")) HD_TRY(parse_call(parser, *node, node));
        else return NULL;
    }
}

HdStatus *tpl_parse_filters(TplParser *parser, TplNode **out) {
    TplNode *node = NULL;
    do HD_TRY(parse_filter(parser, node, &node));
    while (tpl_skip_operator(parser, "|"));
    *out = node;
    return NULL;
}

// ---- operators -----------------------------------------------------------------------------------------------

static HdStatus *parse_sign(TplParser *parser, TplNode **out) {
    *out = tpl_node(parser, tpl_at_operator(parser, "-") ? TPL_NODE_NEGATE : TPL_NODE_PLUS);
    parser->at++;
    HD_TRY(tpl_deeper(parser));
    HD_TRY(parse_unary(parser, false, &(*out)->a));
    parser->depth--;
    return NULL;
}

static HdStatus *parse_unary(TplParser *parser, bool filters, TplNode **out) {
    bool sign = tpl_at_operator(parser, "-") || tpl_at_operator(parser, "+");
    HD_TRY(sign ? parse_sign(parser, out) : parse_primary(parser, out));
    HD_TRY(parse_postfix(parser, out));
    return filters ? parse_filters_and_tests(parser, out) : NULL;
}

// Operators of two operands, from those that bind least; all group from the left.
static const char *const levels[][4] = {{"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};

static const char *operator_here(const TplParser *parser, size_t level) {
    for (size_t i = 0; i < HD_COUNT(levels[level]) && levels[level][i]; i++)
        if (tpl_at_operator(parser, levels[level][i])) return levels[level][i];
    return NULL;
}

static HdStatus *parse_binary(TplParser *parser, size_t level, TplNode **out) {
    const char *operator;
    if (level == HD_COUNT(levels)) return parse_unary(parser, true, out);
    HD_TRY(parse_binary(parser, level + 1, out));
    while ((operator = operator_here(parser, level))) {
        bool concat = operator[0] == '~', more = concat && (*out)->kind == TPL_NODE_CONCAT;
        TplNode *node = more ? *out : tpl_node(parser, concat ? TPL_NODE_CONCAT : TPL_NODE_BINARY), *right;
        parser->at++;
        HD_TRY(parse_binary(parser, level + 1, &right));
        if (concat && !more) tpl_add(parser, node, *out);
        if (concat) tpl_add(parser, node, right);
        else node->a = *out, node->b = right, node->text = hd_str(operator);
        *out = node;
    }
    return NULL;
}

// The comparison at this place, or NULL.
static const char *comparison(TplParser *parser) {
    static const char *const operators[] = {"==", "!=", "<=", ">=", "<", ">"};
    for (size_t i = 0; i < HD_COUNT(operators); i++)
        if (tpl_skip_operator(parser, operators[i])) return operators[i];
    if (tpl_skip_word(parser, "in")) return "in";
    if (!tpl_at_word(parser, "not") || parser->at[1].kind != TPL_WORD || !hd_str_is(parser->at[1].text, "in")) return NULL;
    parser->at += 2;
    return "not in";
}

static HdStatus *parse_compare(TplParser *parser, TplNode **out) {
    TplNode *first, *next;
    const char *operator;
    HD_TRY(parse_binary(parser, 0, &first));
    *out = first;
    while ((operator = comparison(parser))) {
        if (*out == first) {
            *out = tpl_node(parser, TPL_NODE_COMPARE);
            tpl_add_named(parser, *out, (HdStr){0}, first);
        }
        HD_TRY(parse_binary(parser, 0, &next));
        tpl_add_named(parser, *out, hd_str(operator), next);
    }
    return NULL;
}

static HdStatus *parse_not(TplParser *parser, TplNode **out) {
    if (!tpl_at_word(parser, "not")) return parse_compare(parser, out);
    *out = tpl_node(parser, TPL_NODE_NOT);
    parser->at++;
    HD_TRY(tpl_deeper(parser));
    HD_TRY(parse_not(parser, &(*out)->a));
    parser->depth--;
    return NULL;
}

static HdStatus *parse_logic(TplParser *parser, bool or, TplNode **out) {
    HD_TRY(or ? parse_logic(parser, false, out) : parse_not(parser, out));
    while (tpl_skip_word(parser, or ? "or" : "and")) {
        TplNode *node = tpl_node(parser, or ? TPL_NODE_OR : TPL_NODE_AND);
        node->a = *out;
        HD_TRY(or ? parse_logic(parser, false, &node->b) : parse_not(parser, &node->b));
        *out = node;
    }
    return NULL;
}

HdStatus *tpl_parse_or(TplParser *parser, TplNode **out) {
    HD_TRY(tpl_deeper(parser));
    HD_TRY(parse_logic(parser, true, out));
    parser->depth--;
    return NULL;
}

HdStatus *tpl_parse_expression(TplParser *parser, TplNode **out) {
    HD_TRY(tpl_deeper(parser));
    HD_TRY(tpl_parse_or(parser, out));
    while (tpl_at_word(parser, "if")) {
        TplNode *node = tpl_node(parser, TPL_NODE_CONDITION);
        parser->at++;
        node->a = *out;
        HD_TRY(tpl_parse_or(parser, &node->b));
        if (tpl_skip_word(parser, "else")) HD_TRY(tpl_parse_expression(parser, &node->c));
        *out = node;
    }
    parser->depth--;
    return NULL;
}

// ---- targets -------------------------------------------------------------------------------------------------

static HdStatus *parse_one_target(TplParser *parser, bool attributes, TplNode **out) {
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None"};
    if (tpl_at_operator(parser, "(")) {
        parser->at++;
        HD_TRY(tpl_deeper(parser));
        HD_TRY(tpl_parse_target(parser, attributes, out));
        parser->depth--;
        return tpl_expect_operator(parser, ")");
    }
    for (size_t i = 0; i < HD_COUNT(reserved); i++)
        if (tpl_at_word(parser, reserved[i])) return tpl_unexpected(parser, "a name");
    TplNode *name = *out = tpl_node(parser, TPL_NODE_NAME);
    HD_TRY(tpl_expect_word(parser, &name->text));
    if (!attributes || !tpl_skip_operator(parser, ".")) return NULL;
    *out = tpl_node(parser, TPL_NODE_ATTRIBUTE);
    (*out)->a = name;
    return tpl_expect_word(parser, &(*out)->text);
}

HdStatus *tpl_parse_target(TplParser *parser, bool attributes, TplNode **out) {
    TplNode *first, *next;
    HD_TRY(parse_one_target(parser, attributes, &first));
    *out = first;
    if (!tpl_at_operator(parser, ",")) return NULL;
    *out = tpl_node(parser, TPL_NODE_MAKE_TUPLE);
    tpl_add(parser, *out, first);
    while (tpl_skip_operator(parser, ",") && !tpl_at_word(parser, "in") && !tpl_at_operator(parser, "=")
           && !at_tuple_end(parser)) {
        HD_TRY(parse_one_target(parser, attributes, &next));
        tpl_add(parser, *out, next);
    }
    return NULL;
}
