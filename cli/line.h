// SPDX-License-Identifier: Apache-2.0
// Lines from the user: with editing and history (libedit) on a terminal, else as they come.
#ifndef HEDDLE_CLI_LINE_H
#define HEDDLE_CLI_LINE_H

#include "runtime/base/base.h"

typedef enum LineEnd { LINE_READ, LINE_END, LINE_INTERRUPTED } LineEnd;
// The next line, without its end. The prompt is only shown on a terminal.
LineEnd line_read(const char *prompt, HdBuf *out_line);

#endif
