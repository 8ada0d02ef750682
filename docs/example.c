// SPDX-License-Identifier: Apache-2.0
// Text from a compiled model with libheddle: `heddle compile MODEL.gguf -o MODEL.hdl` first, then
//
//     cc example.c -o example $(pkg-config --cflags --libs heddle)
//     ./example MODEL.gguf MODEL.hdl "In the beginning" 40
//
// The tests build this file against an installed Heddle and compare what it prints with `heddle run --temp 0`.
#include <heddle/heddle.h>
#include <heddle/sampler.h>
#include <heddle/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Every error is one line that says what is wrong; the code is what a program should exit with.
static void check(HeddleStatus *status)
{
    if (!status) return;
    fprintf(stderr, "example: %s\n", heddle_status_message(status));
    exit(heddle_code_exit(heddle_status_code(status)));
}

// Appends tokens to the sequence in slot 0 and chooses the next one from the logits behind them.
static int32_t next_token(HeddleSession *session, HeddleSampler *sampler, const int32_t *tokens, uint32_t count)
{
    HeddlePiece piece = {.tokens = tokens, .count = count, .logits = HEDDLE_LOGITS_LAST};
    uint64_t rows;
    uint32_t position;
    int32_t id;
    check(heddle_eval(session, &piece, 1));
    check(heddle_sampler_accept(sampler, tokens, count));
    heddle_slot_tokens(session, 0, &position);
    check(heddle_sampler_pick(sampler, heddle_logits(session, &rows), 0, position, &id));
    return id;
}

int main(int argc, char **argv)
{
    HeddleWeights *weights;
    HeddleModule *module;
    HeddleModel *model;
    HeddleSession *session;
    HeddleTokenizer *tokenizer;
    HeddleSampling sampling;
    HeddleSampler *sampler;
    HeddleModuleInfo info;
    int32_t *prompt;
    uint32_t count;
    if (argc != 5) return fprintf(stderr, "usage: example MODEL.gguf MODEL.hdl PROMPT TOKENS\n"), 2;

    check(heddle_weights_open(argv[1], false, &weights));            // mapped
    check(heddle_module_open(argv[2], &module));
    check(heddle_model_create(module, weights, NULL, &model));       // weights packed, kernels loaded
    check(heddle_session_create(model, NULL, &session));             // state of one sequence, threads
    check(heddle_tokenizer_create(weights, &tokenizer));
    check(heddle_sampling_defaults(weights, &sampling));             // what the file suggests
    sampling.temp = 0;                                               // but the most probable token, always
    heddle_module_info(module, &info);
    check(heddle_sampler_create(&sampling, info.vocab, &sampler));

    check(heddle_tokenize(tokenizer, argv[3], strlen(argv[3]), true, &prompt, &count));
    HeddleDecoder *decoder = heddle_decoder_new(tokenizer);          // holds back parts of characters
    int32_t id = next_token(session, sampler, prompt, count);
    for (int left = atoi(argv[4]); left > 0 && !heddle_token_is_end(tokenizer, id); left--) {
        size_t len;
        const char *text = heddle_decoder_push(decoder, id, &len);
        fwrite(text, 1, len, stdout);
        if (left > 1) id = next_token(session, sampler, &id, 1);
    }
    printf("\n");

    free(prompt);                                                    // in the reverse order, what depends first
    heddle_decoder_free(decoder);
    heddle_sampler_free(sampler);
    heddle_tokenizer_free(tokenizer);
    heddle_session_free(session);
    heddle_model_free(model);
    heddle_module_close(module);
    heddle_weights_close(weights);
    return 0;
}
