// SPDX-License-Identifier: Apache-2.0
// Filters that work on lists and mappings.
#include "runtime/template/builtins.h"

#include <string.h>

static HdStatus *new_list(TplRun *run, size_t count, TplList **out) {
    HD_TRY(tpl_room(run, count * sizeof(TplValue)));
    *out = tpl_list_new(&run->arena, count);
    return NULL;
}

static bool is_none(const TplValue *arg) { return !tpl_given(arg) || arg->kind == TPL_NONE; }

// ---- one of them ---------------------------------------------------------------------------------------------

HdStatus *tpl_filter_length(TplRun *run, const TplCall *call, TplValue *out) {
    const TplValue *self = &call->self;
    if (self->kind == TPL_STRING) {
        HD_TRY(tpl_look(run, self->text.len));
        return *out = tpl_int((int64_t)tpl_length(self->text)), NULL;
    }
    if (self->kind == TPL_UNDEFINED) return *out = tpl_int(0), NULL;
    if (self->kind == TPL_DICT) return *out = tpl_int((int64_t)self->dict->count), NULL;
    if (self->kind == TPL_LOOP) return *out = tpl_int((int64_t)self->loop->items->count), NULL;
    if (!tpl_holds_list(self) || self->kind == TPL_ITERATOR) return tpl_wrong_type(run, "what is measured", self);
    return *out = tpl_int((int64_t)self->list->count), NULL;
}

HdStatus *tpl_filter_first(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items;
    *out = tpl_undefined("the first item of nothing");
    if (call->self.kind == TPL_ITERATOR) {
        TplList *list = call->self.list;
        if (list->count) *out = *list->items++, list->count--;
        return NULL;
    }
    HD_TRY(tpl_iterate(run, &call->self, &items));
    if (items.count) *out = items.items[0];
    return NULL;
}

HdStatus *tpl_filter_last(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items;
    if (call->self.kind == TPL_ITERATOR) return tpl_wrong_type(run, "what the last item is taken of", &call->self);
    HD_TRY(tpl_iterate(run, &call->self, &items));
    *out = items.count ? items.items[items.count - 1] : tpl_undefined("the last item of nothing");
    return NULL;
}

HdStatus *tpl_fold(TplRun *run, const TplValue *value, bool case_sensitive, TplValue *out) {
    TplCall call = {.self = *value};
    if (!case_sensitive && value->kind == TPL_STRING) return tpl_text_lower(run, &call, out);
    return *out = *value, NULL;
}

// The item, or what lies at `path` in it, made ready to be compared.
static HdStatus *key_of(TplRun *run, const TplValue *item, const TplValue *path, bool case_sensitive, TplValue *out) {
    TplValue value = *item;
    if (!is_none(path)) HD_TRY(tpl_path(run, item, path, &value));
    return tpl_fold(run, &value, case_sensitive, out);
}

static HdStatus *extreme(TplRun *run, const TplCall *call, int sign, TplValue *out) {
    TplList items;
    TplValue best, key;
    bool exact = tpl_arg_truth(&call->args[0]);
    HD_TRY(tpl_iterate(run, &call->self, &items));
    *out = tpl_undefined("the largest or smallest of nothing");
    for (size_t i = 0; i < items.count; i++) {
        int order = sign;
        HD_TRY(key_of(run, &items.items[i], &call->args[1], exact, &key));
        if (i) HD_TRY(tpl_order(run, &key, &best, &order));
        if (order != sign) continue;
        best = key;
        *out = items.items[i];
    }
    return NULL;
}

HdStatus *tpl_filter_max(TplRun *run, const TplCall *call, TplValue *out) { return extreme(run, call, 1, out); }
HdStatus *tpl_filter_min(TplRun *run, const TplCall *call, TplValue *out) { return extreme(run, call, -1, out); }

