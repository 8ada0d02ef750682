// SPDX-License-Identifier: Apache-2.0
// Inside of chat templates: an interpreter for the part of Jinja that chat templates use, with the meaning that Jinja2 and
// Hugging Face's settings give it (trim_blocks, lstrip_blocks, an immutable sandbox, no escaping, loop controls).
//
//   text ─► lexer.c (tokens) ─► parser.c, expression.c (tree) ─► run.c, evaluate.c ─► text
//                                     JSON ─► json_read.c (values) ──┘ operate.c, print.c, json_write.c; tables: *.def
//
// Templates come with a model and are as little trusted as the rest of its file. They can only read what they are given; a run is
// bounded in steps, depth, memory and text. All strings are well-formed UTF-8 and counted in code points, as in Python.
#ifndef HEDDLE_TEMPLATE_INTERNAL_H
#define HEDDLE_TEMPLATE_INTERNAL_H

#include "runtime/template/value.h"

enum {
    TPL_MAX_STEPS = 10 * 1000 * 1000,    // of one run: nodes evaluated, items visited, every 64 bytes looked at
    TPL_MAX_DEPTH = 2000,                // of evaluation, macros included
    TPL_MAX_NESTING = 200,               // of brackets and blocks in a template, and of JSON
    TPL_MAX_TEXT = 64 << 20,             // bytes of what is rendered
    TPL_MAX_MEMORY = 256 << 20,          // bytes of all values of one run
    TPL_MAX_SOURCE = 4 << 20,            // bytes of a template
    TPL_MAX_JSON = 32 << 20,             // bytes of what it is given
    TPL_MAX_RANGE = 100 * 1000,          // items of range(), as in Jinja2's sandbox
    TPL_MAX_PARAMS = 5
};

// ---- the tree ------------------------------------------------------------------------------------------------

typedef enum TplNodeKind {
#define EXPRESSION(name, function) TPL_NODE_##name,
#include "runtime/template/nodes.def"
#undef EXPRESSION
#define STATEMENT(name, function) TPL_NODE_##name,
#include "runtime/template/nodes.def"
#undef STATEMENT
} TplNodeKind;

typedef struct TplNode {
    TplNodeKind kind;
    uint32_t line;
    HdStr text;
    TplValue value;
    struct TplNode *a, *b, *c, **items;
    HdStr *names;                        // [count], or NULL
    uint32_t count;                      // of items
    const struct TplBuiltin *builtin;    // of FILTER and TEST; NULL when there is none of that name: an error where it is reached
    bool takes_varargs, takes_kwargs, takes_caller;   // of DEFINE: its body uses these names
} TplNode;

// A template as it was parsed; nothing changes it afterwards.
typedef struct HeddleTemplate HeddleTemplate;
struct HeddleTemplate {
    HdArena arena;
    HdStr source;
    const char *name;                    // what messages call it
    const TplNode *body;
    TplDict tokens;                      // bos_token, eos_token ..
    struct HeddleTemplate *with_tools;   // used instead when tools are given; NULL: none
};

// ---- a run ---------------------------------------------------------------------------------------------------

typedef struct TplRun {
    const struct HeddleTemplate *template;
    HdArena arena;
    HdBuf out;                           // text that was rendered; text that is being made lies behind it (tpl_take)
    TplScope *scope;
    uint32_t line, depth;
    uint64_t steps;
    enum { TPL_GO_ON, TPL_BREAK, TPL_CONTINUE } signal;
} TplRun;

