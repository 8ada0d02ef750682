// SPDX-License-Identifier: Apache-2.0
// A program of someone else, built with nothing but the installed headers and library: tokens of a text, one per line of the form
// "id length".
#include <heddle/tokenizer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(HeddleStatus *status) {
    fprintf(stderr, "%s\n", heddle_status_message(status));
    int code = heddle_code_exit(heddle_status_code(status));
    heddle_status_free(status);
    return code;
}

int main(int argc, char **argv) {
    HeddleWeights *weights;
    HeddleTokenizer *tokenizer;
    int32_t *ids;
    uint32_t count;
    if (argc != 3) return 2;
    HeddleStatus *status = heddle_weights_open(argv[1], false, &weights);
    if (status) return fail(status);
    status = heddle_tokenizer_create(weights, &tokenizer);
    if (status) return fail(status);
    status = heddle_tokenize(tokenizer, argv[2], strlen(argv[2]), true, &ids, &count);
    if (status) return fail(status);
    for (uint32_t i = 0; i < count; i++) {
        size_t len;
        heddle_token_bytes(tokenizer, ids[i], &len);
        printf("%d %zu\n", ids[i], len);
    }
    free(ids);
    heddle_tokenizer_free(tokenizer);
    heddle_weights_close(weights);
    return 0;
}
