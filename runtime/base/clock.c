// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/base.h"

#include <time.h>

static double read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double hd_seconds(void) { return read_clock(CLOCK_MONOTONIC); }
double hd_cpu_seconds(void) { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }
