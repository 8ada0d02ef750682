// SPDX-License-Identifier: Apache-2.0
// The tokenizer's public functions: the parts put together.
#include "runtime/tokenizer/internal.h"

#include <stdlib.h>

struct HeddleTokenizer {
    TkVocab vocab;
    TkMerges merges;
    TkSpecial special;
    TkSplitter *splitter;
};

// ---- making one ----------------------------------------------------------------------------------------------

static HdStatus *read_tokenizer(const GgufFile *file, HeddleTokenizer *tokenizer) {
    HdStr model, pre;
    HD_TRY(gguf_get_string(file, "tokenizer.ggml.model", &model));
    if (!hd_str_is(model, "gpt2"))
        return hd_error(HD_UNSUPPORTED, "%s: tokenizer.ggml.model is \"" HD_STR_FMT "\", known is gpt2 (byte-level BPE)",
                        gguf_path(file), HD_STR_ARG(model));
    HD_TRY(gguf_get_string(file, "tokenizer.ggml.pre", &pre));
    HD_TRY(tk_splitter_new(gguf_path(file), pre, &tokenizer->splitter));
    HD_TRY(tk_vocab_read(file, &tokenizer->vocab));
    tk_special_init(&tokenizer->vocab, &tokenizer->special);
    return tk_merges_read(file, &tokenizer->vocab, &tokenizer->merges);
}

HeddleStatus *heddle_tokenizer_create(const HeddleWeights *weights, HeddleTokenizer **out_tokenizer) {
    HeddleTokenizer *tokenizer = hd_xcalloc(1, sizeof *tokenizer);
    HdStatus *status = read_tokenizer(heddle_weights_gguf(weights), tokenizer);
    if (status) heddle_tokenizer_free(tokenizer);
    else *out_tokenizer = tokenizer;
    return status;
}

void heddle_tokenizer_free(HeddleTokenizer *tokenizer) {
    if (!tokenizer) return;
    tk_splitter_free(tokenizer->splitter);
    tk_special_free(&tokenizer->special);
    tk_merges_free(&tokenizer->merges);
    tk_vocab_free(&tokenizer->vocab);
    free(tokenizer);
}

// ---- encoding ------------------------------------------------------------------------------------------------

typedef struct Encoder {
    const HeddleTokenizer *tokenizer;
    TkMatcher *matcher;
    TkNfc nfc;
    TkWord word;
    HdBuf well_formed;
    TkIds ids;
} Encoder;

// Text between added tokens.
static HdStatus *encode_text(Encoder *encoder, HdStr text) {
    const HeddleTokenizer *tokenizer = encoder->tokenizer;
    HD_TRY(tk_nfc(text, &encoder->nfc, &text));
    for (size_t at = 0, end; at < text.len; at = end) {
        HD_TRY(tk_next_word(encoder->matcher, text, at, &end));
        HD_TRY(tk_merge_word(&tokenizer->merges, &tokenizer->vocab, (HdStr){text.data + at, end - at}, &encoder->word,
                             &encoder->ids));
    }
    return NULL;
}

static HdStatus *encode(Encoder *encoder, HdStr text, bool parse_special) {
    const HeddleTokenizer *tokenizer = encoder->tokenizer;
    size_t at = 0, start, end;
    int32_t id;
    text = hd_well_formed(text, &encoder->well_formed);
    while (tk_special_find(&tokenizer->special, &tokenizer->vocab, text, at, parse_special, &id, &start, &end)) {
        HD_TRY(encode_text(encoder, (HdStr){text.data + at, start - at}));
        hd_vec_push(&encoder->ids, id);
        at = end;
    }
    return encode_text(encoder, (HdStr){text.data + at, text.len - at});
}

HeddleStatus *heddle_tokenize(const HeddleTokenizer *tokenizer, const char *text, size_t len, bool parse_special,
                              int32_t **out_ids, uint32_t *out_count) {
    static const size_t longest = (size_t)1 << 30;
    if (len > longest) return hd_error(HD_LIMIT, "a text of %zu bytes is too long for one call, at most %zu", len, longest);
    Encoder encoder = {.tokenizer = tokenizer, .matcher = tk_matcher_new(tokenizer->splitter)};
    hd_vec_reserve(&encoder.ids, len / 4 + 1);
    HdStatus *status = encode(&encoder, (HdStr){text, len}, parse_special);
    if (status) {
        hd_vec_free(&encoder.ids);
    } else {
        *out_ids = encoder.ids.data;
        *out_count = (uint32_t)encoder.ids.len;
    }
    tk_matcher_free(encoder.matcher);
    tk_nfc_free(&encoder.nfc);
    tk_word_free(&encoder.word);
    hd_buf_free(&encoder.well_formed);
    return status;
}

// ---- tokens --------------------------------------------------------------------------------------------------

static bool is_id(const HeddleTokenizer *tokenizer, int32_t id) { return id >= 0 && (uint32_t)id < tokenizer->vocab.count; }

uint32_t heddle_token_count(const HeddleTokenizer *tokenizer) { return tokenizer->vocab.count; }

const char *heddle_token_bytes(const HeddleTokenizer *tokenizer, int32_t id, size_t *out_len) {
    const TkVocab *vocab = &tokenizer->vocab;
    *out_len = is_id(tokenizer, id) ? vocab->offsets[id + 1] - vocab->offsets[id] : 0;
    return *out_len ? vocab->bytes + vocab->offsets[id] : "";
}

bool heddle_token_is_end(const HeddleTokenizer *tokenizer, int32_t id) {
    return is_id(tokenizer, id) && tokenizer->vocab.ends[id];
}

bool heddle_token_is_control(const HeddleTokenizer *tokenizer, int32_t id) {
    return is_id(tokenizer, id) && tokenizer->vocab.types[id] == TK_CONTROL;
}

int32_t heddle_token_named(const HeddleTokenizer *tokenizer, const char *text) {
    uint32_t id;
    return hd_map_get(&tokenizer->vocab.ids, hd_str(text), &id) ? (int32_t)id : -1;
}
