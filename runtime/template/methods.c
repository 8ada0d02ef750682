// SPDX-License-Identifier: Apache-2.0
// Python's methods of strings, mappings, lists and loops.
#include "runtime/template/builtins.h"

#include <string.h>

static HdStr self_text(const TplCall *call) { return call->self.text; }

// Part of the string, as safe as it is.
static TplValue part_of(const TplCall *call, size_t start, size_t end) {
    TplValue part = call->self;
    part.text = (HdStr){call->self.text.data + start, end - start};
    return part;
}

static bool is_none(const TplValue *arg) { return !tpl_given(arg) || arg->kind == TPL_NONE; }

// ---- strip, justify ------------------------------------------------------------------------------------------

HdStatus *tpl_method_lstrip(TplRun *run, const TplCall *call, TplValue *out) {
    return tpl_strip_by(run, &call->self, &call->args[0], TPL_LEFT, out);
}

HdStatus *tpl_method_rstrip(TplRun *run, const TplCall *call, TplValue *out) {
    return tpl_strip_by(run, &call->self, &call->args[0], TPL_RIGHT, out);
}

static HdStatus *justify(TplRun *run, const TplCall *call, int left, TplValue *out) {
    int64_t width;
    HdStr fill;
    HD_TRY(tpl_arg_int(run, &call->args[0], 0, &width));
    HD_TRY(tpl_arg_text(run, &call->args[1], " ", &fill));
    return tpl_justify(run, &call->self, width, fill, left, out);
}

HdStatus *tpl_method_center(TplRun *run, const TplCall *call, TplValue *out) { return justify(run, call, 1, out); }
HdStatus *tpl_method_rjust(TplRun *run, const TplCall *call, TplValue *out) { return justify(run, call, 2, out); }
HdStatus *tpl_method_ljust(TplRun *run, const TplCall *call, TplValue *out) { return justify(run, call, 0, out); }

// Zeros between sign and digits.
HdStatus *tpl_method_zfill(TplRun *run, const TplCall *call, TplValue *out) {
    int64_t width;
    HdStr text = self_text(call);
    bool sign = text.len && (text.data[0] == '-' || text.data[0] == '+');
    TplValue digits = part_of(call, sign, text.len), padded;
    HD_TRY(tpl_arg_int(run, &call->args[0], 0, &width));
    HD_TRY(tpl_justify(run, &digits, width - sign, HD_STR("0"), 2, &padded));
    size_t mark = run->out.len;
    HD_TRY(tpl_put(run, (HdStr){text.data, sign}));
    HD_TRY(tpl_put(run, padded.text));
    return tpl_take_like(run, mark, &call->self, out);
}

// ---- search --------------------------------------------------------------------------------------------------

static HdStatus *find_last(TplRun *run, HdStr text, HdStr part, bool *out_found, size_t *out_at) {
    *out_found = !part.len;
    *out_at = text.len;
    if (!part.len) return NULL;
    for (size_t at = 0, place; tpl_find(text, part, at, &place); at = place + 1) {
        HD_TRY(tpl_look(run, part.len));
        *out_at = place, *out_found = true;
    }
    return NULL;
}

static HdStatus *find(TplRun *run, const TplCall *call, bool last, HdStr *out_part, bool *out_found, size_t *out_at) {
    HdStr text = self_text(call);
    HD_TRY(tpl_arg_text(run, &call->args[0], "", out_part));
    HD_TRY(tpl_look(run, text.len));
    if (last) return find_last(run, text, *out_part, out_found, out_at);
    *out_found = tpl_find(text, *out_part, 0, out_at);
    return NULL;
}

static HdStatus *index_of(TplRun *run, const TplCall *call, bool last, bool must, TplValue *out) {
    HdStr part;
    bool found;
    size_t at = 0;
    HD_TRY(find(run, call, last, &part, &found, &at));
    if (!found && must) return tpl_fail(run, HD_BAD_DATA, "substring not found");
    *out = tpl_int(found ? (int64_t)tpl_length((HdStr){self_text(call).data, at}) : -1);
    return NULL;
}

HdStatus *tpl_method_find(TplRun *run, const TplCall *call, TplValue *out) { return index_of(run, call, false, false, out); }
HdStatus *tpl_method_rfind(TplRun *run, const TplCall *call, TplValue *out) { return index_of(run, call, true, false, out); }
HdStatus *tpl_method_index(TplRun *run, const TplCall *call, TplValue *out) { return index_of(run, call, false, true, out); }
HdStatus *tpl_method_rindex(TplRun *run, const TplCall *call, TplValue *out) { return index_of(run, call, true, true, out); }

