// SPDX-License-Identifier: Apache-2.0
// Filters that make text, and those methods of strings that are filters too.
#include "runtime/template/builtins.h"

#include <string.h>

HdStatus *tpl_self_text(TplRun *run, const TplCall *call, TplValue *out) { return tpl_to_text(run, &call->self, out); }

HdStatus *tpl_take_like(TplRun *run, size_t mark, const TplValue *like, TplValue *out) {
    bool safe = like->safe;
    HD_TRY(tpl_take(run, mark, out));
    out->safe = safe;
    return NULL;
}

// The text a filter is given, all of which it will look at.
static HdStatus *look_at_self(TplRun *run, const TplCall *call, TplValue *out_text) {
    HD_TRY(tpl_self_text(run, call, out_text));
    return tpl_look(run, out_text->text.len);
}

// ---- case ----------------------------------------------------------------------------------------------------

static HdStatus *cased(TplRun *run, const TplCall *call, TplCase how, TplValue *out) {
    TplValue text;
    HD_TRY(look_at_self(run, call, &text));
    size_t mark = run->out.len;
    tpl_put_cased(&run->out, text.text, how);
    return tpl_take_like(run, mark, &text, out);
}

HdStatus *tpl_text_upper(TplRun *run, const TplCall *call, TplValue *out) { return cased(run, call, TPL_UPPER, out); }
HdStatus *tpl_text_lower(TplRun *run, const TplCall *call, TplValue *out) { return cased(run, call, TPL_LOWER, out); }

// The first code point one way, the others in lower case.
static void put_word(HdBuf *out, HdStr word, TplCase first) {
    HdStr head = tpl_part(word, 0, 1);
    tpl_put_cased(out, head, first);
    tpl_put_cased(out, (HdStr){word.data + head.len, word.len - head.len}, TPL_LOWER);
}

HdStatus *tpl_text_capitalize(TplRun *run, const TplCall *call, TplValue *out) {
    TplValue text;
    HD_TRY(look_at_self(run, call, &text));
    size_t mark = run->out.len;
    put_word(&run->out, text.text, TPL_TITLE);
    return tpl_take_like(run, mark, &text, out);
}

static bool separates(int32_t code) { return tpl_is_space(code) || (code && code < 0x80 && strchr("-({[<", code)); }

// Words begin after white space and opening brackets, as Jinja2 has it; Python's own title() differs.
HdStatus *tpl_filter_title(TplRun *run, const TplCall *call, TplValue *out) {
    TplValue text;
    HD_TRY(look_at_self(run, call, &text));
    size_t mark = run->out.len, start = 0, used;
    bool between = true;
    for (size_t at = 0; at < text.text.len; at += used) {
        bool now = separates(hd_utf8_decode(text.text.data + at, text.text.len - at, &used));
        if (now != between) put_word(&run->out, (HdStr){text.text.data + start, at - start}, TPL_UPPER), start = at;
        between = now;
    }
    put_word(&run->out, (HdStr){text.text.data + start, text.text.len - start}, TPL_UPPER);
    return tpl_take(run, mark, out);
}

// ---- white space ---------------------------------------------------------------------------------------------

HdStatus *tpl_strip_by(TplRun *run, const TplValue *text, const TplValue *arg, int ends, TplValue *out) {
    enum { MOST_CHARS = 256 };           // every character that is stripped is looked for among them
    HdStr chars = {0}, whole = text->text;
    bool all_space = !tpl_given(arg) || arg->kind == TPL_NONE;
    if (!all_space) HD_TRY(tpl_arg_text(run, arg, "", &chars));
    if (chars.len > MOST_CHARS) return tpl_fail(run, HD_LIMIT, "strip: more than %d bytes of characters", MOST_CHARS);
    *out = *text;
    out->text = tpl_strip(whole, all_space ? NULL : &chars, ends);
    return tpl_look(run, whole.len - out->text.len);
}

HdStatus *tpl_text_strip(TplRun *run, const TplCall *call, TplValue *out) {
    TplValue text;
    HD_TRY(tpl_self_text(run, call, &text));
    return tpl_strip_by(run, &text, &call->args[0], TPL_LEFT | TPL_RIGHT, out);
}

HdStatus *tpl_justify(TplRun *run, const TplValue *text, int64_t width, HdStr fill, int left, TplValue *out) {
    HD_TRY(tpl_look(run, text->text.len));
    int64_t length = (int64_t)tpl_length(text->text), missing = width - length;
    if (tpl_length(fill) != 1) return tpl_fail(run, HD_BAD_DATA, "the fill character must be one character");
    if (missing <= 0) return *out = *text, NULL;
    if (missing > TPL_MAX_TEXT) missing = TPL_MAX_TEXT + 1;   // the limit is met on the way
    int64_t before = left == 1 ? missing / 2 + (missing & width & 1) : left ? missing : 0;
    size_t mark = run->out.len;
    for (int64_t i = 0; i < before; i++) HD_TRY(tpl_put(run, fill));
    HD_TRY(tpl_put(run, text->text));
    for (int64_t i = before; i < missing; i++) HD_TRY(tpl_put(run, fill));
    return tpl_take_like(run, mark, text, out);
}

