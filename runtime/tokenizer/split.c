// SPDX-License-Identifier: Apache-2.0
// Text into words by the regular expression that the model's tokenizer was trained with, in PCRE2 with Unicode properties.
#include "runtime/tokenizer/internal.h"

#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define WS "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

static const struct { const char *name, *pattern; } splitters[] = {
#define SPLITTER(name, pattern) {name, pattern},
#include "runtime/tokenizer/splitters.def"
#undef SPLITTER
};

struct TkSplitter { pcre2_code *code; };
struct TkMatcher { const pcre2_code *code; pcre2_match_data *data; pcre2_match_context *context; };

static HdStatus *unknown_name(const char *path, HdStr name) {
    HdBuf known = {0};
    for (size_t i = 0; i < HD_COUNT(splitters); i++) hd_buf_printf(&known, "%s%s", i ? ", " : "", splitters[i].name);
    HdStatus *status = hd_error(HD_UNSUPPORTED, "%s: tokenizer.ggml.pre is \"" HD_STR_FMT "\", known are %s", path,
                                HD_STR_ARG(name), known.data);
    hd_buf_free(&known);
    return status;
}

static HdStatus *compile(const char *pattern, TkSplitter **out_splitter) {
    int error;
    PCRE2_SIZE at;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
    if (!code)
        return hd_error(HD_INTERNAL, "splitting pattern of the tokenizer: error %d at %zu; is PCRE2 built with Unicode?", error,
                        (size_t)at);
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);   // without it (W^X systems) the interpreter matches the same
    *out_splitter = hd_xmalloc(sizeof **out_splitter);
    (*out_splitter)->code = code;
    return NULL;
}

HdStatus *tk_splitter_new(const char *path, HdStr name, TkSplitter **out_splitter) {
    for (size_t i = 0; i < HD_COUNT(splitters); i++)
        if (hd_str_is(name, splitters[i].name)) return compile(splitters[i].pattern, out_splitter);
    return unknown_name(path, name);
}

void tk_splitter_free(TkSplitter *splitter) {
    if (splitter) pcre2_code_free(splitter->code);
    free(splitter);
}

TkMatcher *tk_matcher_new(const TkSplitter *splitter) {
    TkMatcher *matcher = hd_xmalloc(sizeof *matcher);
    matcher->code = splitter->code;
    matcher->data = pcre2_match_data_create(1, NULL);
    matcher->context = pcre2_match_context_create(NULL);
    HD_ASSERT(matcher->data && matcher->context);
    // The patterns never backtrack over more than one run of blanks: the work is linear, however long the text.
    pcre2_set_match_limit(matcher->context, UINT32_MAX);
    pcre2_set_heap_limit(matcher->context, UINT32_MAX);
    return matcher;
}

void tk_matcher_free(TkMatcher *matcher) {
    if (!matcher) return;
    pcre2_match_data_free(matcher->data);
    pcre2_match_context_free(matcher->context);
    free(matcher);
}

HdStatus *tk_next_word(TkMatcher *matcher, HdStr text, size_t from, size_t *out_end) {
    PCRE2_SPTR subject = (PCRE2_SPTR)text.data;
    int found = pcre2_match(matcher->code, subject, text.len, from, PCRE2_NO_UTF_CHECK, matcher->data, matcher->context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(matcher->code, subject, text.len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, matcher->data,
                            matcher->context);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        return hd_error(HD_INTERNAL, "splitting text at byte %zu: PCRE2 error %d", from, found);
    const PCRE2_SIZE *match = pcre2_get_ovector_pointer(matcher->data);
    // What no alternative matches is a word of its own.
    *out_end = found < 0 ? text.len : match[0] > from ? match[0] : match[1];
    return NULL;
}
