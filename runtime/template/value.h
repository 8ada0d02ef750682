// SPDX-License-Identifier: Apache-2.0
// Values of chat templates, which are also what JSON is read into.
#ifndef HEDDLE_TEMPLATE_VALUE_H
#define HEDDLE_TEMPLATE_VALUE_H

#include "runtime/base/base.h"

// ---- values --------------------------------------------------------------------------------------------------
// Values live in the arena of a run (constants: of a template) and are never changed, but for namespaces, loops and iterators.

typedef enum TplKind {
#define KIND(name, text) TPL_##name,
#include "runtime/template/kinds.def"
#undef KIND
    TPL_KIND_COUNT
} TplKind;

typedef struct TplValue TplValue;
typedef struct TplList { TplValue *items; size_t count, cap; bool is_group; } TplList;   // is_group: a tuple made by groupby
typedef struct TplDict { TplValue *keys, *values; size_t count, cap; uint32_t *index; size_t index_cap; } TplDict;

struct TplValue {
    TplKind kind;
    bool safe;                           // a string that passed the filter safe: adding to it escapes HTML, as markupsafe does
    union {
        bool truth;
        int64_t integer;
        double real;
        HdStr text;                      // STRING, BIG, UNDEFINED
        TplList *list;                   // LIST .. ITERATOR
        TplDict *dict;                   // DICT, NAMESPACE
        struct TplLoop *loop;
        const struct TplMacro *macro;
        const struct TplBound *bound;    // METHOD
        const struct TplBuiltin *function;
    };
};

typedef struct TplScope { TplDict names; struct TplScope *outer; bool kept; } TplScope;      // kept: a macro may still use it
typedef struct TplLoop { const TplList *items; size_t at; TplValue changed; } TplLoop;   // changed: what loop.changed() saw last
typedef struct TplMacro { const struct TplNode *node; TplScope *scope; } TplMacro;
typedef struct TplBound { TplValue self; const struct TplBuiltin *method; } TplBound;

static inline TplValue tpl_none(void) { return (TplValue){.kind = TPL_NONE}; }
static inline TplValue tpl_bool(bool truth) { return (TplValue){.kind = TPL_BOOL, .truth = truth}; }
static inline TplValue tpl_int(int64_t integer) { return (TplValue){.kind = TPL_INT, .integer = integer}; }
static inline TplValue tpl_float(double real) { return (TplValue){.kind = TPL_FLOAT, .real = real}; }
static inline TplValue tpl_string(HdStr text) { return (TplValue){.kind = TPL_STRING, .text = text}; }
static inline TplValue tpl_undefined(const char *why) { return (TplValue){.kind = TPL_UNDEFINED, .text = hd_str(why)}; }
static inline TplValue tpl_dict_value(TplDict *dict) { return (TplValue){.kind = TPL_DICT, .dict = dict}; }
static inline TplValue tpl_list_value(TplKind kind, TplList *list) { return (TplValue){.kind = kind, .list = list}; }
static inline bool tpl_holds_list(const TplValue *value) { return value->kind >= TPL_LIST && value->kind <= TPL_ITERATOR; }
// What Python counts as an int: bool is one.
static inline bool tpl_as_int(const TplValue *value, int64_t *out) {
    *out = value->kind == TPL_BOOL ? value->truth : value->integer;
    return value->kind == TPL_BOOL || value->kind == TPL_INT;
}

// ---- value.c -------------------------------------------------------------------------------------------------

const char *tpl_kind_name(const TplValue *value);
bool tpl_truth(const TplValue *value);                                  // as Python's bool()
TplList *tpl_list_new(HdArena *arena, size_t cap);
void tpl_list_push(HdArena *arena, TplList *list, TplValue item);
bool tpl_is_key(const TplValue *value);                                 // may it be a key? (Scalars only.)
bool tpl_same_scalar(const TplValue *a, const TplValue *b);             // Python's ==, of scalars
void tpl_dict_put(HdArena *arena, TplDict *dict, TplValue key, TplValue value);   // a key keeps its first place
TplValue *tpl_dict_get(const TplDict *dict, const TplValue *key);       // NULL: not there
TplValue *tpl_dict_named(const TplDict *dict, HdStr name);
TplValue tpl_pair(HdArena *arena, TplValue first, TplValue second);     // a tuple

// ---- json_read.c ---------------------------------------------------------------------------------------------

// Reads one JSON value (RFC 8259, nothing behind it but white space) into `arena`. Strings without escapes are views into `text`.
// BAD_DATA tells the byte. The last of two equal keys counts.
HD_MUST_USE HdStatus *tpl_json_read(HdArena *arena, HdStr text, TplValue *out_value);

#endif
