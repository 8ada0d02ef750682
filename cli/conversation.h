// SPDX-License-Identifier: Apache-2.0
// A conversation with a chat model: turns in, answers out. History is append-only: a turn processes its own tokens and nothing else, so
// what the model has seen is exactly what was said, its thinking included. (A template would drop the thinking of earlier answers when it
// renders them again, and then everything behind the first difference would have to be processed anew.)
#ifndef HEDDLE_CLI_CONVERSATION_H
#define HEDDLE_CLI_CONVERSATION_H

#include "cli/generate.h"
#include "runtime/template.h"

typedef struct Turn {
    HeddleSnapshot *before;          // state before the turn; NULL: the conversation was empty
    uint64_t tokens;                 // and how many tokens it held
} Turn;

typedef struct Conversation {
    Generator generator;
    const HeddleTemplate *chat_template;
    HeddleThinking thinking;
    char *system;                    // NULL: none
    HD_VEC(Turn) turns;              // those that can be undone, at most CONVERSATION_UNDO
} Conversation;

enum { CONVERSATION_UNDO = 32 };

// The tokens that a turn of the user adds: rendered by the template, from the end of the last answer to the beginning of the next. Control
// tokens that stand in `text` are read as text: nobody forges a turn. free() the ids.
HD_MUST_USE HdStatus *conversation_tokens(const Conversation *conversation, const char *text, int32_t **out_ids, uint32_t *out_count);
// A turn: the user's text, then the answer through generator.emit. After an error, and after Ctrl-C before all of the text was read
// (GENERATE_UNREAD), the conversation is as it was before.
HD_MUST_USE HdStatus *conversation_turn(Conversation *conversation, const char *text, uint64_t limit, GenerateStats *out_stats);
// Back to before the last turn. NOT_FOUND when there is none left to undo.
HD_MUST_USE HdStatus *conversation_undo(Conversation *conversation);
// Empties it; `system` (copied) is the next system prompt, NULL: none.
HD_MUST_USE HdStatus *conversation_reset(Conversation *conversation, const char *system);
// State and tokens to a file and back; the file of another model is refused and nothing has changed. Turns before a load cannot be undone.
HD_MUST_USE HdStatus *conversation_save(const Conversation *conversation, const char *path);
HD_MUST_USE HdStatus *conversation_load(Conversation *conversation, const char *path);
void conversation_free(Conversation *conversation);

// Everything that a conversation of the command line needs, made from options: session, sampler, tokenizer, template. `model` stays
// the caller's and must outlive it.
typedef struct ChatSetup {
    Conversation conversation;
    HeddleTokenizer *tokenizer;
    HeddleTemplate *chat_template;
    HeddleSampling sampling;
} ChatSetup;
HD_MUST_USE HdStatus *chat_setup(const CliOptions *options, const CliModel *model, ChatSetup *out_setup);
void chat_setup_free(ChatSetup *setup);
// A question is text: one with a NUL byte is refused, not cut there.
HD_MUST_USE HdStatus *chat_check_text(HdStr text);
// "on" or "off"; `option` is named in the error.
HD_MUST_USE HdStatus *chat_parse_thinking(const char *option, const char *text, HeddleThinking *out_thinking);
// cmd_chat.c: one question and its answer (`heddle run --chat`); thinking goes to stderr.
HD_MUST_USE HdStatus *chat_once(const CliOptions *options, const CliModel *model, const char *text);

#endif
