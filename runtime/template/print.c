// SPDX-License-Identifier: Apache-2.0
// Values as text, the way Python's str() and repr() write them.
#include "runtime/template/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- text in the making --------------------------------------------------------------------------------------

static HdStatus *check_text(const TplRun *run) {
    if (run->out.len <= TPL_MAX_TEXT) return NULL;
    return tpl_fail(run, HD_LIMIT, "the text grew beyond %d MiB", TPL_MAX_TEXT >> 20);
}

HdStatus *tpl_put(TplRun *run, HdStr text) {
    hd_buf_bytes(&run->out, text.data, text.len);
    return check_text(run);
}

HdStatus *tpl_take(TplRun *run, size_t mark, TplValue *out_text) {
    size_t len = run->out.len - mark;
    HD_TRY(check_text(run));
    HD_TRY(tpl_room(run, len));
    *out_text = tpl_string((HdStr){hd_arena_strndup(&run->arena, run->out.data + mark, len), len});
    run->out.len = mark;
    return NULL;
}

HdStatus *tpl_to_text(TplRun *run, const TplValue *value, TplValue *out_text) {
    if (value->kind == TPL_STRING) return *out_text = *value, NULL;
    size_t mark = run->out.len;
    HD_TRY(tpl_put_value(run, value));
    return tpl_take(run, mark, out_text);
}

// ---- numbers -------------------------------------------------------------------------------------------------

// The digits of "1.25e-07" without point, and how many of them stand before it.
static void split_float(const char *text, HdBuf *digits, int *out_point) {
    bool after_point = false;
    *out_point = 0;
    for (; *text && *text != 'e'; text++) {
        if (*text == '.') after_point = true;
        else hd_buf_bytes(digits, text, 1);
        if (*text != '.' && !after_point) ++*out_point;
    }
    if (*text) *out_point += (int)strtol(text + 1, NULL, 10);
    size_t zeros = strspn(digits->data, "0");
    if (zeros == digits->len) zeros = digits->len - 1;
    memmove(digits->data, digits->data + zeros, digits->len - zeros + 1);
    digits->len -= zeros;
    *out_point -= (int)zeros;
}

// Python writes an exponent below 1e-4 and from 1e16 on, and a point in everything else.
static void lay_out_float(HdBuf *out, const HdBuf *digits, int point) {
    int count = (int)digits->len;
    if (point > 16 || point < -3) {
        hd_buf_printf(out, "%c%s%se%c%02d", digits->data[0], count > 1 ? "." : "", digits->data + 1, point > 0 ? '+' : '-',
                      abs(point - 1));
    } else if (point <= 0) {
        hd_buf_printf(out, "0.%.*s%s", -point, "000", digits->data);
    } else {
        hd_buf_bytes(out, digits->data, (size_t)HD_MIN(point, count));
        for (int i = count; i < point; i++) hd_buf_str(out, "0");
        hd_buf_printf(out, ".%s", point < count ? digits->data + point : "0");
    }
}

void tpl_put_float(HdBuf *out, double value) {
    HdBuf text = {0}, digits = {0};
    hd_buf_f64(&text, fabs(value));
    int point;
    if (signbit(value) && !isnan(value)) hd_buf_str(out, "-");
    if (!isfinite(value)) {
        hd_buf_str(out, text.data);
    } else {
        split_float(text.data, &digits, &point);
        lay_out_float(out, &digits, value == 0 ? 1 : point);
    }
    hd_buf_free(&text);
    hd_buf_free(&digits);
}

// ---- repr ----------------------------------------------------------------------------------------------------

static void put_escape(HdBuf *out, int32_t code) {
    static const char letters[] = "nrt\\'", values[] = "\n\r\t\\'";
    const char *found = code ? strchr(values, code < 0x80 ? code : 1) : NULL;
    if (found) hd_buf_printf(out, "\\%c", letters[found - values]);
    else if (code < 0x100) hd_buf_printf(out, "\\x%02x", (unsigned)code);
    else if (code < 0x10000) hd_buf_printf(out, "\\u%04x", (unsigned)code);
    else hd_buf_printf(out, "\\U%08x", (unsigned)code);
}

