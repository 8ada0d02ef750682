// SPDX-License-Identifier: Apache-2.0
// heddle bench: llama-bench's rows. pp: a prompt in one go; tg: tokens one by one; pg: both; each behind `depth` tokens that are not timed.
// Tokenization and sampling are no part of it. Tokens are pseudo-random, the same in every run.
#include "cli/bench.h"
#include "cli/progress.h"
#include "runtime/cpu_features.h"
#include "runtime/device/device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_VALUES = 32, DEFAULT_REPETITIONS = 5, MAX_TYPES = 256 };   // ids of tensor types are far below

// ---- which tests -------------------------------------------------------------------------------------------------

typedef struct Values {
    uint32_t data[MAX_VALUES];
    uint32_t count;
} Values;

static HdStatus *parse_values(const char *option, const char *text, Values *out_values)
{
    *out_values = (Values){.count = 0};
    for (HdStr rest = text ? hd_str(text) : (HdStr){NULL, 0}; rest.data;) {
        int64_t value;
        if (!hd_parse_i64(hd_next_item(&rest, ','), &value) || value < 0 || value > 1 << 24 || out_values->count == MAX_VALUES)
            return hd_error(HD_USAGE, "%s %s: expected up to %d whole numbers separated by commas", option, text, MAX_VALUES);
        out_values->data[out_values->count++] = (uint32_t)value;
    }
    return NULL;
}

typedef HD_VEC(BenchTest) Tests;

static HdStatus *add_pairs(const CliOptions *options, uint32_t depth, Tests *tests)
{
    for (size_t i = 0; i < options->pg.count; i++) {
        Values pair;
        HD_TRY(parse_values("--pg", options->pg.items[i], &pair));
        if (pair.count != 2 || !pair.data[0] || !pair.data[1])
            return hd_error(HD_USAGE, "--pg %s: expected two numbers above 0, such as 512,128", options->pg.items[i]);
        hd_vec_push(tests, ((BenchTest){pair.data[0], pair.data[1], depth}));
    }
    return NULL;
}

// Rows in llama-bench's order: for each depth all prompts, then all generations, then the pairs. 0 means: not this kind.
static HdStatus *list_tests(const CliOptions *options, Tests *out_tests)
{
    Values prompts, generations, depths;
    HD_TRY(parse_values("-p", options->n_prompt ? options->n_prompt : "512", &prompts));
    HD_TRY(parse_values("-n", options->n_gen ? options->n_gen : "128", &generations));
    HD_TRY(parse_values("-d", options->n_depth ? options->n_depth : "0", &depths));
    for (uint32_t d = 0; d < depths.count; d++) {
        for (uint32_t i = 0; i < prompts.count; i++)
            if (prompts.data[i]) hd_vec_push(out_tests, ((BenchTest){prompts.data[i], 0, depths.data[d]}));
        for (uint32_t i = 0; i < generations.count; i++)
            if (generations.data[i]) hd_vec_push(out_tests, ((BenchTest){0, generations.data[i], depths.data[d]}));
        HD_TRY(add_pairs(options, depths.data[d], out_tests));
    }
    return out_tests->len ? NULL : hd_error(HD_USAGE, "heddle bench: nothing is measured; give -p or -n above 0, or --pg");
}

// ---- what a step costs -------------------------------------------------------------------------------------------

// Of all steps of a test together, by the records of their launches and the cost model.
typedef struct Cost { double bytes, launches, stages, seconds; } Cost;

static Cost cost_of(const Bench *bench, const BenchTest *test)
{
    RtLedger *ledger = rt_ledger_new(bench->loaded.module);
    uint32_t count, step = bench->tokens_per_call;
    for (uint32_t done = 0; done < test->prompt; done += step) rt_ledger_add_call(ledger, HD_MIN(step, test->prompt - done), test->depth + done);
    for (uint32_t i = 0; i < test->generate; i++) rt_ledger_add_call(ledger, 1, test->depth + test->prompt + i);
    const HeddleKernelTime *rows = rt_ledger_rows(ledger, &count);
    Cost cost = {.seconds = hd_can_predict(bench->figures) ? rt_predict_rows(bench->figures, rows, count, NULL) : 0};
    for (uint32_t i = 0; i < count; i++) cost.bytes += rows[i].bytes, cost.launches += (double)rows[i].launches, cost.stages += (double)rows[i].stages;
    rt_ledger_free(ledger);
    return cost;
}

// ---- running -----------------------------------------------------------------------------------------------------

