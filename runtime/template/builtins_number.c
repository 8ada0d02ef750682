// SPDX-License-Identifier: Apache-2.0
// Filters that give numbers, the filters default and attr, and the global functions.
#include "runtime/template/builtins.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// ---- numbers from text ---------------------------------------------------------------------------------------

// Without white space around it and underscores inside, as Python reads numbers; the sign apart. False: no such text.
static bool clean_number(HdStr text, bool *out_negative, char out[64], size_t *out_len) {
    text = tpl_strip(text, NULL, TPL_LEFT | TPL_RIGHT);
    *out_negative = text.len && text.data[0] == '-';
    if (text.len && (text.data[0] == '-' || text.data[0] == '+')) text = (HdStr){text.data + 1, text.len - 1};
    *out_len = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool between = i && i + 1 < text.len && text.data[i - 1] != '_' && text.data[i + 1] != '_';
        if (text.data[i] == '_' && !between) return false;
        if (text.data[i] == '_') continue;
        if (*out_len == 63) return false;
        out[(*out_len)++] = text.data[i];
    }
    out[*out_len] = 0;
    return *out_len > 0 && out[0] != '-' && out[0] != '+';
}

// A prefix such as 0x belongs to its base.
static const char *without_prefix(const char *text, int64_t base) {
    char letter = text[0] == '0' ? (char)(text[1] | 0x20) : 0;
    bool prefix = (base == 16 && letter == 'x') || (base == 8 && letter == 'o') || (base == 2 && letter == 'b');
    return prefix ? text + 2 : text;
}

static bool digits_only(const char *text, int64_t base) {
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    for (const char *at = text; *at; at++) {
        char lower = *at >= 'A' && *at <= 'Z' ? (char)(*at | 0x20) : *at;
        const char *found = strchr(digits, lower);
        if (!found || found - digits >= base) return false;
    }
    return *text != 0;
}