HdStatus *tpl_method_count(TplRun *run, const TplCall *call, TplValue *out) {
    HdStr part, text = self_text(call);
    int64_t count = 0;
    HD_TRY(tpl_arg_text(run, &call->args[0], "", &part));
    HD_TRY(tpl_look(run, text.len));
    if (!part.len) return *out = tpl_int((int64_t)tpl_length(text) + 1), NULL;
    for (size_t at = 0, place; tpl_find(text, part, at, &place); at = place + part.len) count++;
    return *out = tpl_int(count), NULL;
}

static bool has_affix(HdStr text, HdStr affix, bool end) {
    size_t at = end ? text.len - affix.len : 0;
    return affix.len <= text.len && hd_str_eq((HdStr){text.data + at, affix.len}, affix);
}

// One string, or any of a tuple.
static HdStatus *affix(TplRun *run, const TplCall *call, bool end, TplValue *out) {
    TplList one = {.items = (TplValue *)&call->args[0], .count = 1};
    const TplList *list = call->args[0].kind == TPL_TUPLE ? call->args[0].list : &one;
    *out = tpl_bool(false);
    for (size_t i = 0; i < list->count && !out->truth; i++) {
        HdStr text;
        HD_TRY(tpl_arg_text(run, &list->items[i], "", &text));
        HD_TRY(tpl_look(run, text.len));
        out->truth = has_affix(self_text(call), text, end);
    }
    return NULL;
}

HdStatus *tpl_method_startswith(TplRun *run, const TplCall *call, TplValue *out) { return affix(run, call, false, out); }
HdStatus *tpl_method_endswith(TplRun *run, const TplCall *call, TplValue *out) { return affix(run, call, true, out); }

static HdStatus *without_affix(TplRun *run, const TplCall *call, bool end, TplValue *out) {
    HdStr part, text = self_text(call);
    HD_TRY(tpl_arg_text(run, &call->args[0], "", &part));
    size_t cut = has_affix(text, part, end) ? part.len : 0;
    return *out = part_of(call, end ? 0 : cut, text.len - (end ? cut : 0)), NULL;
}

HdStatus *tpl_method_removeprefix(TplRun *run, const TplCall *call, TplValue *out) {
    return without_affix(run, call, false, out);
}
HdStatus *tpl_method_removesuffix(TplRun *run, const TplCall *call, TplValue *out) { return without_affix(run, call, true, out); }

// ---- split, join, replace ------------------------------------------------------------------------------------

static void push_part(TplRun *run, const TplCall *call, size_t start, size_t end, TplList *parts) {
    tpl_list_push(&run->arena, parts, part_of(call, start, end));
}

static void reverse(TplList *list) {
    for (size_t i = 0; i < list->count / 2; i++) {
        TplValue swapped = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = swapped;
    }
}

static HdStatus *split_at(TplRun *run, const TplCall *call, HdStr separator, int64_t most, TplList *parts) {
    size_t at = 0, place;
    for (; most-- && tpl_find(self_text(call), separator, at, &place); at = place + separator.len) {
        HD_TRY(tpl_work(run, 1));
        push_part(run, call, at, place, parts);
    }
    push_part(run, call, at, self_text(call).len, parts);
    return NULL;
}

static HdStatus *split_from_end(TplRun *run, const TplCall *call, HdStr separator, int64_t most, TplList *parts) {
    HdStr text = self_text(call);
    size_t end = text.len;
    for (size_t at = end; at >= separator.len && most;) {
        const char *place = text.data + at - separator.len;
        bool candidate = *place == separator.data[0];
        if (candidate) HD_TRY(tpl_look(run, separator.len));
        if (!candidate || memcmp(place, separator.data, separator.len)) {
            at--;
            continue;
        }
        push_part(run, call, at, end, parts);
        end = at -= separator.len;
        most--;
    }
    push_part(run, call, 0, end, parts);
    reverse(parts);
    return NULL;
}

// At white space: no empty parts.
static HdStatus *split_words(TplRun *run, const TplCall *call, int64_t most, TplList *parts) {
    HdStr rest = tpl_strip(self_text(call), NULL, TPL_LEFT);
    const char *start = self_text(call).data;
    while (rest.len) {
        size_t at = 0, used = 0;
        HD_TRY(tpl_work(run, 1));
        if (!most--) at = rest.len;
        while (at < rest.len && !tpl_is_space(hd_utf8_decode(rest.data + at, rest.len - at, &used))) at += used;
        push_part(run, call, (size_t)(rest.data - start), (size_t)(rest.data - start) + at, parts);
        rest = tpl_strip((HdStr){rest.data + at, rest.len - at}, NULL, TPL_LEFT);
    }
    return NULL;
}

