// SPDX-License-Identifier: Apache-2.0
// heddle verify: the logits of a compiled model against reference results, however the tokens are cut into calls.
//
// NMSE is sum((x - reference)^2) / sum(reference^2) over all logits; top-1 the share of rows whose largest logit has the
// reference's index; the digest is over the bits of all logits in token order, so equal digests mean equal bits.
#include "cli/cli.h"
#include "runtime/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT_TOKENS = 256 }; // enough to tell, and the reference interpreter is slow

typedef struct Reference {
    GgufFile *golden; // NULL: computed here
    HdBuf text; // of -f
    int32_t *tokens;
    uint32_t count;
    const float *logits; // [count][vocab]; NULL: there is none (only --write-golden)
    float *owned; // logits that must be freed
    uint32_t vocab;
} Reference;

// ---- tokens and reference --------------------------------------------------------------------------------------

static HdStatus *read_tokens_file(const char *path, Reference *out)
{
    HdBuf bytes = {0};
    HD_TRY(hd_read_file(path, &bytes));
    if (!bytes.len || bytes.len % 4)
        return hd_error(HD_BAD_DATA, "--ids-file %s: %zu bytes, expected little-endian i32 numbers", path, bytes.len);
    out->tokens = (int32_t *)(void *)bytes.data;
    out->count = (uint32_t)(bytes.len / 4);
    return NULL;
}

static HdStatus *golden_tensor(const GgufFile *golden, const char *name, GgmlType type, const GgufTensor **out_tensor)
{
    *out_tensor = gguf_find_tensor(golden, name);
    if (!*out_tensor)
        return hd_error(HD_NOT_FOUND, "%s: tensor %s is missing, so this is no golden file for this", gguf_path(golden), name);
    if ((*out_tensor)->type->id != (uint32_t)type)
        return hd_error(HD_BAD_DATA, "%s: tensor %s is %s, expected %s", gguf_path(golden), name, (*out_tensor)->type->name,
                        ggml_type_info(type)->name);
    return NULL;
}

static HdStatus *read_golden(const char *path, Reference *out)
{
    const GgufTensor *tokens, *logits;
    HD_TRY(gguf_open(path, NULL, &out->golden));
    HD_TRY(golden_tensor(out->golden, "tokens", GGML_I32, &tokens));
    HD_TRY(golden_tensor(out->golden, "logits", GGML_F32, &logits));
    if (logits->ne[1] != tokens->ne[0])
        return hd_error(HD_BAD_DATA, "%s: %llu tokens and %llu rows of logits, expected as many", path,
                        (unsigned long long)tokens->ne[0], (unsigned long long)logits->ne[1]);
    out->count = (uint32_t)tokens->ne[0];
    out->tokens = hd_xmalloc(tokens->bytes);
    memcpy(out->tokens, tokens->data, tokens->bytes);
    out->vocab = (uint32_t)logits->ne[0];
    out->logits = (const float *)(const void *)logits->data;
    return NULL;
}

static HdStatus *tokenize(const CliOptions *options, const HeddleWeights *weights, Reference *out)
{
    HeddleTokenizer *tokenizer;
    HD_TRY(heddle_tokenizer_create(weights, &tokenizer));
    HdStatus *status = heddle_tokenize(tokenizer, out->text.data ? out->text.data : "", out->text.len, true, &out->tokens, &out->count);
    heddle_tokenizer_free(tokenizer);
    if (!status && out->count > MAX_TEXT_TOKENS) {
        hd_log(&options->log, HD_LOG_INFO, "%s: the first %d of %u tokens are used", options->file, MAX_TEXT_TOKENS, out->count);
        out->count = MAX_TEXT_TOKENS;
    }
    return status;
}

// What needs neither model nor module: a wrong file is found before anything is compiled or packed.
static HdStatus *open_reference(const CliOptions *options, Reference *out)
{
    if (options->golden) return read_golden(options->golden, out);
    return options->ids_file ? read_tokens_file(options->ids_file, out) : cli_read_text(options->file, &out->text);
}

static HdStatus *compute_against(const CliOptions *options, const HeddleModuleInfo *info, Reference *out);

