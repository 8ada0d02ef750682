// SPDX-License-Identifier: Apache-2.0
// Values: truth, lists, and mappings that keep their order.
#include "runtime/template/internal.h"

#include <string.h>

static const char *const kind_names[TPL_KIND_COUNT] = {
#define KIND(name, text) text,
#include "runtime/template/kinds.def"
#undef KIND
};

const char *tpl_kind_name(const TplValue *value) { return kind_names[value->kind]; }

bool tpl_truth(const TplValue *value) {
    switch (value->kind) {
    case TPL_MISSING:
    case TPL_UNDEFINED:
    case TPL_NONE: return false;
    case TPL_BOOL: return value->truth;
    case TPL_INT: return value->integer != 0;
    case TPL_FLOAT: return value->real != 0;
    case TPL_STRING: return value->text.len > 0;
    case TPL_LIST:
    case TPL_TUPLE:
    case TPL_RANGE:
    case TPL_VIEW: return value->list->count > 0;
    case TPL_DICT: return value->dict->count > 0;
    default: return true;
    }
}

// ---- lists ---------------------------------------------------------------------------------------------------

TplList *tpl_list_new(HdArena *arena, size_t cap) {
    TplList *list = HD_NEW(arena, TplList);
    list->items = cap ? HD_NEW_ARRAY(arena, TplValue, cap) : NULL;
    list->cap = cap;
    return list;
}

// A larger copy in the arena, where the old one stays.
static void *grown(HdArena *arena, const void *old, size_t bytes, size_t new_bytes) {
    void *copy = hd_arena_alloc(arena, new_bytes);
    if (bytes) memcpy(copy, old, bytes);
    return copy;
}

void tpl_list_push(HdArena *arena, TplList *list, TplValue item) {
    if (list->count == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 4;
        list->items = grown(arena, list->items, list->count * sizeof item, cap * sizeof item);
        list->cap = cap;
    }
    list->items[list->count++] = item;
}

TplValue tpl_pair(HdArena *arena, TplValue first, TplValue second) {
    TplList *list = tpl_list_new(arena, 2);
    tpl_list_push(arena, list, first);
    tpl_list_push(arena, list, second);
    return tpl_list_value(TPL_TUPLE, list);
}

// ---- keys ----------------------------------------------------------------------------------------------------

bool tpl_is_key(const TplValue *value) { return value->kind >= TPL_NONE && value->kind <= TPL_STRING; }

// Exact on every machine that keeps a 64-bit integer in a long double; on others, as a double.
static long double number_of(const TplValue *value) {
    int64_t integer;
    return tpl_as_int(value, &integer) ? (long double)integer : (long double)value->real;
}

static bool is_number(const TplValue *value) {
    return value->kind == TPL_BOOL || value->kind == TPL_INT || value->kind == TPL_FLOAT;
}

bool tpl_same_scalar(const TplValue *a, const TplValue *b) {
    if (is_number(a) && is_number(b)) return number_of(a) == number_of(b);
    if (a->kind != b->kind) return false;
    return a->kind == TPL_STRING || a->kind == TPL_BIG ? hd_str_eq(a->text, b->text) : true;
}

// Equal keys have equal hashes: 1, 1.0 and true are one key.
static uint64_t hash_of(const TplValue *key) {
    if (key->kind == TPL_STRING || key->kind == TPL_BIG) return hd_digest(key->text.data, key->text.len).lo;
    double number = is_number(key) ? (double)number_of(key) : 0;
    if (number == 0) number = 0;         // no negative zero
    return hd_digest(&number, sizeof number).lo;
}

// ---- mappings ------------------------------------------------------------------------------------------------
// Small ones are searched from the front; from INDEXED entries on an index finds them: slots hold the entry's number + 1.

enum { INDEXED = 12 };

static uint32_t *slot_of(const TplDict *dict, const TplValue *key) {
    size_t mask = dict->index_cap - 1;
    for (size_t at = (size_t)hash_of(key) & mask;; at = (at + 1) & mask) {
        uint32_t *slot = &dict->index[at];
        if (!*slot || tpl_same_scalar(&dict->keys[*slot - 1], key)) return slot;
    }
}

static void make_index(HdArena *arena, TplDict *dict) {
    dict->index_cap = dict->cap * 2;
    dict->index = HD_NEW_ARRAY(arena, uint32_t, dict->index_cap);
    for (size_t i = 0; i < dict->count; i++) *slot_of(dict, &dict->keys[i]) = (uint32_t)i + 1;
}

static void grow(HdArena *arena, TplDict *dict) {
    size_t cap = dict->cap ? 2 * dict->cap : 4;
    dict->keys = grown(arena, dict->keys, dict->count * sizeof *dict->keys, cap * sizeof *dict->keys);
    dict->values = grown(arena, dict->values, dict->count * sizeof *dict->values, cap * sizeof *dict->values);
    dict->cap = cap;
    if (cap > INDEXED) make_index(arena, dict);
}

TplValue *tpl_dict_get(const TplDict *dict, const TplValue *key) {
    if (dict->index) {
        uint32_t at = *slot_of(dict, key);
        return at ? &dict->values[at - 1] : NULL;
    }
    for (size_t i = 0; i < dict->count; i++)
        if (tpl_same_scalar(&dict->keys[i], key)) return &dict->values[i];
    return NULL;
}

TplValue *tpl_dict_named(const TplDict *dict, HdStr name) {
    TplValue key = tpl_string(name);
    return tpl_dict_get(dict, &key);
}

void tpl_dict_put(HdArena *arena, TplDict *dict, TplValue key, TplValue value) {
    TplValue *old = tpl_dict_get(dict, &key);
    if (old) {
        *old = value;
        return;
    }
    if (dict->count == dict->cap) grow(arena, dict);
    dict->keys[dict->count] = key;
    dict->values[dict->count] = value;
    dict->count++;
    if (dict->index) *slot_of(dict, &key) = (uint32_t)dict->count;
}
