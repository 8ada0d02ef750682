// SPDX-License-Identifier: Apache-2.0
// UTF-8 and canonical composition. The character data are utf8proc's; the reordering of combining marks is done here, because
// utf8proc's own takes quadratic time on long runs of marks.
#include "runtime/tokenizer/internal.h"

#include <stdlib.h>
#include <utf8proc.h>

// ---- UTF-8 ---------------------------------------------------------------------------------------------------

// Bytes of the sequence that `lead` starts, and the range of its second byte. 0: it starts none.
static uint32_t sequence(uint8_t lead, uint8_t *out_low, uint8_t *out_high) {
    *out_low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    *out_high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (lead < 0x80) return 1;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

int32_t tk_decode_utf8(const char *data, size_t len, size_t *out_used) {
    uint8_t lead = (uint8_t)data[0], low, high;
    uint32_t bytes = sequence(lead, &low, &high);
    *out_used = 1;
    if (bytes <= 1) return bytes ? lead : TK_ILL_FORMED;
    int32_t code = lead & (0x7F >> bytes);
    for (uint32_t i = 1; i < bytes; i++) {
        if (i == len) return TK_MORE;
        uint8_t byte = (uint8_t)data[i];
        if (byte < low || byte > high) return TK_ILL_FORMED;
        code = code << 6 | (byte & 0x3F);
        *out_used = i + 1;
        low = 0x80, high = 0xBF;
    }
    return code;
}

HdStr tk_well_formed(HdStr text, HdBuf *store) {
    size_t kept = 0;                 // bytes of `text` that are in the store
    bool copied = false;
    for (size_t at = 0, used; at < text.len; at += used) {
        if ((used = 1, (uint8_t)text.data[at] < 0x80) || tk_decode_utf8(text.data + at, text.len - at, &used) >= 0) continue;
        hd_buf_bytes(store, text.data + kept, at - kept);
        hd_buf_str(store, "\xEF\xBF\xBD");
        kept = at + used;
        copied = true;
    }
    if (!copied) return text;
    hd_buf_bytes(store, text.data + kept, text.len - kept);
    return (HdStr){store->data, store->len};
}

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
        int32_t parts[32], code = tk_decode_utf8(text.data + at, text.len - at, &used);
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
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        utf8proc_uint8_t bytes[4];
        hd_buf_bytes(&work->text, bytes, (size_t)utf8proc_encode_char(work->codes.data[i], bytes));
    }
    *out_text = (HdStr){work->text.data, work->text.len};
    return NULL;
}

void tk_nfc_free(TkNfc *work) {
    hd_vec_free(&work->codes);
    hd_vec_free(&work->marks);
    hd_buf_free(&work->text);
}
