// SPDX-License-Identifier: Apache-2.0
// What lies inside a value: attributes, items, slices. As in Jinja2, value.x looks for a method first and for an item then,
// value['x'] the other way round; what is not there is undefined, and only using that is an error.
#include "runtime/template/internal.h"

#include <string.h>

static HdStatus *undefined(TplRun *run, TplValue *out, const char *fmt, ...) HD_PRINTF(3, 4);
static HdStatus *undefined(TplRun *run, TplValue *out, const char *fmt, ...) {
    size_t mark = run->out.len;
    va_list args;
    va_start(args, fmt);
    hd_buf_vprintf(&run->out, fmt, args);
    va_end(args);
    HD_TRY(tpl_take(run, mark, out));
    out->kind = TPL_UNDEFINED;
    return NULL;
}

static HdStatus *use_of_undefined(TplRun *run, const TplValue *value) {
    return tpl_fail(run, HD_BAD_DATA, HD_STR_FMT, HD_STR_ARG(value->text));
}

// ---- attributes ----------------------------------------------------------------------------------------------

static TplValue neighbour(const TplLoop *loop, bool exists, size_t at, const char *why) {
    return exists ? loop->items->items[at] : tpl_undefined(why);
}

static bool loop_attribute(const TplLoop *loop, HdStr name, TplValue *out) {
    size_t at = loop->at, count = loop->items->count;
    bool last = at + 1 == count;
    if (hd_str_is(name, "index")) *out = tpl_int((int64_t)at + 1);
    else if (hd_str_is(name, "index0")) *out = tpl_int((int64_t)at);
    else if (hd_str_is(name, "revindex")) *out = tpl_int((int64_t)(count - at));
    else if (hd_str_is(name, "revindex0")) *out = tpl_int((int64_t)(count - at) - 1);
    else if (hd_str_is(name, "first")) *out = tpl_bool(at == 0);
    else if (hd_str_is(name, "last")) *out = tpl_bool(last);
    else if (hd_str_is(name, "length")) *out = tpl_int((int64_t)count);
    else if (hd_str_is(name, "depth")) *out = tpl_int(1);
    else if (hd_str_is(name, "depth0")) *out = tpl_int(0);
    else if (hd_str_is(name, "previtem")) *out = neighbour(loop, at > 0, at - 1, "there is no previous item");
    else if (hd_str_is(name, "nextitem")) *out = neighbour(loop, !last, at + 1, "there is no next item");
    else return false;
    return true;
}

static bool group_attribute(const TplValue *value, HdStr name, TplValue *out) {
    bool list = hd_str_is(name, "list");
    if (value->kind != TPL_TUPLE || !value->list->is_group || !(list || hd_str_is(name, "grouper"))) return false;
    *out = value->list->items[list];
    return true;
}

// Methods, and attributes of what is not a mapping.
static bool own_attribute(TplRun *run, const TplValue *value, HdStr name, TplValue *out) {
    const TplBuiltin *method = tpl_method_named(value->kind, name);
    if (method && !method->handler) {
        *out = tpl_undefined("a method that changes its object, which templates must not");
    } else if (method) {
        TplBound *bound = HD_NEW(&run->arena, TplBound);
        *bound = (TplBound){*value, method};
        *out = (TplValue){.kind = TPL_METHOD, .bound = bound};
    } else if (value->kind == TPL_NAMESPACE && !hd_str_starts(name, "_")) {
        const TplValue *found = tpl_dict_named(value->dict, name);
        if (found) *out = *found;
        return found != NULL;
    } else {
        return (value->kind == TPL_LOOP && loop_attribute(value->loop, name, out)) || group_attribute(value, name, out);
    }
    return true;
}

static HdStatus *no_attribute(TplRun *run, const TplValue *value, HdStr name, TplValue *out) {
    return undefined(run, out, "a value of type %s has no attribute '" HD_STR_FMT "'", tpl_kind_name(value), HD_STR_ARG(name));
}

HdStatus *tpl_attribute(TplRun *run, const TplValue *value, HdStr name, TplValue *out) {
    if (value->kind == TPL_UNDEFINED) return use_of_undefined(run, value);
    if (own_attribute(run, value, name, out)) return NULL;
    const TplValue *found = value->kind == TPL_DICT ? tpl_dict_named(value->dict, name) : NULL;
    return found ? (*out = *found, NULL) : no_attribute(run, value, name, out);
}

// ---- items ---------------------------------------------------------------------------------------------------

// Negative numbers count from the end. False: outside.
static bool place(int64_t index, size_t count, size_t *out) {
    if (index < 0) index += (int64_t)count;
    *out = (size_t)index;
    return index >= 0 && (uint64_t)index < count;
}

static HdStatus *item_at(TplRun *run, const TplValue *value, int64_t index, bool *out_found, TplValue *out) {
    size_t at;
    if (value->kind == TPL_STRING) {
        HD_TRY(tpl_look(run, value->text.len));
        *out_found = place(index, tpl_length(value->text), &at);
        if (*out_found) *out = *value, out->text = tpl_part(value->text, at, at + 1);
    } else if (tpl_holds_list(value) && value->kind < TPL_VIEW) {
        *out_found = place(index, value->list->count, &at);
        if (*out_found) *out = value->list->items[at];
    }
    return NULL;
}