HdStatus *tpl_filter_sum(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items;
    TplValue sum = tpl_given(&call->args[1]) ? call->args[1] : tpl_int(0);
    HD_TRY(tpl_iterate(run, &call->self, &items));
    if (sum.kind == TPL_STRING) return tpl_wrong_type(run, "what a sum starts with", &sum);
    for (size_t i = 0; i < items.count; i++) {
        TplValue item = items.items[i], before = sum;
        if (!is_none(&call->args[0])) HD_TRY(tpl_path(run, &items.items[i], &call->args[0], &item));
        HD_TRY(tpl_binary(run, HD_STR("+"), &before, &item, &sum));
    }
    return *out = sum, NULL;
}

// ---- all of them ---------------------------------------------------------------------------------------------

HdStatus *tpl_filter_list(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items, *list;
    HD_TRY(tpl_iterate(run, &call->self, &items));
    HD_TRY(new_list(run, items.count, &list));
    for (size_t i = 0; i < items.count; i++) tpl_list_push(&run->arena, list, items.items[i]);
    return *out = tpl_list_value(TPL_LIST, list), NULL;
}

HdStatus *tpl_filter_reverse(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items, *list;
    TplValue bounds[3] = {tpl_none(), tpl_none(), tpl_int(-1)};
    if (call->self.kind == TPL_STRING) return tpl_slice(run, &call->self, bounds, out);
    HD_TRY(tpl_iterate(run, &call->self, &items));
    HD_TRY(new_list(run, items.count, &list));
    for (size_t i = items.count; i > 0; i--) tpl_list_push(&run->arena, list, items.items[i - 1]);
    return *out = tpl_list_value(call->self.kind == TPL_ITERATOR ? TPL_LIST : TPL_ITERATOR, list), NULL;
}

HdStatus *tpl_items_of(TplRun *run, const TplValue *dict, TplList **out_pairs) {
    size_t count = dict->dict->count;
    HD_TRY(tpl_work(run, count));
    HD_TRY(new_list(run, 4 * count, out_pairs));
    for (size_t i = 0; i < count; i++)
        tpl_list_push(&run->arena, *out_pairs, tpl_pair(&run->arena, dict->dict->keys[i], dict->dict->values[i]));
    return NULL;
}

HdStatus *tpl_filter_items(TplRun *run, const TplCall *call, TplValue *out) {
    TplList *pairs = tpl_list_new(&run->arena, 0);
    if (call->self.kind != TPL_UNDEFINED) {
        if (call->self.kind != TPL_DICT)
            return tpl_fail(run, HD_BAD_DATA, "items: expected a mapping, found a value of type %s", tpl_kind_name(&call->self));
        HD_TRY(tpl_items_of(run, &call->self, &pairs));
    }
    return *out = tpl_list_value(TPL_ITERATOR, pairs), NULL;
}

// ---- in order ------------------------------------------------------------------------------------------------

// "a,b": by a, then by b; the key is a list of what lies there.
static HdStatus *keys_at(TplRun *run, const TplValue *item, HdStr paths, bool exact, TplValue *out) {
    TplList *keys = tpl_list_new(&run->arena, 0);
    for (const char *comma = paths.data; comma;) {
        comma = memchr(paths.data, ',', paths.len);
        size_t len = comma ? (size_t)(comma - paths.data) : paths.len;
        TplValue path = tpl_string((HdStr){paths.data, len}), key;
        HD_TRY(key_of(run, item, &path, exact, &key));
        tpl_list_push(&run->arena, keys, key);
        if (comma) paths = (HdStr){comma + 1, paths.len - len - 1};
    }
    return *out = tpl_list_value(TPL_LIST, keys), NULL;
}

// How the filter sort compares: by lists of keys, in which two undefined ones are equal.
static HdStatus *sort_key(TplRun *run, const TplValue *item, const TplValue *paths, bool exact, TplValue *out) {
    if (paths->kind == TPL_STRING) return keys_at(run, item, paths->text, exact, out);
    TplList *keys = tpl_list_new(&run->arena, 1);
    tpl_list_push(&run->arena, keys, tpl_none());
    *out = tpl_list_value(TPL_LIST, keys);
    return key_of(run, item, paths, exact, &keys->items[0]);
}