static HdStatus *complete_reference(const CliOptions *options, const CliModel *model, Reference *out)
{
    HeddleModuleInfo info;
    heddle_module_info(model->module, &info);
    if (options->file) HD_TRY(tokenize(options, model->weights, out));
    if (out->logits && out->vocab != info.vocab)
        return hd_error(HD_MISMATCH, "%s has %u logits per token, the model %u: they belong to different models", options->golden,
                        out->vocab, info.vocab);
    if (!out->count) return hd_error(HD_BAD_DATA, "there are no tokens to verify with");
    for (uint32_t i = 0; i < out->count; i++)
        if (out->tokens[i] < 0 || (uint32_t)out->tokens[i] >= info.vocab)
            return hd_error(HD_BAD_DATA, "%s: token %u is %d; the vocabulary has 0 to %u",
                            options->golden ? options->golden : options->ids_file, i, out->tokens[i], info.vocab - 1);
    return options->against ? compute_against(options, &info, out) : NULL;
}

static void free_reference(Reference *reference)
{
    hd_buf_free(&reference->text);
    free(reference->tokens);
    free(reference->owned);
    gguf_close(reference->golden);
}

// ---- running ---------------------------------------------------------------------------------------------------

typedef struct Score {
    const Reference *reference;
    uint32_t slots, done; // tokens before the present call
    double error, power, largest;
    uint64_t rows, agree;
    HdHasher **hashers; // one per slot
    float *kept; // [count][vocab] of slot 0, for --write-golden and --against cpu
    uint32_t vocab;
} Score;

static int64_t argmax(const float *row, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (row[i] > row[best]) best = i;
    return best;
}

static void compare_row(Score *score, const float *row, const float *want)
{
    for (uint32_t i = 0; i < score->vocab; i++) {
        double d = (double)row[i] - want[i];
        score->error += d * d;
        score->power += (double)want[i] * want[i];
        score->largest = fmax(score->largest, fabs(d));
    }
    score->rows++;
    score->agree += argmax(row, score->vocab) == argmax(want, score->vocab);
}

static void take_row(void *user, uint32_t piece, uint32_t index, const float *row)
{
    Score *score = user;
    uint64_t at = (uint64_t)(score->done + index) * score->vocab;
    hd_hasher_add(score->hashers[piece], row, score->vocab * sizeof *row);
    if (piece == 0 && score->kept) memcpy(score->kept + at, row, score->vocab * sizeof *row);
    if (piece == 0 && score->reference->logits) compare_row(score, row, score->reference->logits + at);
}

// The sizes of the calls: "1,3,64", the last repeating; NULL: all in one.
typedef struct Split {
    int64_t sizes[64];
    uint32_t count;
} Split;

static HdStatus *parse_split(const CliOptions *options, Split *out_split)
{
    *out_split = (Split){.count = 0};
    const char *text = options->decode ? "1" : options->split ? options->split : "";
    for (HdStr rest = hd_str(text); rest.len;) {
        int64_t size;
        if (!hd_parse_i64(hd_next_item(&rest, ','), &size) || size < 1 || out_split->count == HD_COUNT(out_split->sizes))
            return hd_error(HD_USAGE, "--split %s: expected up to 64 positive numbers separated by commas, such as 1,3,64",
                            options->split);
        out_split->sizes[out_split->count++] = size;
    }
    if (options->split && !out_split->count)
        return hd_error(HD_USAGE, "--split: expected positive numbers separated by commas, such as 1,3,64");
    return NULL;
}

static uint32_t call_size(const Split *split, uint32_t call, uint32_t left)
{
    if (!split->count) return left;
    return (uint32_t)HD_MIN((int64_t)left, split->sizes[HD_MIN(call, split->count - 1)]);
}

// ---- layers ----------------------------------------------------------------------------------------------------

typedef struct Layers {
    uint32_t count;
    double *error, *power;
} Layers;

static HdStatus *layers_begin(const Reference *reference, HeddleSession *session, Layers *out_layers)
{
    char name[32];
    while (snprintf(name, sizeof name, "hidden.%u", out_layers->count), gguf_find_tensor(reference->golden, name)) {
        HD_TRY(heddle_keep_result(session, name));
        out_layers->count++;
    }
    if (!out_layers->count)
        return hd_error(HD_NOT_FOUND, "%s: tensor hidden.0 is missing, so --per-layer has nothing to compare with",
                        gguf_path(reference->golden));
    out_layers->error = hd_xcalloc(out_layers->count, sizeof(double));
    out_layers->power = hd_xcalloc(out_layers->count, sizeof(double));
    return NULL;
}

