// SPDX-License-Identifier: Apache-2.0
// Code points in bytes.
#include "runtime/base/base.h"

// Bytes of the sequence that `lead` starts, and the range of its second byte. 0: it starts none.
static uint32_t sequence(uint8_t lead, uint8_t *out_low, uint8_t *out_high) {
    *out_low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    *out_high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (lead < 0x80) return 1;
    if (lead < 0xC2 || lead > 0xF4) return 0;
    return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

int32_t hd_utf8_decode(const char *data, size_t len, size_t *out_used) {
    uint8_t lead = (uint8_t)data[0], low, high;
    uint32_t bytes = sequence(lead, &low, &high);
    *out_used = 1;
    if (bytes <= 1) return bytes ? lead : HD_ILL_FORMED;
    int32_t code = lead & (0x7F >> bytes);
    for (uint32_t i = 1; i < bytes; i++) {
        if (i == len) return HD_INCOMPLETE;
        uint8_t byte = (uint8_t)data[i];
        if (byte < low || byte > high) return HD_ILL_FORMED;
        code = code << 6 | (byte & 0x3F);
        *out_used = i + 1;
        low = 0x80, high = 0xBF;
    }
    return code;
}

HdStr hd_well_formed(HdStr text, HdBuf *store) {
    size_t kept = 0;                 // bytes of `text` that are in the store
    bool copied = false;
    for (size_t at = 0, used; at < text.len; at += used) {
        if ((used = 1, (uint8_t)text.data[at] < 0x80) || hd_utf8_decode(text.data + at, text.len - at, &used) >= 0) continue;
        hd_buf_bytes(store, text.data + kept, at - kept);
        hd_buf_str(store, "\xEF\xBF\xBD");
        kept = at + used;
        copied = true;
    }
    if (!copied) return text;
    hd_buf_bytes(store, text.data + kept, text.len - kept);
    return (HdStr){store->data, store->len};
}

void hd_buf_utf8(HdBuf *buf, int32_t code) {
    HD_ASSERT(code >= 0 && code <= 0x10FFFF);
    char bytes[4];
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len - 1; i > 0; i--, code >>= 6) bytes[i] = (char)(0x80 | (code & 0x3F));
    bytes[0] = (char)(lead[len - 1] | code);
    hd_buf_bytes(buf, bytes, len);
}