typedef HdStatus *Key(TplRun *run, const TplValue *item, const TplValue *path, bool exact, TplValue *out);

// Items by their keys; *out_keys in the new order too where it is wanted.
static HdStatus *sort_items(TplRun *run, const TplList *items, Key *key, const TplValue *path, bool exact, bool reverse,
                            TplList **out_items, TplList **out_keys) {
    TplList *keys, *list, *sorted_keys;
    size_t *order;
    HD_TRY(new_list(run, items->count, &keys));
    for (size_t i = 0; i < items->count; i++) HD_TRY(key(run, &items->items[i], path, exact, &keys->items[i]));
    HD_TRY(tpl_sorted(run, keys->items, items->count, reverse, &order));
    HD_TRY(new_list(run, items->count, &list));
    HD_TRY(new_list(run, items->count, &sorted_keys));
    for (size_t i = 0; i < items->count; i++) {
        tpl_list_push(&run->arena, list, items->items[order[i]]);
        tpl_list_push(&run->arena, sorted_keys, keys->items[order[i]]);
    }
    *out_items = list;
    if (out_keys) *out_keys = sorted_keys;
    return NULL;
}

HdStatus *tpl_filter_sort(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items, *list;
    HD_TRY(tpl_iterate(run, &call->self, &items));
    bool reverse = tpl_arg_truth(&call->args[0]), exact = tpl_arg_truth(&call->args[1]);
    HD_TRY(sort_items(run, &items, sort_key, &call->args[2], exact, reverse, &list, NULL));
    return *out = tpl_list_value(TPL_LIST, list), NULL;
}

HdStatus *tpl_filter_dictsort(TplRun *run, const TplCall *call, TplValue *out) {
    TplList *pairs, *list;
    HdStr by;
    if (call->self.kind != TPL_DICT) return tpl_wrong_type(run, "what dictsort sorts", &call->self);
    HD_TRY(tpl_arg_text(run, &call->args[1], "key", &by));
    TplValue place = tpl_int(hd_str_is(by, "value"));
    if (!place.integer && !hd_str_is(by, "key")) return tpl_fail(run, HD_BAD_DATA, "dictsort: by is key or value");
    HD_TRY(tpl_items_of(run, &call->self, &pairs));
    bool exact = tpl_arg_truth(&call->args[0]), reverse = tpl_arg_truth(&call->args[2]);
    HD_TRY(sort_items(run, pairs, key_of, &place, exact, reverse, &list, NULL));
    return *out = tpl_list_value(TPL_LIST, list), NULL;
}

static TplValue new_group(TplRun *run, TplValue grouper, TplList **out_members) {
    *out_members = tpl_list_new(&run->arena, 0);
    TplValue group = tpl_pair(&run->arena, grouper, tpl_list_value(TPL_LIST, *out_members));
    group.list->is_group = true;
    return group;
}

HdStatus *tpl_filter_groupby(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items, *sorted, *keys, *groups = tpl_list_new(&run->arena, 0), *members = NULL;
    if (!is_none(&call->args[1])) return tpl_fail(run, HD_UNSUPPORTED, "groupby: the argument default is not supported");
    HD_TRY(tpl_iterate(run, &call->self, &items));
    HD_TRY(sort_items(run, &items, key_of, &call->args[0], tpl_arg_truth(&call->args[2]), false, &sorted, &keys));
    for (size_t i = 0; i < sorted->count; i++) {
        bool same = i > 0;
        TplValue grouper;
        if (i) HD_TRY(tpl_equal(run, &keys->items[i - 1], &keys->items[i], &same));
        if (!same) {
            HD_TRY(key_of(run, &sorted->items[i], &call->args[0], true, &grouper));
            tpl_list_push(&run->arena, groups, new_group(run, grouper, &members));
        }
        tpl_list_push(&run->arena, members, sorted->items[i]);
    }
    return *out = tpl_list_value(TPL_LIST, groups), NULL;
}

