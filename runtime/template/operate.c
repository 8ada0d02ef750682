// SPDX-License-Identifier: Apache-2.0
// Comparison, membership and iteration, with Python's rules.
#include "runtime/template/internal.h"

#include <string.h>

// ---- equality ------------------------------------------------------------------------------------------------

static HdStatus *equal_lists(TplRun *run, const TplList *a, const TplList *b, bool *out) {
    *out = a->count == b->count;
    for (size_t i = 0; *out && i < a->count; i++) HD_TRY(tpl_equal(run, &a->items[i], &b->items[i], out));
    return NULL;
}

static HdStatus *equal_dicts(TplRun *run, const TplDict *a, const TplDict *b, bool *out) {
    *out = a->count == b->count;
    for (size_t i = 0; *out && i < a->count; i++) {
        const TplValue *other = tpl_dict_get(b, &a->keys[i]);
        *out = other != NULL;
        if (other) HD_TRY(tpl_equal(run, &a->values[i], other, out));
    }
    return NULL;
}

// Of two values that are no scalars. Objects are equal to themselves only.
static HdStatus *equal_others(TplRun *run, const TplValue *a, const TplValue *b, bool *out) {
    *out = false;
    if (a->kind != b->kind) return NULL;
    switch (a->kind) {
    case TPL_UNDEFINED: *out = true; return NULL;
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE: return equal_lists(run, a->list, b->list, out);
    case TPL_DICT: return equal_dicts(run, a->dict, b->dict, out);
    default: *out = a->list == b->list; return NULL;
    }
}

HdStatus *tpl_equal(TplRun *run, const TplValue *a, const TplValue *b, bool *out) {
    HD_TRY(tpl_work(run, 1));
    if (tpl_is_key(a) || tpl_is_key(b)) {
        *out = tpl_is_key(a) && tpl_is_key(b) && tpl_same_scalar(a, b);
        return *out && a->kind == TPL_STRING ? tpl_look(run, a->text.len) : NULL;
    }
    HD_TRY(tpl_enter(run));
    HD_TRY(equal_others(run, a, b, out));
    tpl_leave(run);
    return NULL;
}

// ---- order ---------------------------------------------------------------------------------------------------

static bool is_number(const TplValue *value) {
    return value->kind == TPL_BOOL || value->kind == TPL_INT || value->kind == TPL_FLOAT;
}

// Not a number is neither below nor above: *out is 2.
enum { UNORDERED = 2 };

static int order_numbers(const TplValue *a, const TplValue *b) {
    int64_t x, y;
    bool integers = tpl_as_int(a, &x) & tpl_as_int(b, &y);
    if (integers) return (x > y) - (x < y);
    long double p = a->kind == TPL_FLOAT ? (long double)a->real : (long double)x;
    long double q = b->kind == TPL_FLOAT ? (long double)b->real : (tpl_as_int(b, &y), (long double)y);
    return p != p || q != q ? UNORDERED : (p > q) - (p < q);
}

// Bytes of UTF-8 are in the order of code points.
static int order_texts(HdStr a, HdStr b) {
    size_t common = HD_MIN(a.len, b.len);
    int order = common ? memcmp(a.data, b.data, common) : 0;
    return order ? (order > 0) - (order < 0) : (a.len > b.len) - (a.len < b.len);
}

static HdStatus *order_lists(TplRun *run, const TplList *a, const TplList *b, int *out) {
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        bool same;
        HD_TRY(tpl_equal(run, &a->items[i], &b->items[i], &same));
        if (!same) return tpl_order(run, &a->items[i], &b->items[i], out);
    }
    *out = (a->count > b->count) - (a->count < b->count);
    return NULL;
}

