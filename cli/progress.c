// SPDX-License-Identifier: Apache-2.0
#include "cli/progress.h"
#include "runtime/base/base.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR = 30 };

static bool shown;
static double last_drawn;

void progress_show(const char *what, uint64_t done, uint64_t all)
{
    static int terminal = -1;
    char bar[BAR + 1];
    if (terminal < 0) terminal = isatty(STDERR_FILENO);
    if (!terminal || !all || hd_seconds() - last_drawn < 0.1) return;
    uint64_t filled = done * BAR / all;
    for (uint64_t i = 0; i < BAR; i++) bar[i] = i < filled ? '=' : i == filled ? '>' : ' ';
    bar[BAR] = 0;
    fprintf(stderr, "\r\033[K%s [%s] %3d %%", what, bar, (int)(100 * done / all));
    last_drawn = hd_seconds();
    shown = true;
}

void progress_end(void)
{
    if (shown) fputs("\r\033[K", stderr);
    shown = false;
    last_drawn = 0;
}

void progress_compiling(uint64_t done, uint64_t all) { progress_show("compiling", done, all); }

void progress_reading(void *user, uint64_t done, uint64_t all)
{
    (void)user;
    progress_show("reading", done, all);
}

void progress_packing(void *user, uint64_t done, uint64_t all)
{
    (void)user;
    progress_show("loading", done < all ? done : all, all);
}
