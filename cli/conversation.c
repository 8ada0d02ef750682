// SPDX-License-Identifier: Apache-2.0
// Conversations (conversation.h).
#include "cli/conversation.h"

#include <stdlib.h>
#include <string.h>

// Noncharacters: no text has them (they are taken out of what the user types), so that they can mark places in what is rendered.
#define MARK_ANSWER "\xEF\xB7\x90"      // U+FDD0 stands for the last answer
#define MARK_BREAK "\xEF\xB7\x91"       // U+FDD1 breaks a control token in the user's text

// ---- from text to tokens ---------------------------------------------------------------------------------------

static uint32_t position(const Conversation *c)
{
    uint32_t count;
    heddle_slot_tokens(c->generator.session, c->generator.slot, &count);
    return count;
}

static void remove_mark(HdBuf *text, const char *mark)
{
    for (char *at; (at = memmem(text->data, text->len, mark, 3));) {
        memmove(at, at + 3, text->len - 3 - (size_t)(at - text->data));
        text->data[text->len -= 3] = 0;
    }
}

static void remove_marks(HdBuf *text)
{
    size_t before;
    do {                                 // until none has formed from the pieces around another
        before = text->len;
        remove_mark(text, MARK_ANSWER);
        remove_mark(text, MARK_BREAK);
    } while (text->len < before);
}

// The user's text with every control token broken after its first byte, and without marks.
static HdStatus *break_control_tokens(const HeddleTokenizer *tokenizer, const char *text, HdBuf *out_text)
{
    int32_t *ids;
    uint32_t count;
    HdBuf clean = {0};
    hd_buf_str(&clean, text);
    remove_marks(&clean);
    HdStatus *status = heddle_tokenize(tokenizer, clean.data, clean.len, true, &ids, &count);
    hd_buf_free(&clean);
    if (status) return status;
    for (uint32_t i = 0; i < count; i++) {
        size_t len, first = heddle_token_is_control(tokenizer, ids[i]);
        const char *bytes = heddle_token_bytes(tokenizer, ids[i], &len);
        hd_buf_bytes(out_text, bytes, first);
        if (first) hd_buf_str(out_text, MARK_BREAK);
        hd_buf_bytes(out_text, bytes + first, len - first);
    }
    hd_buf_bytes(out_text, "", 0);
    free(ids);
    return NULL;
}

// The rendered conversation with this turn at its end. Of the turns before it only their existence matters.
static HdStatus *render(const Conversation *c, const char *system, const char *text, bool first, char **out_text, size_t *out_len)
{
    HeddleMessage messages[4];
    size_t count = 0;
    if (system) messages[count++] = (HeddleMessage){.role = "system", .content = system};
    if (!first) {
        messages[count++] = (HeddleMessage){.role = "user", .content = "Hello."};
        messages[count++] = (HeddleMessage){.role = "assistant", .content = MARK_ANSWER};
    }
    messages[count++] = (HeddleMessage){.role = "user", .content = text};
    HeddleChat chat = {.messages = messages, .count = count, .add_generation_prompt = true, .thinking = c->thinking};
    return heddle_template_render(c->chat_template, &chat, out_text, out_len);
}

static HdStatus *tokenize_part(const HeddleTokenizer *tokenizer, const char *text, size_t len, int32_t **ids, uint32_t *count)
{
    int32_t *part;
    uint32_t added;
    HD_TRY(heddle_tokenize(tokenizer, text, len, true, &part, &added));
    *ids = hd_xrealloc(*ids, (*count + added) * sizeof **ids);
    memcpy(*ids + *count, part, added * sizeof *part);
    *count += added;
    free(part);
    return NULL;
}