HdStatus *tpl_filter_unique(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items, *list = tpl_list_new(&run->arena, 0);
    TplDict seen = {0};
    TplValue key;
    HD_TRY(tpl_iterate(run, &call->self, &items));
    for (size_t i = 0; i < items.count; i++) {
        HD_TRY(key_of(run, &items.items[i], &call->args[1], tpl_arg_truth(&call->args[0]), &key));
        if (!tpl_is_key(&key)) return tpl_wrong_type(run, "what unique compares", &key);
        if (tpl_dict_get(&seen, &key)) continue;
        tpl_dict_put(&run->arena, &seen, key, tpl_none());
        tpl_list_push(&run->arena, list, items.items[i]);
    }
    return *out = tpl_list_value(TPL_ITERATOR, list), NULL;
}

// ---- in parts ------------------------------------------------------------------------------------------------

static HdStatus *positive(TplRun *run, const TplValue *arg, int64_t *out) {
    HD_TRY(tpl_arg_int(run, arg, 0, out));
    return *out > 0 ? NULL : tpl_fail(run, HD_BAD_DATA, "a count of %lld, expected 1 or more", (long long)*out);
}

// Lists of `size` items each; the last is filled up when there is something to fill it with.
HdStatus *tpl_filter_batch(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items, *lists = tpl_list_new(&run->arena, 0), *part = NULL;
    int64_t size;
    HD_TRY(positive(run, &call->args[0], &size));
    HD_TRY(tpl_iterate(run, &call->self, &items));
    for (size_t i = 0; i < items.count; i++) {
        if (i % (uint64_t)size == 0) {
            part = tpl_list_new(&run->arena, 0);
            tpl_list_push(&run->arena, lists, tpl_list_value(TPL_LIST, part));
        }
        tpl_list_push(&run->arena, part, items.items[i]);
    }
    for (; part && !is_none(&call->args[1]) && part->count < (uint64_t)size; tpl_list_push(&run->arena, part, call->args[1]))
        HD_TRY(tpl_work(run, 1));
    return *out = tpl_list_value(TPL_ITERATOR, lists), NULL;
}

// `count` lists, the first ones one item longer where it does not come out even.
HdStatus *tpl_filter_slice(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items, *lists = tpl_list_new(&run->arena, 0);
    int64_t count;
    size_t at = 0;
    HD_TRY(positive(run, &call->args[0], &count));
    HD_TRY(tpl_iterate(run, &call->self, &items));
    size_t each = items.count / (uint64_t)count, longer = items.count % (uint64_t)count;
    for (uint64_t i = 0; i < (uint64_t)count; i++) {
        TplList *part = tpl_list_new(&run->arena, 0);
        HD_TRY(tpl_work(run, 1));
        for (size_t end = at + each + (i < longer); at < end; at++) tpl_list_push(&run->arena, part, items.items[at]);
        if (i >= longer && !is_none(&call->args[1])) tpl_list_push(&run->arena, part, call->args[1]);
        tpl_list_push(&run->arena, lists, tpl_list_value(TPL_LIST, part));
    }
    return *out = tpl_list_value(TPL_ITERATOR, lists), NULL;
}

// ---- chosen ones ---------------------------------------------------------------------------------------------

// The arguments from `from` on.
static TplArgs rest_of(const TplArgs *args, uint32_t from) {
    from = HD_MIN(from, args->count);
    return from ? (TplArgs){args->items + from, args->names + from, args->count - from} : *args;
}

