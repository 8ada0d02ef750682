// SPDX-License-Identifier: Apache-2.0
// Members of a JSON object whose text `out` ends in so far: "key": value, with a comma in front where it is not the first. Private to the workbench.
#ifndef HEDDLE_WORKBENCH_JSON_H
#define HEDDLE_WORKBENCH_JSON_H

#include "runtime/base/base.h"

void wb_put_key(const char *key, HdBuf *out);                     // the value follows
void wb_put_text(const char *key, const char *text, HdBuf *out);
void wb_put_number(const char *key, double number, HdBuf *out);   // null where it is not finite
void wb_put_integer(const char *key, int64_t number, HdBuf *out);

#endif
