// SPDX-License-Identifier: Apache-2.0
// heddle perplexity: how well a model predicts a text, by llama.cpp's method, so that figures compare. The text's tokens are cut into
// chunks of the context size; each starts from an empty state, and its second half is scored (all of it but the first n/2 tokens, which
// are context). PPL = exp(mean nll), the error is the standard error of the mean, carried through the exponential.
#include "cli/generate.h"
#include "cli/progress.h"

#include <math.h>
#include <stdlib.h>

enum { DEFAULT_CONTEXT = 512 };

typedef struct Scoring {
    const int32_t *next;             // the token that follows each row
    uint32_t vocab;
    uint64_t count;
    double sum, squares;             // of -log p(next)
} Scoring;

// -log softmax(row)[id], summed in double.
static double negative_log(const float *row, uint32_t vocab, int32_t id)
{
    float largest = row[0];
    double sum = 0;
    for (uint32_t i = 1; i < vocab; i++) largest = fmaxf(largest, row[i]);
    for (uint32_t i = 0; i < vocab; i++) sum += (double)expf(row[i] - largest);
    return log(sum) + (double)largest - (double)row[id];
}

static void score_row(void *user, uint32_t piece, uint32_t index, const float *logits)
{
    Scoring *scoring = user;
    double nll = negative_log(logits, scoring->vocab, scoring->next[index]);
    (void)piece;
    scoring->sum += nll, scoring->squares += nll * nll, scoring->count++;
}

// The last token of a chunk has nothing behind it to be scored with.
static HdStatus *run_chunk(HeddleSession *session, const int32_t *tokens, uint32_t context, Scoring *scoring)
{
    uint32_t first = context / 2;
    HeddlePiece before = {.tokens = tokens, .count = first, .logits = HEDDLE_LOGITS_NONE};
    HeddlePiece scored = {.tokens = tokens + first, .count = context - 1 - first, .logits = HEDDLE_LOGITS_ALL};
    HD_TRY(heddle_slot_reset(session, 0));
    HD_TRY(heddle_eval(session, &before, 1));
    scoring->next = tokens + first + 1;
    return heddle_eval_rows(session, &scored, 1, score_row, scoring);
}

static double perplexity(const Scoring *s, double *out_error)
{
    double n = (double)s->count, mean = s->sum / n, variance = s->squares / n - mean * mean;
    *out_error = n > 1 && variance > 0 ? exp(mean) * sqrt(variance / (n - 1)) : 0;
    return exp(mean);
}

static HdStatus *run_chunks(const CliOptions *options, HeddleSession *session, const int32_t *tokens, uint32_t chunks,
                            uint32_t context, Scoring *scoring)
{
    double error, value;
    char estimate[80] = "perplexity";
    for (uint32_t c = 0; c < chunks; c++) {
        progress_show(estimate, c, chunks);
        HD_TRY(run_chunk(session, tokens + (uint64_t)c * context, context, scoring));
        if (generate_interrupted()) return hd_error(HD_IO, "interrupted after %u of %u chunks", c + 1, chunks);
        value = perplexity(scoring, &error);
        snprintf(estimate, sizeof estimate, "perplexity %.4f +/- %.4f", value, error);
        hd_log(&options->log, HD_LOG_DEBUG, "chunk %u of %u: %s", c + 1, chunks, estimate);
    }
    progress_end();
    value = perplexity(scoring, &error);
    printf("PPL %.4f +/- %.4f  nll %.4f  tokens %llu\n", value, error, scoring->sum / (double)scoring->count,
           (unsigned long long)chunks * context);
    return NULL;
}

static HdStatus *score_text(const CliOptions *options, CliModel *model, const int32_t *tokens, uint32_t count)
{
    HeddleModuleInfo info;
    HeddleSession *session;
    HeddleSessionOptions how = cli_session_options(options);
    if (options->ctx_size == CLI_UNSET) how.context = DEFAULT_CONTEXT;
    heddle_module_info(model->module, &info);
    HD_TRY(heddle_session_create(model->model, &how, &session));
    uint32_t context = heddle_session_context(session);
    Scoring scoring = {.vocab = info.vocab};
    HdStatus *status = NULL;
    if (context < 4) status = hd_error(HD_USAGE, "-c %u: expected at least 4 tokens, of which half are scored", context);
    else if (count < 2 * context)
        status = hd_error(HD_BAD_DATA, "%s: %u tokens, expected at least two chunks of %u (-c)", options->file, count, context);
    generate_catch_interrupt(false);
    if (!status) status = run_chunks(options, session, tokens, count / context, context, &scoring);
    heddle_session_free(session);
    return status;
}

HdStatus *cmd_perplexity(CliOptions *options)
{
    CliModel model;
    HdBuf text = {0};
    int32_t *tokens = NULL;
    uint32_t count = 0;
    HeddleTokenizer *tokenizer = NULL;
    HeddleCompileOptions compile = cli_compile_options(options);
    if (!options->file) return hd_error(HD_USAGE, "a text is missing; give -f FILE");
    HD_TRY(cli_read_text(options->file, &text));
    HdStatus *status = cli_load(options, &compile, &model);
    if (!status) {
        status = heddle_tokenizer_create(model.weights, &tokenizer);
        if (!status) status = heddle_tokenize(tokenizer, text.data ? text.data : "", text.len, true, &tokens, &count);
        if (!status) status = score_text(options, &model, tokens, count);
        heddle_tokenizer_free(tokenizer);
        cli_unload(&model);
    }
    free(tokens);
    hd_buf_free(&text);
    return status;
}
