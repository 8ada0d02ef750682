// SPDX-License-Identifier: Apache-2.0
// What html.c, picture.c and report.c share, and the files of page/, which the build puts into the program (embed.cmake). Private to the workbench.
#ifndef HEDDLE_WORKBENCH_PAGE_H
#define HEDDLE_WORKBENCH_PAGE_H

#include "passes/workbench/workbench.h"

typedef struct WbPageFile {
    const char *name;                      // NULL behind the last
    const unsigned char *data;
    size_t len;
} WbPageFile;
extern const WbPageFile wb_page_files[];

// Of a JSON object: "key": , with a comma in front of it where it is not the first.
void wb_put_key(const char *key, HdBuf *out);
void wb_put_text(const char *key, const char *text, HdBuf *out);
void wb_put_number(const char *key, double number, HdBuf *out);   // null where it is not finite

#endif
