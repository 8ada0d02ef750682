// SPDX-License-Identifier: Apache-2.0
// Statements to trees.
#include "runtime/template/internal.h"

#include <string.h>

// ---- what expressions use too --------------------------------------------------------------------------------

TplNode *tpl_node(TplParser *parser, TplNodeKind kind) {
    TplNode *node = HD_NEW(parser->arena, TplNode);
    node->kind = kind;
    node->line = parser->at->line;
    return node;
}

void tpl_add_named(TplParser *parser, TplNode *node, HdStr name, TplNode *item) {
    bool full = !(node->count & (node->count - 1));            // 0 or a power of two: the arrays are full
    if (full) {
        uint32_t cap = node->count ? 2 * node->count : 1;
        TplNode **items = HD_NEW_ARRAY(parser->arena, TplNode *, cap);
        HdStr *names = HD_NEW_ARRAY(parser->arena, HdStr, cap);
        for (uint32_t i = 0; i < node->count; i++) items[i] = node->items[i], names[i] = node->names[i];
        node->items = items;
        node->names = names;
    }
    node->items[node->count] = item;
    node->names[node->count++] = name;
}

void tpl_add(TplParser *parser, TplNode *node, TplNode *item) { tpl_add_named(parser, node, (HdStr){0}, item); }

static bool is_at(const TplParser *parser, TplTokenKind kind, const char *text) {
    return parser->at->kind == kind && hd_str_is(parser->at->text, text);
}

bool tpl_at_word(const TplParser *parser, const char *word) { return is_at(parser, TPL_WORD, word); }
bool tpl_at_operator(const TplParser *parser, const char *operator) { return is_at(parser, TPL_OPERATOR, operator); }

bool tpl_skip_word(TplParser *parser, const char *word) {
    bool found = tpl_at_word(parser, word);
    parser->at += found;
    return found;
}

bool tpl_skip_operator(TplParser *parser, const char *operator) {
    bool found = tpl_at_operator(parser, operator);
    parser->at += found;
    return found;
}

HdStatus *tpl_unexpected(const TplParser *parser, const char *wanted) {
    const TplToken *token = parser->at;
    if (token->kind == TPL_END)
        return tpl_fail_at(parser->name, token->line, HD_BAD_DATA, "expected %s, found the end of the template", wanted);
    return tpl_fail_at(parser->name, token->line, HD_BAD_DATA, "expected %s, found \"" HD_STR_FMT "\"", wanted,
                       HD_STR_ARG(token->text));
}

HdStatus *tpl_expect_operator(TplParser *parser, const char *operator) {
    return tpl_skip_operator(parser, operator) ? NULL : tpl_unexpected(parser, operator);
}

HdStatus *tpl_expect_word(TplParser *parser, HdStr *out_word) {
    if (parser->at->kind != TPL_WORD) return tpl_unexpected(parser, "a name");
    *out_word = parser->at++->text;
    return NULL;
}

HdStatus *tpl_deeper(TplParser *parser) {
    if (++parser->depth <= TPL_MAX_NESTING) return NULL;
    return tpl_fail_at(parser->name, parser->at->line, HD_LIMIT, "nested too deeply");
}

// ---- blocks --------------------------------------------------------------------------------------------------

static HdStatus *expect_close(TplParser *parser) {
    if (parser->at->kind != TPL_CLOSE) return tpl_unexpected(parser, "the end of the tag");
    parser->at++;
    return NULL;
}

static HdStatus *parse_statement(TplParser *parser, TplNode **out);

static HdStatus *parse_print(TplParser *parser, TplNode **out) {
    TplNode *node = *out = tpl_node(parser, TPL_NODE_PRINT);
    parser->at++;
    HD_TRY(tpl_parse_tuple(parser, true, &node->a));
    return expect_close(parser);
}

// Is this a tag that ends a block, one of those in `ends`?
static bool at_end(const TplParser *parser, const char *const *ends) {
    if (parser->at->kind != TPL_TAG || parser->at[1].kind != TPL_WORD) return false;
    for (; *ends; ends++)
        if (hd_str_is(parser->at[1].text, *ends)) return true;
    return false;
}

static HdStatus *parse_one(TplParser *parser, TplNode **out) {
    if (parser->at->kind == TPL_PRINT) return parse_print(parser, out);
    if (parser->at->kind == TPL_DATA) {
        *out = tpl_node(parser, TPL_NODE_TEXT);
        (*out)->text = parser->at++->text;
        return NULL;
    }
    parser->at++;
    HD_TRY(parse_statement(parser, out));
    return expect_close(parser);
}

