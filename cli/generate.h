// SPDX-License-Identifier: Apache-2.0
// Generation: what `run` and `chat` share. Tokens go in, text comes out piece by piece, until something ends it.
//
//   tokens ─► heddle_eval ─► logits ─► sampler ─► id ─► thinking or answer? ─► decoder ─► stop strings ─► emit
//          ├► heddle_eval_top ──► candidates ─┘   │  where the module finds the largest logits itself
//          └► heddle_eval_greedy ────────────────┘
#ifndef HEDDLE_CLI_GENERATE_H
#define HEDDLE_CLI_GENERATE_H

#include "cli/cli.h"
#include "runtime/sampler.h"
#include "runtime/tokenizer.h"

typedef enum GenerateEnd {
    GENERATE_COUNT,          // as many tokens as wanted
    GENERATE_END_TOKEN,
    GENERATE_STOP_STRING,
    GENERATE_CONTEXT,        // no room for another token
    GENERATE_INTERRUPTED,
    GENERATE_UNREAD,         // interrupted before all of the prompt was read; the slot holds its beginning
} GenerateEnd;

typedef struct GenerateStats {
    uint64_t prompt, generated;              // tokens read of the prompt, and generated
    double prompt_seconds, generate_seconds;
    GenerateEnd end;
    int32_t pending;                         // the last token generated, which was not evaluated; -1: all were
    HdDigest digest;                         // of the bits of every logits row that a token was chosen from; without it of candidates or ids
} GenerateStats;

typedef struct Generator {
    HeddleSession *session;
    uint32_t slot;
    HeddleModuleInfo module;                 // which choices are made without the logits
    HeddleSampler *sampler;
    const HeddleTokenizer *tokenizer;
    const CliList *stops;                    // texts that end the answer; they are not emitted
    int32_t think_begin, think_end;          // tokens around thinking; -1: the model has none, all is answer
    int64_t think_budget;                    // tokens of thinking after which it is ended; CLI_UNSET: none
    // Text as soon as it is sure: no part of a character, nothing that may be the beginning of a stop string. May be NULL.
    void (*emit)(void *user, const char *text, size_t len, bool thinking);
    void (*emit_id)(void *user, int32_t id); // every generated token; may be NULL
    void (*progress)(void *user, uint64_t done, uint64_t all);   // prompt tokens evaluated; may be NULL
    void *user;
} Generator;

// Appends `tokens` to the slot and generates up to `limit` tokens behind them. The last generated token is not evaluated (pending), and an
// end token neither. Ended by Ctrl-C (generate_catch_interrupt). LIMIT, with nothing done, when the tokens do not fit the context; after
// another error the slot keeps what was evaluated.
HD_MUST_USE HdStatus *generate(const Generator *generator, const int32_t *tokens, uint32_t count, uint64_t limit, GenerateStats *out_stats);
// Are there tokens, and do `count` more fit? LIMIT says how many there are. generate asks this first; who prints before that asks earlier.
HD_MUST_USE HdStatus *generate_check_room(const Generator *generator, uint32_t count);
const char *generate_end_text(GenerateEnd end);
// One line: tokens, speed of prompt and generation, why it ended, digest.
void cli_print_stats(const CliOptions *options, const HeddleSession *session, const GenerateStats *stats);

// Ctrl-C: from generate_catch_interrupt on, SIGINT ends the generation that runs (or the next to start) and not the program; a second one
// before that happened ends the program. cuts_reading: it ends a read that waits, too; else waiting goes on, and no output is lost.
// generate_interrupted tells whether one came, and forgets it.
void generate_catch_interrupt(bool cuts_reading);
bool generate_interrupted(void);

// The values of the options, else of the file, else the defaults; without --seed a random one.
HD_MUST_USE HdStatus *cli_sampling(const CliOptions *options, const HeddleWeights *weights, HeddleSampling *out_sampling);
// "temp 0.6  top-k 20 .. seed 42", or "greedy".
void cli_print_sampling(const HeddleSampling *sampling, HdBuf *out_text);
// The same as a line on stderr.
void cli_log_sampling(const CliOptions *options, const HeddleSampling *sampling);

#endif
