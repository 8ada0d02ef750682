// SPDX-License-Identifier: Apache-2.0
// usage: float_mode MODEL.gguf M.hdl: on aarch64, logits are the same bits when the caller rounds upwards and flushes subnormal numbers, and
// the caller finds its own setting again. (For x86-64 test_runtime.c tests that.) aarch64.sh builds and runs it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/heddle.h"

enum { UPWARDS_AND_FLUSHING = 1 << 22 | 1 << 24 };

static unsigned long mode(void)
{
    unsigned long fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
}

static void set_mode(unsigned long fpcr) { __asm__ volatile("msr fpcr, %0" : : "r"(fpcr)); }

static HeddleStatus *eval(HeddleModel *model, uint32_t threads, HeddleSession **out_session)
{
    static const int32_t tokens[] = {1, 2, 3, 4, 5};
    HeddlePiece piece = {.tokens = tokens, .count = 5, .logits = HEDDLE_LOGITS_ALL};
    HeddleStatus *status = heddle_session_create(model, &(HeddleSessionOptions){.threads = threads}, out_session);
    return status ? status : heddle_eval(*out_session, &piece, 1);
}

static HeddleStatus *compare(HeddleModel *model, uint32_t vocab, uint32_t threads, int *out_wrong)
{
    HeddleSession *plain, *other;
    uint64_t rows;
    HeddleStatus *status = eval(model, threads, &plain);
    if (status) return status;
    set_mode(UPWARDS_AND_FLUSHING);
    status = eval(model, threads, &other);
    unsigned long left = mode();
    set_mode(0);
    if (status) return status;
    const float *want = heddle_logits(plain, &rows), *found = heddle_logits(other, &rows);
    bool same = !memcmp(want, found, rows * vocab * sizeof *want);
    printf("%u threads: mode %s, %s bits of %llu rows\n", threads, left == UPWARDS_AND_FLUSHING ? "kept" : "lost", same ? "same" : "other",
           (unsigned long long)rows);
    *out_wrong += left != UPWARDS_AND_FLUSHING || !same;
    heddle_session_free(plain);
    heddle_session_free(other);
    return NULL;
}

int main(int argc, char **argv)
{
    HeddleWeights *weights;
    HeddleModule *module;
    HeddleModuleInfo info = {0};
    HeddleModel *model;
    int wrong = 0;
    if (argc != 3) return 2;
    HeddleStatus *status = heddle_weights_open(argv[1], false, &weights);
    if (!status) status = heddle_module_open(argv[2], &module);
    if (!status) heddle_module_info(module, &info);
    if (!status) status = heddle_model_create(module, weights, NULL, &model);
    for (uint32_t threads = 1; threads <= 2 && !status; threads++) status = compare(model, info.vocab, threads, &wrong);
    if (status) fprintf(stderr, "%s\n", heddle_status_message(status));
    return status || wrong;
}
