// SPDX-License-Identifier: Apache-2.0
// A device as a JSON file: one object with the format's version, the type, and the keys that facts.def has for it, all of them.
#include "cli/cli.h"
#include "runtime/device/facts.h"
#include "runtime/template/value.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 2 };
static const char version_key[] = "heddle_device", type_key[] = "type";

typedef enum Kind { TEXT, NUMBER, WORDS } Kind;
typedef struct Key { const char *name; unsigned types; Kind kind; size_t offset, size; } Key;
enum { CPU = 1 << RT_KIND_CPU, VULKAN = 1 << RT_KIND_VULKAN, CUDA = 1 << RT_KIND_CUDA };
static const Key keys[] = {
#define FACT(types, kind, name, doc) {#name, types, kind, offsetof(RtFacts, name), sizeof ((RtFacts *)NULL)->name},
#include "runtime/device/facts.def"
#undef FACT
};

static bool has(const Key *key, RtDeviceKind type) { return key->types >> type & 1; }

// ---- writing -------------------------------------------------------------------------------------------------

static void put_words(const char *words, HdBuf *out)
{
    hd_buf_str(out, "[");
    for (HdStr rest = hd_str(words); rest.len;) {
        if (rest.data > words) hd_buf_str(out, ", ");
        hd_buf_json(out, hd_next_item(&rest, ' '), false);
    }
    hd_buf_str(out, "]");
}

void device_file_write(const RtFacts *facts, HdBuf *out_json)
{
    hd_buf_printf(out_json, "{\n  \"%s\": %d,\n  \"%s\": \"%s\"", version_key, VERSION, type_key, rt_kind_name(facts->type));
    for (size_t i = 0; i < HD_COUNT(keys); i++) {
        const void *value = (const char *)facts + keys[i].offset;
        if (!has(&keys[i], facts->type)) continue;
        hd_buf_printf(out_json, ",\n  \"%s\": ", keys[i].name);
        switch (keys[i].kind) {
        case TEXT: hd_buf_json(out_json, hd_str(value), false); break;
        case NUMBER: hd_buf_printf(out_json, "%" PRIu64, *(const uint64_t *)value); break;
        case WORDS: put_words(value, out_json); break;
        }
    }
    hd_buf_str(out_json, "\n}\n");
}

// ---- reading -------------------------------------------------------------------------------------------------

static HdStatus *wrong(const Key *key, const char *what) { return hd_error(HD_BAD_DATA, "key '%s': %s", key->name, what); }

static bool holds(HdStr text, char byte) { return memchr(text.data, byte, text.len) != NULL; }

static HdStatus *take_text(const Key *key, const TplValue *value, char *to)
{
    if (value->kind != TPL_STRING) return wrong(key, "expected a text");
    if (value->text.len >= key->size || holds(value->text, 0)) return wrong(key, "the text is too long, or holds a 0");
    memcpy(to, value->text.data, value->text.len);
    return NULL;
}

static HdStatus *take_number(const Key *key, const TplValue *value, uint64_t *to)
{
    if (value->kind != TPL_INT || value->integer < 0) return wrong(key, "expected a whole number that is not negative");
    *to = (uint64_t)value->integer;
    return NULL;
}

static HdStatus *take_words(const Key *key, const TplValue *value, char *to)
{
    size_t len = 0;
    if (value->kind != TPL_LIST) return wrong(key, "expected a list of texts");
    for (size_t i = 0; i < value->list->count; i++) {
        const TplValue *word = &value->list->items[i];
        if (word->kind != TPL_STRING || !word->text.len || holds(word->text, ' ') || holds(word->text, 0))
            return wrong(key, "expected a list of texts without blanks");
        if (len + word->text.len + 2 > key->size) return wrong(key, "the list is too long");
        if (len) to[len++] = ' ';
        memcpy(to + len, word->text.data, word->text.len);
        len += word->text.len;
    }
    return NULL;
}

