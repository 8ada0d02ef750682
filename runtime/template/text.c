// SPDX-License-Identifier: Apache-2.0
// Strings in code points, with Python's notion of white space, letters and case. The character data are utf8proc's.
#include "runtime/template/internal.h"

#include <string.h>
#include <utf8proc.h>

// ---- code points ---------------------------------------------------------------------------------------------

static bool continues(char byte) { return ((uint8_t)byte & 0xC0) == 0x80; }

size_t tpl_length(HdStr text) {
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++) count += !continues(text.data[i]);
    return count;
}

// Where the code point number `index` starts, looking from `at` on, where number 0 does.
static size_t offset_of(HdStr text, size_t at, size_t index) {
    for (; index && at < text.len; index--)
        for (at++; at < text.len && continues(text.data[at]);) at++;
    return at;
}

HdStr tpl_part(HdStr text, size_t first, size_t end) {
    size_t start = offset_of(text, 0, first), stop = offset_of(text, start, end - first);
    return (HdStr){text.data + start, stop - start};
}

// The code point before `end` (> 0), and where it starts.
static int32_t code_before(HdStr text, size_t end, size_t *out_start) {
    size_t start = end - 1, used;
    while (start && continues(text.data[start])) start--;
    *out_start = start;
    return hd_utf8_decode(text.data + start, end - start, &used);
}

bool tpl_find(HdStr text, HdStr part, size_t from, size_t *out_at) {
    if (from > text.len) return false;
    const char *found = part.len ? memmem(text.data + from, text.len - from, part.data, part.len) : text.data + from;
    if (found) *out_at = (size_t)(found - text.data);
    return found != NULL;
}

// ---- classes -------------------------------------------------------------------------------------------------

bool tpl_is_space(int32_t code) {
    if (code < 0x80) return (code >= 9 && code <= 13) || (code >= 28 && code <= 32);
    return code == 0x85 || code == 0x2028 || code == 0x2029 || utf8proc_category(code) == UTF8PROC_CATEGORY_ZS;
}

int tpl_is_letter(int32_t code) {
    utf8proc_category_t category = utf8proc_category(code);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

int tpl_is_digit(int32_t code) { return utf8proc_category(code) == UTF8PROC_CATEGORY_ND; }

bool tpl_is_printable(int32_t code) {
    utf8proc_category_t category = utf8proc_category(code);
    return code == ' ' || !(category == UTF8PROC_CATEGORY_CN || category >= UTF8PROC_CATEGORY_ZS);
}

bool tpl_is_word(HdStr text, int (*is)(int32_t code)) {
    for (size_t at = 0, used; at < text.len; at += used)
        if (!is(hd_utf8_decode(text.data + at, text.len - at, &used))) return false;
    return text.len > 0;
}

static bool is_stripped(int32_t code, const HdStr *chars) {
    if (!chars) return tpl_is_space(code);
    for (size_t at = 0, used; at < chars->len; at += used)
        if (hd_utf8_decode(chars->data + at, chars->len - at, &used) == code) return true;
    return false;
}

HdStr tpl_strip(HdStr text, const HdStr *chars, int ends) {
    size_t at = 0, end = text.len, used;
    while (ends & TPL_LEFT && at < end && is_stripped(hd_utf8_decode(text.data + at, end - at, &used), chars)) at += used;
    while (ends & TPL_RIGHT && end > at && is_stripped(code_before(text, end, &used), chars)) end = used;
    return (HdStr){text.data + at, end - at};
}

size_t tpl_line_break(HdStr text, size_t at) {
    size_t used;
    int32_t code = hd_utf8_decode(text.data + at, text.len - at, &used);
    if (code == '\r') return at + 1 < text.len && text.data[at + 1] == '\n' ? 2 : 1;
    bool breaks =
        (code >= 10 && code <= 12) || (code >= 0x1C && code <= 0x1E) || code == 0x85 || code == 0x2028 || code == 0x2029;
    return breaks ? used : 0;
}

// ---- case ----------------------------------------------------------------------------------------------------

static const struct { int32_t code; const char *upper, *title; } specials[] = {
#define SPECIAL(code, upper, title) {code, upper, title},
#include "runtime/template/special_case.def"
#undef SPECIAL
};

static const char *special_case(int32_t code, TplCase how) {
    size_t low = 0, high = HD_COUNT(specials);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (specials[middle].code < code) low = middle + 1;
        else high = middle;
    }
    if (low == HD_COUNT(specials) || specials[low].code != code) return NULL;
    return how == TPL_UPPER ? specials[low].upper : specials[low].title;
}

// A capital sigma at the end of a word has a small form of its own.
static bool ends_word(HdStr text, size_t at, size_t used) {
    size_t ignored;
    bool before = at && tpl_is_letter(code_before(text, at, &ignored));
    bool after = at + used < text.len && tpl_is_letter(hd_utf8_decode(text.data + at + used, text.len - at - used, &ignored));
    return before && !after;
}

static void put_lower(HdBuf *out, HdStr text, size_t at, int32_t code, size_t used) {
    enum { CAPITAL_SIGMA = 0x3A3, FINAL_SIGMA = 0x3C2, CAPITAL_DOTTED_I = 0x130 };
    if (code == CAPITAL_DOTTED_I) hd_buf_str(out, "i\xCC\x87");
    else if (code == CAPITAL_SIGMA && ends_word(text, at, used)) hd_buf_utf8(out, FINAL_SIGMA);
    else hd_buf_utf8(out, utf8proc_tolower(code));
}

static void put_raised(HdBuf *out, int32_t code, TplCase how) {
    const char *special = code < 0x80 ? NULL : special_case(code, how);
    if (special) hd_buf_str(out, special);
    else hd_buf_utf8(out, how == TPL_UPPER ? utf8proc_toupper(code) : utf8proc_totitle(code));
}

void tpl_put_cased(HdBuf *out, HdStr text, TplCase how) {
    for (size_t at = 0, used; at < text.len; at += used) {
        int32_t code = hd_utf8_decode(text.data + at, text.len - at, &used);
        if (how == TPL_LOWER) put_lower(out, text, at, code, used);
        else put_raised(out, code, how);
    }
}

// ---- HTML ----------------------------------------------------------------------------------------------------

void tpl_put_escaped(HdBuf *out, HdStr text) {
    static const char plain[] = "&<>\"'";
    static const char *const escaped[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    for (size_t i = 0; i < text.len; i++) {
        const char *found = text.data[i] ? strchr(plain, text.data[i]) : NULL;
        if (found) hd_buf_str(out, escaped[found - plain]);
        else hd_buf_bytes(out, &text.data[i], 1);
    }
}