HdStatus *tpl_order(TplRun *run, const TplValue *a, const TplValue *b, int *out) {
    HD_TRY(tpl_work(run, 1));
    if (is_number(a) && is_number(b)) return *out = order_numbers(a, b), NULL;
    if (a->kind == TPL_STRING && b->kind == TPL_STRING) {
        *out = order_texts(a->text, b->text);
        return tpl_look(run, HD_MIN(a->text.len, b->text.len));
    }
    if (a->kind == b->kind && (a->kind == TPL_LIST || a->kind == TPL_TUPLE)) {
        HD_TRY(tpl_enter(run));
        HD_TRY(order_lists(run, a->list, b->list, out));
        tpl_leave(run);
        return NULL;
    }
    const TplValue *odd = a->kind == TPL_UNDEFINED ? a : b;
    if (odd->kind == TPL_UNDEFINED) return tpl_fail(run, HD_BAD_DATA, "" HD_STR_FMT, HD_STR_ARG(odd->text));
    return tpl_fail(run, HD_BAD_DATA, "values of type %s and %s have no order", tpl_kind_name(a), tpl_kind_name(b));
}

// ---- membership and comparison -------------------------------------------------------------------------------

HdStatus *tpl_contains(TplRun *run, const TplValue *container, const TplValue *item, bool *out) {
    TplList items;
    size_t at;
    *out = false;
    if (container->kind == TPL_STRING) {
        if (item->kind != TPL_STRING) return tpl_wrong_type(run, "what is looked for in a string", item);
        HD_TRY(tpl_look(run, container->text.len));
        *out = tpl_find(container->text, item->text, 0, &at);
        return NULL;
    }
    if (container->kind == TPL_DICT) {
        if (item->kind == TPL_LIST || item->kind == TPL_DICT) return tpl_wrong_type(run, "what is looked for in a mapping", item);
        *out = tpl_is_key(item) && tpl_dict_get(container->dict, item);
        return NULL;
    }
    HD_TRY(tpl_iterate(run, container, &items));
    for (size_t i = 0; i < items.count && !*out; i++) HD_TRY(tpl_equal(run, &items.items[i], item, out));
    return NULL;
}

HdStatus *tpl_compare(TplRun *run, HdStr operator, const TplValue *a, const TplValue *b, bool *out) {
    bool negated = hd_str_is(operator, "!=") || hd_str_is(operator, "not in");
    int order;
    if (negated || hd_str_is(operator, "==") || hd_str_is(operator, "in")) {
        bool membership = operator.data[operator.len - 1] == 'n';
        HD_TRY(membership ? tpl_contains(run, b, a, out) : tpl_equal(run, a, b, out));
        *out = *out != negated;
        return NULL;
    }
    HD_TRY(tpl_order(run, a, b, &order));
    bool or_equal = operator.len == 2;
    *out = order != UNORDERED && ((or_equal && order == 0) || (operator.data[0] == '<' ? order < 0 : order > 0));
    return NULL;
}

// ---- iteration -----------------------------------------------------------------------------------------------

static HdStatus *characters(TplRun *run, HdStr text, TplList *out_items) {
    size_t count = tpl_length(text);
    HD_TRY(tpl_room(run, count * sizeof(TplValue)));
    HD_TRY(tpl_work(run, count));
    *out_items = *tpl_list_new(&run->arena, count);
    for (size_t at = 0, used; at < text.len; at += used) {
        hd_utf8_decode(text.data + at, text.len - at, &used);
        tpl_list_push(&run->arena, out_items, tpl_string((HdStr){text.data + at, used}));
    }
    return NULL;
}

HdStatus *tpl_iterate(TplRun *run, const TplValue *value, TplList *out_items) {
    *out_items = (TplList){0};
    if (value->kind == TPL_UNDEFINED) return NULL;
    if (value->kind == TPL_STRING) return characters(run, value->text, out_items);
    if (value->kind == TPL_DICT) {
        *out_items = (TplList){.items = value->dict->keys, .count = value->dict->count};
    } else if (tpl_holds_list(value)) {
        *out_items = *value->list;
        if (value->kind == TPL_ITERATOR) *value->list = (TplList){0};
    } else {
        return tpl_wrong_type(run, "what is iterated", value);
    }
    return tpl_work(run, out_items->count);
}
