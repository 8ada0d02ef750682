// SPDX-License-Identifier: Apache-2.0
// Python's two ways to format: "%s of %d" % (a, b) and "{} of {}".format(a, b), without their rarer conversions.
#include "runtime/template/builtins.h"

#include <string.h>

static HdStatus *unsupported(const TplRun *run, HdStr part) {
    return tpl_fail(run, HD_UNSUPPORTED, "the format \"" HD_STR_FMT "\" is not supported", HD_STR_ARG(part));
}

// ---- percent -------------------------------------------------------------------------------------------------

// Fills a text to the width of a conversion such as "%-10s".
static HdStatus *put_field(TplRun *run, const TplValue *text, int64_t width, bool left) {
    TplValue field;
    HD_TRY(tpl_justify(run, text, width, HD_STR(" "), left ? 0 : 2, &field));
    return tpl_put(run, field.text);
}

typedef struct Spec { HdStr text; bool left, zero; int64_t width, precision; char letter; } Spec;

static size_t read_number(HdStr format, size_t at, int64_t *out) {
    size_t end = at;
    while (end < format.len && format.data[end] >= '0' && format.data[end] <= '9' && end - at < 6) end++;
    if (end > at) hd_parse_i64((HdStr){format.data + at, end - at}, out);
    return end;
}

// From the percent sign at `at`; the length is that of the whole conversion.
static Spec read_spec(HdStr format, size_t at) {
    Spec spec = {.precision = -1};
    size_t end = at + 1;
    for (; end < format.len && (format.data[end] == '-' || format.data[end] == '0'); end++) {
        if (format.data[end] == '-') spec.left = true;
        else spec.zero = true;
    }
    end = read_number(format, end, &spec.width);
    if (end < format.len && format.data[end] == '.') spec.precision = 0, end = read_number(format, end + 1, &spec.precision);
    spec.letter = end < format.len ? format.data[end++] : 0;
    spec.text = (HdStr){format.data + at, end - at};
    return spec;
}

static HdStatus *put_number(TplRun *run, const Spec *spec, const TplValue *arg) {
    int64_t integer;
    char text[512];
    bool is_int = tpl_as_int(arg, &integer), fixed = spec->letter == 'f';
    if (!is_int && arg->kind != TPL_FLOAT) return tpl_wrong_type(run, "what is formatted as a number", arg);
    if ((!fixed && spec->precision >= 0) || spec->precision > 100 || spec->width > 100) return unsupported(run, spec->text);
    if (!is_int && !fixed && !(arg->real > -0x1p63 && arg->real < 0x1p63))
        return tpl_fail(run, HD_LIMIT, "an integer beyond 64 bits");
    if (!is_int && spec->letter == 'x') return tpl_wrong_type(run, "what is formatted in hexadecimal", arg);
    int width = (int)(spec->left ? -spec->width : spec->width), precision = spec->precision < 0 ? 6 : (int)spec->precision;
    bool zero = spec->zero && !spec->left;
    double real = is_int ? (double)integer : arg->real;
    if (!is_int && !fixed) integer = (int64_t)arg->real;
    if (fixed) snprintf(text, sizeof text, zero ? "%0*.*f" : "%*.*f", width, precision, real);
    else if (spec->letter == 'x' && integer < 0) return unsupported(run, spec->text);
    else if (spec->letter == 'x') snprintf(text, sizeof text, zero ? "%0*llx" : "%*llx", width, (unsigned long long)integer);
    else snprintf(text, sizeof text, zero ? "%0*lld" : "%*lld", width, (long long)integer);
    return tpl_put(run, hd_str(text));
}

static HdStatus *put_conversion(TplRun *run, const Spec *spec, const TplValue *arg) {
    TplValue text;
    if (spec->letter && strchr("dixf", spec->letter)) return put_number(run, spec, arg);
    if (spec->letter != 's') return unsupported(run, spec->text);
    HD_TRY(tpl_to_text(run, arg, &text));
    if (spec->precision >= 0 && (size_t)spec->precision < tpl_length(text.text))
        text.text = tpl_part(text.text, 0, (size_t)spec->precision);
    return put_field(run, &text, spec->width, spec->left);
}

