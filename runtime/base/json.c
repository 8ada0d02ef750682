// SPDX-License-Identifier: Apache-2.0
// Strings as JSON writes them (RFC 8259).
#include "runtime/base/base.h"

#include <string.h>

static void put_unit(HdBuf *buf, int32_t unit) { hd_buf_printf(buf, "\\u%04x", (unsigned)unit); }

static void put_escape(HdBuf *buf, int32_t code) {
    static const char letters[] = "nrtbf\"\\", values[] = "\n\r\t\b\f\"\\";
    const char *found = code && code < 0x80 ? strchr(values, code) : NULL;
    if (found) {
        hd_buf_printf(buf, "\\%c", letters[found - values]);
    } else if (code < 0x10000) {
        put_unit(buf, code);
    } else {
        put_unit(buf, 0xD800 + ((code - 0x10000) >> 10));
        put_unit(buf, 0xDC00 + (code & 0x3FF));
    }
}

void hd_buf_json(HdBuf *buf, HdStr text, bool ascii) {
    hd_buf_str(buf, "\"");
    for (size_t at = 0, used; at < text.len; at += used) {
        int32_t code = hd_utf8_decode(text.data + at, text.len - at, &used);
        if (code < 0) code = 0xFFFD;
        if (code < 0x20 || code == '"' || code == '\\' || (ascii && code >= 0x7F)) put_escape(buf, code);
        else hd_buf_utf8(buf, code);
    }
    hd_buf_str(buf, "\"");
}