// An error at run->line: "NAME, line N: ..."
HD_MUST_USE HD_NONNULL HdStatus *tpl_fail(const TplRun *run, HdCode code, const char *fmt, ...) HD_PRINTF(3, 4);
HD_MUST_USE HD_NONNULL HdStatus *tpl_fail_at(const char *name, uint32_t line, HdCode code, const char *fmt, ...) HD_PRINTF(4, 5);
// Counts work; LIMIT when it was too much, or when the run holds too much memory.
HD_MUST_USE HdStatus *tpl_work(TplRun *run, uint64_t steps);
HD_MUST_USE HdStatus *tpl_look(TplRun *run, size_t bytes);              // at that many bytes
HD_MUST_USE HdStatus *tpl_room(TplRun *run, uint64_t bytes);            // LIMIT when that much more memory were too much
HD_MUST_USE HdStatus *tpl_enter(TplRun *run);                           // one level deeper; LIMIT when that is too deep
static inline void tpl_leave(TplRun *run) { run->depth--; }

// ---- text.c: strings in code points --------------------------------------------------------------------------

size_t tpl_length(HdStr text);
HdStr tpl_part(HdStr text, size_t first, size_t end);                   // code points first .. end-1, both within the text
bool tpl_is_space(int32_t code);                                        // str.isspace()
bool tpl_is_printable(int32_t code);
bool tpl_is_word(HdStr text, int (*is)(int32_t code));                  // not empty, and all code points are
int tpl_is_letter(int32_t code);
int tpl_is_digit(int32_t code);
// Which end; both is the sum.
enum { TPL_LEFT = 1, TPL_RIGHT = 2 };
// Without leading and trailing white space, or the code points of *chars.
HdStr tpl_strip(HdStr text, const HdStr *chars, int ends);
bool tpl_find(HdStr text, HdStr part, size_t from, size_t *out_at);     // in bytes
typedef enum TplCase { TPL_UPPER, TPL_LOWER, TPL_TITLE } TplCase;
void tpl_put_cased(HdBuf *out, HdStr text, TplCase how);                // all code points
void tpl_put_escaped(HdBuf *out, HdStr text);                           // & < > " ' for HTML
// The length of the line break that starts at `at`, as str.splitlines() sees it; 0: none starts there.
size_t tpl_line_break(HdStr text, size_t at);

// ---- print.c -------------------------------------------------------------------------------------------------
// Text is made behind what was rendered: remember run->out.len, put, then take it back as a string.

HD_MUST_USE HdStatus *tpl_put(TplRun *run, HdStr text);
HD_MUST_USE HdStatus *tpl_put_value(TplRun *run, const TplValue *value);        // str()
HD_MUST_USE HdStatus *tpl_take(TplRun *run, size_t mark, TplValue *out_text);
HD_MUST_USE HdStatus *tpl_to_text(TplRun *run, const TplValue *value, TplValue *out_text);   // str(); a string stays as it is
// The shortest digits that give the float back, written as Python does ("1.0", "1e-05"); nan, inf.
void tpl_put_float(HdBuf *out, double value);
// format % args; `all`: it is an error when not all arguments are used.
HD_MUST_USE HdStatus *tpl_format_percent(TplRun *run, HdStr format, const TplList *args, bool all, TplValue *out);

// ---- json_write.c --------------------------------------------------------------------------------------------

// Python's json.dumps.
typedef struct TplJson { HdStr item_separator, key_separator, indent; bool indented, ascii, sorted; } TplJson;
extern const TplJson tpl_json_plain;
HD_MUST_USE HdStatus *tpl_put_json(TplRun *run, const TplJson *how, const TplValue *value);

// ---- sort.c --------------------------------------------------------------------------------------------------

// The order in which `keys` rise (or fall), equal ones as they are.
HD_MUST_USE HdStatus *tpl_sorted(TplRun *run, const TplValue *keys, size_t count, bool reverse, size_t **out_order);

// ---- operate.c, arithmetic.c ---------------------------------------------------------------------------------