// The parts between breaks, one by one: no control token spans two of them.
static HdStatus *tokenize_rendered(const HeddleTokenizer *tokenizer, const char *text, size_t len, int32_t **out_ids, uint32_t *out_count)
{
    HdStatus *status = NULL;
    *out_ids = hd_xmalloc(sizeof **out_ids), *out_count = 0;
    while (!status && len) {
        const char *mark = memmem(text, len, MARK_BREAK, 3);
        size_t part = mark ? (size_t)(mark - text) : len;
        status = tokenize_part(tokenizer, text, part, out_ids, out_count);
        text += part + (mark ? 3 : 0), len -= part + (mark ? 3 : 0);
    }
    if (status) free(*out_ids);
    return status;
}

HdStatus *conversation_tokens(const Conversation *conversation, const char *text, int32_t **out_ids, uint32_t *out_count)
{
    bool first = position(conversation) == 0;
    HdBuf system = {0}, safe = {0};
    char *rendered = NULL;
    size_t len = 0;
    HdStatus *status = break_control_tokens(conversation->generator.tokenizer, text, &safe);
    if (!status && conversation->system) status = break_control_tokens(conversation->generator.tokenizer, conversation->system, &system);
    if (!status) status = render(conversation, system.data, safe.data, first, &rendered, &len);
    if (!status) {
        const char *answer = first ? rendered : memmem(rendered, len, MARK_ANSWER, 3), *from = first ? rendered : answer + 3;
        if (!answer)
            status = hd_error(HD_UNSUPPORTED, "the chat template does not render an answer as it was given, so a conversation cannot "
                                              "be continued; --chat-template chatml is an alternative");
        else status = tokenize_rendered(conversation->generator.tokenizer, from, len - (size_t)(from - rendered), out_ids, out_count);
    }
    free(rendered);
    hd_buf_free(&system);
    hd_buf_free(&safe);
    return status;
}

// ---- turns -----------------------------------------------------------------------------------------------------

static void drop_turns(Conversation *c, size_t left)
{
    while (c->turns.len > left) heddle_snapshot_free(c->turns.data[--c->turns.len].before);
}

static HdStatus *push_turn(Conversation *c)
{
    Turn turn = {.tokens = position(c)};
    if (turn.tokens) HD_TRY(heddle_snapshot_take(c->generator.session, c->generator.slot, &turn.before));
    if (c->turns.len == CONVERSATION_UNDO) {
        heddle_snapshot_free(c->turns.data[0].before);
        memmove(c->turns.data, c->turns.data + 1, --c->turns.len * sizeof(Turn));
    }
    hd_vec_push(&c->turns, turn);
    return NULL;
}

HdStatus *conversation_undo(Conversation *conversation)
{
    if (!conversation->turns.len) return hd_error(HD_NOT_FOUND, "there is no turn to undo");
    const Turn *turn = &conversation->turns.data[conversation->turns.len - 1];
    const Generator *g = &conversation->generator;
    if (turn->before) HD_TRY(heddle_snapshot_restore(g->session, g->slot, turn->before));
    else HD_TRY(heddle_slot_reset(g->session, g->slot));
    heddle_sampler_rewind(g->sampler, turn->tokens);
    drop_turns(conversation, conversation->turns.len - 1);
    return NULL;
}

// The answer's last token is part of what was said, so it is part of the state.
static HdStatus *evaluate_pending(const Generator *g, const GenerateStats *stats)
{
    HeddlePiece piece = {.slot = g->slot, .tokens = &stats->pending, .count = 1, .logits = HEDDLE_LOGITS_NONE};
    if (stats->pending < 0 || stats->end == GENERATE_CONTEXT) return NULL;
    HD_TRY(heddle_eval(g->session, &piece, 1));
    return heddle_sampler_accept(g->sampler, &stats->pending, 1);
}

HdStatus *conversation_turn(Conversation *conversation, const char *text, uint64_t limit, GenerateStats *out_stats)
{
    int32_t *ids;
    uint32_t count;
    HD_TRY(conversation_tokens(conversation, text, &ids, &count));
    HdStatus *status = push_turn(conversation);
    if (!status) {
        status = generate(&conversation->generator, ids, count, limit, out_stats);
        if (!status) status = evaluate_pending(&conversation->generator, out_stats);
        if (status || out_stats->end == GENERATE_UNREAD) hd_status_free(conversation_undo(conversation));
    }
    free(ids);
    return status;
}

