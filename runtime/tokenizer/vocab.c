// SPDX-License-Identifier: Apache-2.0
// The vocabulary: texts, types and what the tokens stand for. Ordinary tokens are spelt in GPT-2's byte alphabet, in which every
// byte is a printable character.
#include "runtime/tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

// ---- the byte alphabet ---------------------------------------------------------------------------------------
// Printable Latin-1 stands for itself, the other bytes in rising order for U+0100, U+0101, ...

enum { ALPHABET_END = 0x100 + 68 };
typedef struct Alphabet { int16_t byte_of[ALPHABET_END]; } Alphabet;   // by code point; -1: not in the alphabet

static Alphabet make_alphabet(void) {
    Alphabet alphabet;
    int next = 0x100;
    memset(&alphabet, 0xFF, sizeof alphabet);
    for (int byte = 0; byte < 256; byte++) {
        bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
        alphabet.byte_of[printable ? byte : next++] = (int16_t)byte;
    }
    return alphabet;
}

// Appends what a text in the alphabet stands for; false, and nothing is appended, when a character is not in it.
static bool append_bytes(const Alphabet *alphabet, HdStr text, HdBuf *bytes) {
    size_t start = bytes->len;
    for (size_t at = 0, used; at < text.len; at += used) {
        int32_t code = hd_utf8_decode(text.data + at, text.len - at, &used);
        if (code < 0 || code >= ALPHABET_END || alphabet->byte_of[code] < 0) {
            bytes->len = start;
            return false;
        }
        char byte = (char)alphabet->byte_of[code];
        hd_buf_bytes(bytes, &byte, 1);
    }
    return true;
}

// ---- reading -------------------------------------------------------------------------------------------------

static HdStatus *read_texts(const GgufFile *file, TkVocab *vocab) {
    uint64_t count;
    const GgufTensor *embedding = gguf_find_tensor(file, "token_embd.weight");
    HD_TRY(gguf_get_strings(file, "tokenizer.ggml.tokens", &vocab->arena, &vocab->texts, &count));
    if (!count || count > INT32_MAX)
        return hd_error(HD_BAD_DATA, "%s: tokenizer.ggml.tokens has %llu entries, expected 1 to 2147483647", gguf_path(file),
                        (unsigned long long)count);
    if (embedding && embedding->ne[1] != count)
        return hd_error(HD_BAD_DATA,
                        "%s: tokenizer.ggml.tokens has %llu entries, token_embd.weight has %llu rows; expected as many",
                        gguf_path(file), (unsigned long long)count, (unsigned long long)embedding->ne[1]);
    vocab->count = (uint32_t)count;
    hd_map_reserve(&vocab->ids, count);
    for (uint32_t id = 0; id < vocab->count; id++) {
        uint32_t first = 0;
        if (hd_map_put(&vocab->ids, vocab->texts[id], id)) continue;
        hd_map_get(&vocab->ids, vocab->texts[id], &first);
        return hd_error(HD_BAD_DATA, "%s: tokenizer.ggml.tokens[%u] and [%u] are both \"" HD_STR_FMT "\"", gguf_path(file), first,
                        id, HD_STR_ARG(vocab->texts[id]));
    }
    return NULL;
}

static HdStatus *read_types(const GgufFile *file, TkVocab *vocab) {
    HdArena arena = {0};
    int64_t *types = NULL;
    uint64_t count = 0;
    HdStatus *status = gguf_get_ints(file, "tokenizer.ggml.token_type", &arena, &types, &count);
    if (!status && count != vocab->count)
        status = hd_error(HD_BAD_DATA,
                          "%s: tokenizer.ggml.token_type has %llu entries, tokenizer.ggml.tokens has %u; expected as many",
                          gguf_path(file), (unsigned long long)count, vocab->count);
    vocab->types = HD_NEW_ARRAY(&vocab->arena, uint8_t, vocab->count);
    for (uint32_t id = 0; id < vocab->count && !status; id++) {
        vocab->types[id] = (uint8_t)types[id];
        if (types[id] < TK_NORMAL || types[id] > TK_UNUSED)
            status = hd_error(HD_BAD_DATA, "%s: tokenizer.ggml.token_type[%u] is %lld, expected 1 to 5", gguf_path(file), id,
                              (long long)types[id]);
    }
    hd_arena_free(&arena);
    return status;
}

// A token that is not in the alphabet (an added one, or "normal" by mistake) stands for its text.
static void make_bytes(TkVocab *vocab, const Alphabet *alphabet) {
    HdBuf bytes = {0};
    vocab->offsets = HD_NEW_ARRAY(&vocab->arena, size_t, vocab->count + 1);
    for (uint32_t id = 0; id < vocab->count; id++) {
        HdStr text = vocab->texts[id];
        if (vocab->types[id] != TK_NORMAL || !append_bytes(alphabet, text, &bytes)) hd_buf_bytes(&bytes, text.data, text.len);
        vocab->offsets[id + 1] = bytes.len;
    }
    vocab->bytes = bytes.data;
}

static void find_byte_tokens(TkVocab *vocab, const Alphabet *alphabet) {
    for (int byte = 0; byte < 256; byte++) vocab->byte_ids[byte] = -1;
    for (uint32_t code = 0; code < ALPHABET_END; code++) {
        char text[2] = {(char)(code < 0x80 ? code : 0xC0 | code >> 6), (char)(0x80 | (code & 0x3F))};
        uint32_t id;
        if (alphabet->byte_of[code] >= 0 && hd_map_get(&vocab->ids, (HdStr){text, code < 0x80 ? 1 : 2}, &id))
            vocab->byte_ids[alphabet->byte_of[code]] = (int32_t)id;
    }
}

static HdStatus *find_ends(const GgufFile *file, TkVocab *vocab) {
    static const char *const keys[] = {
#define END_KEY(key) key,
#include "runtime/tokenizer/ends.def"
#undef END_KEY
    };
    static const char *const tokens[] = {
#define END_TOKEN(text) text,
#include "runtime/tokenizer/ends.def"
#undef END_TOKEN
    };
    uint32_t id;
    vocab->ends = HD_NEW_ARRAY(&vocab->arena, bool, vocab->count);
    for (size_t i = 0; i < HD_COUNT(keys); i++) {
        if (!gguf_find_key(file, keys[i])) continue;
        HD_TRY(gguf_get_u32(file, keys[i], &id));
        if (id >= vocab->count)
            return hd_error(HD_BAD_DATA, "%s: %s is %u, expected the id of a token, below %u", gguf_path(file), keys[i], id,
                            vocab->count);
        vocab->ends[id] = true;
    }
    for (size_t i = 0; i < HD_COUNT(tokens); i++)
        if (hd_map_get(&vocab->ids, hd_str(tokens[i]), &id) && vocab->types[id] == TK_CONTROL) vocab->ends[id] = true;
    return NULL;
}

HdStatus *tk_vocab_read(const GgufFile *file, TkVocab *out_vocab) {
    Alphabet alphabet = make_alphabet();
    HD_TRY(read_texts(file, out_vocab));
    HD_TRY(read_types(file, out_vocab));
    make_bytes(out_vocab, &alphabet);
    find_byte_tokens(out_vocab, &alphabet);
    return find_ends(file, out_vocab);
}

void tk_vocab_free(TkVocab *vocab) {
    hd_map_free(&vocab->ids);
    free(vocab->bytes);
    hd_arena_free(&vocab->arena);
}
