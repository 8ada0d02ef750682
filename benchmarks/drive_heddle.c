// SPDX-License-Identifier: Apache-2.0
// Heddle behind drive.h. The sequence is in slot 0, what is kept in slot 1.
#include "drive.h"
#include "runtime/heddle.h"

#include <stdio.h>
#include <string.h>

static HeddleModuleInfo info;
static HeddleSession *session;

static void must(HeddleStatus *status)
{
    if (status) drive_fail(heddle_status_message(status));
}

static void eval(const int32_t *tokens, int count, HeddleLogits logits)
{
    HeddlePiece piece = {.tokens = tokens, .count = (uint32_t)count, .logits = logits};
    must(heddle_eval(session, &piece, 1));
}

void drive_open(const DriveOptions *options)
{
    HeddleWeights *weights;
    HeddleModule *module;
    HeddleModel *model;
    HeddleModelOptions how = {.threads = (uint32_t)options->threads};
    HeddleSessionOptions shape = {.threads = (uint32_t)options->threads, .context = options->context, .slots = 2};
    must(heddle_weights_open(options->model, false, &weights));
    must(heddle_module_open(options->module, &module));
    must(heddle_model_create(module, weights, &how, &model));
    must(heddle_session_create(model, &shape, &session));
    heddle_module_info(module, &info);
}

int drive_vocab(void) { return (int)info.vocab; }
void drive_describe(void) { printf("module %s, target %s, numerics %s, cache %s", info.digest, info.target, info.numerics, info.kv_type); }
void drive_reset(void) { must(heddle_slot_reset(session, 0)); }
void drive_read(const int32_t *tokens, int count) { eval(tokens, count, HEDDLE_LOGITS_NONE); }
void drive_eval(const int32_t *tokens, int count) { eval(tokens, count, HEDDLE_LOGITS_LAST); }
void drive_keep(void) { must(heddle_slot_fork(session, 0, 1)); }
void drive_restore(void) { must(heddle_slot_fork(session, 1, 0)); }

void drive_logits(const int32_t *tokens, int count, float *out_rows)
{
    uint64_t rows;
    eval(tokens, count, HEDDLE_LOGITS_ALL);
    const float *logits = heddle_logits(session, &rows);
    memcpy(out_rows, logits, rows * info.vocab * sizeof *logits);
}
