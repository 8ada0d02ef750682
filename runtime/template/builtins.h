// SPDX-License-Identifier: Apache-2.0
// What filters, tests and methods share.
#ifndef HEDDLE_TEMPLATE_BUILTINS_H
#define HEDDLE_TEMPLATE_BUILTINS_H

#include "runtime/template/internal.h"

// ---- builtins_text.c -----------------------------------------------------------------------------------------

// The call's object as text, as str() gives it.
HD_MUST_USE HdStatus *tpl_self_text(TplRun *run, const TplCall *call, TplValue *out);
// The text behind `mark` as a string that is as safe as `like`.
HD_MUST_USE HdStatus *tpl_take_like(TplRun *run, size_t mark, const TplValue *like, TplValue *out);
// Without the characters `arg` names (none given: white space) at these ends.
HD_MUST_USE HdStatus *tpl_strip_by(TplRun *run, const TplValue *text, const TplValue *arg, int ends, TplValue *out);
// `text` with `new` for `old`, at most `count` times (negative: always).
HD_MUST_USE HdStatus *tpl_put_replaced(TplRun *run, HdStr text, HdStr old, HdStr new, int64_t count);
// Fills up to `width` code points, left of the text by `left` parts of two (2: all, 1: half, 0: none).
HD_MUST_USE HdStatus *tpl_justify(TplRun *run, const TplValue *text, int64_t width, HdStr fill, int left, TplValue *out);
HD_MUST_USE HdStatus *tpl_lines(TplRun *run, HdStr text, bool keep_breaks, TplList **out_lines);

// ---- builtins_list.c -----------------------------------------------------------------------------------------

// A sort key: strings in lower case unless `case_sensitive`.
HD_MUST_USE HdStatus *tpl_fold(TplRun *run, const TplValue *value, bool case_sensitive, TplValue *out);
HD_MUST_USE HdStatus *tpl_items_of(TplRun *run, const TplValue *dict, TplList **out_pairs);

#endif