HD_MUST_USE HdStatus *tpl_equal(TplRun *run, const TplValue *a, const TplValue *b, bool *out);
HD_MUST_USE HdStatus *tpl_order(TplRun *run, const TplValue *a, const TplValue *b, int *out);     // <0, 0, >0
HD_MUST_USE HdStatus *tpl_contains(TplRun *run, const TplValue *container, const TplValue *item, bool *out);
HD_MUST_USE HdStatus *tpl_compare(TplRun *run, HdStr operator, const TplValue *a, const TplValue *b, bool *out);
HD_MUST_USE HdStatus *tpl_binary(TplRun *run, HdStr operator, const TplValue *a, const TplValue *b, TplValue *out);
// Everything that can be iterated as a list; an iterator is empty afterwards.
HD_MUST_USE HdStatus *tpl_iterate(TplRun *run, const TplValue *value, TplList *out_items);

// ---- access.c ------------------------------------------------------------------------------------------------

HD_MUST_USE HdStatus *tpl_attribute(TplRun *run, const TplValue *value, HdStr name, TplValue *out);      // value.name
HD_MUST_USE HdStatus *tpl_item(TplRun *run, const TplValue *value, const TplValue *key, TplValue *out);  // value[key]
// "a.b.0": one item after another, as the filters' argument attribute means it.
HD_MUST_USE HdStatus *tpl_path(TplRun *run, const TplValue *value, const TplValue *path, TplValue *out);
HD_MUST_USE HdStatus *tpl_slice(TplRun *run, const TplValue *value, const TplValue bounds[3], TplValue *out);

// ---- call.c, *.def: filters, tests, methods, functions -------------------------------------------------------

typedef struct TplArgs { const TplValue *items; const HdStr *names; uint32_t count; } TplArgs;   // names[i].len 0: by position
typedef struct TplCall {
    TplValue self;                       // what is filtered or tested, or whose method it is
    TplValue args[TPL_MAX_PARAMS];       // by the names of the table; MISSING where none was given
    TplArgs raw;
} TplCall;
typedef HdStatus *TplHandler(TplRun *run, const TplCall *call, TplValue *out);
typedef struct TplBuiltin {
    const char *name;
    TplHandler *handler;                 // NULL for a method: forbidden, as it would change its object
    uint32_t required;                   // this many arguments must be given
    const char *params;                  // their names; NULL: the handler reads call->raw itself
} TplBuiltin;

const TplBuiltin *tpl_filter_named(HdStr name);                         // NULL: none
const TplBuiltin *tpl_test_named(HdStr name);
const TplBuiltin *tpl_function_named(HdStr name);
const TplBuiltin *tpl_method_named(TplKind kind, HdStr name);
HD_MUST_USE HdStatus *tpl_call_builtin(TplRun *run, const TplBuiltin *builtin, const TplValue *self, const TplArgs *args,
                                       TplValue *out);
HD_MUST_USE HdStatus *tpl_call(TplRun *run, const TplValue *callee, const TplArgs *args, TplValue *out);

#define FILTER(name, handler, required, params) TplHandler tpl_##handler;
#include "runtime/template/filters.def"
#undef FILTER
#define TEST(name, handler, required, params) TplHandler tpl_##handler;
#include "runtime/template/tests.def"
#undef TEST
#define METHOD(kind, name, handler, required, params) TplHandler tpl_##handler;
#define FORBIDDEN(kind, name)
#include "runtime/template/methods.def"
#undef METHOD
#undef FORBIDDEN
#define FUNCTION(name, handler, required, params) TplHandler tpl_##handler;
#include "runtime/template/functions.def"
#undef FUNCTION

// What handlers do with their arguments. `fallback` is for one that is missing.
static inline bool tpl_given(const TplValue *arg) { return arg->kind != TPL_MISSING; }
HD_MUST_USE HdStatus *tpl_arg_int(TplRun *run, const TplValue *arg, int64_t fallback, int64_t *out);
HD_MUST_USE HdStatus *tpl_arg_text(TplRun *run, const TplValue *arg, const char *fallback, HdStr *out);
static inline bool tpl_arg_truth(const TplValue *arg) { return tpl_given(arg) && tpl_truth(arg); }
HD_MUST_USE HdStatus *tpl_wrong_type(const TplRun *run, const char *what, const TplValue *value);

