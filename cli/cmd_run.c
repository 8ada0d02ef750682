// SPDX-License-Identifier: Apache-2.0
// heddle run: prompt in, continuation out. Stdout carries the text (or the ids) and nothing else.
#include "cli/conversation.h"
#include "cli/limits.h"
#include "cli/progress.h"

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_PREDICT = 128 };

static HdStatus *read_prompt(const CliOptions *options, HdBuf *out_text)
{
    if (options->prompt && options->file)
        return hd_error(HD_USAGE, "-p and -f both give a prompt: leave out one of the two");
    if (!options->prompt && !options->file) return hd_error(HD_USAGE, "a prompt is missing; give -p TEXT or -f FILE");
    if (options->prompt) hd_buf_str(out_text, options->prompt);
    else HD_TRY(cli_read_text(options->file, out_text));
    return out_text->len ? NULL : hd_error(HD_USAGE, "the prompt is empty; give at least one character");
}

// ---- output ----------------------------------------------------------------------------------------------------

// What stands before the first token is printed with it: until then the line belongs to the bar of progress.
typedef struct Printer {
    const CliOptions *options;
    const HdBuf *prompt;
    bool begun;
    uint64_t printed;
} Printer;

static void begin_output(Printer *printer)
{
    if (printer->begun) return;
    printer->begun = true;
    progress_end();
    if (printer->options->ids) printf("[");
    else if (!printer->options->no_display_prompt) fwrite(printer->prompt->data, 1, printer->prompt->len, stdout);
}

static void print_id(void *user, int32_t id)
{
    Printer *printer = user;
    begin_output(printer);
    printf("%s%d", printer->printed++ ? ", " : "", id);
}

static void print_text(void *user, const char *text, size_t len, bool thinking)
{
    (void)thinking;
    begin_output(user);
    fwrite(text, 1, len, stdout);
    fflush(stdout);
}

static void end_output(Printer *printer)
{
    begin_output(printer);
    printf(printer->options->ids ? "]\n" : "\n");
    fflush(stdout); // before what is said on stderr
}

void cli_print_stats(const CliOptions *options, const HeddleSession *session, const GenerateStats *stats)
{
    char digest[33];
    hd_digest_hex(stats->digest, digest);
    digest[16] = 0;
    hd_log(&options->log, HD_LOG_INFO, "prompt %llu tokens, %.1f/s; generated %llu tokens, %.1f/s; stopped: %s; threads %u; digest %s",
           (unsigned long long)stats->prompt, stats->prompt_seconds > 0 ? (double)stats->prompt / stats->prompt_seconds : 0.0,
           (unsigned long long)stats->generated,
           stats->generate_seconds > 0 ? (double)stats->generated / stats->generate_seconds : 0.0, generate_end_text(stats->end),
           heddle_session_threads(session), digest);
}

// ---- the command -------------------------------------------------------------------------------------------------

static HdStatus *run_tokens(const CliOptions *options, Generator *generator, const HdBuf *text, const int32_t *ids, uint32_t count)
{
    Printer printer = {.options = options, .prompt = text};
    GenerateStats stats;
    uint64_t limit = options->predict == CLI_UNSET ? DEFAULT_PREDICT : (uint64_t)options->predict;
    HD_TRY(generate_check_room(generator, count));
    if (options->ids) generator->emit_id = print_id;
    else generator->emit = print_text;
    generator->progress = progress_reading;
    generator->user = &printer;
    generate_catch_interrupt(false);
    if (limit) HD_TRY(generate(generator, ids, count, limit, &stats));
    end_output(&printer);
    if (limit) cli_print_stats(options, generator->session, &stats);
    return NULL;
}

// run_tokens with the time of its kernels as a table behind it.
static HdStatus *run_timed(const CliOptions *options, Generator *generator, const HdBuf *text, const int32_t *ids, uint32_t count)
{
    Limits limits;
    Roofline roofline = {0};
    HdFigures figures;
    HeddleMemory memory;
    heddle_session_memory(generator->session, &memory);
    HD_TRY(heddle_time_kernels(generator->session, true));
    limits_measure(memory.weights_mapped + memory.weights_packed, heddle_session_threads(generator->session), &limits);
    if (options->device_file) HD_TRY(hd_figures(options->device_file, &figures));
    else figures = roofline_figures(&limits);
    HD_TRY(run_tokens(options, generator, text, ids, count));
    roofline_take(generator->session, &limits, &figures, &roofline);
    roofline_print(stderr, &roofline, &limits);
    roofline_free(&roofline);
    return NULL;
}

