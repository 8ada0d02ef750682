// SPDX-License-Identifier: Apache-2.0
// Members of a JSON object, for reports and pages.
#include "passes/workbench/json.h"

#include <math.h>

void wb_put_key(const char *key, HdBuf *out) { hd_buf_printf(out, "%s\"%s\": ", out->data[out->len - 1] == '{' ? "" : ", ", key); }

void wb_put_text(const char *key, const char *text, HdBuf *out)
{
    wb_put_key(key, out);
    hd_buf_json(out, hd_str(text), false);
}

void wb_put_number(const char *key, double number, HdBuf *out)
{
    wb_put_key(key, out);
    if (isfinite(number)) hd_buf_f64(out, number);
    else hd_buf_str(out, "null");
}

void wb_put_integer(const char *key, int64_t number, HdBuf *out)
{
    wb_put_key(key, out);
    hd_buf_printf(out, "%lld", (long long)number);
}