HdStatus *tpl_text_center(TplRun *run, const TplCall *call, TplValue *out) {
    TplValue text;
    int64_t width;
    HD_TRY(tpl_self_text(run, call, &text));
    HD_TRY(tpl_arg_int(run, &call->args[0], 80, &width));
    return tpl_justify(run, &text, width, HD_STR(" "), 1, out);
}

HdStatus *tpl_lines(TplRun *run, HdStr text, bool keep_breaks, TplList **out_lines) {
    TplList *lines = *out_lines = tpl_list_new(&run->arena, 0);
    HD_TRY(tpl_look(run, text.len));
    for (size_t at = 0, start = 0; at < text.len;) {
        size_t used = tpl_line_break(text, at), end = at + (keep_breaks ? used : 0);
        at += used ? used : 1;
        while (!used && at < text.len && ((uint8_t)text.data[at] & 0xC0) == 0x80) at++;
        if (!used && at < text.len) continue;
        HD_TRY(tpl_work(run, 1));
        if (!used) end = at;
        tpl_list_push(&run->arena, lines, tpl_string((HdStr){text.data + start, end - start}));
        start = at;
    }
    return NULL;
}

static HdStatus *indentation(TplRun *run, const TplValue *arg, HdStr *out) {
    int64_t width;
    if (arg->kind == TPL_STRING) return *out = arg->text, NULL;
    HD_TRY(tpl_arg_int(run, arg, 4, &width));
    width = HD_MAX(0, HD_MIN(width, TPL_MAX_TEXT));
    HD_TRY(tpl_room(run, (uint64_t)width));
    char *blanks = hd_arena_alloc(&run->arena, (size_t)width + 1);
    memset(blanks, ' ', (size_t)width);
    *out = (HdStr){blanks, (size_t)width};
    return NULL;
}

HdStatus *tpl_filter_indent(TplRun *run, const TplCall *call, TplValue *out) {
    HdStr indent;
    TplList *lines;
    bool first = tpl_arg_truth(&call->args[1]), blank = tpl_arg_truth(&call->args[2]);
    if (call->self.kind != TPL_STRING) return tpl_wrong_type(run, "what is indented", &call->self);
    HD_TRY(indentation(run, &call->args[0], &indent));
    TplValue text;
    size_t mark = run->out.len;
    HD_TRY(tpl_put(run, call->self.text));
    HD_TRY(tpl_put(run, HD_STR("\n")));          // so that a line break at the end counts
    HD_TRY(tpl_take(run, mark, &text));
    HD_TRY(tpl_lines(run, text.text, false, &lines));
    for (size_t i = 0; i < lines->count; i++) {
        HdStr line = lines->items[i].text;
        if (i) HD_TRY(tpl_put(run, HD_STR("\n")));
        if (i ? blank || line.len : first) HD_TRY(tpl_put(run, indent));
        HD_TRY(tpl_put(run, line));
    }
    return tpl_take_like(run, mark, &call->self, out);
}

// ---- parts ---------------------------------------------------------------------------------------------------

// An empty `old` is found before every code point and at the end.
HdStatus *tpl_put_replaced(TplRun *run, HdStr text, HdStr old, HdStr new, int64_t count) {
    size_t at = 0, found;
    HD_TRY(tpl_look(run, text.len));
    while (count-- && tpl_find(text, old, at, &found)) {
        HD_TRY(tpl_work(run, 1));
        HD_TRY(tpl_put(run, (HdStr){text.data + at, found - at}));
        HD_TRY(tpl_put(run, new));
        at = found + old.len;
        if (old.len) continue;
        if (at == text.len) return NULL;
        HdStr one = tpl_part((HdStr){text.data + at, text.len - at}, 0, 1);
        HD_TRY(tpl_put(run, one));
        at += one.len;
    }
    return tpl_put(run, (HdStr){text.data + at, text.len - at});
}

HdStatus *tpl_filter_replace(TplRun *run, const TplCall *call, TplValue *out) {
    TplValue text, old, new;
    int64_t count = -1;
    HD_TRY(tpl_self_text(run, call, &text));
    HD_TRY(tpl_to_text(run, &call->args[0], &old));
    HD_TRY(tpl_to_text(run, &call->args[1], &new));
    if (call->args[2].kind != TPL_NONE) HD_TRY(tpl_arg_int(run, &call->args[2], -1, &count));
    size_t mark = run->out.len;
    HD_TRY(tpl_put_replaced(run, text.text, old.text, new.text, count));
    return tpl_take(run, mark, out);
}