// Adds the rows of the last call.
static HdStatus *layers_add(const Reference *reference, const HeddleSession *session, uint32_t done, Layers *layers)
{
    for (uint32_t k = 0; k < layers->count; k++) {
        char name[32];
        uint64_t rows, columns;
        const GgufTensor *tensor;
        snprintf(name, sizeof name, "hidden.%u", k);
        HD_TRY(golden_tensor(reference->golden, name, GGML_F32, &tensor));
        const float *got = heddle_result(session, name, &rows, &columns);
        if (!got || tensor->ne[0] != columns || tensor->ne[1] < done + rows)
            return hd_error(HD_BAD_DATA, "%s: tensor %s does not have the model's shape", gguf_path(reference->golden), name);
        const float *want = (const float *)(const void *)tensor->data + done * columns;
        for (uint64_t i = 0; i < rows * columns; i++) {
            layers->error[k] += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
            layers->power[k] += (double)want[i] * want[i];
        }
    }
    return NULL;
}

static void layers_print(Layers *layers)
{
    for (uint32_t k = 0; k < layers->count; k++) printf("hidden.%-3u  NMSE %.2e\n", k, layers->error[k] / layers->power[k]);
    free(layers->error);
    free(layers->power);
}

// ---- one run ---------------------------------------------------------------------------------------------------

static HdStatus *run_calls(const CliOptions *options, HeddleSession *session, const Split *split, Score *score,
                           uint32_t *out_calls)
{
    const Reference *reference = score->reference;
    Layers layers = {0};
    HeddlePiece pieces[64];
    if (options->per_layer) HD_TRY(layers_begin(reference, session, &layers));
    for (*out_calls = 0; score->done < reference->count; ++*out_calls) {
        uint32_t size = call_size(split, *out_calls, reference->count - score->done);
        for (uint32_t s = 0; s < score->slots; s++)
            pieces[s] =
                (HeddlePiece){.slot = s, .tokens = reference->tokens + score->done, .count = size, .logits = HEDDLE_LOGITS_ALL};
        HD_TRY(heddle_eval_rows(session, pieces, score->slots, take_row, score));
        if (options->per_layer) HD_TRY(layers_add(reference, session, score->done, &layers));
        score->done += size;
    }
    if (options->per_layer) layers_print(&layers);
    return NULL;
}

static HdStatus *run_session(const CliOptions *options, CliModel *model, const Split *split, Score *score, uint32_t *out_calls)
{
    HeddleSession *session;
    HeddleModuleInfo info;
    HeddleSessionOptions how = cli_session_options(options);
    heddle_module_info(model->module, &info);
    score->vocab = info.vocab;
    how.slots = score->slots;
    HD_TRY(heddle_session_create(model->model, &how, &session));
    if (options->write_golden || !score->reference->logits)
        score->kept = hd_xcalloc((uint64_t)score->reference->count * info.vocab, sizeof(float));
    score->hashers = hd_xcalloc(score->slots, sizeof *score->hashers);
    for (uint32_t s = 0; s < score->slots; s++) score->hashers[s] = hd_hasher_new();
    HdStatus *status = run_calls(options, session, split, score, out_calls);
    heddle_session_free(session);
    return status;
}

// The same model on this CPU with exact activations and the default pipeline.
static HdStatus *against_cpu(const CliOptions *options, Reference *out)
{
    CliModel model;
    CliOptions plain = *options;
    Score score = {.reference = out, .slots = 1};
    uint32_t calls;
    plain.device_count = 0;
    plain.module = plain.target = plain.passes = plain.split = plain.device = plain.layout = plain.numerics = NULL;
    plain.set.count = plain.require.count = plain.load_pass.count = 0, plain.decode = plain.per_layer = false, plain.act = "f32";
    HeddleCompileOptions compile = cli_compile_options(&plain);
    HD_TRY(cli_load(&plain, &compile, &model));
    HdStatus *status = run_session(&plain, &model, &(Split){0}, &score, &calls);
    cli_unload(&model);
    for (uint32_t s = 0; s < score.slots && score.hashers; s++) (void)hd_hasher_finish(score.hashers[s]);
    free(score.hashers);
    out->logits = out->owned = score.kept;
    out->vocab = score.vocab;
    return status;
}

