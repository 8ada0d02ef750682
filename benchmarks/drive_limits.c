// SPDX-License-Identifier: Apache-2.0
// The machine's limits (cli/limits.c) under the benchmark's command: "BYTES THREADS" on standard input, one line of JSON answers.
#include "cli/limits.h"

int main(void)
{
    unsigned long long bytes;
    unsigned threads;
    while (scanf("%llu %u", &bytes, &threads) == 2) {
        Limits limits;
        limits_measure(bytes, threads, &limits);
        printf("{\"read\": %.4f, \"kernel\": \"%s\", \"int8\": %.2f, \"bf16\": %.2f, \"f32\": %.2f}\n", limits.read_gb_per_s, limits.read_kernel,
               limits.gops[PEAK_INT8], limits.gops[PEAK_BF16], limits.gops[PEAK_F32]);
        fflush(stdout);
    }
    return 0;
}