static HdStatus *built_in(TplRun *run, const TplArgs *args, const char *what, const TplBuiltin *(*find)(HdStr name),
                          const TplBuiltin **out) {
    if (!args->count || args->names[0].len || args->items[0].kind != TPL_STRING)
        return tpl_fail(run, HD_BAD_DATA, "the name of a %s is missing", what);
    *out = find(args->items[0].text);
    return *out
               ? NULL
               : tpl_fail(run, HD_UNSUPPORTED, "the %s '" HD_STR_FMT "' is not supported", what, HD_STR_ARG(args->items[0].text));
}

static HdStatus *chosen(TplRun *run, const TplArgs *test, const TplValue *value, bool *out) {
    const TplBuiltin *builtin;
    TplValue result;
    if (!test->count) return *out = tpl_truth(value), NULL;
    HD_TRY(built_in(run, test, "test", tpl_test_named, &builtin));
    TplArgs args = rest_of(test, 1);
    HD_TRY(tpl_call_builtin(run, builtin, value, &args, &result));
    return *out = tpl_truth(&result), NULL;
}

static HdStatus *choose(TplRun *run, const TplCall *call, bool by_attribute, bool wanted, TplValue *out) {
    TplList items, *list = tpl_list_new(&run->arena, 0);
    TplArgs test = rest_of(&call->raw, by_attribute);
    if (by_attribute && (!call->raw.count || call->raw.names[0].len))
        return tpl_fail(run, HD_BAD_DATA, "the name of an attribute is missing");
    HD_TRY(tpl_iterate(run, &call->self, &items));
    for (size_t i = 0; i < items.count; i++) {
        TplValue value = items.items[i];
        bool found;
        if (by_attribute) HD_TRY(tpl_path(run, &items.items[i], &call->raw.items[0], &value));
        HD_TRY(chosen(run, &test, &value, &found));
        if (found == wanted) tpl_list_push(&run->arena, list, items.items[i]);
    }
    return *out = tpl_list_value(TPL_ITERATOR, list), NULL;
}

HdStatus *tpl_filter_select(TplRun *run, const TplCall *call, TplValue *out) { return choose(run, call, false, true, out); }
HdStatus *tpl_filter_reject(TplRun *run, const TplCall *call, TplValue *out) { return choose(run, call, false, false, out); }
HdStatus *tpl_filter_selectattr(TplRun *run, const TplCall *call, TplValue *out) { return choose(run, call, true, true, out); }
HdStatus *tpl_filter_rejectattr(TplRun *run, const TplCall *call, TplValue *out) { return choose(run, call, true, false, out); }

static const TplValue *argument(const TplArgs *args, const char *name) {
    for (uint32_t i = 0; i < args->count; i++)
        if (hd_str_is(args->names[i], name)) return &args->items[i];
    return NULL;
}

static HdStatus *map_one(TplRun *run, const TplArgs *args, const TplValue *path, const TplValue *item, TplValue *out) {
    const TplBuiltin *builtin;
    if (path) {
        const TplValue *fallback = argument(args, "default");
        HD_TRY(tpl_path(run, item, path, out));
        if (out->kind == TPL_UNDEFINED && fallback && !is_none(fallback)) *out = *fallback;
        return NULL;
    }
    HD_TRY(built_in(run, args, "filter", tpl_filter_named, &builtin));
    TplArgs rest = rest_of(args, 1);
    return tpl_call_builtin(run, builtin, item, &rest, out);
}

HdStatus *tpl_filter_map(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items, *list;
    bool by_name = call->raw.count && call->raw.names[0].len;
    const TplValue *path = by_name ? argument(&call->raw, "attribute") : NULL;
    HD_TRY(tpl_iterate(run, &call->self, &items));
    HD_TRY(new_list(run, items.count, &list));
    for (size_t i = 0; i < items.count; i++) {
        TplValue mapped;
        HD_TRY(map_one(run, &call->raw, path, &items.items[i], &mapped));
        tpl_list_push(&run->arena, list, mapped);
    }
    return *out = tpl_list_value(TPL_ITERATOR, list), NULL;
}
