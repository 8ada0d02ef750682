// SPDX-License-Identifier: Apache-2.0
// The operators + - * / // % **, with Python's rules for numbers, strings and lists.
#include "runtime/template/internal.h"

#include <math.h>
#include <string.h>

static HdStatus *too_large(const TplRun *run) { return tpl_fail(run, HD_LIMIT, "an integer beyond 64 bits"); }
static HdStatus *by_zero(const TplRun *run) { return tpl_fail(run, HD_BAD_DATA, "division by zero"); }

// ---- integers ------------------------------------------------------------------------------------------------

static HdStatus *power_int(const TplRun *run, int64_t base, int64_t exponent, TplValue *out) {
    int64_t result = 1;
    for (;;) {
        if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) return too_large(run);
        if (!(exponent >>= 1)) break;
        if (__builtin_mul_overflow(base, base, &base)) return too_large(run);
    }
    return *out = tpl_int(result), NULL;
}

// Rounds down, so that the remainder has the sign of the divisor.
static HdStatus *divide_int(const TplRun *run, int64_t a, int64_t b, bool remainder, TplValue *out) {
    if (b == 0) return by_zero(run);
    if (b == -1) return a == INT64_MIN && !remainder ? too_large(run) : (*out = tpl_int(remainder ? 0 : -a), NULL);
    int64_t quotient = a / b, rest = a % b;
    if (rest && (rest < 0) != (b < 0)) quotient--, rest += b;
    return *out = tpl_int(remainder ? rest : quotient), NULL;
}

static HdStatus *binary_int(const TplRun *run, HdStr op, int64_t a, int64_t b, TplValue *out) {
    int64_t result = 0;
    bool overflow = false;
    if (hd_str_is(op, "//") || hd_str_is(op, "%")) return divide_int(run, a, b, op.data[0] == '%', out);
    if (hd_str_is(op, "**")) return power_int(run, a, b, out);
    if (hd_str_is(op, "+")) overflow = __builtin_add_overflow(a, b, &result);
    else if (hd_str_is(op, "-")) overflow = __builtin_sub_overflow(a, b, &result);
    else overflow = __builtin_mul_overflow(a, b, &result);
    return overflow ? too_large(run) : (*out = tpl_int(result), NULL);
}

// ---- floats --------------------------------------------------------------------------------------------------

static void divide_float(double a, double b, double *out_quotient, double *out_rest) {
    double rest = fmod(a, b), quotient = (a - rest) / b;
    if (rest && (rest < 0) != (b < 0)) rest += b, quotient -= 1;
    if (!rest) rest = copysign(0, b);
    double whole = floor(quotient);
    if (quotient - whole > 0.5) whole += 1;
    *out_quotient = quotient ? whole : copysign(0, a / b);
    *out_rest = rest;
}

static HdStatus *power_float(const TplRun *run, double a, double b, TplValue *out) {
    if (a == 0 && b < 0) return by_zero(run);
    double result = pow(a, b);
    if (isfinite(a) && isfinite(b) && !isfinite(result))
        return tpl_fail(run, HD_BAD_DATA, isnan(result) ? "a power that is no real number" : "a power too large for a float");
    return *out = tpl_float(result), NULL;
}

static HdStatus *binary_float(const TplRun *run, HdStr op, double a, double b, TplValue *out) {
    double quotient, rest;
    if (hd_str_is(op, "**")) return power_float(run, a, b, out);
    if ((op.data[0] == '/' || op.data[0] == '%') && b == 0) return by_zero(run);
    if (hd_str_is(op, "+")) *out = tpl_float(a + b);
    else if (hd_str_is(op, "-")) *out = tpl_float(a - b);
    else if (hd_str_is(op, "*")) *out = tpl_float(a * b);
    else if (hd_str_is(op, "/")) *out = tpl_float(a / b);
    else divide_float(a, b, &quotient, &rest), *out = tpl_float(op.data[0] == '%' ? rest : quotient);
    return NULL;
}

// ---- strings and lists ---------------------------------------------------------------------------------------

static void put_operand(HdBuf *out, const TplValue *text, bool safe) {
    if (safe && !text->safe) tpl_put_escaped(out, text->text);
    else hd_buf_bytes(out, text->text.data, text->text.len);
}

static HdStatus *add_texts(TplRun *run, const TplValue *a, const TplValue *b, TplValue *out) {
    size_t mark = run->out.len;
    bool safe = a->safe || b->safe;
    put_operand(&run->out, a, safe);
    put_operand(&run->out, b, safe);
    HD_TRY(tpl_take(run, mark, out));
    out->safe = safe;
    return NULL;
}

static HdStatus *add_lists(TplRun *run, const TplValue *a, const TplValue *b, TplValue *out) {
    size_t count = a->list->count + b->list->count;
    HD_TRY(tpl_room(run, count * sizeof(TplValue)));
    HD_TRY(tpl_work(run, count));
    TplList *sum = tpl_list_new(&run->arena, count);
    for (size_t i = 0; i < a->list->count; i++) tpl_list_push(&run->arena, sum, a->list->items[i]);
    for (size_t i = 0; i < b->list->count; i++) tpl_list_push(&run->arena, sum, b->list->items[i]);
    *out = tpl_list_value(a->kind, sum);
    return NULL;
}