static void fill_tokens(int32_t *tokens, uint32_t count, uint32_t vocab)
{
    uint64_t state = 1;
    for (uint32_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (int32_t)((state >> 33) % vocab);
    }
}

static HdStatus *eval(HeddleSession *session, const int32_t *tokens, uint32_t count, HeddleLogits logits)
{
    HeddlePiece piece = {.tokens = tokens, .count = count, .logits = logits};
    return count ? heddle_eval(session, &piece, 1) : NULL;
}

typedef struct Sample { double ns, cpu_ns; } Sample;

// One repetition; the time is that of the prompt and the generation alone. by_kernel: kernels are timed too.
static HdStatus *repeat(HeddleSession *session, const int32_t *tokens, const BenchTest *test, bool by_kernel, Sample *out_sample)
{
    HD_TRY(heddle_slot_reset(session, 0));
    HD_TRY(eval(session, tokens, test->depth, HEDDLE_LOGITS_NONE));
    if (by_kernel) HD_TRY(heddle_time_kernels(session, true));
    double start = hd_seconds(), cpu_start = hd_cpu_seconds();
    HD_TRY(eval(session, tokens + test->depth, test->prompt, HEDDLE_LOGITS_LAST));
    for (uint32_t i = 0; i < test->generate; i++)
        HD_TRY(eval(session, tokens + test->depth + test->prompt + i, 1, HEDDLE_LOGITS_LAST));
    *out_sample = (Sample){(hd_seconds() - start) * 1e9, (hd_cpu_seconds() - cpu_start) * 1e9};
    return by_kernel ? heddle_time_kernels(session, false) : NULL;
}

static BenchMean mean_of(const double *values, size_t count)
{
    BenchMean mean = {0, 0};
    for (size_t i = 0; i < count; i++) mean.mean += values[i] / (double)count;
    for (size_t i = 0; i < count; i++) mean.deviation += (values[i] - mean.mean) * (values[i] - mean.mean);
    mean.deviation = count > 1 ? sqrt(mean.deviation / (double)(count - 1)) : 0;
    return mean;
}

static void summarise(const Bench *bench, BenchResult *r)
{
    double tokens = r->test.prompt + r->test.generate, *speeds = hd_xcalloc(r->samples_ns.len, sizeof *speeds);
    Cost cost = cost_of(bench, &r->test);
    for (size_t i = 0; i < r->samples_ns.len; i++) speeds[i] = tokens / r->samples_ns.data[i] * 1e9;
    r->ns = mean_of(r->samples_ns.data, r->samples_ns.len);
    r->speed = mean_of(speeds, r->samples_ns.len);
    r->gb_per_s = cost.bytes / r->ns.mean;
    r->launches = cost.launches / tokens;
    r->barriers = cost.stages / tokens;
    r->predicted_ns = cost.seconds * 1e9;
    free(speeds);
}

static HdStatus *take_digest(const Bench *bench, const HeddleSession *session, BenchResult *r)
{
    uint64_t rows;
    char digest[33];
    const float *logits = heddle_logits(session, &rows);
    hd_digest_hex(hd_digest(logits, bench->info.vocab * sizeof *logits), digest);
    if (r->digest[0] && strcmp(r->digest, digest) && !strcmp(bench->info.numerics, "ordered"))
        return hd_error(HD_INTERNAL, "the logits of two repetitions differ (%s and %s), though numerics are ordered", r->digest, digest);
    memcpy(r->digest, digest, sizeof digest);
    return NULL;
}