HdStatus *tpl_format_percent(TplRun *run, HdStr format, const TplList *args, bool all, TplValue *out) {
    size_t used = 0, mark = run->out.len;
    for (size_t at = 0, next; at < format.len; at = next) {
        HD_TRY(tpl_work(run, 1));
        const char *percent = memchr(format.data + at, '%', format.len - at);
        next = percent ? (size_t)(percent - format.data) : format.len;
        HD_TRY(tpl_put(run, (HdStr){format.data + at, next - at}));
        if (!percent) break;
        Spec spec = read_spec(format, next);
        next += spec.text.len;
        if (spec.letter == '%') {
            HD_TRY(tpl_put(run, HD_STR("%")));
            continue;
        }
        if (used == args->count) return tpl_fail(run, HD_BAD_DATA, "a format wants more than %zu arguments", used);
        HD_TRY(put_conversion(run, &spec, &args->items[used++]));
    }
    if (used < args->count && all)
        return tpl_fail(run, HD_BAD_DATA, "a format uses only %zu of %zu arguments", used, args->count);
    return tpl_take(run, mark, out);
}

// ---- braces --------------------------------------------------------------------------------------------------

// {}, {0}, {name}: the argument it stands for.
static HdStatus *field_argument(TplRun *run, const TplArgs *args, HdStr field, size_t *next, const TplValue **out) {
    int64_t place = -1;
    if (field.len
        && (memchr(field.data, ':', field.len) || memchr(field.data, '!', field.len) || memchr(field.data, '.', field.len)
            || memchr(field.data, '[', field.len)))
        return unsupported(run, field);
    if (!field.len) place = (int64_t)(*next)++;
    bool by_place = !field.len || hd_parse_i64(field, &place);
    for (uint32_t i = 0; i < args->count; i++) {
        bool named = args->names[i].len > 0;
        if (by_place ? !named && place == i : named && hd_str_eq(args->names[i], field)) return *out = &args->items[i], NULL;
    }
    return tpl_fail(run, HD_BAD_DATA, "format: there is no argument {" HD_STR_FMT "}", HD_STR_ARG(field));
}

static HdStatus *put_argument(TplRun *run, const TplCall *call, const TplValue *arg) {
    TplValue text;
    if (!call->self.safe) return tpl_put_value(run, arg);
    HD_TRY(tpl_to_text(run, arg, &text));
    if (text.safe) return tpl_put(run, text.text);
    tpl_put_escaped(&run->out, text.text);
    return NULL;
}

HdStatus *tpl_method_format(TplRun *run, const TplCall *call, TplValue *out) {
    HdStr format = call->self.text;
    size_t mark = run->out.len, next = 0;
    for (size_t at = 0; at < format.len;) {
        HD_TRY(tpl_work(run, 1));
        size_t plain = at;
        while (plain < format.len && format.data[plain] != '{' && format.data[plain] != '}') plain++;
        HD_TRY(tpl_put(run, (HdStr){format.data + at, plain - at}));
        if ((at = plain) == format.len) break;
        if (at + 1 < format.len && format.data[at + 1] == format.data[at]) {
            HD_TRY(tpl_put(run, (HdStr){format.data + at, 1}));
            at += 2;
            continue;
        }
        const char *close = format.data[at] == '{' ? memchr(format.data + at, '}', format.len - at) : NULL;
        if (!close) return tpl_fail(run, HD_BAD_DATA, "format: a single %c", format.data[at]);
        HdStr field = {format.data + at + 1, (size_t)(close - format.data) - at - 1};
        const TplValue *arg;
        HD_TRY(field_argument(run, &call->raw, field, &next, &arg));
        HD_TRY(put_argument(run, call, arg));
        at += field.len + 2;
    }
    return tpl_take_like(run, mark, &call->self, out);
}
