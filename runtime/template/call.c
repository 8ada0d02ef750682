// SPDX-License-Identifier: Apache-2.0
// The tables of filters, tests, methods and functions, and calls with arguments by position and by name.
#include "runtime/template/internal.h"

#include <string.h>

// ---- tables --------------------------------------------------------------------------------------------------

static const TplBuiltin filters[] = {
#define FILTER(name, handler, required, params) {#name, tpl_##handler, required, params},
#include "runtime/template/filters.def"
#undef FILTER
};
static const TplBuiltin tests[] = {
#define TEST(name, handler, required, params) {name, tpl_##handler, required, params},
#include "runtime/template/tests.def"
#undef TEST
};
static const TplBuiltin functions[] = {
#define FUNCTION(name, handler, required, params) {#name, tpl_##handler, required, params},
#include "runtime/template/functions.def"
#undef FUNCTION
};
static const struct { TplKind kind; TplBuiltin method; } methods[] = {
#define METHOD(kind, name, handler, required, params) {TPL_##kind, {#name, tpl_##handler, required, params}},
#define FORBIDDEN(kind, name) {TPL_##kind, {#name, NULL, 0, ""}},
#include "runtime/template/methods.def"
#undef METHOD
#undef FORBIDDEN
};

static const TplBuiltin *named(const TplBuiltin *table, size_t count, HdStr name) {
    for (size_t i = 0; i < count; i++)
        if (hd_str_is(name, table[i].name)) return &table[i];
    return NULL;
}

const TplBuiltin *tpl_filter_named(HdStr name) { return named(filters, HD_COUNT(filters), name); }
const TplBuiltin *tpl_test_named(HdStr name) { return named(tests, HD_COUNT(tests), name); }
const TplBuiltin *tpl_function_named(HdStr name) { return named(functions, HD_COUNT(functions), name); }

const TplBuiltin *tpl_method_named(TplKind kind, HdStr name) {
    for (size_t i = 0; i < HD_COUNT(methods); i++)
        if (methods[i].kind == kind && hd_str_is(name, methods[i].method.name)) return &methods[i].method;
    return NULL;
}

// ---- arguments -----------------------------------------------------------------------------------------------

// The place of `name` (NULL: none asked for) among names separated by blanks; *out_count: how many there are.
static int param_place(const char *params, HdStr name, uint32_t *out_count) {
    int found = -1;
    *out_count = 0;
    for (size_t len; *params; params += len + (params[len] == ' ')) {
        len = strcspn(params, " ");
        if (hd_str_eq((HdStr){params, len}, name)) found = (int)*out_count;
        ++*out_count;
    }
    return found;
}

static HdStatus *bind(TplRun *run, const TplBuiltin *builtin, const TplArgs *args, TplCall *call) {
    uint32_t count, given = 0;
    for (uint32_t i = 0; i < args->count; i++) {
        bool by_name = args->names[i].len > 0;
        int place = param_place(builtin->params, args->names[i], &count);
        if (!by_name) place = i < count ? (int)i : -1;
        if (place < 0 && by_name)
            return tpl_fail(run, HD_BAD_DATA, "%s has no argument '" HD_STR_FMT "'", builtin->name, HD_STR_ARG(args->names[i]));
        if (place < 0) return tpl_fail(run, HD_BAD_DATA, "%s takes at most %u arguments", builtin->name, count);
        if (tpl_given(&call->args[place])) return tpl_fail(run, HD_BAD_DATA, "%s got an argument twice", builtin->name);
        call->args[place] = args->items[i];
    }
    while (given < builtin->required && tpl_given(&call->args[given])) given++;
    if (given < builtin->required)
        return tpl_fail(run, HD_BAD_DATA, "%s needs %u more arguments", builtin->name, builtin->required - given);
    return NULL;
}

HdStatus *tpl_wrong_type(const TplRun *run, const char *what, const TplValue *value) {
    if (value->kind == TPL_UNDEFINED) return tpl_fail(run, HD_BAD_DATA, HD_STR_FMT, HD_STR_ARG(value->text));
    return tpl_fail(run, HD_BAD_DATA, "%s is of type %s", what, tpl_kind_name(value));
}

HdStatus *tpl_arg_int(TplRun *run, const TplValue *arg, int64_t fallback, int64_t *out) {
    if (tpl_given(arg)) return tpl_as_int(arg, out) ? NULL : tpl_wrong_type(run, "an argument that should be an int", arg);
    *out = fallback;
    return NULL;
}

HdStatus *tpl_arg_text(TplRun *run, const TplValue *arg, const char *fallback, HdStr *out) {
    if (tpl_given(arg) && arg->kind != TPL_STRING) return tpl_wrong_type(run, "an argument that should be a string", arg);
    *out = tpl_given(arg) ? arg->text : hd_str(fallback);
    return NULL;
}

// ---- calls ---------------------------------------------------------------------------------------------------

HdStatus *tpl_call_builtin(TplRun *run, const TplBuiltin *builtin, const TplValue *self, const TplArgs *args, TplValue *out) {
    TplCall call = {.self = *self, .raw = *args};
    if (builtin->params) HD_TRY(bind(run, builtin, args, &call));
    return builtin->handler(run, &call, out);
}

HdStatus *tpl_call(TplRun *run, const TplValue *callee, const TplArgs *args, TplValue *out) {
    TplValue nothing = {.kind = TPL_MISSING};
    switch (callee->kind) {
    case TPL_MACRO: return tpl_run_macro(run, callee->macro, args, out);
    case TPL_METHOD: return tpl_call_builtin(run, callee->bound->method, &callee->bound->self, args, out);
    case TPL_FUNCTION: return tpl_call_builtin(run, callee->function, &nothing, args, out);
    default: return tpl_wrong_type(run, "what is called", callee);
    }
}
