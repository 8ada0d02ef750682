// SPDX-License-Identifier: Apache-2.0
// Expressions.
#include "runtime/template/internal.h"

#include <string.h>

// ---- names and literals --------------------------------------------------------------------------------------

static HdStatus *eval_constant(TplRun *run, const TplNode *node, TplValue *out) { return (void)run, *out = node->value, NULL; }

static HdStatus *eval_name(TplRun *run, const TplNode *node, TplValue *out) {
    for (const TplScope *scope = run->scope; scope; scope = scope->outer) {
        const TplValue *found = tpl_dict_named(&scope->names, node->text);
        if (found) return *out = *found, NULL;
    }
    const TplBuiltin *function = tpl_function_named(node->text);
    *out = (TplValue){.kind = TPL_FUNCTION, .function = function};
    if (function) return NULL;
    const char *why = hd_arena_printf(&run->arena, "'" HD_STR_FMT "' is undefined", HD_STR_ARG(node->text));
    return *out = tpl_undefined(why), NULL;
}

static HdStatus *eval_items(TplRun *run, const TplNode *node, TplKind kind, TplValue *out) {
    TplList *list = tpl_list_new(&run->arena, node->count);
    for (uint32_t i = 0; i < node->count; i++) {
        TplValue item;
        HD_TRY(tpl_eval(run, node->items[i], &item));
        tpl_list_push(&run->arena, list, item);
    }
    return *out = tpl_list_value(kind, list), NULL;
}

static HdStatus *eval_make_list(TplRun *run, const TplNode *node, TplValue *out) { return eval_items(run, node, TPL_LIST, out); }
static HdStatus *eval_make_tuple(TplRun *run, const TplNode *node, TplValue *out) {
    return eval_items(run, node, TPL_TUPLE, out);
}

static HdStatus *eval_make_dict(TplRun *run, const TplNode *node, TplValue *out) {
    TplDict *dict = HD_NEW(&run->arena, TplDict);
    for (uint32_t i = 0; i < node->count; i += 2) {
        TplValue key, value;
        HD_TRY(tpl_eval(run, node->items[i], &key));
        HD_TRY(tpl_eval(run, node->items[i + 1], &value));
        if (!tpl_is_key(&key)) return tpl_wrong_type(run, "the key of a mapping", &key);
        tpl_dict_put(&run->arena, dict, key, value);
    }
    return *out = tpl_dict_value(dict), NULL;
}

// ---- access --------------------------------------------------------------------------------------------------

static HdStatus *eval_attribute(TplRun *run, const TplNode *node, TplValue *out) {
    TplValue value;
    HD_TRY(tpl_eval(run, node->a, &value));
    run->line = node->line;
    return tpl_attribute(run, &value, node->text, out);
}

static HdStatus *eval_item(TplRun *run, const TplNode *node, TplValue *out) {
    TplValue value, key;
    HD_TRY(tpl_eval(run, node->a, &value));
    HD_TRY(tpl_eval(run, node->b, &key));
    run->line = node->line;
    return tpl_item(run, &value, &key, out);
}

static HdStatus *eval_slice(TplRun *run, const TplNode *node, TplValue *out) {
    TplValue value, bounds[3] = {tpl_none(), tpl_none(), tpl_none()};
    HD_TRY(tpl_eval(run, node->a, &value));
    for (uint32_t i = 0; i < 3; i++)
        if (node->items[i]) HD_TRY(tpl_eval(run, node->items[i], &bounds[i]));
    run->line = node->line;
    return tpl_slice(run, &value, bounds, out);
}

// ---- calls, filters, tests -----------------------------------------------------------------------------------

HdStatus *tpl_eval_args(TplRun *run, const TplNode *node, TplArgs *out_args) {
    TplValue *items = HD_NEW_ARRAY(&run->arena, TplValue, node->count);
    for (uint32_t i = 0; i < node->count; i++) HD_TRY(tpl_eval(run, node->items[i], &items[i]));
    *out_args = (TplArgs){items, node->names, node->count};
    run->line = node->line;
    return NULL;
}

static HdStatus *eval_call(TplRun *run, const TplNode *node, TplValue *out) {
    TplValue callee;
    TplArgs args;
    HD_TRY(tpl_eval(run, node->a, &callee));
    HD_TRY(tpl_eval_args(run, node, &args));
    return tpl_call(run, &callee, &args, out);
}

static HdStatus *apply(TplRun *run, const TplNode *node, const TplValue *self, TplValue *out) {
    TplArgs args;
    HD_TRY(tpl_eval_args(run, node, &args));
    if (!node->builtin)
        return tpl_fail(run, HD_UNSUPPORTED, "the %s '" HD_STR_FMT "' is not supported",
                        node->kind == TPL_NODE_FILTER ? "filter" : "test", HD_STR_ARG(node->text));
    return tpl_call_builtin(run, node->builtin, self, &args, out);
}