// The interpreter rounds what the module's cache rounds, also where --module brings its own type.
static HdStatus *compute_against(const CliOptions *options, const HeddleModuleInfo *info, Reference *out)
{
    if (!strcmp(options->against, "cpu")) return against_cpu(options, out);
    HeddleCompileOptions compile = cli_compile_options(options);
    if (info->kv_type[0]) compile.kv_type = info->kv_type;
    HD_TRY(compiler_interpret(options->operand, &compile, out->tokens, out->count, &out->owned, &out->vocab));
    out->logits = out->owned;
    return NULL;
}

// ---- verdict ---------------------------------------------------------------------------------------------------

// What a module promises against the float64 reference; the conversions of activations stand in its graph.
//
// With int8 activations 40 texts of the trained dense models gave up to 3.6e-5, and nine tenths of the tokens of those with experts
// are no worse. In the others a router's near-tie turns over, which costs a token up to 0.2 and is most of a text's figure: the fewer
// tokens, the more one of them can do. 352 texts gave up to 2.5e-3 with 8 tokens, 1.4e-3 with 32, 1.9e-4 with 256. In bf16 errors
// are a quarter as large (dense 1.4e-6 in square) and meet a quarter as many near-ties: 24 texts of 32 tokens gave up to 1.2e-4.
static double stated_bound(const HeddleModuleInfo *info, uint32_t tokens)
{
    HdStr graph = {info->graph, info->graph_len};
    double turned = memmem(graph.data, graph.len, " topk ", 6) ? 0.08 / tokens : 0;
    if (memmem(graph.data, graph.len, "quant_act", 9)) return 1.6e-4 + turned;
    if (memmem(graph.data, graph.len, "to = bf16", 9)) return 6e-6 + turned / 4;
    if (!strcmp(info->kv_type, "f16")) return 1e-6; // a cache in half precision
    if (!strcmp(info->numerics, "bounded")) return 1e-10; // delta.chunk; on a GPU activations are two bf16 beside BF16 weights
    return 1e-11;
}

static HdStatus *parse_bound(const CliOptions *options, double *out_bound)
{
    if (!options->max_nmse || (hd_parse_f64(hd_str(options->max_nmse), out_bound) && *out_bound >= 0)) return NULL;
    return hd_error(HD_USAGE, "--max-nmse %s: expected a number such as 1e-11", options->max_nmse);
}

static HdStatus *judge(const CliOptions *options, const HeddleModuleInfo *info, uint32_t tokens, double nmse)
{
    double bound = stated_bound(info, tokens);
    HD_TRY(parse_bound(options, &bound));
    if (nmse <= bound) return NULL;
    return hd_error(HD_BAD_DATA, "NMSE %.2e is above the bound %.2e", nmse, bound);
}

// All slots must have the same bits; out_digest is theirs.
static HdStatus *finish_digests(Score *score, uint64_t *out_digest)
{
    HdStatus *status = NULL;
    for (uint32_t s = 0; s < score->slots; s++) {
        uint64_t digest = hd_hasher_finish(score->hashers[s]).lo;
        if (s == 0) *out_digest = digest;
        else if (digest != *out_digest && !status)
            status = hd_error(HD_BAD_DATA,
                              "slot %u: digest %016llx differs from slot 0's %016llx: the slots have influenced each other", s,
                              (unsigned long long)digest, (unsigned long long)*out_digest);
    }
    free(score->hashers);
    return status;
}

static HdStatus *write_golden(const CliOptions *options, const Score *score)
{
    const Reference *reference = score->reference;
    GgufWriter *writer = gguf_writer_new("golden");
    uint64_t ne[2] = {score->vocab, reference->count};
    gguf_writer_string(writer, "golden.source", hd_str(options->operand));
    gguf_writer_string(writer, "golden.by", HD_STR("heddle verify"));
    gguf_writer_tensor(writer, "tokens", GGML_I32, 1, &ne[1], reference->tokens);
    gguf_writer_tensor(writer, "logits", GGML_F32, 2, ne, score->kept);
    HdStatus *status = gguf_writer_save(writer, options->write_golden);
    gguf_writer_free(writer);
    return status;
}

