// SPDX-License-Identifier: Apache-2.0
// Canonical composition. The character data are utf8proc's; the reordering of combining marks is done here, because
// utf8proc's own takes quadratic time on long runs of marks.
#include "runtime/tokenizer/internal.h"

#include <stdlib.h>
#include <utf8proc.h>

// ---- NFC -----------------------------------------------------------------------------------------------------

static const utf8proc_option_t nfc = UTF8PROC_STABLE | UTF8PROC_COMPOSE;

// No code point below U+0300, whose lead byte is 0xCC, changes under NFC or composes with another below it.
static bool surely_nfc(HdStr text) {
    for (size_t i = 0; i < text.len; i++)
        if ((uint8_t)text.data[i] >= 0xCC) return false;
    return true;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Sorts one run of combining marks by class, marks of equal class in their order: class, place and code point as one number.
static void sort_marks(TkNfc *work, int32_t *codes, size_t count) {
    hd_vec_reserve(&work->marks, count);
    bool sorted = true;
    for (size_t i = 0; i < count; i++) {
        uint64_t class = utf8proc_get_property(codes[i])->combining_class & 0xFF;
        work->marks.data[i] = class << 56 | (uint64_t)i << 21 | (uint32_t)codes[i];
        sorted = sorted && (!i || work->marks.data[i - 1] >> 56 <= class);
    }
    if (sorted) return;
    qsort(work->marks.data, count, sizeof *work->marks.data, by_value);
    for (size_t i = 0; i < count; i++) codes[i] = (int32_t)(work->marks.data[i] & 0x1FFFFF);
}

static void reorder(TkNfc *work) {
    int32_t *codes = work->codes.data;
    for (size_t at = 0, end; at < work->codes.len; at = end + 1) {
        for (end = at; end < work->codes.len && utf8proc_get_property(codes[end])->combining_class; end++) continue;
        if (end - at > 1) sort_marks(work, codes + at, end - at);
    }
}

static HdStatus *decompose(HdStr text, TkNfc *work) {
    work->codes.len = 0;
    for (size_t at = 0, used; at < text.len; at += used) {
        int32_t parts[32], code = hd_utf8_decode(text.data + at, text.len - at, &used);
        utf8proc_ssize_t count = utf8proc_decompose_char(code, parts, HD_COUNT(parts), nfc, NULL);
        if (count < 0 || count > (utf8proc_ssize_t)HD_COUNT(parts))
            return hd_error(HD_INTERNAL, "normalising U+%04X: %s", (unsigned)code, utf8proc_errmsg(count));
        for (utf8proc_ssize_t i = 0; i < count; i++) hd_vec_push(&work->codes, parts[i]);
    }
    return NULL;
}

HdStatus *tk_nfc(HdStr text, TkNfc *work, HdStr *out_text) {
    *out_text = text;
    if (surely_nfc(text)) return NULL;
    HD_TRY(decompose(text, work));
    reorder(work);
    utf8proc_ssize_t count = utf8proc_normalize_utf32(work->codes.data, (utf8proc_ssize_t)work->codes.len, nfc);
    if (count < 0) return hd_error(HD_INTERNAL, "normalising text: %s", utf8proc_errmsg(count));
    work->text.len = 0;
    for (utf8proc_ssize_t i = 0; i < count; i++) hd_buf_utf8(&work->text, work->codes.data[i]);
    *out_text = (HdStr){work->text.data, work->text.len};
    return NULL;
}

void tk_nfc_free(TkNfc *work) {
    hd_vec_free(&work->codes);
    hd_vec_free(&work->marks);
    hd_buf_free(&work->text);
}
