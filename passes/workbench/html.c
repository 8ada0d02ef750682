// SPDX-License-Identifier: Apache-2.0
// One page for a browser: the files of page/, in one another, and what was recorded as JSON.
#include "passes/workbench/json.h"
#include "passes/workbench/page.h"

#include <string.h>

// ---- data --------------------------------------------------------------------------------------------------------

// What operations and groups are: {"linear": ["product", ".."], ..}.
static void put_tables(HdBuf *out)
{
    static const char *const roles[] = {"", "element-wise", "row", "view", "product", "special"};
    hd_buf_str(out, ",\n\"kinds\": {");
    for (int kind = 0; kind < IR_OP_COUNT; kind++) {
        const IrOpInfo *info = ir_op_info((IrOpKind)kind);
        hd_buf_printf(out, "%s\"%s\": [\"%s\", ", kind ? ", " : "", info->name, roles[info->role]);
        hd_buf_json(out, hd_str(info->doc), false);
        hd_buf_printf(out, ", %s]", info->effect & IR_EFFECT_WRITE ? "true" : "false");
    }
    hd_buf_str(out, "},\n\"groups\": {");
    for (int group = 0; group < IR_GROUP_COUNT; group++) wb_put_text(ir_group_name((IrGroup)group), ir_group_doc((IrGroup)group), out);
    hd_buf_str(out, "}");
}

static void put_data(const WbReport *report, const char *name, HdBuf *out)
{
    hd_buf_str(out, "{");
    wb_put_text("input", name, out);
    wb_put_text("target", report->target->name, out);
    wb_put_text("pipeline", report->pipeline.data ? report->pipeline.data : "", out);
    if (report->options->device) wb_put_text("device", report->options->device->name, out);
    put_tables(out);
    hd_buf_str(out, ",\n\"graphs\": ");
    wb_print_pictures(report, out);
    hd_buf_str(out, "}");
}

// Inside <script> no text may look like the end of it, or like a comment. In JSON a '<' stands in strings only.
static void put_safe(const HdBuf *json, HdBuf *out)
{
    for (size_t at = 0, len; at < json->len; at += len) {
        const char *less = memchr(json->data + at, '<', json->len - at);
        len = less ? (size_t)(less - json->data) - at : json->len - at;
        hd_buf_bytes(out, json->data + at, len);
        if (less) hd_buf_str(out, "\\u003c"), len++;
    }
}

// ---- the page ----------------------------------------------------------------------------------------------------

static void put_file(HdStr name, const WbReport *report, const char *input, HdBuf *out);

// A line "@include NAME" stands for that file, "@data" for the data.
static void put_line(HdStr line, const WbReport *report, const char *input, HdBuf *out)
{
    static const HdStr include = {"@include ", 9};
    HdBuf data = {0};
    if (hd_str_starts(line, include.data)) {
        put_file((HdStr){line.data + include.len, line.len - include.len}, report, input, out);
        return;
    }
    if (hd_str_is(line, "@data")) {
        put_data(report, input, &data);
        put_safe(&data, out);
        hd_buf_free(&data);
    } else {
        hd_buf_bytes(out, line.data, line.len);
    }
    hd_buf_str(out, "\n");
}

static void put_file(HdStr name, const WbReport *report, const char *input, HdBuf *out)
{
    const WbPageFile *file = wb_page_files;
    while (file->name && !hd_str_is(name, file->name)) file++;
    HD_ASSERT(file->name);
    for (size_t at = 0; at < file->len;) {
        const char *line = (const char *)file->data + at, *end = memchr(line, '\n', file->len - at);
        size_t len = end ? (size_t)(end - line) : file->len - at;
        put_line((HdStr){line, len}, report, input, out);
        at += len + 1;
    }
}

void wb_print_html(const WbReport *report, const char *name, HdBuf *out_page) { put_file(HD_STR("page.html"), report, name, out_page); }
