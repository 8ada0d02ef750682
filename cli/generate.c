// SPDX-License-Identifier: Apache-2.0
// The loop of generation (generate.h).
#include "cli/generate.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_STEP = 512 };   // tokens between two looks at Ctrl-C and the progress bar: one step of the largest class

const char *generate_end_text(GenerateEnd end)
{
    static const char *const texts[] = {[GENERATE_COUNT] = "as many as asked for (-n)",
                                        [GENERATE_END_TOKEN] = "end of text",
                                        [GENERATE_STOP_STRING] = "stop string",
                                        [GENERATE_CONTEXT] = "the context is full (-c)",
                                        [GENERATE_INTERRUPTED] = "interrupted",
                                        [GENERATE_UNREAD] = "interrupted while the prompt was read"};
    return texts[end];
}

// ---- Ctrl-C ----------------------------------------------------------------------------------------------------

static volatile sig_atomic_t interrupt_count;

static void on_interrupt(int number)
{
    (void)number;
    if (interrupt_count++) _exit(130);   // nobody took notice of the first
}

void generate_catch_interrupt(bool cuts_reading)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = cuts_reading ? 0 : SA_RESTART};
    sigaction(SIGINT, &action, NULL);
}

bool generate_interrupted(void)
{
    bool came = interrupt_count != 0;
    interrupt_count = 0;
    return came;
}

// ---- from tokens to text ---------------------------------------------------------------------------------------

// What the next token is chosen by.
typedef enum Choice { BY_ID, BY_CANDIDATES, BY_LOGITS } Choice;

// One run of the generator. pending: text that may be the beginning of a stop string.
typedef struct Run {
    const Generator *g;
    Choice choice;
    HeddleCandidate candidates[HEDDLE_MOST_TOP];
    HeddleDecoder *decoder;
    HdBuf pending;
    bool thinking, stopped;
    uint64_t thought;
    GenerateStats *stats;
    HdHasher *hasher;
} Run;

static void emit(Run *run, size_t len)
{
    if (run->g->emit && len) run->g->emit(run->g->user, run->pending.data, len, run->thinking);
    memmove(run->pending.data, run->pending.data + len, run->pending.len - len);
    run->pending.len -= len;
}

// How many bytes at the end of the text are a beginning of `stop`.
static size_t overlap(const HdBuf *text, const char *stop)
{
    size_t len = HD_MIN(strlen(stop), text->len);
    while (len && memcmp(text->data + text->len - len, stop, len)) len--;
    return len;
}

// The first stop string in the text; NULL: none.
static const char *find_stop(const Run *run)
{
    const char *first = NULL;
    for (size_t i = 0; run->g->stops && i < run->g->stops->count; i++) {
        const char *stop = run->g->stops->items[i], *at = memmem(run->pending.data, run->pending.len, stop, strlen(stop));
        if (at && (!first || at < first)) first = at;
    }
    return first;
}

// Thinking has no stop strings: they are for the answer.
static void add_text(Run *run, const char *text, size_t len)
{
    size_t hold = 0;
    if (!len) return;
    hd_buf_bytes(&run->pending, text, len);
    if (!run->thinking) {
        const char *stop = find_stop(run);
        run->stopped = stop != NULL;
        if (stop) {
            emit(run, (size_t)(stop - run->pending.data));
            run->pending.len = 0;
            return;
        }
        for (size_t i = 0; run->g->stops && i < run->g->stops->count; i++)
            hold = HD_MAX(hold, overlap(&run->pending, run->g->stops->items[i]));
    }
    emit(run, run->pending.len - hold);
}

static void finish_text(Run *run)
{
    size_t len;
    const char *text = heddle_decoder_finish(run->decoder, &len);
    if (!run->stopped) add_text(run, text, len);
    if (!run->stopped) emit(run, run->pending.len);
}

static void take_token(Run *run, int32_t id)
{
    size_t len;
    run->stats->generated++;
    if (run->g->emit_id) run->g->emit_id(run->g->user, id);
    if (id >= 0 && (id == run->g->think_end || id == run->g->think_begin)) {
        finish_text(run);
        run->thinking = id == run->g->think_begin;
        return;
    }
    run->thought += run->thinking;
    const char *text = heddle_decoder_push(run->decoder, id, &len);
    add_text(run, text, len);
}

// Does the text so far end inside thinking?
static bool opens_thinking(const Generator *g, const int32_t *tokens, uint32_t count)
{
    for (uint32_t i = count; i-- > 0;)
        if (tokens[i] >= 0 && (tokens[i] == g->think_begin || tokens[i] == g->think_end)) return tokens[i] == g->think_begin;
    return false;
}

// ---- evaluation ------------------------------------------------------------------------------------------------

// The least that the module can give and the sampler can do with.
static Choice choice_for(const Generator *g)
{
    uint32_t needs = heddle_sampler_needs(g->sampler);
    if (needs == 1 && g->module.argmax) return BY_ID;
    return needs && needs <= g->module.top ? BY_CANDIDATES : BY_LOGITS;
}

static HdStatus *eval_piece(Run *run, const HeddlePiece *piece, int32_t *out_next)
{
    HeddleSession *session = run->g->session;
    if (run->choice == BY_ID) return heddle_eval_greedy(session, piece, 1, out_next);
    if (run->choice == BY_LOGITS) return heddle_eval(session, piece, 1);
    return heddle_eval_top(session, piece, 1, heddle_sampler_needs(run->g->sampler), run->candidates);
}

