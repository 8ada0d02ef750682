// SPDX-License-Identifier: Apache-2.0
// The files of page/, which the build puts into the program (embed.cmake). Private to the workbench.
#ifndef HEDDLE_WORKBENCH_PAGE_H
#define HEDDLE_WORKBENCH_PAGE_H

#include "passes/workbench/workbench.h"

typedef struct WbPageFile {
    const char *name;                      // NULL behind the last
    const unsigned char *data;
    size_t len;
} WbPageFile;
extern const WbPageFile wb_page_files[];

#endif
