// SPDX-License-Identifier: Apache-2.0
// heddle run: prompt in, continuation out, greedily. Stdout carries the text (or the ids) and nothing else.
#include "cli/cli.h"
#include "runtime/tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEFAULT_PREDICT = 128 };

static HdStatus *read_prompt(const CliOptions *options, HdBuf *out_text)
{
    if (options->prompt && options->file)
        return hd_error(HD_USAGE, "heddle run: -p and -f both give a prompt: leave out one of the two");
    if (options->prompt) return hd_buf_str(out_text, options->prompt), NULL;
    if (!options->file) return hd_error(HD_USAGE, "heddle run: a prompt is missing; give -p TEXT or -f FILE");
    if (strcmp(options->file, "-")) return hd_read_file(options->file, out_text);
    char part[65536];
    for (size_t n; (n = fread(part, 1, sizeof part, stdin)) > 0;) hd_buf_bytes(out_text, part, n);
    return ferror(stdin) ? hd_error(HD_IO, "standard input could not be read") : NULL;
}

// ---- output ----------------------------------------------------------------------------------------------------

typedef struct Printer {
    const CliOptions *options;
    const HeddleTokenizer *tokenizer;
    HeddleDecoder *decoder;
    uint32_t printed;
} Printer;

// Text appears as soon as its last byte is known: part of a character waits for the rest.
static void print_token(Printer *printer, int32_t id)
{
    if (printer->options->ids) {
        printf("%s%d", printer->printed++ ? ", " : "", id);
        return;
    }
    size_t len;
    const char *text = heddle_decoder_push(printer->decoder, id, &len);
    fwrite(text, 1, len, stdout);
    fflush(stdout);
}

static void print_end(Printer *printer)
{
    size_t len;
    if (printer->options->ids) {
        printf("]\n");
        return;
    }
    const char *text = heddle_decoder_finish(printer->decoder, &len);
    fwrite(text, 1, len, stdout);
    printf("\n");
    fflush(stdout); // before what is said on stderr
}

// ---- generation ------------------------------------------------------------------------------------------------

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

typedef struct Stats {
    uint32_t prompt, generated;
    double prompt_seconds, seconds;
    const char *stopped;
} Stats;

static HdStatus *eval_last(HeddleSession *session, const int32_t *tokens, uint32_t count, uint32_t vocab, int32_t *out_next)
{
    HeddlePiece piece = {.tokens = tokens, .count = count, .logits = HEDDLE_LOGITS_LAST};
    uint64_t rows;
    HD_TRY(heddle_eval(session, &piece, 1));
    return heddle_argmax(heddle_logits(session, &rows), vocab, out_next);
}

static HdStatus *generate(const CliOptions *options, HeddleSession *session, Printer *printer, const int32_t *prompt,
                          uint32_t count, uint32_t vocab, Stats *stats)
{
    uint32_t wanted = options->predict == CLI_UNSET ? DEFAULT_PREDICT : (uint32_t)options->predict,
             context = heddle_session_context(session);
    int32_t next = 0;
    if (!wanted) return NULL;
    double start = seconds();
    HD_TRY(eval_last(session, prompt, count, vocab, &next));
    stats->prompt_seconds = seconds() - start;
    start = seconds();
    for (;;) {
        if (heddle_token_is_end(printer->tokenizer, next)) {
            stats->stopped = "end of text";
            break;
        }
        print_token(printer, next);
        if (++stats->generated == wanted) break;
        if (count + stats->generated > context) {
            stats->stopped = "the context is full";
            break;
        }
        HD_TRY(eval_last(session, &next, 1, vocab, &next));
    }
    stats->seconds = seconds() - start;
    return NULL;
}

static void print_stats(const CliOptions *options, const Stats *stats, uint32_t threads)
{
    hd_log(&options->log, HD_LOG_INFO, "prompt %u tokens, %.1f/s; generated %u tokens, %.1f/s; stopped: %s; threads %u",
           stats->prompt, stats->prompt_seconds > 0 ? stats->prompt / stats->prompt_seconds : 0.0, stats->generated,
           stats->seconds > 0 ? stats->generated / stats->seconds : 0.0, stats->stopped, threads);
}

static HdStatus *run_prompt(const CliOptions *options, CliModel *model, const HeddleTokenizer *tokenizer, const HdBuf *text)
{
    int32_t *ids = NULL;
    uint32_t count = 0;
    HeddleSession *session;
    HeddleModuleInfo info;
    HeddleSessionOptions how = cli_session_options(options);
    Stats stats = {.stopped = "as many as asked for (-n)"};
    Printer printer = {.options = options, .tokenizer = tokenizer, .decoder = heddle_decoder_new(tokenizer)};
    heddle_module_info(model->module, &info);
    HdStatus *status = heddle_tokenize(tokenizer, text->data ? text->data : "", text->len, true, &ids, &count);
    if (!status && !count) status = hd_error(HD_USAGE, "heddle run: the prompt is empty; give at least one character");
    if (!status) status = heddle_session_create(model->model, &how, &session);
    if (!status) {
        stats.prompt = count;
        if (options->ids) printf("[");
        else if (!options->no_display_prompt) fwrite(text->data, 1, text->len, stdout), fflush(stdout);
        status = generate(options, session, &printer, ids, count, info.vocab, &stats);
        if (!status) print_end(&printer);
        if (!status) print_stats(options, &stats, heddle_session_threads(session));
        heddle_session_free(session);
    }
    heddle_decoder_free(printer.decoder);
    free(ids);
    return status;
}

HdStatus *cmd_run(CliOptions *options)
{
    HdBuf text = {0};
    CliModel model;
    HeddleTokenizer *tokenizer;
    HeddleCompileOptions compile = cli_compile_options(options);
    HD_TRY(read_prompt(options, &text));
    HD_TRY(cli_load(options, &compile, &model));
    HdStatus *status = heddle_tokenizer_create(model.weights, &tokenizer);
    if (!status) {
        status = run_prompt(options, &model, tokenizer, &text);
        heddle_tokenizer_free(tokenizer);
    }
    cli_unload(&model);
    hd_buf_free(&text);
    return status;
}