static HdStatus *run_prompt(const CliOptions *options, CliModel *model, const HeddleTokenizer *tokenizer, const HdBuf *text)
{
    int32_t *ids = NULL;
    uint32_t count = 0;
    HeddleSampling sampling;
    HeddleSessionOptions how = cli_session_options(options);
    Generator generator = {.tokenizer = tokenizer, .stops = &options->stop, .think_begin = -1, .think_end = -1, .think_budget = CLI_UNSET};
    heddle_module_info(model->module, &generator.module);
    HD_TRY(cli_sampling(options, model->weights, &sampling));
    HD_TRY(heddle_tokenize(tokenizer, text->data ? text->data : "", text->len, true, &ids, &count));
    HdStatus *status = heddle_session_create(model->model, &how, &generator.session);
    if (!status) status = heddle_sampler_create(&sampling, generator.module.vocab, &generator.sampler);
    if (!status) {
        cli_log_sampling(options, &sampling);
        status = (options->roofline ? run_timed : run_tokens)(options, &generator, text, ids, count);
    }
    heddle_sampler_free(generator.sampler);
    heddle_session_free(generator.session);
    free(ids);
    return status;
}

// Text that a chat model continues without its template is seldom what was wanted.
static void hint_at_chat(const CliOptions *options, const HeddleWeights *weights)
{
    if (!gguf_find_key(heddle_weights_gguf(weights), "tokenizer.chat_template")) return;
    hd_log(&options->log, HD_LOG_INFO, "this is a chat model; --chat applies its template, `heddle chat` is a conversation");
}

// Options that only mean something in a conversation.
static HdStatus *check_chat_options(const CliOptions *options)
{
    const struct {
        const char *name;
        bool given;
    } chat[] = {{"--system", options->system},
                {"--think", options->think},
                {"--no-show-thinking", options->no_show_thinking},
                {"--think-budget", options->think_budget != CLI_UNSET},
                {"--chat-template", options->chat_template}};
    for (size_t i = 0; i < HD_COUNT(chat) && !options->chat; i++)
        if (chat[i].given) return hd_error(HD_USAGE, "%s has no effect without --chat: give that too", chat[i].name);
    if (options->device_file && !options->roofline) return hd_error(HD_USAGE, "--device-file %s has no effect without --roofline", options->device_file);
    if (options->chat && options->roofline) return hd_error(HD_USAGE, "--roofline is for a plain prompt: leave out --chat");
    if (options->chat && options->ids) return hd_error(HD_USAGE, "--ids prints what follows a plain prompt: leave out --chat");
    return NULL;
}

static HdStatus *run_text(CliOptions *options, HdBuf *text)
{
    CliModel model;
    HeddleTokenizer *tokenizer;
    HeddleCompileOptions compile = cli_compile_options(options);
    if (options->chat) HD_TRY(chat_check_text((HdStr){text->data, text->len}));
    HD_TRY(cli_load(options, &compile, &model));
    HdStatus *status = options->chat ? chat_once(options, &model, text->data ? text->data : "") : heddle_tokenizer_create(model.weights, &tokenizer);
    if (!status && !options->chat) {
        hint_at_chat(options, model.weights);
        status = run_prompt(options, &model, tokenizer, text);
        heddle_tokenizer_free(tokenizer);
    }
    cli_unload(&model);
    return status;
}

HdStatus *cmd_run(CliOptions *options)
{
    HdBuf text = {0};
    HdFigures figures;
    HD_TRY(check_chat_options(options));
    if (options->device_file) HD_TRY(hd_figures(options->device_file, &figures));   // what is wrong with it is said before anything is compiled
    HdStatus *status = read_prompt(options, &text);
    if (!status) status = run_text(options, &text);
    hd_buf_free(&text);
    return status;
}
