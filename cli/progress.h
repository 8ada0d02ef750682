// SPDX-License-Identifier: Apache-2.0
// One line of progress on stderr, only where that is a terminal: "packing  [=====>      ]  42 %". Drawn at most ten times a second, and
// wiped when it ends or another begins, so that nothing of it stays on the screen.
#ifndef HEDDLE_CLI_PROGRESS_H
#define HEDDLE_CLI_PROGRESS_H

#include <stdint.h>

void progress_show(const char *what, uint64_t done, uint64_t all);
void progress_end(void);
void progress_compiling(uint64_t done, uint64_t all);                // for HeddleCompileOptions
void progress_reading(void *user, uint64_t done, uint64_t all);      // for Generator: the prompt's tokens
void progress_packing(void *user, uint64_t done, uint64_t all);      // for HeddleModelOptions

#endif