static HdStatus *take(const TplDict *dict, const Key *key, RtFacts *facts)
{
    const TplValue *value = tpl_dict_named(dict, hd_str(key->name));
    void *to = (char *)facts + key->offset;
    if (!value) return wrong(key, "is missing");
    switch (key->kind) {
    case TEXT: return take_text(key, value, to);
    case NUMBER: return take_number(key, value, to);
    case WORDS: return take_words(key, value, to);
    }
    return NULL;
}

static HdStatus *take_type(const TplDict *dict, RtFacts *facts)
{
    const TplValue *type = tpl_dict_named(dict, hd_str(type_key));
    for (int kind = 0; type && type->kind == TPL_STRING && kind < RT_KIND_COUNT; kind++) {
        facts->type = (RtDeviceKind)kind;
        if (hd_str_is(type->text, rt_kind_name(facts->type))) return NULL;
    }
    return hd_error(HD_BAD_DATA, "key '%s': expected \"cpu\", \"vulkan\" or \"cuda\"", type_key);
}

// No key may be there that this program does not know: it would do without what it says.
static HdStatus *check_keys(const TplDict *dict, RtDeviceKind type)
{
    for (size_t i = 0; i < dict->count; i++) {
        HdStr name = dict->keys[i].text;
        bool known = hd_str_is(name, version_key) || hd_str_is(name, type_key);
        for (size_t k = 0; k < HD_COUNT(keys) && !known; k++) known = has(&keys[k], type) && hd_str_is(name, keys[k].name);
        if (!known) return hd_error(HD_BAD_DATA, "key '" HD_STR_FMT "': none of a %s device", HD_STR_ARG(name), rt_kind_name(type));
    }
    return NULL;
}

static HdStatus *read_object(HdArena *arena, HdStr json, RtFacts *facts)
{
    TplValue object;
    HD_TRY(tpl_json_read(arena, json, &object));
    const TplValue *version = object.kind == TPL_DICT ? tpl_dict_named(object.dict, hd_str(version_key)) : NULL;
    if (!version) return hd_error(HD_BAD_DATA, "not a description of a device: `heddle devices --save` writes one");
    if (version->kind != TPL_INT || version->integer != VERSION)
        return hd_error(HD_UNSUPPORTED, "key '%s': this program reads version %d; describe the device again with this version", version_key,
                        VERSION);
    HD_TRY(take_type(object.dict, facts));
    HD_TRY(check_keys(object.dict, facts->type));
    for (size_t i = 0; i < HD_COUNT(keys); i++)
        if (has(&keys[i], facts->type)) HD_TRY(take(object.dict, &keys[i], facts));
    return NULL;
}

HdStatus *device_file_read(const char *path, HdStr json, RtFacts *out_facts)
{
    HdArena arena = {0};
    memset(out_facts, 0, sizeof *out_facts);
    HdStatus *status = read_object(&arena, json, out_facts);
    hd_arena_free(&arena);
    return hd_annotate(status, "%s", path);
}

// ---- the files of --target -----------------------------------------------------------------------------------

static HdStatus *open_file(HdStr path, RtFacts *out_facts)
{
    char *name = strndup(path.data, path.len);
    HdBuf text = {0};
    HdStatus *status = path.len ? hd_read_file(name, &text) : hd_error(HD_USAGE, "--target @: a file's name is missing: @FILE.json");
    if (!status) status = device_file_read(name, (HdStr){text.data, text.len}, out_facts);
    hd_buf_free(&text);
    free(name);
    return status;
}

HdStatus *device_files_open(CliOptions *options)
{
    for (HdStr rest = hd_str(options->target ? options->target : ""); rest.data;) {
        HdStr name = hd_next_item(&rest, ',');
        if (!hd_str_starts(name, "@")) continue;
        options->devices = hd_xrealloc(options->devices, (options->device_count + 1) * sizeof *options->devices);
        HD_TRY(open_file((HdStr){name.data + 1, name.len - 1}, &options->devices[options->device_count++]));
    }
    return NULL;
}
