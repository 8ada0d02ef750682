// SPDX-License-Identifier: Apache-2.0
// Jinja2's tests: what stands after `is`.
#include "runtime/template/builtins.h"

#include <math.h>
#include <utf8proc.h>

#define KIND_TEST(name, condition)                                                                                               \
    HdStatus *tpl_test_##name(TplRun *run, const TplCall *call, TplValue *out) {                                                 \
        (void)run;                                                                                                               \
        const TplValue *self = &call->self;                                                                                      \
        *out = tpl_bool(condition);                                                                                              \
        return NULL;                                                                                                             \
    }
KIND_TEST(boolean, self->kind == TPL_BOOL)
KIND_TEST(callable, self->kind >= TPL_MACRO || self->kind == TPL_UNDEFINED)   // an undefined value counts as one in Jinja2
KIND_TEST(defined, self->kind != TPL_UNDEFINED)
KIND_TEST(escaped, self->kind == TPL_STRING && self->safe)
KIND_TEST(false, self->kind == TPL_BOOL && !self->truth)
KIND_TEST(float, self->kind == TPL_FLOAT)
KIND_TEST(integer, self->kind == TPL_INT || self->kind == TPL_BIG)
KIND_TEST(iterable, tpl_holds_list(self) || self->kind == TPL_STRING || self->kind == TPL_DICT || self->kind == TPL_LOOP
                        || self->kind == TPL_UNDEFINED)
KIND_TEST(mapping, self->kind == TPL_DICT)
KIND_TEST(none, self->kind == TPL_NONE)
KIND_TEST(number, self->kind >= TPL_BOOL && self->kind <= TPL_FLOAT)
KIND_TEST(sequence, self->kind == TPL_STRING || (self->kind >= TPL_LIST && self->kind < TPL_VIEW) || self->kind == TPL_DICT
                        || self->kind == TPL_UNDEFINED)
KIND_TEST(string, self->kind == TPL_STRING)
KIND_TEST(true, self->kind == TPL_BOOL && self->truth)
KIND_TEST(undefined, self->kind == TPL_UNDEFINED)

// ---- numbers -------------------------------------------------------------------------------------------------

static HdStatus *divides(TplRun *run, const TplValue *value, const TplValue *divisor, int64_t rest, TplValue *out) {
    TplValue remainder, wanted = tpl_int(rest);
    HD_TRY(tpl_binary(run, HD_STR("%"), value, divisor, &remainder));
    return *out = tpl_bool(tpl_same_scalar(&remainder, &wanted)), NULL;
}

HdStatus *tpl_test_divisibleby(TplRun *run, const TplCall *call, TplValue *out) {
    return divides(run, &call->self, &call->args[0], 0, out);
}

HdStatus *tpl_test_even(TplRun *run, const TplCall *call, TplValue *out) {
    TplValue two = tpl_int(2);
    return divides(run, &call->self, &two, 0, out);
}

HdStatus *tpl_test_odd(TplRun *run, const TplCall *call, TplValue *out) {
    TplValue two = tpl_int(2);
    return divides(run, &call->self, &two, 1, out);
}

// ---- text ----------------------------------------------------------------------------------------------------

// At least one letter has case, and all that have are of the wanted one.
static HdStatus *has_case(TplRun *run, const TplCall *call, bool upper, TplValue *out) {
    TplValue text;
    bool any = false, other = false;
    HD_TRY(tpl_self_text(run, call, &text));
    HD_TRY(tpl_look(run, text.text.len));
    for (size_t at = 0, used; at < text.text.len; at += used) {
        int32_t code = hd_utf8_decode(text.text.data + at, text.text.len - at, &used);
        bool is_upper = utf8proc_isupper(code), is_lower = utf8proc_islower(code);
        any = any || (upper ? is_upper : is_lower);
        other = other || (upper ? is_lower : is_upper) || utf8proc_category(code) == UTF8PROC_CATEGORY_LT;
    }
    return *out = tpl_bool(any && !other), NULL;
}

HdStatus *tpl_test_lower(TplRun *run, const TplCall *call, TplValue *out) { return has_case(run, call, false, out); }
HdStatus *tpl_test_upper(TplRun *run, const TplCall *call, TplValue *out) { return has_case(run, call, true, out); }

// ---- comparisons ---------------------------------------------------------------------------------------------

static HdStatus *compare(TplRun *run, const TplCall *call, HdStr operator, TplValue *out) {
    bool found;
    HD_TRY(tpl_compare(run, operator, &call->self, &call->args[0], &found));
    return *out = tpl_bool(found), NULL;
}

HdStatus *tpl_test_eq(TplRun *run, const TplCall *call, TplValue *out) { return compare(run, call, HD_STR("=="), out); }
HdStatus *tpl_test_ne(TplRun *run, const TplCall *call, TplValue *out) { return compare(run, call, HD_STR("!="), out); }
HdStatus *tpl_test_lt(TplRun *run, const TplCall *call, TplValue *out) { return compare(run, call, HD_STR("<"), out); }
HdStatus *tpl_test_le(TplRun *run, const TplCall *call, TplValue *out) { return compare(run, call, HD_STR("<="), out); }
HdStatus *tpl_test_gt(TplRun *run, const TplCall *call, TplValue *out) { return compare(run, call, HD_STR(">"), out); }
HdStatus *tpl_test_ge(TplRun *run, const TplCall *call, TplValue *out) { return compare(run, call, HD_STR(">="), out); }
HdStatus *tpl_test_in(TplRun *run, const TplCall *call, TplValue *out) { return compare(run, call, HD_STR("in"), out); }

// The same object. Of numbers and strings only none, true and false are told apart for sure.
HdStatus *tpl_test_sameas(TplRun *run, const TplCall *call, TplValue *out) {
    const TplValue *a = &call->self, *b = &call->args[0];
    bool same = a->kind == b->kind;
    if (same && tpl_is_key(a)) same = tpl_same_scalar(a, b);
    else if (same && a->kind != TPL_UNDEFINED) same = a->list == b->list;
    (void)run;
    return *out = tpl_bool(same), NULL;
}
