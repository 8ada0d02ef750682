// SPDX-License-Identifier: Apache-2.0
// Status values: one line of text with a code.
#include "runtime/base/base.h"

#include <stdlib.h>
#include <string.h>

struct HdStatus {
    HdCode code;
    char *message;
};

static const struct { const char *name; int exit_code; } code_table[HD_CODE_COUNT] = {
#define HD_STATUS(name, exit_code, doc) {#name, exit_code},
#include "runtime/base/status.def"
#undef HD_STATUS
};

// Messages quote names from files that nobody vouches for: no control character reaches a terminal or splits a line.
static void make_one_line(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = ' ';
}

static HdStatus *status_new(HdCode code, HdBuf *text) {
    HdStatus *status = hd_xmalloc(sizeof *status);
    status->code = code;
    status->message = text->data;
    make_one_line(status->message);
    return status;
}

HdStatus *hd_verror(HdCode code, const char *fmt, va_list args) {
    HD_ASSERT(code > HD_OK && code < HD_CODE_COUNT);
    HdBuf text = {0};
    hd_buf_vprintf(&text, fmt, args);
    return status_new(code, &text);
}

HdStatus *hd_error(HdCode code, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    HdStatus *status = hd_verror(code, fmt, args);
    va_end(args);
    return status;
}

HdStatus *hd_annotate(HdStatus *status, const char *fmt, ...) {
    if (!status) return NULL;
    HdBuf text = {0};
    va_list args;
    va_start(args, fmt);
    hd_buf_vprintf(&text, fmt, args);
    va_end(args);
    hd_buf_str(&text, ": ");
    hd_buf_str(&text, status->message);
    HdStatus *annotated = status_new(status->code, &text);
    hd_status_free(status);
    return annotated;
}

HdCode hd_status_code(const HdStatus *status) { return status ? status->code : HD_OK; }

const char *hd_status_message(const HdStatus *status) { return status ? status->message : ""; }

const char *hd_code_name(HdCode code) {
    HD_ASSERT(code >= 0 && code < HD_CODE_COUNT);
    return code_table[code].name;
}

int hd_code_exit(HdCode code) {
    HD_ASSERT(code >= 0 && code < HD_CODE_COUNT);
    return code_table[code].exit_code;
}

void hd_status_free(HdStatus *status) {
    if (!status) return;
    free(status->message);
    free(status);
}

void hd_assert_failed(const char *file, int line, const char *cond) {
    fprintf(stderr, "heddle: %s:%d: this should always hold: %s\n", file, line, cond);
    abort();
}