static HdStatus *warm_up(Bench *bench, const int32_t *tokens, const BenchTest *test)
{
    BenchTest part = {HD_MIN(test->prompt, bench->tokens_per_call), HD_MIN(test->generate, 1), 0};
    time_t now = time(NULL);
    struct tm utc;
    Sample sample;
    hd_vec_push(&bench->results, ((BenchResult){.test = *test}));
    BenchResult *r = &bench->results.data[bench->results.len - 1];
    strftime(r->time, sizeof r->time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    return repeat(bench->session, tokens, &part, false, &sample);
}

// The speed against the first variant's, round by round: what the machine does meanwhile is about the same for both.
static BenchMean gain_of(const BenchResult *first, const BenchResult *r)
{
    double *gains = hd_xcalloc(r->samples_ns.len, sizeof *gains);
    for (size_t i = 0; i < r->samples_ns.len; i++) gains[i] = first->samples_ns.data[i] / r->samples_ns.data[i];
    BenchMean mean = mean_of(gains, r->samples_ns.len);
    free(gains);
    return mean;
}

// One repetition more, whose kernels are timed.
static HdStatus *take_roofline(const Bench *bench, const int32_t *tokens, BenchResult *r)
{
    Sample sample;
    if (!bench->by_kernel) return NULL;
    HD_TRY(repeat(bench->session, tokens, &r->test, true, &sample));
    roofline_take(bench->session, &bench->limits, bench->figures, &r->roofline);
    return NULL;
}

// In each round all variants have their turn, and another one begins.
static HdStatus *run_test(Bench *benches, size_t count, const int32_t *tokens, const BenchTest *test)
{
    uint32_t rounds = benches->repetitions;
    for (size_t v = 0; v < count; v++) HD_TRY(warm_up(&benches[v], tokens, test));
    for (uint32_t i = 0; i < rounds; i++)
        for (size_t turn = 0; turn < count; turn++) {
            Bench *bench = &benches[(i + turn) % count];
            BenchResult *r = &bench->results.data[bench->results.len - 1];
            Sample sample;
            progress_show("bench", i * count + turn, rounds * count);
            HD_TRY(repeat(bench->session, tokens, test, false, &sample));
            HD_TRY(take_digest(bench, bench->session, r));
            hd_vec_push(&r->samples_ns, sample.ns);
            hd_vec_push(&r->samples_cpu_ns, sample.cpu_ns);
        }
    for (size_t v = 0; v < count; v++) HD_TRY(take_roofline(&benches[v], tokens, &benches[v].results.data[benches[v].results.len - 1]));
    progress_end();
    for (size_t v = 0; v < count; v++) {
        BenchResult *r = &benches[v].results.data[benches[v].results.len - 1];
        summarise(&benches[v], r);
        r->gain = gain_of(&benches->results.data[benches->results.len - 1], r);
    }
    return NULL;
}

// ---- the model ---------------------------------------------------------------------------------------------------

static bool on_cpu(const HeddleModuleInfo *info) { return !strncmp(info->target, "cpu:", 4); }

// As llama-bench names what runs the model.
static const char *backend_of(const HeddleModuleInfo *info)
{
    return on_cpu(info) ? "Heddle CPU" : !strncmp(info->target, "cuda:", 5) ? "Heddle CUDA" : "Heddle Vulkan";
}

// Architecture, size label and the type that most of the parameters have.
static void describe_model(Bench *bench, const GgufFile *file)
{
    uint64_t by_type[MAX_TYPES] = {0};
    const char *most = "";
    uint64_t largest = 0;
    HdStr label = {0};
    for (size_t i = 0; i < gguf_tensor_count(file); i++) {
        const GgufTensor *tensor = gguf_tensor_at(file, i);
        uint64_t count = tensor->ne[0] * tensor->ne[1] * tensor->ne[2] * tensor->ne[3];
        bench->bytes += tensor->bytes, bench->parameters += count;
        if (tensor->type->id >= MAX_TYPES) continue;
        by_type[tensor->type->id] += count;
        if (by_type[tensor->type->id] > largest) largest = by_type[tensor->type->id], most = tensor->type->name;
    }
    hd_status_free(gguf_get_string(file, "general.size_label", &label));
    snprintf(bench->type, sizeof bench->type, "%s %.*s%s%s", bench->info.architecture, (int)HD_MIN(label.len, 30), label.data ? label.data : "",
             label.len ? " " : "", most);
}

// Without -c the context is what the longest test takes.
static HdStatus *create_session(const CliOptions *options, CliModel *model, uint32_t longest, HeddleSession **out_session)
{
    HeddleSessionOptions how = cli_session_options(options);
    if (options->ctx_size == CLI_UNSET) how.context = longest;
    HD_TRY(heddle_session_create(model->model, &how, out_session));
    uint32_t context = heddle_session_context(*out_session);
    if (context >= longest) return NULL;
    heddle_session_free(*out_session);
    *out_session = NULL;
    return hd_error(HD_LIMIT, "the longest test takes %u tokens, the context is %u; give a larger one (-c)", longest, context);
}

static uint32_t longest_of(const Tests *tests)
{
    uint32_t longest = 0;
    for (size_t i = 0; i < tests->len; i++)
        longest = HD_MAX(longest, tests->data[i].depth + tests->data[i].prompt + tests->data[i].generate);
    return longest;
}

static HeddleCompileOptions compile_options(const CliOptions *options, const BenchVariant *variant)
{
    HeddleCompileOptions compile = cli_compile_options(options);
    compile.passes = variant->passes, compile.sets = variant->sets.data, compile.set_count = variant->sets.len;
    return compile;
}

// What is wrong with the third of four variants is said before the first is compiled.
static HdStatus *check_variants(const CliOptions *options, const BenchVariants *variants)
{
    for (size_t v = 0; v < variants->len && variants->len > 1; v++) {
        HeddleCompileOptions compile = compile_options(options, &variants->data[v]);
        HD_TRY(compiler_check(&compile));
    }
    return NULL;
}

static HdStatus *open_bench(const CliOptions *options, const BenchVariant *variant, Bench *bench)
{
    HeddleCompileOptions compile = compile_options(options, variant);
    bench->model = options->operand, bench->variant = variant->name;
    bench->repetitions = options->repetitions == CLI_UNSET ? DEFAULT_REPETITIONS : (uint32_t)options->repetitions;
    bench->with_roofline = options->roofline;
    return cli_open(options, &compile, &bench->loaded);
}

static HdStatus *create_bench(const CliOptions *options, const BenchVariant *variant, uint32_t longest, Bench *bench)
{
    HeddleCompileOptions compile = compile_options(options, variant);
    HD_TRY(cli_create(options, &compile, &bench->loaded));
    heddle_module_info(bench->loaded.module, &bench->info);
    bench->packed = bench->info.packed_bytes > 0, bench->kv = bench->info.kv_type;
    bench->on_cpu = on_cpu(&bench->info);
    bench->backend = backend_of(&bench->info);
    hd_cpu_name(bench->cpu, sizeof bench->cpu);
    describe_model(bench, heddle_weights_gguf(bench->loaded.weights));
    HD_TRY(create_session(options, &bench->loaded, longest, &bench->session));
    bench->threads = heddle_session_threads(bench->session);
    bench->tokens_per_call = HD_MIN(options->batch_size != CLI_UNSET ? (uint32_t)options->batch_size : UINT32_MAX, bench->info.tokens_per_step);
    return NULL;
}

static void close_bench(Bench *bench)
{
    heddle_session_free(bench->session);
    cli_unload(&bench->loaded);
    for (size_t i = 0; i < bench->results.len; i++) {
        hd_vec_free(&bench->results.data[i].samples_ns);
        hd_vec_free(&bench->results.data[i].samples_cpu_ns);
        roofline_free(&bench->results.data[i].roofline);
    }
    hd_vec_free(&bench->results);
}

// figures: what times are predicted by; without a --device-file the limits become it.
static HdStatus *run_tests(const CliOptions *options, HdFigures *figures, Bench *benches, size_t count, const Tests *tests)
{
    uint32_t longest = longest_of(tests);
    int32_t *tokens = hd_xmalloc(longest * sizeof *tokens);
    fill_tokens(tokens, longest, benches->info.vocab);
    Limits limits;
    HdStatus *status = NULL;
    if (benches->on_cpu) limits_measure(benches->bytes, benches->threads, &limits);
    else status = limits_measure_gpu(benches->loaded.model, &limits);
    if (!status && !options->device_file) *figures = roofline_figures(&limits);
    for (size_t v = 0; v < count; v++) {
        benches[v].limits = limits, benches[v].figures = figures;
        benches[v].by_kernel = benches[v].with_roofline || (count > 1 && benches[v].on_cpu);
    }
    for (size_t i = 0; i < tests->len && !status; i++) status = run_test(benches, count, tokens, &tests->data[i]);
    free(tokens);
    return status;
}

HdStatus *cmd_bench(CliOptions *options)
{
    Tests tests = {0};
    BenchVariants variants = {0};
    HdFigures figures;
    HdStatus *status = list_tests(options, &tests);
    if (!status && options->roofline && options->report && !strcmp(options->report, "csv"))
        status = hd_error(HD_USAGE, "--roofline: a csv row has no room for a table; take -o md, json or jsonl");
    if (!status) status = bench_variants(options, &variants);
    if (!status) status = check_variants(options, &variants);
    if (!status && options->device_file) status = hd_figures(options->device_file, &figures);
    Bench *benches = hd_xcalloc(variants.len + 1, sizeof *benches);
    for (size_t v = 0; v < variants.len && !status; v++) status = open_bench(options, &variants.data[v], &benches[v]);
    for (size_t v = 0; v < variants.len && !status; v++) status = create_bench(options, &variants.data[v], longest_of(&tests), &benches[v]);
    if (!status) status = run_tests(options, &figures, benches, variants.len, &tests);
    if (!status) bench_print(benches, variants.len, options->report ? options->report : "md");
    for (size_t v = 0; v < variants.len; v++) close_bench(&benches[v]);
    free(benches);
    bench_variants_free(&variants);
    hd_vec_free(&tests);
    return status;
}
