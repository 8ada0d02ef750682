// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back: byte-level BPE as the metadata of a GGUF file (tokenizer.ggml.*) describes it. Ids are those of
// Hugging Face's tokenizers on the model's tokenizer.json: text is NFC-normalised before it is split (not so in llama.cpp).
//
// A tokenizer does not change after it was made: any number of threads may share it. Nothing is ever put in front of
// a text (no BOS token).
#ifndef HEDDLE_TOKENIZER_H
#define HEDDLE_TOKENIZER_H

#include "heddle.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct HeddleTokenizer HeddleTokenizer;

// Reads the vocabulary of `weights`, which must outlive the tokenizer. UNSUPPORTED names a tokenizer.ggml.model or .pre that is
// not known here: guessing a splitting rule would give wrong ids and a model that seems to work. BAD_DATA names the key and the
// entry that contradicts another.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_tokenizer_create(const HeddleWeights *weights, HeddleTokenizer **out_tokenizer);
HEDDLE_API void heddle_tokenizer_free(HeddleTokenizer *tokenizer);             // NULL is fine

// ---- encoding ------------------------------------------------------------------------------------------------

// The ids of `len` bytes of text, at least one `free`-able array even when there are none. Ill-formed UTF-8 is read as U+FFFD,
// one per maximal part. User-defined tokens are found in the text always; control tokens ("<|im_start|>") only with
// `parse_special`, which untrusted text must not get: it could forge turns. LIMIT for texts over 1 GiB. Time grows linearly with
// the text (times the logarithm of the longest unbroken word).
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_tokenize(const HeddleTokenizer *tokenizer, const char *text, size_t len,
                                                         bool parse_special, int32_t **out_ids, uint32_t *out_count);

// ---- decoding ------------------------------------------------------------------------------------------------

HEDDLE_API uint32_t heddle_token_count(const HeddleTokenizer *tokenizer);      // ids are 0 .. count-1
// The bytes a token stands for, not terminated; they live as long as the tokenizer. One token may hold part of a code point only.
// A length of 0 for ids out of range.
HEDDLE_API const char *heddle_token_bytes(const HeddleTokenizer *tokenizer, int32_t id, size_t *out_len);
// Does a text end with this token? The end tokens are those that the metadata names (eos, eot, eom) and the control tokens that
// end a document or turn in this family (<|endoftext|>, <|im_end|>, ...).
HEDDLE_API bool heddle_token_is_end(const HeddleTokenizer *tokenizer, int32_t id);
// Is it a control token ("<|im_start|>"), which only text that may give orders to the model should contain?
HEDDLE_API bool heddle_token_is_control(const HeddleTokenizer *tokenizer, int32_t id);
// The id of a token by its text as it stands in the vocabulary ("<|im_end|>"), -1 when there is none.
HEDDLE_API int32_t heddle_token_named(const HeddleTokenizer *tokenizer, const char *text);

// Tokens to text as they arrive. Bytes at the end that begin a code point are held back (3 at most) until the rest arrives.
typedef struct HeddleDecoder HeddleDecoder;
HEDDLE_API HeddleDecoder *heddle_decoder_new(const HeddleTokenizer *tokenizer);   // the tokenizer must outlive it
HEDDLE_API void heddle_decoder_free(HeddleDecoder *decoder);                   // NULL is fine
// What can be shown after one more token, valid until the next call. Bytes that are no UTF-8 pass as they are.
HEDDLE_API const char *heddle_decoder_push(HeddleDecoder *decoder, int32_t id, size_t *out_len);
// What was held back; the decoder is then ready for another text.
HEDDLE_API const char *heddle_decoder_finish(HeddleDecoder *decoder, size_t *out_len);

#ifdef __cplusplus
}
#endif

#endif