// Up to the end of the template, or to a tag in `ends` (NULL-terminated, the one that must come last), whose word is then next.
static HdStatus *parse_block(TplParser *parser, const char *const *ends, TplNode **out) {
    const char *last = NULL;
    TplNode *node = *out = tpl_node(parser, TPL_NODE_BLOCK), *part;
    HD_TRY(tpl_deeper(parser));
    while (parser->at->kind != TPL_END && !at_end(parser, ends)) {
        HD_TRY(parse_one(parser, &part));
        tpl_add(parser, node, part);
    }
    parser->depth--;
    while (*ends) last = *ends++;
    if (last && parser->at->kind == TPL_END) return tpl_unexpected(parser, last);
    parser->at += last != NULL;
    return NULL;
}

#define ENDS(...) ((const char *const[]){__VA_ARGS__, NULL})

// The end of a tag that a body follows; a colon may stand before it, as in Python.
static HdStatus *expect_opening(TplParser *parser) {
    tpl_skip_operator(parser, ":");
    return expect_close(parser);
}

// The body of a statement, from the end of its tag to its end word.
static HdStatus *parse_body(TplParser *parser, const char *end, TplNode **out) {
    HD_TRY(expect_opening(parser));
    HD_TRY(parse_block(parser, ENDS(end), out));
    parser->at++;
    return NULL;
}

// A body in which break and continue have no loop.
static HdStatus *parse_macro_body(TplParser *parser, TplNode *macro, const char *end) {
    uint32_t loops = parser->loops;
    TplNode *outer = parser->macro;
    parser->loops = 0;
    parser->macro = macro;
    HD_TRY(parse_body(parser, end, &macro->c));
    parser->loops = loops;
    parser->macro = outer;
    return NULL;
}

// ---- statements ----------------------------------------------------------------------------------------------
// Each starts behind its word and ends before the end of its tag.

static HdStatus *parse_if(TplParser *parser, TplNode *node) {
    TplNode *test, *block;
    for (bool more = true; more;) {
        HD_TRY(tpl_parse_tuple(parser, false, &test));
        HD_TRY(expect_opening(parser));
        HD_TRY(parse_block(parser, ENDS("elif", "else", "endif"), &block));
        tpl_add(parser, node, test);
        tpl_add(parser, node, block);
        more = tpl_skip_word(parser, "elif");
    }
    if (tpl_skip_word(parser, "else")) return parse_body(parser, "endif", &node->c);
    return parser->at++, NULL;
}

static HdStatus *parse_for(TplParser *parser, TplNode *node) {
    TplNode *body, *otherwise = NULL;
    HD_TRY(tpl_parse_target(parser, false, &node->a));
    if (!tpl_skip_word(parser, "in")) return tpl_unexpected(parser, "in");
    HD_TRY(tpl_parse_tuple(parser, false, &node->b));
    if (tpl_skip_word(parser, "if")) HD_TRY(tpl_parse_expression(parser, &node->c));
    if (tpl_at_word(parser, "recursive"))
        return tpl_fail_at(parser->name, node->line, HD_UNSUPPORTED, "recursive loops are not supported");
    HD_TRY(expect_opening(parser));
    parser->loops++;
    HD_TRY(parse_block(parser, ENDS("else", "endfor"), &body));
    parser->loops--;
    if (tpl_skip_word(parser, "else")) HD_TRY(parse_body(parser, "endfor", &otherwise));
    else parser->at++;
    tpl_add(parser, node, body);
    tpl_add(parser, node, otherwise);
    return NULL;
}

static HdStatus *parse_set(TplParser *parser, TplNode *node) {
    HD_TRY(tpl_parse_target(parser, true, &node->a));
    if (tpl_skip_operator(parser, "=")) return tpl_parse_tuple(parser, true, &node->b);
    node->kind = TPL_NODE_SET_BLOCK;
    if (tpl_skip_operator(parser, "|")) HD_TRY(tpl_parse_filters(parser, &node->b));
    return parse_body(parser, "endset", &node->c);
}

static HdStatus *parse_filter_block(TplParser *parser, TplNode *node) {
    HD_TRY(tpl_parse_filters(parser, &node->b));
    return parse_body(parser, "endfilter", &node->c);
}

static HdStatus *parse_with(TplParser *parser, TplNode *node) {
    TplNode *target, *value;
    while (parser->at->kind != TPL_CLOSE) {
        if (node->count) HD_TRY(tpl_expect_operator(parser, ","));
        HD_TRY(tpl_parse_target(parser, false, &target));
        HD_TRY(tpl_expect_operator(parser, "="));
        HD_TRY(tpl_parse_expression(parser, &value));
        tpl_add(parser, node, target);
        tpl_add(parser, node, value);
    }
    return parse_body(parser, "endwith", &node->c);
}