static HdStatus *report(const CliOptions *options, const HeddleModuleInfo *info, Score *score, uint32_t calls)
{
    uint64_t digest = 0;
    HD_TRY(finish_digests(score, &digest));
    double nmse = score->power > 0 ? score->error / score->power : score->error;
    if (options->write_golden) HD_TRY(write_golden(options, score));
    if (!score->reference->logits) {
        printf("calls %u  numerics %s  digest %016llx\n", calls, info->numerics, (unsigned long long)digest);
        return NULL;
    }
    printf("NMSE %.2e (%.1f dB)  top-1 %.4f  max|d| %.1e  calls %u  numerics %s  digest %016llx\n", nmse,
           nmse > 0 ? 10 * log10(nmse) : -999.0, (double)score->agree / (double)score->rows, score->largest, calls,
           info->numerics, (unsigned long long)digest);
    return judge(options, info, score->reference->count, nmse);
}

// Combinations that contradict themselves, and what is missing.
static HdStatus *check_options(const CliOptions *options)
{
    const struct {
        bool wrong;
        const char *text;
    } rules[] = {
        {options->golden && options->against, "--golden and --against both give a reference: leave out one of the two"},
        {options->golden && options->file, "--golden and -f both give tokens: leave out one of the two"},
        {options->golden && options->ids_file, "--golden and --ids-file both give tokens: leave out one of the two"},
        {options->file && options->ids_file, "-f and --ids-file both give tokens: leave out one of the two"},
        {!options->golden && !options->file && !options->ids_file, "tokens are missing; give --golden G.gguf, -f FILE or --ids-file FILE"},
        {!options->golden && !options->against && !options->write_golden,
         "a reference is missing; give --golden G.gguf, --against cpu or --against interpreter"},
        {options->decode && options->split, "--decode is --split 1: leave out one of the two"},
        {options->per_layer && !options->golden, "--per-layer compares with tensors hidden.K of a golden file: give --golden"},
        {options->per_layer && options->slots > 1, "--per-layer looks at one sequence: leave out --slots"},
    };
    double bound;
    for (size_t i = 0; i < HD_COUNT(rules); i++)
        if (rules[i].wrong) return hd_error(HD_USAGE, "%s", rules[i].text);
    return parse_bound(options, &bound);
}

// A step gives at most specialise{rows} rows of logits (32), so wanting them all would cut every step to that and never run a large
// one. Where all 512 rows of a step take little memory, the module is compiled for them; what the user sets counts more.
static void want_all_rows(const CliOptions *options, CliList *sets, HeddleCompileOptions *compile)
{
    static const uint64_t most_bytes = (uint64_t)128 << 20;
    GgufFile *file;
    GgufOptions header_only = {.header_only = true};
    HdStatus *status = gguf_open(options->operand, &header_only, &file);
    if (status) return hd_status_free(status);   // who opens it in earnest says what is wrong
    const GgufTensor *embedding = gguf_find_tensor(file, "token_embd.weight");
    bool small = embedding && embedding->ne[1] * 512 * sizeof(float) <= most_bytes;
    gguf_close(file);
    if (!small) return;
    sets->items = hd_xcalloc(options->set.count + 1, sizeof *sets->items);
    sets->items[sets->count++] = "specialise{rows=512}";
    for (size_t i = 0; i < options->set.count; i++) sets->items[sets->count++] = options->set.items[i];
    compile->sets = sets->items, compile->set_count = sets->count;
}

HdStatus *cmd_verify(CliOptions *options)
{
    CliModel model = {0};
    CliList sets = {0};
    Reference reference = {0};
    Score score = {.reference = &reference, .slots = options->slots == CLI_UNSET ? 1 : (uint32_t)options->slots};
    Split split;
    HeddleModuleInfo info;
    uint32_t calls = 0;
    HeddleCompileOptions compile = cli_compile_options(options);
    compile.probes = options->per_layer;
    HD_TRY(check_options(options));
    HD_TRY(parse_split(options, &split));
    HdStatus *status = open_reference(options, &reference);
    want_all_rows(options, &sets, &compile);
    if (!status) status = cli_load(options, &compile, &model);
    if (!status) status = complete_reference(options, &model, &reference);
    if (!status) status = run_session(options, &model, &split, &score, &calls);
    if (!status) {
        heddle_module_info(model.module, &info);
        status = report(options, &info, &score, calls);
    }
    free(score.kept);
    free(sets.items);
    cli_unload(&model);
    free_reference(&reference);
    return status;
}
