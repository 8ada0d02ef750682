// SPDX-License-Identifier: Apache-2.0
// Messages for people.
#include "runtime/base/base.h"

void hd_log(const HdLog *log, HdLogLevel level, const char *fmt, ...) {
    if (!log || level > log->level) return;
    HdBuf line = {0};
    va_list args;
    va_start(args, fmt);
    hd_buf_vprintf(&line, fmt, args);
    va_end(args);
    if (log->sink) log->sink(log->user, level, line.data);
    else fprintf(stderr, "%s\n", line.data);
    hd_buf_free(&line);
}