// (a, b=default)
static HdStatus *parse_signature(TplParser *parser, TplNode *macro) {
    HD_TRY(tpl_expect_operator(parser, "("));
    for (bool defaults = false; !tpl_skip_operator(parser, ")");) {
        TplNode *value = NULL;
        HdStr name;
        if (macro->count) HD_TRY(tpl_expect_operator(parser, ","));
        HD_TRY(tpl_expect_word(parser, &name));
        if (tpl_skip_operator(parser, "=")) HD_TRY(tpl_parse_expression(parser, &value));
        if (defaults && !value) return tpl_unexpected(parser, "a default, as the arguments before have one");
        defaults = value != NULL;
        tpl_add_named(parser, macro, name, value);
    }
    return NULL;
}

static HdStatus *parse_macro(TplParser *parser, TplNode *node) {
    HD_TRY(tpl_expect_word(parser, &node->text));
    HD_TRY(parse_signature(parser, node));
    return parse_macro_body(parser, node, "endmacro");
}

static HdStatus *parse_call_block(TplParser *parser, TplNode *node) {
    TplNode *caller = node->a = tpl_node(parser, TPL_NODE_DEFINE);
    caller->text = HD_STR("caller");
    if (tpl_at_operator(parser, "(")) HD_TRY(parse_signature(parser, caller));
    HD_TRY(tpl_parse_expression(parser, &node->b));
    if (node->b->kind != TPL_NODE_CALL) return tpl_unexpected(parser, "a call");
    return parse_macro_body(parser, caller, "endcall");
}

static HdStatus *parse_loop_control(TplParser *parser, TplNode *node) {
    (void)node;
    return parser->loops ? NULL : tpl_unexpected(parser, "a loop around break or continue");
}

// Hugging Face's mark around what the model itself said.
static HdStatus *parse_generation(TplParser *parser, TplNode *node) { return parse_body(parser, "endgeneration", &node->a); }

static HdStatus *parse_print_tag(TplParser *parser, TplNode *node) { return tpl_parse_expression(parser, &node->a); }

static const struct {
    const char *word;
    TplNodeKind kind;
    HdStatus *(*parse)(TplParser *parser, TplNode *node);      // NULL: Jinja has it, chat templates have no use for it
} statements[] = {
    {"if", TPL_NODE_IF, parse_if},
    {"for", TPL_NODE_FOR, parse_for},
    {"set", TPL_NODE_SET, parse_set},
    {"macro", TPL_NODE_DEFINE, parse_macro},
    {"call", TPL_NODE_CALL_BLOCK, parse_call_block},
    {"filter", TPL_NODE_FILTER_BLOCK, parse_filter_block},
    {"with", TPL_NODE_WITH, parse_with},
    {"print", TPL_NODE_PRINT, parse_print_tag},
    {"break", TPL_NODE_BREAK, parse_loop_control},
    {"continue", TPL_NODE_CONTINUE, parse_loop_control},
    {"generation", TPL_NODE_SCOPE, parse_generation},
    {"autoescape", TPL_NODE_SCOPE, NULL},
    {"block", TPL_NODE_SCOPE, NULL},
    {"extends", TPL_NODE_SCOPE, NULL},
    {"from", TPL_NODE_SCOPE, NULL},
    {"import", TPL_NODE_SCOPE, NULL},
    {"include", TPL_NODE_SCOPE, NULL},
};

static HdStatus *parse_statement(TplParser *parser, TplNode **out) {
    for (size_t i = 0; i < HD_COUNT(statements); i++) {
        if (!tpl_at_word(parser, statements[i].word)) continue;
        TplNode *node = *out = tpl_node(parser, statements[i].kind);
        parser->at++;
        if (statements[i].parse) return statements[i].parse(parser, node);
        return tpl_fail_at(parser->name, node->line, HD_UNSUPPORTED, "the tag '%s' is not supported", statements[i].word);
    }
    return tpl_unexpected(parser, "a tag that Jinja knows and that can stand here");
}

HdStatus *tpl_parse(const char *name, HdArena *arena, const TplToken *tokens, const TplNode **out_body) {
    TplParser parser = {.name = name, .arena = arena, .at = tokens};
    TplNode *body;
    HD_TRY(parse_block(&parser, (const char *const[]){NULL}, &body));
    *out_body = body;
    return NULL;
}