static HdStatus *split(TplRun *run, const TplCall *call, bool from_end, TplValue *out) {
    TplList *parts = tpl_list_new(&run->arena, 0);
    HdStr separator;
    int64_t most;
    *out = tpl_list_value(TPL_LIST, parts);
    HD_TRY(tpl_arg_int(run, &call->args[1], -1, &most));
    HD_TRY(tpl_look(run, self_text(call).len));
    if (is_none(&call->args[0])) {
        if (from_end && most >= 0) return tpl_fail(run, HD_UNSUPPORTED, "rsplit at white space with a limit is not supported");
        return split_words(run, call, most, parts);
    }
    HD_TRY(tpl_arg_text(run, &call->args[0], "", &separator));
    if (!separator.len) return tpl_fail(run, HD_BAD_DATA, "split: an empty separator");
    return from_end ? split_from_end(run, call, separator, most, parts) : split_at(run, call, separator, most, parts);
}

HdStatus *tpl_method_split(TplRun *run, const TplCall *call, TplValue *out) { return split(run, call, false, out); }
HdStatus *tpl_method_rsplit(TplRun *run, const TplCall *call, TplValue *out) { return split(run, call, true, out); }

static HdStatus *partition(TplRun *run, const TplCall *call, bool last, TplValue *out) {
    TplList *parts = tpl_list_new(&run->arena, 3);
    HdStr part;
    bool found;
    size_t at = 0, len = self_text(call).len;
    HD_TRY(find(run, call, last, &part, &found, &at));
    if (!part.len) return tpl_fail(run, HD_BAD_DATA, "partition: an empty separator");
    if (!found) at = last ? 0 : len;
    push_part(run, call, 0, at, parts);
    push_part(run, call, at, found ? at + part.len : at, parts);
    push_part(run, call, found ? at + part.len : at, len, parts);
    return *out = tpl_list_value(TPL_TUPLE, parts), NULL;
}

HdStatus *tpl_method_partition(TplRun *run, const TplCall *call, TplValue *out) { return partition(run, call, false, out); }
HdStatus *tpl_method_rpartition(TplRun *run, const TplCall *call, TplValue *out) { return partition(run, call, true, out); }

HdStatus *tpl_method_splitlines(TplRun *run, const TplCall *call, TplValue *out) {
    TplList *lines;
    HD_TRY(tpl_lines(run, self_text(call), tpl_arg_truth(&call->args[0]), &lines));
    for (size_t i = 0; i < lines->count; i++) lines->items[i].safe = call->self.safe;
    return *out = tpl_list_value(TPL_LIST, lines), NULL;
}

// What stands beside text that is safe is escaped.
static HdStatus *put_beside(TplRun *run, const TplCall *call, const TplValue *text) {
    bool escape = call->self.safe && !text->safe;
    if (escape) tpl_put_escaped(&run->out, text->text);
    return tpl_put(run, escape ? HD_STR("") : text->text);
}

HdStatus *tpl_method_join(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items;
    HD_TRY(tpl_iterate(run, &call->args[0], &items));
    size_t mark = run->out.len;
    for (size_t i = 0; i < items.count; i++) {
        HD_TRY(tpl_work(run, 1));
        if (items.items[i].kind != TPL_STRING) return tpl_wrong_type(run, "what is joined", &items.items[i]);
        if (i) HD_TRY(tpl_put(run, self_text(call)));
        HD_TRY(put_beside(run, call, &items.items[i]));
    }
    return tpl_take_like(run, mark, &call->self, out);
}

HdStatus *tpl_method_replace(TplRun *run, const TplCall *call, TplValue *out) {
    HdStr old, ignored;
    TplValue new;
    int64_t count;
    HD_TRY(tpl_arg_text(run, &call->args[0], "", &old));
    HD_TRY(tpl_arg_text(run, &call->args[1], "", &ignored));
    HD_TRY(tpl_arg_int(run, &call->args[2], -1, &count));
    size_t mark = run->out.len;
    HD_TRY(put_beside(run, call, &call->args[1]));
    HD_TRY(tpl_take(run, mark, &new));
    HD_TRY(tpl_put_replaced(run, self_text(call), old, new.text, count));
    return tpl_take_like(run, mark, &call->self, out);
}

// Words begin at letters that follow no letter.
HdStatus *tpl_method_title(TplRun *run, const TplCall *call, TplValue *out) {
    HdStr text = self_text(call);
    bool inside = false;
    HD_TRY(tpl_look(run, text.len));
    size_t mark = run->out.len;
    for (size_t at = 0, used; at < text.len; at += used) {
        int32_t code = hd_utf8_decode(text.data + at, text.len - at, &used);
        tpl_put_cased(&run->out, (HdStr){text.data + at, used}, inside ? TPL_LOWER : TPL_TITLE);
        inside = tpl_is_letter(code);
    }
    return tpl_take_like(run, mark, &call->self, out);
}

// ---- classes -------------------------------------------------------------------------------------------------

static int is_alphanumeric(int32_t code) { return tpl_is_letter(code) || tpl_is_digit(code); }
static int is_space(int32_t code) { return tpl_is_space(code); }