// ---- evaluate.c, run.c ---------------------------------------------------------------------------------------

HD_MUST_USE HdStatus *tpl_eval(TplRun *run, const TplNode *node, TplValue *out);
HD_MUST_USE HdStatus *tpl_exec(TplRun *run, const TplNode *node);
HD_MUST_USE HdStatus *tpl_eval_args(TplRun *run, const TplNode *node, TplArgs *out_args);
// Filters of a block: `block` stands where the chain has no operand.
HD_MUST_USE HdStatus *tpl_eval_filters(TplRun *run, const TplNode *node, const TplValue *block, TplValue *out);
HD_MUST_USE HdStatus *tpl_assign(TplRun *run, const TplNode *target, const TplValue *value);
HD_MUST_USE HdStatus *tpl_run_macro(TplRun *run, const TplMacro *macro, const TplArgs *args, TplValue *out);
void tpl_set_name(TplRun *run, HdStr name, TplValue value);             // in the innermost scope

// ---- lexer.c, parser.c, expression.c -------------------------------------------------------------------------

typedef enum TplTokenKind { TPL_DATA, TPL_PRINT, TPL_TAG, TPL_CLOSE, TPL_WORD, TPL_LITERAL, TPL_OPERATOR, TPL_END } TplTokenKind;
typedef struct TplToken {
    TplTokenKind kind;                   // PRINT: {{, TAG: {%, CLOSE: }} or %}
    uint32_t line;
    HdStr text;
    TplValue value;                      // of a literal
} TplToken;
typedef HD_VEC(TplToken) TplTokens;
// `source` has plain newlines. Tokens end with END.
HD_MUST_USE HdStatus *tpl_lex(const char *name, HdStr source, HdArena *arena, TplTokens *out_tokens);

typedef struct TplParser {
    const char *name;
    HdArena *arena;
    const TplToken *at;
    uint32_t depth, loops;               // brackets and blocks around this place; loops
    TplNode *macro;                      // the innermost macro; NULL: none
} TplParser;
HD_MUST_USE HdStatus *tpl_parse(const char *name, HdArena *arena, const TplToken *tokens, const TplNode **out_body);

// Shared by parser.c and expression.c.
TplNode *tpl_node(TplParser *parser, TplNodeKind kind);                 // at this line
bool tpl_at_word(const TplParser *parser, const char *word);
bool tpl_at_operator(const TplParser *parser, const char *operator);
bool tpl_skip_word(TplParser *parser, const char *word);
bool tpl_skip_operator(TplParser *parser, const char *operator);
HD_MUST_USE HdStatus *tpl_expect_operator(TplParser *parser, const char *operator);
HD_MUST_USE HdStatus *tpl_expect_word(TplParser *parser, HdStr *out_word);
HD_MUST_USE HD_NONNULL HdStatus *tpl_unexpected(const TplParser *parser, const char *wanted);
HD_MUST_USE HdStatus *tpl_deeper(TplParser *parser);
HD_MUST_USE HdStatus *tpl_parse_expression(TplParser *parser, TplNode **out);
HD_MUST_USE HdStatus *tpl_parse_tuple(TplParser *parser, bool conditions, TplNode **out);   // expression, or several with commas
HD_MUST_USE HdStatus *tpl_parse_or(TplParser *parser, TplNode **out);   // an expression without `x if y else z`
HD_MUST_USE HdStatus *tpl_parse_filters(TplParser *parser, TplNode **out);   // name|name(..), for blocks
HD_MUST_USE HdStatus *tpl_parse_target(TplParser *parser, bool attributes, TplNode **out);
void tpl_add(TplParser *parser, TplNode *node, TplNode *item);          // to its items; item may be NULL
void tpl_add_named(TplParser *parser, TplNode *node, HdStr name, TplNode *item);

#endif
