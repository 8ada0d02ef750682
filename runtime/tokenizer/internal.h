// SPDX-License-Identifier: Apache-2.0
// Inside of the tokenizer.
//
//   text ─► special.c (cuts out added tokens) ─► unicode.c (NFC) ─► split.c (words) ─► bpe.c (merges) ─► ids
#ifndef HEDDLE_TOKENIZER_INTERNAL_H
#define HEDDLE_TOKENIZER_INTERNAL_H

#include "runtime/base/base.h"
#include "runtime/gguf.h"
#include "runtime/tokenizer.h"

// ---- unicode.c -----------------------------------------------------------------------------------------------

typedef struct TkNfc { HD_VEC(int32_t) codes; HD_VEC(uint64_t) marks; HdBuf text; } TkNfc;
// The canonical composition (NFC) of well-formed text: `text` itself when that is certain, else in `work`, valid until its next
// use.
HD_MUST_USE HdStatus *tk_nfc(HdStr text, TkNfc *work, HdStr *out_text);
void tk_nfc_free(TkNfc *work);

// ---- vocab.c -------------------------------------------------------------------------------------------------

// tokenizer.ggml.token_type
enum { TK_NORMAL = 1, TK_UNKNOWN, TK_CONTROL, TK_USER_DEFINED, TK_UNUSED };

typedef struct TkVocab {
    uint32_t count;
    HdStr *texts;                    // as spelt in the file, inside its mapping
    uint8_t *types;
    HdMap ids;                       // text -> id
    char *bytes;                     // what the tokens stand for, one after another
    size_t *offsets;                 // [count + 1] into bytes
    bool *ends;                      // is it an end token?
    int32_t byte_ids[256];           // the token of a single byte; -1: none
    HdArena arena;
} TkVocab;
HD_MUST_USE HdStatus *tk_vocab_read(const GgufFile *file, TkVocab *out_vocab);
void tk_vocab_free(TkVocab *vocab);

// ---- special.c -----------------------------------------------------------------------------------------------

// Added tokens: those that are recognised in raw text.
typedef struct TkSpecial {
    HdMap ids;
    uint32_t *lengths;               // the different lengths of their texts, longest first
    size_t length_count;
    bool first[256];                 // first bytes of their texts
} TkSpecial;
void tk_special_init(TkVocab *vocab, TkSpecial *out_special);
void tk_special_free(TkSpecial *special);
// The leftmost added token at or after `from`, the longest of those that start there. False: there is none.
bool tk_special_find(const TkSpecial *special, const TkVocab *vocab, HdStr text, size_t from, bool parse_control, int32_t *out_id,
                     size_t *out_start, size_t *out_end);

// ---- split.c -------------------------------------------------------------------------------------------------

typedef struct TkSplitter TkSplitter;
// `name` is tokenizer.ggml.pre; UNSUPPORTED lists those that are known.
HD_MUST_USE HdStatus *tk_splitter_new(const char *path, HdStr name, TkSplitter **out_splitter);
void tk_splitter_free(TkSplitter *splitter);
// One user of a splitter.
typedef struct TkMatcher TkMatcher;
TkMatcher *tk_matcher_new(const TkSplitter *splitter);
void tk_matcher_free(TkMatcher *matcher);
// The end of the word that starts at `from` < text.len of well-formed text.
HD_MUST_USE HdStatus *tk_next_word(TkMatcher *matcher, HdStr text, size_t from, size_t *out_end);

// ---- bpe.c ---------------------------------------------------------------------------------------------------

typedef struct TkMerge { uint64_t pair; uint32_t rank; int32_t merged; } TkMerge;   // pair: left id << 32 | right id
// Open addressing, at most half full.
typedef struct TkMerges { TkMerge *slots; uint64_t mask; uint32_t shift; } TkMerges;
HD_MUST_USE HdStatus *tk_merges_read(const GgufFile *file, const TkVocab *vocab, TkMerges *out_merges);
void tk_merges_free(TkMerges *merges);

typedef HD_VEC(int32_t) TkIds;
typedef struct TkSymbol { int32_t id; uint32_t rank, before, after; } TkSymbol;     // rank: of the merge with the symbol after it
typedef struct TkWord { HD_VEC(TkSymbol) symbols; HD_VEC(uint64_t) queue; } TkWord;
// Appends the ids of a word.
HD_MUST_USE HdStatus *tk_merge_word(const TkMerges *merges, const TkVocab *vocab, HdStr word, TkWord *work, TkIds *ids);
void tk_word_free(TkWord *work);

#endif
