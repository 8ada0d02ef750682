// SPDX-License-Identifier: Apache-2.0
// What `heddle bench` compares: each --passes with each combination of the values that --set lists.
#include "cli/bench.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_VARIANTS = 24 };

// One --set: "delta-net{form=wy,chunk=16,32}" is the pass, and of each option its values. What is no such text goes on as it is, for the compiler to refuse.
typedef struct Option {
    HdStr name;
    HD_VEC(HdStr) values;
} Option;
typedef struct Sweep {
    const char *text;
    HdStr pass;
    HD_VEC(Option) options;              // none: nothing to take apart
} Sweep;

static Sweep parse_sweep(const char *text)
{
    Sweep sweep = {.text = text};
    const char *brace = strchr(text, '{');
    size_t len = strlen(text);
    if (!brace || text[len - 1] != '}') return sweep;
    sweep.pass = (HdStr){text, (size_t)(brace - text)};
    for (HdStr rest = {brace + 1, len - sweep.pass.len - 2}; rest.data;) {
        HdStr item = hd_next_item(&rest, ','), value = item;
        const char *equal = item.len ? memchr(item.data, '=', item.len) : NULL;
        if (equal) {
            hd_vec_push(&sweep.options, ((Option){.name = {item.data, (size_t)(equal - item.data)}}));
            value = (HdStr){equal + 1, item.len - (size_t)(equal + 1 - item.data)};
        }
        if (!sweep.options.len) break;
        hd_vec_push(&sweep.options.data[sweep.options.len - 1].values, value);
    }
    return sweep;
}

static void free_sweeps(Sweep *sweeps, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t o = 0; o < sweeps[i].options.len; o++) hd_vec_free(&sweeps[i].options.data[o].values);
        hd_vec_free(&sweeps[i].options);
    }
    free(sweeps);
}

// The combination of this number: its sets, and in `label` what of them is not the same in all.
static void put_combination(const Sweep *sweeps, size_t count, size_t number, BenchVariant *variant, HdBuf *label)
{
    for (size_t i = 0; i < count; i++) {
        HdBuf set = {0};
        const char *before = "{", *said = "{";
        if (!sweeps[i].options.len) hd_buf_str(&set, sweeps[i].text);
        else hd_buf_printf(&set, HD_STR_FMT, HD_STR_ARG(sweeps[i].pass));
        for (size_t o = 0; o < sweeps[i].options.len; o++) {
            const Option *option = &sweeps[i].options.data[o];
            HdStr value = option->values.data[number % option->values.len];
            number /= option->values.len;
            hd_buf_printf(&set, "%s" HD_STR_FMT "=" HD_STR_FMT, before, HD_STR_ARG(option->name), HD_STR_ARG(value));
            before = ",";
            if (option->values.len == 1) continue;
            if (said[0] == '{') hd_buf_printf(label, "%s" HD_STR_FMT, label->len ? " " : "", HD_STR_ARG(sweeps[i].pass));
            hd_buf_printf(label, "%s" HD_STR_FMT "=" HD_STR_FMT, said, HD_STR_ARG(option->name), HD_STR_ARG(value));
            said = ",";
        }
        if (sweeps[i].options.len) hd_buf_str(&set, "}");
        if (said[0] == ',') hd_buf_str(label, "}");
        hd_vec_push(&variant->sets, hd_xstrdup(set.data));
        hd_buf_free(&set);
    }
}

static size_t combinations(const Sweep *sweeps, size_t count)
{
    size_t all = 1;
    for (size_t i = 0; i < count; i++)
        for (size_t o = 0; o < sweeps[i].options.len && all <= MOST_VARIANTS; o++) all *= sweeps[i].options.data[o].values.len;
    return all;
}

HdStatus *bench_variants(const CliOptions *options, BenchVariants *out_variants)
{
    size_t count = options->set.count, pipelines = HD_MAX(options->passes_.count, 1);
    Sweep *sweeps = hd_xcalloc(count + 1, sizeof *sweeps);
    for (size_t i = 0; i < count; i++) sweeps[i] = parse_sweep(options->set.items[i]);
    size_t all = combinations(sweeps, count);
    for (size_t p = 0; p < pipelines && all * pipelines <= MOST_VARIANTS; p++)
        for (size_t c = 0; c < all; c++) {
            BenchVariant variant = {.passes = options->passes_.count ? options->passes_.items[p] : NULL};
            HdBuf label = {0};
            if (pipelines > 1) hd_buf_str(&label, variant.passes);
            put_combination(sweeps, count, c, &variant, &label);
            variant.name = label.data ? label.data : hd_xstrdup("");
            hd_vec_push(out_variants, variant);
        }
    free_sweeps(sweeps, count);
    return out_variants->len ? NULL : hd_error(HD_USAGE, "--passes and --set ask for more than %d variants", MOST_VARIANTS);
}

void bench_variants_free(BenchVariants *variants)
{
    for (size_t i = 0; i < variants->len; i++) {
        free(variants->data[i].name);
        for (size_t s = 0; s < variants->data[i].sets.len; s++) free((char *)(uintptr_t)variants->data[i].sets.data[s]);
        hd_vec_free(&variants->data[i].sets);
    }
    hd_vec_free(variants);
}
