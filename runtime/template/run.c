// SPDX-License-Identifier: Apache-2.0
// Statements: what a template does from top to bottom, and the limits of a run.
#include "runtime/template/internal.h"

#include <string.h>

// ---- errors and limits ---------------------------------------------------------------------------------------

static HdStatus *fail(const char *name, uint32_t line, HdCode code, const char *fmt, va_list args) {
    return hd_annotate(hd_verror(code, fmt, args), "%s, line %u", name, line);
}

HdStatus *tpl_fail_at(const char *name, uint32_t line, HdCode code, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    HdStatus *status = fail(name, line, code, fmt, args);
    va_end(args);
    return status;
}

HdStatus *tpl_fail(const TplRun *run, HdCode code, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    HdStatus *status = fail(run->template->name, run->line, code, fmt, args);
    va_end(args);
    return status;
}

HdStatus *tpl_work(TplRun *run, uint64_t steps) {
    run->steps += steps;
    if (run->steps > TPL_MAX_STEPS) return tpl_fail(run, HD_LIMIT, "more than %d steps", TPL_MAX_STEPS);
    return tpl_room(run, 0);
}

HdStatus *tpl_look(TplRun *run, size_t bytes) { return tpl_work(run, 1 + bytes / 64); }

HdStatus *tpl_room(TplRun *run, uint64_t bytes) {
    if (bytes <= TPL_MAX_MEMORY && run->arena.total + bytes <= TPL_MAX_MEMORY) return NULL;
    return tpl_fail(run, HD_LIMIT, "more than %d MiB of memory", TPL_MAX_MEMORY >> 20);
}

HdStatus *tpl_enter(TplRun *run) {
    if (++run->depth > TPL_MAX_DEPTH) return tpl_fail(run, HD_LIMIT, "nested more than %d levels deep", TPL_MAX_DEPTH);
    return tpl_work(run, 1);
}

// ---- names ---------------------------------------------------------------------------------------------------

void tpl_set_name(TplRun *run, HdStr name, TplValue value) {
    tpl_dict_put(&run->arena, &run->scope->names, tpl_string(name), value);
}

static TplScope *open_scope(TplRun *run, TplScope *outer) {
    TplScope *scope = HD_NEW(&run->arena, TplScope);
    scope->outer = outer;
    return scope;
}

// Empty again for the next round of a loop: the old one, unless a macro was made in it.
static TplScope *reopen_scope(TplRun *run, TplScope *scope) {
    if (scope->kept || scope->names.index) return open_scope(run, scope->outer);
    scope->names.count = 0;
    return scope;
}

static HdStatus *assign_attribute(TplRun *run, const TplNode *target, const TplValue *value) {
    TplValue object;
    HD_TRY(tpl_eval(run, target->a, &object));
    if (object.kind != TPL_NAMESPACE)
        return tpl_fail(run, HD_BAD_DATA, "only a namespace has attributes that can be set, " HD_STR_FMT " is %s",
                        HD_STR_ARG(target->a->text), tpl_kind_name(&object));
    tpl_dict_put(&run->arena, object.dict, tpl_string(target->text), *value);
    return NULL;
}

HdStatus *tpl_assign(TplRun *run, const TplNode *target, const TplValue *value) {
    TplList items;
    if (target->kind == TPL_NODE_NAME) return tpl_set_name(run, target->text, *value), NULL;
    if (target->kind == TPL_NODE_ATTRIBUTE) return assign_attribute(run, target, value);
    HD_TRY(tpl_iterate(run, value, &items));
    if (items.count != target->count)
        return tpl_fail(run, HD_BAD_DATA, "%zu values for %u names", items.count, target->count);
    for (uint32_t i = 0; i < target->count; i++) HD_TRY(tpl_assign(run, target->items[i], &items.items[i]));
    return NULL;
}

// ---- blocks --------------------------------------------------------------------------------------------------

static HdStatus *exec_block(TplRun *run, const TplNode *node) {
    for (uint32_t i = 0; i < node->count && run->signal == TPL_GO_ON; i++) HD_TRY(tpl_exec(run, node->items[i]));
    return NULL;
}

// A block with names of its own.
static HdStatus *exec_inside(TplRun *run, const TplNode *body, TplScope *scope) {
    TplScope *outer = run->scope;
    run->scope = scope;
    HD_TRY(tpl_exec(run, body));
    run->scope = outer;
    return NULL;
}

static HdStatus *exec_scope(TplRun *run, const TplNode *node) { return exec_inside(run, node->a, open_scope(run, run->scope)); }

// What a block prints, as a string.
static HdStatus *capture(TplRun *run, const TplNode *body, TplScope *scope, TplValue *out) {
    size_t mark = run->out.len;
    HD_TRY(exec_inside(run, body, scope));
    return tpl_take(run, mark, out);
}

static HdStatus *exec_text(TplRun *run, const TplNode *node) { return tpl_put(run, node->text); }

static HdStatus *exec_print(TplRun *run, const TplNode *node) {
    TplValue value;
    HD_TRY(tpl_eval(run, node->a, &value));
    run->line = node->line;
    return tpl_put_value(run, &value);
}