static bool parse_int(HdStr text, int64_t base, bool *out_too_large, int64_t *out) {
    char clean[64];
    size_t len;
    bool negative;
    if (!clean_number(text, &negative, clean, &len)) return false;
    const char *digits = without_prefix(clean, base);
    if (!digits_only(digits, base)) return false;
    uint64_t value = 0, high = (uint64_t)INT64_MAX + negative;
    for (; *digits && !*out_too_large; digits++) {
        char one[2] = {*digits, 0};
        uint64_t digit = strtoull(one, NULL, (int)base);
        *out_too_large = !hd_mul_u64(value, (uint64_t)base, &value) || !hd_add_u64(value, digit, &value) || value > high;
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

static bool parse_float(HdStr text, double *out) {
    static const struct { const char *name; double value; } words[] = {
        {"inf", (double)INFINITY}, {"infinity", (double)INFINITY}, {"nan", (double)NAN}};
    char clean[64];
    size_t len;
    bool negative;
    if (!clean_number(text, &negative, clean, &len)) return false;
    bool found = false;
    for (size_t i = 0; i < HD_COUNT(words) && !found; i++)
        if ((found = !strcasecmp(clean, words[i].name))) *out = words[i].value;
    if (!found && (clean[0] == 'n' || clean[0] == 'i' || !hd_parse_f64((HdStr){clean, len}, out))) return false;
    if (negative) *out = -*out;
    return true;
}

// ---- filters -------------------------------------------------------------------------------------------------

static HdStatus *truncated(const TplRun *run, double value, const TplValue *fallback, TplValue *out) {
    if (isnan(value)) return *out = tpl_given(fallback) ? *fallback : tpl_int(0), NULL;
    if (fabs(value) >= 0x1p63) return tpl_fail(run, HD_LIMIT, "an integer beyond 64 bits");
    return *out = tpl_int((int64_t)value), NULL;
}

HdStatus *tpl_filter_int(TplRun *run, const TplCall *call, TplValue *out) {
    const TplValue *self = &call->self, *fallback = &call->args[0];
    int64_t base, value;
    bool too_large = false;
    double real;
    HD_TRY(tpl_arg_int(run, &call->args[1], 10, &base));
    if (base < 2 || base > 36) return tpl_fail(run, HD_UNSUPPORTED, "int: base %lld is not supported", (long long)base);
    if (self->kind == TPL_UNDEFINED) return tpl_wrong_type(run, "int", self);
    *out = tpl_given(fallback) ? *fallback : tpl_int(0);
    if (self->kind == TPL_BIG) return *out = *self, NULL;
    if (tpl_as_int(self, &value)) return *out = tpl_int(value), NULL;
    if (self->kind == TPL_FLOAT) return truncated(run, self->real, fallback, out);
    if (self->kind != TPL_STRING) return NULL;
    if (parse_int(self->text, base, &too_large, &value))
        return too_large ? tpl_fail(run, HD_LIMIT, "an integer beyond 64 bits") : (*out = tpl_int(value), NULL);
    if (!parse_float(self->text, &real) || isinf(real)) return NULL;
    return truncated(run, real, fallback, out);
}

HdStatus *tpl_filter_float(TplRun *run, const TplCall *call, TplValue *out) {
    const TplValue *self = &call->self;
    int64_t value;
    double real;
    if (self->kind == TPL_UNDEFINED || self->kind == TPL_BIG) return tpl_wrong_type(run, "float", self);
    *out = tpl_given(&call->args[0]) ? call->args[0] : tpl_float(0);
    if (tpl_as_int(self, &value)) *out = tpl_float((double)value);
    else if (self->kind == TPL_FLOAT) *out = *self;
    else if (self->kind == TPL_STRING && parse_float(self->text, &real)) *out = tpl_float(real);
    return NULL;
}

HdStatus *tpl_filter_abs(TplRun *run, const TplCall *call, TplValue *out) {
    int64_t value;
    if (call->self.kind == TPL_FLOAT) return *out = tpl_float(fabs(call->self.real)), NULL;
    if (!tpl_as_int(&call->self, &value)) return tpl_wrong_type(run, "what abs measures", &call->self);
    if (value == INT64_MIN) return tpl_fail(run, HD_LIMIT, "an integer beyond 64 bits");
    return *out = tpl_int(value < 0 ? -value : value), NULL;
}

// Python rounds the decimal value, as printf does.
static double rounded(double value, int64_t digits) {
    char text[400];
    if (!isfinite(value) || digits > 17) return value;
    snprintf(text, sizeof text, "%.*f", (int)digits, value);
    return strtod(text, NULL);
}

HdStatus *tpl_filter_round(TplRun *run, const TplCall *call, TplValue *out) {
    int64_t digits, integer;
    HdStr method;
    HD_TRY(tpl_arg_int(run, &call->args[0], 0, &digits));
    HD_TRY(tpl_arg_text(run, &call->args[1], "common", &method));
    bool is_int = tpl_as_int(&call->self, &integer), common = hd_str_is(method, "common"), up = hd_str_is(method, "ceil");
    if (!is_int && call->self.kind != TPL_FLOAT) return tpl_wrong_type(run, "what is rounded", &call->self);
    if (!common && !up && !hd_str_is(method, "floor"))
        return tpl_fail(run, HD_BAD_DATA, "round: method is common, ceil or floor");
    if (digits < 0 || digits > 300)
        return tpl_fail(run, HD_UNSUPPORTED, "round: a precision of %lld is not supported", (long long)digits);
    if (is_int && common) return *out = tpl_int(integer), NULL;
    double value = is_int ? (double)integer : call->self.real, scale = pow(10, (double)digits);
    if (!common && !isfinite(value)) return tpl_fail(run, HD_BAD_DATA, "round: no number");
    double steps = up ? ceil(value * scale) : floor(value * scale);
    return *out = tpl_float(common ? rounded(value, digits) : (steps + 0.0) / scale), NULL;
}

HdStatus *tpl_filter_default(TplRun *run, const TplCall *call, TplValue *out) {
    (void)run;
    bool used = call->self.kind == TPL_UNDEFINED || (tpl_arg_truth(&call->args[1]) && !tpl_truth(&call->self));
    *out = !used ? call->self : tpl_given(&call->args[0]) ? call->args[0] : tpl_string(HD_STR(""));
    return NULL;
}

// The attribute only, never an item.
HdStatus *tpl_filter_attr(TplRun *run, const TplCall *call, TplValue *out) {
    TplDict none = {0};
    TplValue self = call->self;
    HdStr name;
    HD_TRY(tpl_arg_text(run, &call->args[0], "", &name));
    if (self.kind == TPL_DICT && !tpl_method_named(TPL_DICT, name)) self.dict = &none;
    return tpl_attribute(run, &self, name, out);
}

// ---- functions -----------------------------------------------------------------------------------------------

static HdStatus *put_named(TplRun *run, const TplArgs *args, uint32_t from, TplDict *dict) {
    for (uint32_t i = from; i < args->count; i++) {
        if (!args->names[i].len)
            return tpl_fail(run, HD_UNSUPPORTED, "dict and namespace take one mapping and arguments by name");
        tpl_dict_put(&run->arena, dict, tpl_string(args->names[i]), args->items[i]);
    }
    return NULL;
}

static HdStatus *new_dict(TplRun *run, const TplCall *call, TplDict **out) {
    const TplArgs *args = &call->raw;
    bool copies = args->count && !args->names[0].len;
    *out = HD_NEW(&run->arena, TplDict);
    if (copies && args->items[0].kind != TPL_DICT) return tpl_wrong_type(run, "what a mapping is made of", &args->items[0]);
    for (size_t i = 0; copies && i < args->items[0].dict->count; i++) {
        HD_TRY(tpl_work(run, 1));
        tpl_dict_put(&run->arena, *out, args->items[0].dict->keys[i], args->items[0].dict->values[i]);
    }
    return put_named(run, args, copies, *out);
}

HdStatus *tpl_function_dict(TplRun *run, const TplCall *call, TplValue *out) {
    *out = tpl_dict_value(NULL);
    return new_dict(run, call, &out->dict);
}

HdStatus *tpl_function_namespace(TplRun *run, const TplCall *call, TplValue *out) {
    *out = (TplValue){.kind = TPL_NAMESPACE};
    return new_dict(run, call, &out->dict);
}

HdStatus *tpl_function_raise_exception(TplRun *run, const TplCall *call, TplValue *out) {
    (void)out;
    size_t mark = run->out.len;
    TplValue message;
    HD_TRY(tpl_put_value(run, &call->args[0]));
    HD_TRY(tpl_take(run, mark, &message));
    return tpl_fail(run, HD_BAD_DATA, "%.*s", (int)HD_MIN(message.text.len, 4000), message.text.data);
}

HdStatus *tpl_function_range(TplRun *run, const TplCall *call, TplValue *out) {
    int64_t start = 0, stop, step;
    TplList *list = tpl_list_new(&run->arena, 0);
    bool two = tpl_given(&call->args[1]);
    if (two) HD_TRY(tpl_arg_int(run, &call->args[0], 0, &start));
    HD_TRY(tpl_arg_int(run, &call->args[two], 0, &stop));
    HD_TRY(tpl_arg_int(run, &call->args[2], 1, &step));
    if (step == 0) return tpl_fail(run, HD_BAD_DATA, "range: the step is 0");
    for (int64_t at = start; step > 0 ? at < stop : at > stop;) {
        if (list->count == TPL_MAX_RANGE) return tpl_fail(run, HD_LIMIT, "range: more than %d items", TPL_MAX_RANGE);
        HD_TRY(tpl_work(run, 1));
        tpl_list_push(&run->arena, list, tpl_int(at));
        if (__builtin_add_overflow(at, step, &at)) break;
    }
    return *out = tpl_list_value(TPL_RANGE, list), NULL;
}

HdStatus *tpl_function_strftime_now(TplRun *run, const TplCall *call, TplValue *out) {
    HdStr format;
    struct tm local;
    char text[1024];
    time_t now = time(NULL);
    HD_TRY(tpl_arg_text(run, &call->args[0], "", &format));
    if (format.len > 200) return tpl_fail(run, HD_LIMIT, "strftime_now: the format is too long");
    const char *terminated = hd_arena_strndup(&run->arena, format.data, format.len);
    size_t len = localtime_r(&now, &local) ? strftime(text, sizeof text, terminated, &local) : 0, mark = run->out.len;
    HdBuf store = {0};
    HdStatus *status = tpl_put(run, hd_well_formed((HdStr){text, len}, &store));
    hd_buf_free(&store);
    HD_TRY(status);
    return tpl_take(run, mark, out);
}