HdStatus *conversation_reset(Conversation *conversation, const char *system)
{
    char *copy = system ? hd_xstrdup(system) : NULL;
    free(conversation->system);
    conversation->system = copy;
    drop_turns(conversation, 0);
    heddle_sampler_rewind(conversation->generator.sampler, 0);
    return heddle_slot_reset(conversation->generator.session, conversation->generator.slot);
}

HdStatus *conversation_save(const Conversation *conversation, const char *path)
{
    if (!position(conversation)) return hd_error(HD_USAGE, "there is nothing to save yet");
    return heddle_slot_save(conversation->generator.session, conversation->generator.slot, path);
}

HdStatus *conversation_load(Conversation *conversation, const char *path)
{
    const Generator *g = &conversation->generator;
    uint32_t count;
    HD_TRY(heddle_slot_load(g->session, g->slot, path, NULL, 0));
    drop_turns(conversation, 0);
    heddle_sampler_rewind(g->sampler, 0);
    const int32_t *tokens = heddle_slot_tokens(g->session, g->slot, &count);
    return heddle_sampler_accept(g->sampler, tokens, count);
}

void conversation_free(Conversation *conversation)
{
    drop_turns(conversation, 0);
    hd_vec_free(&conversation->turns);
    free(conversation->system);
    heddle_sampler_free(conversation->generator.sampler);
    heddle_session_free(conversation->generator.session);
    *conversation = (Conversation){0};
}

// ---- from options ----------------------------------------------------------------------------------------------

HdStatus *chat_check_text(HdStr text)
{
    const char *nul = memchr(text.data, 0, text.len);
    if (!nul) return NULL;
    return hd_error(HD_BAD_DATA, "byte %zu of the question is NUL; expected text", (size_t)(nul - text.data) + 1);
}

HdStatus *chat_parse_thinking(const char *option, const char *text, HeddleThinking *out_thinking)
{
    if (strcmp(text, "on") && strcmp(text, "off")) return hd_error(HD_USAGE, "%s %s: expected on or off", option, text);
    *out_thinking = !strcmp(text, "on") ? HEDDLE_THINKING_ON : HEDDLE_THINKING_OFF;
    return NULL;
}

HdStatus *chat_setup(const CliOptions *options, const CliModel *model, ChatSetup *out_setup)
{
    HeddleSessionOptions how = cli_session_options(options);
    Conversation *c = &out_setup->conversation;
    *out_setup = (ChatSetup){0};
    heddle_module_info(model->module, &c->generator.module);
    if (options->think) HD_TRY(chat_parse_thinking("--think", options->think, &c->thinking));
    HD_TRY(cli_sampling(options, model->weights, &out_setup->sampling));
    HD_TRY(heddle_tokenizer_create(model->weights, &out_setup->tokenizer));
    HD_TRY(heddle_template_open(model->weights, options->chat_template, &out_setup->chat_template));
    HD_TRY(heddle_session_create(model->model, &how, &c->generator.session));
    HD_TRY(heddle_sampler_create(&out_setup->sampling, c->generator.module.vocab, &c->generator.sampler));
    c->chat_template = out_setup->chat_template;
    c->system = options->system ? hd_xstrdup(options->system) : NULL;
    c->generator.tokenizer = out_setup->tokenizer;
    c->generator.stops = &options->stop;
    c->generator.think_begin = heddle_token_named(out_setup->tokenizer, "<think>");
    c->generator.think_end = heddle_token_named(out_setup->tokenizer, "</think>");
    c->generator.think_budget = options->think_budget;
    return NULL;
}

void chat_setup_free(ChatSetup *setup)
{
    conversation_free(&setup->conversation);
    heddle_template_free(setup->chat_template);
    heddle_tokenizer_free(setup->tokenizer);
    *setup = (ChatSetup){0};
}
