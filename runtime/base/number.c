// SPDX-License-Identifier: Apache-2.0
// Numbers to text and back. The C library's conversions follow the locale in one thing only, the decimal point, so
// everything here uses them and exchanges the point.
#include "runtime/base/base.h"

#include <langinfo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FLOAT_DIGITS = 9, DOUBLE_DIGITS = 17 };   // digits that always read back (C11 5.2.4.2.2)

// Appends what printf's %g gave, with '.' for the locale's decimal point.
static void append_number(HdBuf *buf, const char *text) {
    const char *point = nl_langinfo(RADIXCHAR);
    const char *found = *point ? strstr(text, point) : NULL;
    if (!found) {
        hd_buf_str(buf, text);
        return;
    }
    hd_buf_bytes(buf, text, (size_t)(found - text));
    hd_buf_str(buf, ".");
    hd_buf_str(buf, found + strlen(point));
}

// True when `value` is nan or infinite, whose text does not depend on a precision.
static bool append_special(HdBuf *buf, double value) {
    if (isfinite(value)) return false;
    hd_buf_str(buf, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
    return true;
}

// A float's text is also read as a double and then narrowed (hd_parse_f64): both ways have to give the value.
static bool reads_back_f32(const char *text, float value) {
    return strtof(text, NULL) == value && (float)strtod(text, NULL) == value;
}

void hd_buf_f32(HdBuf *buf, float value) {
    if (append_special(buf, (double)value)) return;
    char text[64];
    for (int digits = 1; digits <= FLOAT_DIGITS; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (reads_back_f32(text, value)) break;
    }
    append_number(buf, text);
}

void hd_buf_f64(HdBuf *buf, double value) {
    if (append_special(buf, value)) return;
    char text[64];
    for (int digits = 1; digits <= DOUBLE_DIGITS; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    append_number(buf, text);
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool hd_parse_u64(HdStr text, uint64_t *out) {
    uint64_t value = 0;
    if (!text.len) return false;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.data[i])) return false;
        uint64_t digit = (uint64_t)(text.data[i] - '0');
        if (!hd_mul_u64(value, 10, &value) || !hd_add_u64(value, digit, &value)) return false;
    }
    *out = value;
    return true;
}

bool hd_parse_i64(HdStr text, int64_t *out) {
    bool negative = text.len && text.data[0] == '-';
    uint64_t magnitude;
    if (!hd_parse_u64((HdStr){text.data + negative, text.len - negative}, &magnitude)) return false;
    if (magnitude > (uint64_t)INT64_MAX + negative) return false;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

static size_t skip_digits(HdStr text, size_t at) {
    while (at < text.len && is_digit(text.data[at])) at++;
    return at;
}

// -?digits[.digits][(e|E)[+-]digits], with at least one digit before the exponent: strtod accepts far more.
static bool is_decimal(HdStr text) {
    size_t start = text.len && text.data[0] == '-' ? 1 : 0;
    size_t at = skip_digits(text, start), digits = at - start;
    if (at < text.len && text.data[at] == '.') {
        size_t end = skip_digits(text, at + 1);
        digits += end - at - 1;
        at = end;
    }
    if (!digits) return false;
    if (at < text.len && (text.data[at] | 0x20) == 'e') {
        at++;
        if (at < text.len && (text.data[at] == '+' || text.data[at] == '-')) at++;
        size_t end = skip_digits(text, at);
        if (end == at) return false;
        at = end;
    }
    return at == text.len;
}

static double parse_decimal(HdStr text) {
    HdBuf copy = {0};
    const char *point = memchr(text.data, '.', text.len);
    size_t whole = point ? (size_t)(point - text.data) : text.len;
    hd_buf_bytes(&copy, text.data, whole);
    if (point) {
        hd_buf_str(&copy, nl_langinfo(RADIXCHAR));
        hd_buf_bytes(&copy, point + 1, text.len - whole - 1);
    }
    double value = strtod(copy.data, NULL);
    hd_buf_free(&copy);
    return value;
}

bool hd_parse_f64(HdStr text, double *out) {
    if (hd_str_is(text, "nan")) *out = (double)NAN;
    else if (hd_str_is(text, "inf")) *out = (double)INFINITY;
    else if (hd_str_is(text, "-inf")) *out = -(double)INFINITY;
    else if (is_decimal(text)) *out = parse_decimal(text);
    else return false;
    return true;
}

// ---- sizes ---------------------------------------------------------------------------------------------------

void hd_size_text(uint64_t bytes, char out_text[HD_SIZE_TEXT]) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = (double)bytes;
    size_t unit = 0;
    while (size >= 1024 && unit + 1 < HD_COUNT(units)) size /= 1024, unit++;
    snprintf(out_text, HD_SIZE_TEXT, unit ? "%.1f %s" : "%.0f %s", size, units[unit]);
}
