// SPDX-License-Identifier: Apache-2.0
// The weight file and its identity.
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"

HeddleStatus *heddle_weights_open(const char *path, bool strict, HeddleWeights **out_weights)
{
    GgufFile *file;
    HD_TRY(gguf_open(path, NULL, &file));
    HeddleWeights *weights = hd_xcalloc(1, sizeof *weights);
    weights->file = file;
    weights->strict = strict;
    pthread_mutex_init(&weights->lock, NULL);
    *out_weights = weights;
    return NULL;
}

void heddle_weights_close(HeddleWeights *weights)
{
    if (!weights) return;
    gguf_close(weights->file);
    pthread_mutex_destroy(&weights->lock);
    free(weights);
}

const char *heddle_weights_path(const HeddleWeights *weights) { return gguf_path(weights->file); }
const struct GgufFile *heddle_weights_gguf(const HeddleWeights *weights) { return weights->file; }

// ---- identity ------------------------------------------------------------------------------------------------

enum { SMALL = 64 * 1024, SAMPLES = 8, SAMPLE_BYTES = 4096 };

// Small tensors whole, samples of others: the first and last bytes and evenly between.
static void add_content(HdHasher *hasher, const GgufTensor *tensor)
{
    if (tensor->bytes <= SMALL) {
        hd_hasher_add(hasher, tensor->data, (size_t)tensor->bytes);
        return;
    }
    for (uint64_t i = 0; i < SAMPLES; i++) {
        uint64_t at = (tensor->bytes - SAMPLE_BYTES) / (SAMPLES - 1) * i;
        if (i == SAMPLES - 1) at = tensor->bytes - SAMPLE_BYTES;
        hd_hasher_add(hasher, tensor->data + at, SAMPLE_BYTES);
    }
    rt_release_pages(tensor->data, tensor->bytes);       // reading a sample maps its neighbourhood
}

// In pieces, so that a strict check of a large file does not fill memory with it.
static void add_all(HdHasher *hasher, const GgufTensor *tensor)
{
    enum { PIECE = 16 << 20 };
    for (uint64_t at = 0; at < tensor->bytes; at += PIECE) {
        uint64_t bytes = HD_MIN(tensor->bytes - at, (uint64_t)PIECE);
        hd_hasher_add(hasher, tensor->data + at, (size_t)bytes);
        rt_release_pages(tensor->data + at, bytes);
    }
}

static HdDigest digest_of(const GgufFile *file, void (*add)(HdHasher *, const GgufTensor *))
{
    HdHasher *hasher = hd_hasher_new();
    gguf_hash_header(file, hasher);
    for (size_t i = 0; i < gguf_tensor_count(file); i++) add(hasher, gguf_tensor_at(file, i));
    return hd_hasher_finish(hasher);
}

void rt_weights_identity(HeddleWeights *weights, char out_identity[33], char out_full[33])
{
    pthread_mutex_lock(&weights->lock);
    if (!weights->has_identity) {
        weights->identity = digest_of(weights->file, add_content);
        if (weights->strict) weights->full = digest_of(weights->file, add_all);
        weights->has_identity = true;
    }
    pthread_mutex_unlock(&weights->lock);
    hd_digest_hex(weights->identity, out_identity);
    if (weights->strict) hd_digest_hex(weights->full, out_full);
    else out_full[0] = 0;
}

void heddle_weights_identity(HeddleWeights *weights, char out_hex[33])
{
    char identity[33], full[33];
    rt_weights_identity(weights, identity, full);
    memcpy(out_hex, weights->strict ? full : identity, 33);
}

HdStatus *rt_weights_check(HeddleWeights *weights, HdStr identity, HdStr full, const char *what, const char *mend)
{
    char have[33], have_full[33];
    rt_weights_identity(weights, have, have_full);
    if (!hd_str_is(identity, have))
        return hd_error(HD_MISMATCH, "%s: made from other weights (identity " HD_STR_FMT ") than %s (identity %s); %s", what,
                        HD_STR_ARG(identity), heddle_weights_path(weights), have, mend);
    if (!weights->strict) return NULL;
    if (!full.len) return hd_error(HD_MISMATCH, "%s: holds no digest of every weight, which strict checking asks for; %s", what,
                                   mend);
    if (!hd_str_is(full, have_full))
        return hd_error(HD_MISMATCH, "%s: made from weights that differ somewhere from %s (digest of all " HD_STR_FMT
                        ", here %s); %s", what, heddle_weights_path(weights), HD_STR_ARG(full), have_full, mend);
    return NULL;
}