static HdStatus *exec_if(TplRun *run, const TplNode *node) {
    for (uint32_t i = 0; i < node->count; i += 2) {
        TplValue test;
        HD_TRY(tpl_eval(run, node->items[i], &test));
        if (tpl_truth(&test)) return tpl_exec(run, node->items[i + 1]);
    }
    return node->c ? tpl_exec(run, node->c) : NULL;
}

// ---- for -----------------------------------------------------------------------------------------------------

// Those items for which the loop's condition holds.
static HdStatus *chosen_items(TplRun *run, const TplNode *node, TplList *items) {
    TplList *chosen = tpl_list_new(&run->arena, 0);
    TplScope *outer = run->scope, *inner = open_scope(run, outer);
    for (size_t i = 0; i < items->count; i++) {
        TplValue keep;
        run->scope = inner = reopen_scope(run, inner);
        HD_TRY(tpl_assign(run, node->a, &items->items[i]));
        HD_TRY(tpl_eval(run, node->c, &keep));
        if (tpl_truth(&keep)) tpl_list_push(&run->arena, chosen, items->items[i]);
    }
    run->scope = outer;
    *items = *chosen;
    return NULL;
}

static HdStatus *run_loop(TplRun *run, const TplNode *node, const TplList *items) {
    TplLoop *loop = HD_NEW(&run->arena, TplLoop);
    TplScope *outer = run->scope, *inner = open_scope(run, outer);
    loop->items = items;
    for (; loop->at < items->count && run->signal != TPL_BREAK; loop->at++) {
        run->signal = TPL_GO_ON;
        run->scope = inner = reopen_scope(run, inner);
        tpl_set_name(run, HD_STR("loop"), (TplValue){.kind = TPL_LOOP, .loop = loop});
        HD_TRY(tpl_assign(run, node->a, &items->items[loop->at]));
        HD_TRY(tpl_exec(run, node->items[0]));
    }
    run->signal = TPL_GO_ON;
    run->scope = outer;
    return NULL;
}

static HdStatus *exec_for(TplRun *run, const TplNode *node) {
    TplValue value;
    TplList *items = tpl_list_new(&run->arena, 0);
    HD_TRY(tpl_eval(run, node->b, &value));
    run->line = node->line;
    HD_TRY(tpl_iterate(run, &value, items));
    if (node->c) HD_TRY(chosen_items(run, node, items));
    if (items->count) return run_loop(run, node, items);
    return node->items[1] ? exec_inside(run, node->items[1], open_scope(run, run->scope)) : NULL;
}

static HdStatus *exec_break(TplRun *run, const TplNode *node) { return (void)node, run->signal = TPL_BREAK, NULL; }
static HdStatus *exec_continue(TplRun *run, const TplNode *node) { return (void)node, run->signal = TPL_CONTINUE, NULL; }

// ---- set, filter, with ---------------------------------------------------------------------------------------

static HdStatus *exec_set(TplRun *run, const TplNode *node) {
    TplValue value;
    HD_TRY(tpl_eval(run, node->b, &value));
    run->line = node->line;
    return tpl_assign(run, node->a, &value);
}

// A block's text, filtered. *out_left: a break or continue left the block.
static HdStatus *filtered_block(TplRun *run, const TplNode *node, bool *out_left, TplValue *out) {
    HD_TRY(capture(run, node->c, open_scope(run, run->scope), out));
    *out_left = run->signal != TPL_GO_ON;
    TplValue block = *out;
    return node->b && !*out_left ? tpl_eval_filters(run, node->b, &block, out) : NULL;
}

static HdStatus *exec_set_block(TplRun *run, const TplNode *node) {
    TplValue value;
    bool left;
    HD_TRY(filtered_block(run, node, &left, &value));
    return left ? NULL : tpl_assign(run, node->a, &value);
}

static HdStatus *exec_filter_block(TplRun *run, const TplNode *node) {
    TplValue value;
    bool left;
    HD_TRY(filtered_block(run, node, &left, &value));
    return left ? NULL : tpl_put_value(run, &value);
}

// All values are those of the names outside.
static HdStatus *exec_with(TplRun *run, const TplNode *node) {
    TplScope *outer = run->scope, *inner = open_scope(run, outer);
    for (uint32_t i = 0; i < node->count; i += 2) {
        TplValue value;
        HD_TRY(tpl_eval(run, node->items[i + 1], &value));
        run->scope = inner;
        HD_TRY(tpl_assign(run, node->items[i], &value));
        run->scope = outer;
    }
    return exec_inside(run, node->c, inner);
}

// ---- macros --------------------------------------------------------------------------------------------------

static TplValue new_macro(TplRun *run, const TplNode *node) {
    TplMacro *macro = HD_NEW(&run->arena, TplMacro);
    for (TplScope *scope = run->scope; scope; scope = scope->outer) scope->kept = true;
    *macro = (TplMacro){node, run->scope};
    return (TplValue){.kind = TPL_MACRO, .macro = macro};
}

