// SPDX-License-Identifier: Apache-2.0
// usage: two_models MODEL.gguf A.hdl B.hdl: loads both modules, then prints one logit of each. test_cli.sh compares both orders.
#include <stdio.h>

#include "runtime/heddle.h"

static int fail(HeddleStatus *status)
{
    fprintf(stderr, "%s\n", heddle_status_message(status));
    return 1;
}

static HeddleStatus *load(HeddleWeights *weights, const char *path, HeddleModel **out_model)
{
    HeddleModule *module;
    HeddleStatus *status = heddle_module_open(path, &module);
    return status ? status : heddle_model_create(module, weights, NULL, out_model);
}

static HeddleStatus *print_logit(HeddleModel *model)
{
    const int32_t tokens[] = {1, 2, 3};
    HeddlePiece piece = {.tokens = tokens, .count = 3, .logits = HEDDLE_LOGITS_LAST};
    HeddleSession *session;
    uint64_t rows;
    HeddleStatus *status = heddle_session_create(model, NULL, &session);
    if (!status) status = heddle_eval(session, &piece, 1);
    if (!status) printf("%a\n", (double)heddle_logits(session, &rows)[7]);
    return status;
}

int main(int argc, char **argv)
{
    HeddleWeights *weights;
    HeddleModel *models[2];
    if (argc != 4) return 2;
    HeddleStatus *status = heddle_weights_open(argv[1], false, &weights);
    for (int i = 0; i < 2 && !status; i++) status = load(weights, argv[2 + i], &models[i]);
    for (int i = 0; i < 2 && !status; i++) status = print_logit(models[i]);
    return status ? fail(status) : 0;
}