static HdStatus *is_all(TplRun *run, const TplCall *call, int (*is)(int32_t code), TplValue *out) {
    HD_TRY(tpl_look(run, self_text(call).len));
    return *out = tpl_bool(tpl_is_word(self_text(call), is)), NULL;
}

HdStatus *tpl_method_isalpha(TplRun *run, const TplCall *call, TplValue *out) { return is_all(run, call, tpl_is_letter, out); }
HdStatus *tpl_method_isalnum(TplRun *run, const TplCall *call, TplValue *out) { return is_all(run, call, is_alphanumeric, out); }
HdStatus *tpl_method_isdecimal(TplRun *run, const TplCall *call, TplValue *out) { return is_all(run, call, tpl_is_digit, out); }
HdStatus *tpl_method_isspace(TplRun *run, const TplCall *call, TplValue *out) { return is_all(run, call, is_space, out); }

HdStatus *tpl_method_isascii(TplRun *run, const TplCall *call, TplValue *out) {
    HD_TRY(tpl_look(run, self_text(call).len));
    return *out = tpl_bool(tpl_length(self_text(call)) == self_text(call).len), NULL;
}

// ---- mappings and lists --------------------------------------------------------------------------------------

HdStatus *tpl_method_get(TplRun *run, const TplCall *call, TplValue *out) {
    if (call->args[0].kind == TPL_LIST || call->args[0].kind == TPL_DICT) return tpl_wrong_type(run, "a key", &call->args[0]);
    const TplValue *found = tpl_is_key(&call->args[0]) ? tpl_dict_get(call->self.dict, &call->args[0]) : NULL;
    *out = found ? *found : tpl_given(&call->args[1]) ? call->args[1] : tpl_none();
    return NULL;
}

HdStatus *tpl_method_items(TplRun *run, const TplCall *call, TplValue *out) {
    TplList *pairs;
    HD_TRY(tpl_items_of(run, &call->self, &pairs));
    return *out = tpl_list_value(TPL_VIEW, pairs), NULL;
}

static HdStatus *view(TplRun *run, const TplCall *call, TplValue *items, TplValue *out) {
    TplList *list = tpl_list_new(&run->arena, 0);
    *list = (TplList){.items = items, .count = call->self.dict->count, .cap = call->self.dict->count};
    return *out = tpl_list_value(TPL_VIEW, list), NULL;
}

HdStatus *tpl_method_keys(TplRun *run, const TplCall *call, TplValue *out) { return view(run, call, call->self.dict->keys, out); }
HdStatus *tpl_method_values(TplRun *run, const TplCall *call, TplValue *out) {
    return view(run, call, call->self.dict->values, out);
}

// Nothing changes a list or mapping: the copy is the thing itself.
HdStatus *tpl_method_copy(TplRun *run, const TplCall *call, TplValue *out) { return (void)run, *out = call->self, NULL; }

HdStatus *tpl_method_list_count(TplRun *run, const TplCall *call, TplValue *out) {
    int64_t count = 0;
    for (size_t i = 0; i < call->self.list->count; i++) {
        bool same;
        HD_TRY(tpl_equal(run, &call->self.list->items[i], &call->args[0], &same));
        count += same;
    }
    return *out = tpl_int(count), NULL;
}

HdStatus *tpl_method_list_index(TplRun *run, const TplCall *call, TplValue *out) {
    for (size_t i = 0; i < call->self.list->count; i++) {
        bool same;
        HD_TRY(tpl_equal(run, &call->self.list->items[i], &call->args[0], &same));
        if (same) return *out = tpl_int((int64_t)i), NULL;
    }
    return tpl_fail(run, HD_BAD_DATA, "index: the list has no such item");
}

// ---- loops ---------------------------------------------------------------------------------------------------

HdStatus *tpl_method_cycle(TplRun *run, const TplCall *call, TplValue *out) {
    if (!call->raw.count) return tpl_fail(run, HD_BAD_DATA, "loop.cycle: no items");
    return *out = call->raw.items[call->self.loop->at % call->raw.count], NULL;
}

// Is this not what the last call of the same loop was given?
HdStatus *tpl_method_changed(TplRun *run, const TplCall *call, TplValue *out) {
    TplLoop *loop = call->self.loop;
    TplList *now = tpl_list_new(&run->arena, call->raw.count);
    bool same = false;
    for (uint32_t i = 0; i < call->raw.count; i++) tpl_list_push(&run->arena, now, call->raw.items[i]);
    TplValue value = tpl_list_value(TPL_TUPLE, now);
    if (tpl_given(&loop->changed)) HD_TRY(tpl_equal(run, &loop->changed, &value, &same));
    loop->changed = value;
    return *out = tpl_bool(!same), NULL;
}