static HdStatus *repeat_text(TplRun *run, const TplValue *text, int64_t times, TplValue *out) {
    size_t mark = run->out.len;
    if (times > TPL_MAX_TEXT && text->text.len) times = TPL_MAX_TEXT + 1;   // the limit is met on the way
    for (int64_t i = 0; text->text.len && i < times; i++) HD_TRY(tpl_put(run, text->text));
    HD_TRY(tpl_take(run, mark, out));
    out->safe = text->safe;
    return NULL;
}

static HdStatus *repeat_list(TplRun *run, const TplValue *list, int64_t times, TplValue *out) {
    uint64_t count = 0, bytes;
    size_t items = list->list->count;
    if (times > 0 && (!hd_mul_u64(items, (uint64_t)times, &count) || !hd_mul_u64(count, sizeof(TplValue), &bytes)))
        return tpl_room(run, UINT64_MAX);
    HD_TRY(tpl_room(run, count * sizeof(TplValue)));
    HD_TRY(tpl_work(run, count));
    TplList *repeated = tpl_list_new(&run->arena, count);
    for (uint64_t i = 0; i < count; i++) tpl_list_push(&run->arena, repeated, list->list->items[i % items]);
    *out = tpl_list_value(list->kind, repeated);
    return NULL;
}

static HdStatus *repeat(TplRun *run, const TplValue *what, int64_t times, TplValue *out) {
    return what->kind == TPL_STRING ? repeat_text(run, what, times, out) : repeat_list(run, what, times, out);
}

// ---- all -----------------------------------------------------------------------------------------------------

static bool is_sequence(const TplValue *value) {
    return value->kind == TPL_STRING || value->kind == TPL_LIST || value->kind == TPL_TUPLE;
}

static HdStatus *no_such(const TplRun *run, HdStr op, const TplValue *a, const TplValue *b) {
    const TplValue *odd = a->kind == TPL_UNDEFINED ? a : b;
    if (odd->kind == TPL_UNDEFINED) return tpl_fail(run, HD_BAD_DATA, "" HD_STR_FMT, HD_STR_ARG(odd->text));
    if (a->kind == TPL_BIG || b->kind == TPL_BIG) return too_large(run);
    return tpl_fail(run, HD_BAD_DATA, "%s " HD_STR_FMT " %s: no such operation", tpl_kind_name(a), HD_STR_ARG(op),
                    tpl_kind_name(b));
}

// A format's arguments: a tuple, or one value. What has items may stay unused.
static HdStatus *format(TplRun *run, const TplValue *text, const TplValue *arg, TplValue *out) {
    TplList one = {.items = (TplValue[]){*arg}, .count = 1};
    if (text->safe) return tpl_fail(run, HD_UNSUPPORTED, "%% on a string marked as safe is not supported");
    bool all = arg->kind != TPL_DICT && arg->kind != TPL_LIST && arg->kind != TPL_RANGE && arg->kind != TPL_UNDEFINED;
    return tpl_format_percent(run, text->text, arg->kind == TPL_TUPLE ? arg->list : &one, all, out);
}

static HdStatus *binary_sequence(TplRun *run, HdStr op, const TplValue *a, const TplValue *b, TplValue *out) {
    int64_t times;
    if (hd_str_is(op, "+") && a->kind == b->kind && is_sequence(a))
        return a->kind == TPL_STRING ? add_texts(run, a, b, out) : add_lists(run, a, b, out);
    if (hd_str_is(op, "*") && is_sequence(a) && tpl_as_int(b, &times)) return repeat(run, a, times, out);
    if (hd_str_is(op, "*") && is_sequence(b) && tpl_as_int(a, &times)) return repeat(run, b, times, out);
    if (hd_str_is(op, "%") && a->kind == TPL_STRING) return format(run, a, b, out);
    return no_such(run, op, a, b);
}

static bool as_float(const TplValue *value, double *out) {
    int64_t integer;
    bool is_int = tpl_as_int(value, &integer);
    *out = is_int ? (double)integer : value->real;
    return is_int || value->kind == TPL_FLOAT;
}

HdStatus *tpl_binary(TplRun *run, HdStr operator, const TplValue *a, const TplValue *b, TplValue *out) {
    int64_t i, j;
    double x, y;
    bool integers = tpl_as_int(a, &i) && tpl_as_int(b, &j);
    if (integers && !hd_str_is(operator, "/") && !(hd_str_is(operator, "**") && j < 0))
        return binary_int(run, operator, i, j, out);
    if (as_float(a, &x) && as_float(b, &y)) return binary_float(run, operator, x, y, out);
    return binary_sequence(run, operator, a, b, out);
}
