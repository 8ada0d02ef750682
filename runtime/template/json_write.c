// SPDX-License-Identifier: Apache-2.0
// JSON as Python's json.dumps writes it.
#include "runtime/template/internal.h"

#include <math.h>

const TplJson tpl_json_plain = {.item_separator = {", ", 2}, .key_separator = {": ", 2}};

typedef struct Writer { TplRun *run; const TplJson *how; uint32_t level; } Writer;

static HdStatus *put(Writer *writer, const TplValue *value);

static HdStatus *new_line(const Writer *writer) {
    if (!writer->how->indented) return NULL;
    HD_TRY(tpl_put(writer->run, HD_STR("\n")));
    for (uint32_t i = 0; i < writer->level; i++) HD_TRY(tpl_put(writer->run, writer->how->indent));
    return NULL;
}

static HdStatus *separate(const Writer *writer, size_t index) {
    if (index) HD_TRY(tpl_put(writer->run, writer->how->item_separator));
    return new_line(writer);
}

static HdStatus *put_list(Writer *writer, const TplList *list) {
    if (!list->count) return tpl_put(writer->run, HD_STR("[]"));
    hd_buf_str(&writer->run->out, "[");
    writer->level++;
    for (size_t i = 0; i < list->count; i++) {
        HD_TRY(separate(writer, i));
        HD_TRY(put(writer, &list->items[i]));
    }
    writer->level--;
    HD_TRY(new_line(writer));
    return tpl_put(writer->run, HD_STR("]"));
}

static void put_float(HdBuf *out, double value) {
    if (isfinite(value)) tpl_put_float(out, value);
    else hd_buf_str(out, isnan(value) ? "NaN" : value < 0 ? "-Infinity" : "Infinity");
}

static HdStatus *put_scalar(Writer *writer, const TplValue *value) {
    HdBuf *out = &writer->run->out;
    switch (value->kind) {
    case TPL_NONE: return hd_buf_str(out, "null"), NULL;
    case TPL_BOOL: return hd_buf_str(out, value->truth ? "true" : "false"), NULL;
    case TPL_FLOAT: return put_float(out, value->real), NULL;
    case TPL_INT:
    case TPL_BIG: return tpl_put_value(writer->run, value);
    default:
        return tpl_fail(writer->run, HD_BAD_DATA, "a value of type %s has no form in JSON", tpl_kind_name(value));
    }
}

// Keys are strings; other scalars are written as one.
static HdStatus *put_key(Writer *writer, const TplValue *key) {
    if (key->kind == TPL_STRING) return hd_buf_json(&writer->run->out, key->text, writer->how->ascii), NULL;
    hd_buf_str(&writer->run->out, "\"");
    HD_TRY(put_scalar(writer, key));
    return tpl_put(writer->run, HD_STR("\""));
}

static HdStatus *put_entry(Writer *writer, const TplDict *dict, size_t entry) {
    HD_TRY(put_key(writer, &dict->keys[entry]));
    HD_TRY(tpl_put(writer->run, writer->how->key_separator));
    return put(writer, &dict->values[entry]);
}

static HdStatus *put_dict(Writer *writer, const TplDict *dict) {
    size_t *order = NULL;
    if (!dict->count) return tpl_put(writer->run, HD_STR("{}"));
    if (writer->how->sorted) HD_TRY(tpl_sorted(writer->run, dict->keys, dict->count, false, &order));
    hd_buf_str(&writer->run->out, "{");
    writer->level++;
    for (size_t i = 0; i < dict->count; i++) {
        HD_TRY(separate(writer, i));
        HD_TRY(put_entry(writer, dict, order ? order[i] : i));
    }
    writer->level--;
    HD_TRY(new_line(writer));
    return tpl_put(writer->run, HD_STR("}"));
}

static HdStatus *put_any(Writer *writer, const TplValue *value) {
    switch (value->kind) {
    case TPL_STRING:
        HD_TRY(tpl_look(writer->run, value->text.len));
        hd_buf_json(&writer->run->out, value->text, writer->how->ascii);
        return tpl_put(writer->run, HD_STR(""));
    case TPL_LIST:
    case TPL_TUPLE: return put_list(writer, value->list);
    case TPL_DICT: return put_dict(writer, value->dict);
    default: return put_scalar(writer, value);
    }
}

static HdStatus *put(Writer *writer, const TplValue *value) {
    HD_TRY(tpl_work(writer->run, 1));
    HD_TRY(tpl_enter(writer->run));
    HD_TRY(put_any(writer, value));
    tpl_leave(writer->run);
    return NULL;
}

HdStatus *tpl_put_json(TplRun *run, const TplJson *how, const TplValue *value) {
    Writer writer = {run, how, 0};
    return put(&writer, value);
}