static HdStatus *eval_filter(TplRun *run, const TplNode *node, TplValue *out) {
    TplValue self;
    HD_TRY(tpl_eval(run, node->a, &self));
    return apply(run, node, &self, out);
}

HdStatus *tpl_eval_filters(TplRun *run, const TplNode *node, const TplValue *block, TplValue *out) {
    TplValue self = *block;
    HD_TRY(tpl_enter(run));
    if (node->a) HD_TRY(tpl_eval_filters(run, node->a, block, &self));
    HD_TRY(apply(run, node, &self, out));
    tpl_leave(run);
    return NULL;
}

static HdStatus *eval_test(TplRun *run, const TplNode *node, TplValue *out) { return eval_filter(run, node, out); }

// ---- operators -----------------------------------------------------------------------------------------------

static HdStatus *eval_not(TplRun *run, const TplNode *node, TplValue *out) {
    TplValue value;
    HD_TRY(tpl_eval(run, node->a, &value));
    return *out = tpl_bool(!tpl_truth(&value)), NULL;
}

// 0 - value, 0 + value, but for the sign of zero.
static HdStatus *signed_value(TplRun *run, const TplNode *node, bool negative, TplValue *out) {
    TplValue value, zero = tpl_int(0);
    HD_TRY(tpl_eval(run, node->a, &value));
    run->line = node->line;
    if (value.kind < TPL_BOOL || value.kind > TPL_FLOAT) return tpl_wrong_type(run, "what has a sign", &value);
    if (value.kind == TPL_FLOAT) return *out = tpl_float(negative ? -value.real : value.real), NULL;
    return tpl_binary(run, negative ? HD_STR("-") : HD_STR("+"), &zero, &value, out);
}

static HdStatus *eval_negate(TplRun *run, const TplNode *node, TplValue *out) { return signed_value(run, node, true, out); }
static HdStatus *eval_plus(TplRun *run, const TplNode *node, TplValue *out) { return signed_value(run, node, false, out); }

// Both give one of their operands.
static HdStatus *eval_and(TplRun *run, const TplNode *node, TplValue *out) {
    HD_TRY(tpl_eval(run, node->a, out));
    return tpl_truth(out) ? tpl_eval(run, node->b, out) : NULL;
}

static HdStatus *eval_or(TplRun *run, const TplNode *node, TplValue *out) {
    HD_TRY(tpl_eval(run, node->a, out));
    return tpl_truth(out) ? NULL : tpl_eval(run, node->b, out);
}

static HdStatus *eval_condition(TplRun *run, const TplNode *node, TplValue *out) {
    TplValue test;
    HD_TRY(tpl_eval(run, node->b, &test));
    const TplNode *chosen = tpl_truth(&test) ? node->a : node->c;
    *out = tpl_undefined("a condition without else that does not hold");
    return chosen ? tpl_eval(run, chosen, out) : NULL;
}

static HdStatus *eval_concat(TplRun *run, const TplNode *node, TplValue *out) {
    size_t mark = run->out.len;
    for (uint32_t i = 0; i < node->count; i++) {
        TplValue part;
        HD_TRY(tpl_eval(run, node->items[i], &part));
        run->line = node->line;
        HD_TRY(tpl_put_value(run, &part));
    }
    return tpl_take(run, mark, out);
}

static HdStatus *eval_binary(TplRun *run, const TplNode *node, TplValue *out) {
    TplValue a, b;
    HD_TRY(tpl_eval(run, node->a, &a));
    HD_TRY(tpl_eval(run, node->b, &b));
    run->line = node->line;
    return tpl_binary(run, node->text, &a, &b, out);
}

// a < b < c: every operand is evaluated once, and none behind the first that fails.
static HdStatus *eval_compare(TplRun *run, const TplNode *node, TplValue *out) {
    TplValue left, right;
    bool holds = true;
    HD_TRY(tpl_eval(run, node->items[0], &left));
    for (uint32_t i = 1; i < node->count && holds; i++) {
        HD_TRY(tpl_eval(run, node->items[i], &right));
        run->line = node->line;
        HD_TRY(tpl_compare(run, node->names[i], &left, &right, &holds));
        left = right;
    }
    return *out = tpl_bool(holds), NULL;
}

// ---- all -----------------------------------------------------------------------------------------------------

typedef HdStatus *Eval(TplRun *run, const TplNode *node, TplValue *out);
static Eval *const evals[] = {
#define EXPRESSION(name, function) [TPL_NODE_##name] = eval_##function,
#include "runtime/template/nodes.def"
#undef EXPRESSION
};

HdStatus *tpl_eval(TplRun *run, const TplNode *node, TplValue *out) {
    HD_TRY(tpl_enter(run));
    run->line = node->line;
    HD_TRY(evals[node->kind](run, node, out));
    tpl_leave(run);
    return NULL;
}