HdStatus *tpl_item(TplRun *run, const TplValue *value, const TplValue *key, TplValue *out) {
    int64_t index;
    bool found = false;
    if (value->kind == TPL_UNDEFINED) return use_of_undefined(run, value);
    if (value->kind == TPL_DICT) {
        const TplValue *item = tpl_is_key(key) ? tpl_dict_get(value->dict, key) : NULL;
        if (item) return *out = *item, NULL;
    } else if (tpl_as_int(key, &index)) {
        HD_TRY(item_at(run, value, index, &found, out));
    }
    if (found) return NULL;
    if (key->kind == TPL_STRING)
        return own_attribute(run, value, key->text, out) ? NULL : no_attribute(run, value, key->text, out);
    return undefined(run, out, "a value of type %s has no such element", tpl_kind_name(value));
}

HdStatus *tpl_path(TplRun *run, const TplValue *value, const TplValue *path, TplValue *out) {
    *out = *value;
    if (path->kind != TPL_STRING) return tpl_item(run, value, path, out);
    for (HdStr rest = path->text, part; rest.data; ) {
        const char *dot = memchr(rest.data, '.', rest.len);
        part = (HdStr){rest.data, dot ? (size_t)(dot - rest.data) : rest.len};
        rest = dot ? (HdStr){dot + 1, rest.len - part.len - 1} : (HdStr){0};
        TplValue key = tpl_int(0), inner = *out;
        if (!hd_parse_i64(part, &key.integer) || part.data[0] == '-') key = tpl_string(part);
        HD_TRY(tpl_item(run, &inner, &key, out));
    }
    return NULL;
}

// ---- slices --------------------------------------------------------------------------------------------------

typedef struct Slice { int64_t start, stop, step; } Slice;

static HdStatus *bound(TplRun *run, const TplValue *value, int64_t fallback, int64_t low, int64_t high, int64_t count,
                       int64_t *out) {
    *out = fallback;
    if (value->kind == TPL_NONE) return NULL;
    if (!tpl_as_int(value, out)) return tpl_wrong_type(run, "the bound of a slice", value);
    if (*out < 0) *out = *out < -count ? -1 : *out + count;
    *out = HD_MAX(low, HD_MIN(*out, high));
    return NULL;
}

// Python's rules: bounds outside are moved to the end they lie beyond.
static HdStatus *resolve(TplRun *run, const TplValue bounds[3], int64_t count, Slice *out) {
    out->step = 1;
    if (bounds[2].kind != TPL_NONE && !tpl_as_int(&bounds[2], &out->step))
        return tpl_wrong_type(run, "the step of a slice", &bounds[2]);
    if (out->step == 0) return tpl_fail(run, HD_BAD_DATA, "the step of a slice is 0");
    if (out->step == INT64_MIN) out->step++;
    bool up = out->step > 0;
    int64_t low = up ? 0 : -1, high = up ? count : count - 1;
    HD_TRY(bound(run, &bounds[0], up ? low : high, low, high, count, &out->start));
    return bound(run, &bounds[1], up ? high : low, low, high, count, &out->stop);
}

static size_t slice_count(const Slice *slice) {
    int64_t span = slice->step > 0 ? slice->stop - slice->start : slice->start - slice->stop;
    uint64_t step = (uint64_t)(slice->step > 0 ? slice->step : -slice->step);
    return span > 0 ? ((uint64_t)span - 1) / step + 1 : 0;
}

static HdStatus *slice_text(TplRun *run, const TplValue *value, const TplValue bounds[3], TplValue *out) {
    Slice slice;
    TplList all;
    size_t mark = run->out.len;
    HD_TRY(tpl_look(run, value->text.len));
    HD_TRY(resolve(run, bounds, (int64_t)tpl_length(value->text), &slice));
    *out = *value;
    if (slice.step == 1) {
        out->text = tpl_part(value->text, (size_t)slice.start, (size_t)HD_MAX(slice.start, slice.stop));
        return NULL;
    }
    HD_TRY(tpl_iterate(run, value, &all));
    for (size_t i = slice_count(&slice), at = (size_t)slice.start; i; i--, at += (size_t)slice.step)
        HD_TRY(tpl_put(run, all.items[at].text));
    HD_TRY(tpl_take(run, mark, out));
    out->safe = value->safe;
    return NULL;
}

HdStatus *tpl_slice(TplRun *run, const TplValue *value, const TplValue bounds[3], TplValue *out) {
    Slice slice;
    if (value->kind == TPL_UNDEFINED) return use_of_undefined(run, value);
    if (value->kind == TPL_STRING) return slice_text(run, value, bounds, out);
    if (!tpl_holds_list(value) || value->kind >= TPL_VIEW) return tpl_wrong_type(run, "what is cut into a slice", value);
    HD_TRY(resolve(run, bounds, (int64_t)value->list->count, &slice));
    size_t count = slice_count(&slice);
    HD_TRY(tpl_room(run, count * sizeof(TplValue)));
    HD_TRY(tpl_work(run, count));
    TplList *part = tpl_list_new(&run->arena, count);
    for (size_t i = 0, at = (size_t)slice.start; i < count; i++, at += (size_t)slice.step)
        tpl_list_push(&run->arena, part, value->list->items[at]);
    *out = tpl_list_value(value->kind, part);
    return NULL;
}
