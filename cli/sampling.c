// SPDX-License-Identifier: Apache-2.0
// The sampler's settings from options and file; the table is runtime/sampler/sampling.def.
#include "cli/generate.h"

#include <math.h>
#include <sys/random.h>

#define REAL_GIVEN(value) (!isnan(value))
#define NUMBER_GIVEN(value) ((value) != CLI_UNSET)
#define REAL_TYPE float
#define NUMBER_TYPE int32_t

static uint64_t random_seed(void)
{
    uint32_t seed = 1;
    if (getrandom(&seed, sizeof seed, 0) < 0) seed = 1;
    return seed;
}

HdStatus *cli_sampling(const CliOptions *options, const HeddleWeights *weights, HeddleSampling *out_sampling)
{
    HD_TRY(heddle_sampling_defaults(weights, out_sampling));
#define SAMPLING(name, kind, initial, low, high, key, help)                                                                      \
    if (kind##_GIVEN(options->name)) out_sampling->name = (kind##_TYPE)options->name;
#include "runtime/sampler/sampling.def"
#undef SAMPLING
    bool given = options->seed != CLI_UNSET && options->seed >= 0;
    out_sampling->seed = given ? (uint64_t)options->seed : random_seed();
    return heddle_sampling_check(out_sampling);
}

static void add(HdBuf *text, const char *name, double value)
{
    hd_buf_printf(text, "%s%s %g", text->len ? "  " : "", name, value);
}

void cli_print_sampling(const HeddleSampling *s, HdBuf *out_text)
{
    bool penalties = s->repeat_penalty != 1 || s->presence_penalty != 0 || s->frequency_penalty != 0;
    if (penalties) {
        add(out_text, "repeat-penalty", (double)s->repeat_penalty);
        add(out_text, "repeat-last-n", s->repeat_last_n);
        add(out_text, "presence-penalty", (double)s->presence_penalty);
        add(out_text, "frequency-penalty", (double)s->frequency_penalty);
    }
    if (s->temp == 0) {
        hd_buf_printf(out_text, "%sgreedy (temp 0)", penalties ? "  " : "");
        return;
    }
    add(out_text, "top-k", s->top_k);
    add(out_text, "top-p", (double)s->top_p);
    add(out_text, "min-p", (double)s->min_p);
    add(out_text, "temp", (double)s->temp);
    hd_buf_printf(out_text, "  seed %llu", (unsigned long long)s->seed);
}

void cli_log_sampling(const CliOptions *options, const HeddleSampling *sampling)
{
    HdBuf settings = {0};
    cli_print_sampling(sampling, &settings);
    hd_log(&options->log, HD_LOG_INFO, "sampling: %s", settings.data);
    hd_buf_free(&settings);
}