HdStatus *tpl_filter_truncate(TplRun *run, const TplCall *call, TplValue *out) {
    int64_t wanted, leeway = 5;
    HdStr end;
    TplValue part = call->self, tail;
    if (part.kind == TPL_UNDEFINED) return *out = part, NULL;
    if (part.kind != TPL_STRING) return tpl_wrong_type(run, "what is truncated", &part);
    HD_TRY(tpl_look(run, part.text.len));
    HD_TRY(tpl_arg_int(run, &call->args[0], 255, &wanted));
    HD_TRY(tpl_arg_text(run, &call->args[2], "...", &end));
    if (call->args[3].kind != TPL_NONE) HD_TRY(tpl_arg_int(run, &call->args[3], 5, &leeway));
    int64_t kept = wanted - (int64_t)tpl_length(end);
    if (kept < 0 || leeway < 0) return tpl_fail(run, HD_BAD_DATA, "truncate: length or leeway is too small");
    if ((int64_t)tpl_length(part.text) - wanted <= leeway) return *out = part, NULL;
    part.text = tpl_part(part.text, 0, (size_t)kept);
    const char *blank = tpl_arg_truth(&call->args[1]) || !part.text.len ? NULL : memrchr(part.text.data, ' ', part.text.len);
    if (blank) part.text.len = (size_t)(blank - part.text.data);
    tail = tpl_string(end);
    return tpl_binary(run, HD_STR("+"), &part, &tail, out);
}

HdStatus *tpl_filter_join(TplRun *run, const TplCall *call, TplValue *out) {
    TplList items;
    TplValue separator = tpl_string(HD_STR("")), item;
    bool by_path = tpl_given(&call->args[1]) && call->args[1].kind != TPL_NONE;
    HD_TRY(tpl_iterate(run, &call->self, &items));
    if (tpl_given(&call->args[0])) HD_TRY(tpl_to_text(run, &call->args[0], &separator));
    size_t mark = run->out.len;
    for (size_t i = 0; i < items.count; i++) {
        HD_TRY(tpl_work(run, 1));
        if (i) HD_TRY(tpl_put(run, separator.text));
        item = items.items[i];
        if (by_path) HD_TRY(tpl_path(run, &items.items[i], &call->args[1], &item));
        HD_TRY(tpl_put_value(run, &item));
    }
    return tpl_take(run, mark, out);
}

// ---- forms ---------------------------------------------------------------------------------------------------

HdStatus *tpl_filter_string(TplRun *run, const TplCall *call, TplValue *out) { return tpl_self_text(run, call, out); }

HdStatus *tpl_filter_safe(TplRun *run, const TplCall *call, TplValue *out) {
    HD_TRY(tpl_self_text(run, call, out));
    out->safe = true;
    return NULL;
}

static HdStatus *escape(TplRun *run, const TplCall *call, TplValue *out) {
    TplValue text;
    HD_TRY(look_at_self(run, call, &text));
    size_t mark = run->out.len;
    tpl_put_escaped(&run->out, text.text);
    HD_TRY(tpl_take(run, mark, out));
    out->safe = true;
    return NULL;
}

HdStatus *tpl_filter_escape(TplRun *run, const TplCall *call, TplValue *out) {
    bool done = call->self.kind == TPL_STRING && call->self.safe;
    return done ? (*out = call->self, NULL) : escape(run, call, out);
}

HdStatus *tpl_filter_forceescape(TplRun *run, const TplCall *call, TplValue *out) { return escape(run, call, out); }

HdStatus *tpl_filter_format(TplRun *run, const TplCall *call, TplValue *out) {
    TplValue text;
    TplList args = {0};
    for (uint32_t i = 0; i < call->raw.count; i++) {
        if (call->raw.names[i].len) return tpl_fail(run, HD_UNSUPPORTED, "format: arguments by name are not supported");
        tpl_list_push(&run->arena, &args, call->raw.items[i]);
    }
    HD_TRY(tpl_self_text(run, call, &text));
    if (text.safe) return tpl_fail(run, HD_UNSUPPORTED, "format: a string marked as safe is not supported");
    return tpl_format_percent(run, text.text, &args, true, out);
}

static HdStatus *separators(TplRun *run, const TplValue *arg, TplJson *how) {
    TplList pair;
    HD_TRY(tpl_iterate(run, arg, &pair));
    if (pair.count != 2) return tpl_fail(run, HD_BAD_DATA, "tojson: separators are two strings");
    HD_TRY(tpl_arg_text(run, &pair.items[0], "", &how->item_separator));
    return tpl_arg_text(run, &pair.items[1], "", &how->key_separator);
}

HdStatus *tpl_filter_tojson(TplRun *run, const TplCall *call, TplValue *out) {
    TplJson how = tpl_json_plain;
    const TplValue *indent = &call->args[1], *parts = &call->args[2];
    how.ascii = tpl_arg_truth(&call->args[0]);
    how.sorted = tpl_arg_truth(&call->args[3]);
    how.indented = tpl_given(indent) && indent->kind != TPL_NONE;
    if (how.indented) HD_TRY(indentation(run, indent, &how.indent));
    if (how.indented) how.item_separator = HD_STR(",");
    if (tpl_given(parts) && parts->kind != TPL_NONE) HD_TRY(separators(run, parts, &how));
    size_t mark = run->out.len;
    HD_TRY(tpl_put_json(run, &how, &call->self));
    return tpl_take(run, mark, out);
}