static HdStatus *exec_define(TplRun *run, const TplNode *node) {
    tpl_set_name(run, node->text, new_macro(run, node));
    return NULL;
}

// The macro with one argument more, whose name is caller.
static HdStatus *exec_call_block(TplRun *run, const TplNode *node) {
    TplValue callee, result;
    TplArgs args;
    HD_TRY(tpl_eval(run, node->b->a, &callee));
    HD_TRY(tpl_eval_args(run, node->b, &args));
    run->line = node->line;
    TplValue *items = HD_NEW_ARRAY(&run->arena, TplValue, args.count + 1);
    HdStr *names = HD_NEW_ARRAY(&run->arena, HdStr, args.count + 1);
    for (uint32_t i = 0; i < args.count; i++) items[i] = args.items[i], names[i] = args.names[i];
    items[args.count] = new_macro(run, node->a);
    names[args.count] = HD_STR("caller");
    args = (TplArgs){items, names, args.count + 1};
    HD_TRY(tpl_call(run, &callee, &args, &result));
    return tpl_put_value(run, &result);
}

static int parameter(const TplNode *macro, HdStr name) {
    for (uint32_t i = 0; i < macro->count; i++)
        if (hd_str_eq(macro->names[i], name)) return (int)i;
    return -1;
}

typedef struct Extra { TplList *positional; TplDict *named; TplValue caller; } Extra;

static HdStatus *take_argument(TplRun *run, const TplNode *macro, const TplArgs *args, uint32_t i, TplValue *given,
                               Extra *extra) {
    HdStr name = args->names[i];
    int place = name.len ? parameter(macro, name) : i < macro->count ? (int)i : -1;
    if (place >= 0) {
        if (tpl_given(&given[place]))
            return tpl_fail(run, HD_BAD_DATA, "a macro got the argument '" HD_STR_FMT "' twice", HD_STR_ARG(macro->names[place]));
        given[place] = args->items[i];
    } else if (!name.len && macro->takes_varargs) {
        tpl_list_push(&run->arena, extra->positional, args->items[i]);
    } else if (hd_str_is(name, "caller") && macro->takes_caller) {
        extra->caller = args->items[i];
    } else if (name.len && macro->takes_kwargs) {
        tpl_dict_put(&run->arena, extra->named, tpl_string(name), args->items[i]);
    } else if (name.len) {
        return tpl_fail(run, HD_BAD_DATA, "macro '" HD_STR_FMT "' has no argument '" HD_STR_FMT "'", HD_STR_ARG(macro->text),
                        HD_STR_ARG(name));
    } else {
        return tpl_fail(run, HD_BAD_DATA, "macro '" HD_STR_FMT "' takes at most %u arguments", HD_STR_ARG(macro->text),
                        macro->count);
    }
    return NULL;
}

// Gives the arguments their names; defaults may use those before them.
static HdStatus *name_arguments(TplRun *run, const TplNode *macro, const TplValue *given, const Extra *extra) {
    if (macro->takes_caller) tpl_set_name(run, HD_STR("caller"), extra->caller);
    if (macro->takes_varargs) tpl_set_name(run, HD_STR("varargs"), tpl_list_value(TPL_TUPLE, extra->positional));
    if (macro->takes_kwargs) tpl_set_name(run, HD_STR("kwargs"), tpl_dict_value(extra->named));
    for (uint32_t i = 0; i < macro->count; i++) {
        TplValue value = given[i];
        if (!tpl_given(&value) && macro->items[i]) HD_TRY(tpl_eval(run, macro->items[i], &value));
        if (!tpl_given(&value)) value = tpl_undefined("an argument of a macro that was not given");
        tpl_set_name(run, macro->names[i], value);
    }
    return NULL;
}

HdStatus *tpl_run_macro(TplRun *run, const TplMacro *macro, const TplArgs *args, TplValue *out) {
    const TplNode *node = macro->node;
    TplScope *outer = run->scope, *inner = open_scope(run, macro->scope);
    TplValue *given = HD_NEW_ARRAY(&run->arena, TplValue, node->count);
    Extra extra = {tpl_list_new(&run->arena, 0), HD_NEW(&run->arena, TplDict), tpl_undefined("there is no caller")};
    HD_TRY(tpl_work(run, 1 + args->count));
    for (uint32_t i = 0; i < args->count; i++) HD_TRY(take_argument(run, node, args, i, given, &extra));
    run->scope = inner;
    HD_TRY(name_arguments(run, node, given, &extra));
    run->scope = outer;
    return capture(run, node->c, inner, out);
}

// ---- all -----------------------------------------------------------------------------------------------------

typedef HdStatus *Exec(TplRun *run, const TplNode *node);
static Exec *const execs[] = {
#define STATEMENT(name, function) [TPL_NODE_##name] = exec_##function,
#include "runtime/template/nodes.def"
#undef STATEMENT
};

HdStatus *tpl_exec(TplRun *run, const TplNode *node) {
    HD_TRY(tpl_enter(run));
    run->line = node->line;
    HD_TRY(execs[node->kind](run, node));
    tpl_leave(run);
    return NULL;
}