// In single quotes, or in double ones when only single ones are in the text.
static void put_quoted(HdBuf *out, HdStr text) {
    bool single = text.len && memchr(text.data, '\'', text.len), both = single && memchr(text.data, '"', text.len);
    int32_t quote = single && !both ? '"' : '\'';
    hd_buf_utf8(out, quote);
    for (size_t at = 0, used; at < text.len; at += used) {
        int32_t code = hd_utf8_decode(text.data + at, text.len - at, &used);
        bool escaped = code == '\\' || (code == '\'' && both) || !tpl_is_printable(code);
        if (escaped) put_escape(out, code);
        else hd_buf_bytes(out, text.data + at, used);
    }
    hd_buf_utf8(out, quote);
}

static HdStatus *put_repr(TplRun *run, const TplValue *value);

static HdStatus *put_list(TplRun *run, const TplValue *value) {
    const TplList *list = value->list;
    bool tuple = value->kind == TPL_TUPLE;
    hd_buf_str(&run->out, tuple ? "(" : "[");
    for (size_t i = 0; i < list->count; i++) {
        if (i) hd_buf_str(&run->out, ", ");
        HD_TRY(put_repr(run, &list->items[i]));
    }
    return tpl_put(run, tuple ? list->count == 1 ? HD_STR(",)") : HD_STR(")") : HD_STR("]"));
}

static HdStatus *put_dict(TplRun *run, const TplDict *dict, HdStr open, HdStr close) {
    HD_TRY(tpl_put(run, open));
    for (size_t i = 0; i < dict->count; i++) {
        if (i) hd_buf_str(&run->out, ", ");
        HD_TRY(put_repr(run, &dict->keys[i]));
        hd_buf_str(&run->out, ": ");
        HD_TRY(put_repr(run, &dict->values[i]));
    }
    return tpl_put(run, close);
}

// Scalars and containers.
static HdStatus *put_plain(TplRun *run, const TplValue *value) {
    HdBuf *out = &run->out;
    switch (value->kind) {
    case TPL_UNDEFINED: return hd_buf_str(out, "Undefined"), NULL;
    case TPL_NONE: return hd_buf_str(out, "None"), NULL;
    case TPL_BOOL: return hd_buf_str(out, value->truth ? "True" : "False"), NULL;
    case TPL_INT: return hd_buf_printf(out, "%lld", (long long)value->integer), NULL;
    case TPL_BIG: return tpl_put(run, value->text);
    case TPL_FLOAT: return tpl_put_float(out, value->real), NULL;
    case TPL_LIST:
    case TPL_TUPLE: return put_list(run, value);
    case TPL_DICT: return put_dict(run, value->dict, HD_STR("{"), HD_STR("}"));
    case TPL_NAMESPACE: return put_dict(run, value->dict, HD_STR("<Namespace {"), HD_STR("}>"));
    default: return tpl_fail(run, HD_UNSUPPORTED, "a %s cannot be printed", tpl_kind_name(value));
    }
}

static HdStatus *put_repr(TplRun *run, const TplValue *value) {
    HD_TRY(tpl_work(run, 1));
    HD_TRY(check_text(run));
    if (value->kind == TPL_STRING) {
        HD_TRY(tpl_look(run, value->text.len));
        if (value->safe) hd_buf_str(&run->out, "Markup(");
        put_quoted(&run->out, value->text);
        if (value->safe) hd_buf_str(&run->out, ")");
        return NULL;
    }
    HD_TRY(tpl_enter(run));
    HD_TRY(put_plain(run, value));
    tpl_leave(run);
    return NULL;
}

HdStatus *tpl_put_value(TplRun *run, const TplValue *value) {
    if (value->kind == TPL_UNDEFINED) return NULL;
    return value->kind == TPL_STRING ? tpl_put(run, value->text) : put_repr(run, value);
}