// After the last piece and when its tokens are accepted. next: what was chosen by id.
static HdStatus *choose(Run *run, int32_t *next)
{
    const Generator *g = run->g;
    uint64_t rows;
    uint32_t position, count = heddle_sampler_needs(g->sampler);
    heddle_slot_tokens(g->session, g->slot, &position);
    if (run->choice == BY_ID) return hd_hasher_add(run->hasher, next, sizeof *next), NULL;
    if (run->choice == BY_CANDIDATES) {
        hd_hasher_add(run->hasher, run->candidates, count * sizeof *run->candidates);
        return heddle_sampler_pick_top(g->sampler, run->candidates, count, g->slot, position, next);
    }
    const float *logits = heddle_logits(g->session, &rows);
    hd_hasher_add(run->hasher, logits, g->module.vocab * sizeof *logits);
    return heddle_sampler_pick(g->sampler, logits, g->slot, position, next);
}

// Tokens in steps, so that Ctrl-C is heard; *out_next: the token chosen after the last.
static HdStatus *eval(Run *run, const int32_t *tokens, uint32_t count, bool *out_interrupted, int32_t *out_next)
{
    const Generator *g = run->g;
    *out_interrupted = false;
    for (uint32_t done = 0, step; done < count; done += step) {
        if ((*out_interrupted = generate_interrupted())) return NULL;
        step = HD_MIN(count - done, (uint32_t)PROMPT_STEP);
        HeddlePiece piece = {.slot = g->slot, .tokens = tokens + done, .count = step,
                             .logits = done + step == count ? HEDDLE_LOGITS_LAST : HEDDLE_LOGITS_NONE};
        HD_TRY(eval_piece(run, &piece, out_next));
        run->stats->pending = -1;
        HD_TRY(heddle_sampler_accept(g->sampler, piece.tokens, step));
        if (g->progress && count > PROMPT_STEP) g->progress(g->user, done + step, count);
    }
    return choose(run, out_next);
}

static uint64_t room(const Run *run)
{
    uint32_t position;
    heddle_slot_tokens(run->g->session, run->g->slot, &position);
    return heddle_session_context(run->g->session) - position;
}

// Ends thinking that went over its budget: "\n</think>\n\n", as the chat template writes it. Without room for that the context is full.
static HdStatus *end_thinking(Run *run, bool *out_over, int32_t *out_next)
{
    static const char close[] = "\n</think>\n\n";
    int32_t *ids;
    uint32_t count;
    HD_TRY(heddle_tokenize(run->g->tokenizer, close, sizeof close - 1, true, &ids, &count));
    HdStatus *status = NULL;
    if ((*out_over = count > room(run))) run->stats->end = GENERATE_CONTEXT;
    for (uint32_t i = 0; i < count && !*out_over; i++) take_token(run, ids[i]);
    if (!*out_over) status = eval(run, ids, count, out_over, out_next);
    free(ids);
    return status;
}

static bool over_budget(const Run *run)
{
    return run->thinking && run->g->think_budget != CLI_UNSET && run->thought >= (uint64_t)run->g->think_budget;
}

static HdStatus *loop(Run *run, const int32_t *tokens, uint32_t count, uint64_t limit)
{
    GenerateStats *stats = run->stats;
    int32_t next = 0;
    bool over;
    uint64_t free_before = room(run);
    double start = hd_seconds();
    HD_TRY(eval(run, tokens, count, &over, &next));
    stats->prompt = free_before - room(run), stats->prompt_seconds = hd_seconds() - start;
    for (stats->end = over ? GENERATE_UNREAD : GENERATE_INTERRUPTED; !over;) {
        if (over_budget(run)) {
            HD_TRY(end_thinking(run, &over, &next));
            continue;
        }
        if (heddle_token_is_end(run->g->tokenizer, next)) return stats->end = GENERATE_END_TOKEN, NULL;
        if (stats->generated >= limit) return stats->end = GENERATE_COUNT, NULL;
        take_token(run, stats->pending = next);
        if (run->stopped) return stats->end = GENERATE_STOP_STRING, NULL;
        if (stats->generated >= limit) return stats->end = GENERATE_COUNT, NULL;
        if (!room(run)) return stats->end = GENERATE_CONTEXT, NULL;
        HD_TRY(eval(run, &next, 1, &over, &next));
    }
    return NULL;
}

HdStatus *generate_check_room(const Generator *g, uint32_t count)
{
    uint32_t position, context = heddle_session_context(g->session);
    heddle_slot_tokens(g->session, g->slot, &position);
    if (!count) return hd_error(HD_USAGE, "the prompt has no tokens; give at least one character");
    if (count <= context - position) return NULL;
    return hd_error(HD_LIMIT, "the prompt's %u tokens behind %u others do not fit the context of %u; give a larger one (-c)", count,
                    position, context);
}

HdStatus *generate(const Generator *generator, const int32_t *tokens, uint32_t count, uint64_t limit, GenerateStats *out_stats)
{
    *out_stats = (GenerateStats){.pending = -1};
    HD_TRY(generate_check_room(generator, count));
    Run run = {.g = generator, .decoder = heddle_decoder_new(generator->tokenizer), .stats = out_stats, .hasher = hd_hasher_new()};
    double start = hd_seconds();
    run.choice = choice_for(generator);
    run.thinking = opens_thinking(generator, tokens, count);
    HdStatus *status = loop(&run, tokens, count, limit);
    finish_text(&run);
    out_stats->generate_seconds = hd_seconds() - start - out_stats->prompt_seconds;
    out_stats->digest = hd_hasher_finish(run.hasher);
    heddle_decoder_free(run.decoder);
    hd_buf_free(&run.pending);
    return status;
}
