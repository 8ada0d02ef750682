// SPDX-License-Identifier: Apache-2.0
// llama.cpp behind drive.h, called as llama-bench calls it: batches of 2048 tokens, micro-batches of 512, float16 cache, defaults otherwise.
#include "drive.h"

#include <ggml.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 2048, MICRO_BATCH = 512 };

static struct llama_context *context;
static const struct llama_vocab *vocab;
static uint8_t *kept;
static size_t kept_bytes;

static void silence(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

void drive_open(const DriveOptions *options)
{
    llama_log_set(silence, NULL);
    llama_backend_init();
    struct llama_model *model = llama_model_load_from_file(options->model, llama_model_default_params());
    if (!model) drive_fail("llama.cpp cannot load the model");
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)options->context, params.n_batch = BATCH, params.n_ubatch = MICRO_BATCH;
    params.n_threads = params.n_threads_batch = options->threads;
    context = llama_init_from_model(model, params);
    if (!context) drive_fail("llama.cpp cannot make a context");
    vocab = llama_model_get_vocab(model);
}

int drive_vocab(void) { return llama_vocab_n_tokens(vocab); }
void drive_describe(void) { printf("ggml %s %s: %s", ggml_version(), ggml_commit(), llama_print_system_info()); }
void drive_reset(void) { llama_memory_clear(llama_get_memory(context), true); }

void drive_eval(const int32_t *tokens, int count)
{
    for (int done = 0; done < count; done += BATCH) {
        int n = count - done < BATCH ? count - done : BATCH;
        if (llama_decode(context, llama_batch_get_one((llama_token *)tokens + done, n))) drive_fail("llama_decode failed");
    }
    llama_synchronize(context);
}

void drive_read(const int32_t *tokens, int count) { drive_eval(tokens, count); }

void drive_keep(void)
{
    kept_bytes = llama_state_seq_get_size(context, 0);
    kept = realloc(kept, kept_bytes);
    if (!kept || llama_state_seq_get_data(context, kept, kept_bytes, 0) != kept_bytes) drive_fail("llama.cpp cannot keep its state");
}

void drive_restore(void)
{
    drive_reset();
    if (!llama_state_seq_set_data(context, kept, kept_bytes, 0)) drive_fail("llama.cpp cannot restore its state");
}

void drive_logits(const int32_t *tokens, int count, float *out_rows)
{
    struct llama_batch batch = llama_batch_init(count, 0, 1);
    batch.n_tokens = count;
    for (int i = 0; i < count; i++) {
        batch.token[i] = tokens[i], batch.pos[i] = i, batch.n_seq_id[i] = 1, batch.seq_id[i][0] = 0, batch.logits[i] = true;
    }
    if (llama_decode(context, batch)) drive_fail("llama_decode failed");
    llama_synchronize(context);
    memcpy(out_rows, llama_get_logits(context), (size_t)count * (size_t)drive_vocab() * sizeof *out_rows);
    llama_batch_free(batch);
}
