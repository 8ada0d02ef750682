// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding of one word: its bytes are symbols, and the adjacent pair with the lowest rank is merged, the leftmost of
// equals, until no pair has one. A queue of (rank, place) over a linked list of symbols keeps that n log n for any word.
#include "runtime/tokenizer/internal.h"

#include <stdlib.h>
#include <string.h>

// ---- table of merges -----------------------------------------------------------------------------------------

static const uint32_t no_rank = UINT32_MAX, none = UINT32_MAX;
static const uint64_t free_slot = UINT64_MAX;

static uint64_t pair_of(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

// The slot of a pair, or the free one where it belongs. Multiplicative hashing: the product's high bits depend on all of
// its bits.
static TkMerge *find_slot(const TkMerges *merges, uint64_t pair) {
    for (uint64_t i = pair * 0x9E3779B97F4A7C15u >> merges->shift;; i = (i + 1) & merges->mask)
        if (merges->slots[i].pair == pair || merges->slots[i].pair == free_slot) return &merges->slots[i];
}

static HdStatus *bad_merge(const GgufFile *file, uint64_t index, HdStr merge, const char *what) {
    return hd_error(HD_BAD_DATA, "%s: tokenizer.ggml.merges[%llu] \"" HD_STR_FMT "\": %s", gguf_path(file),
                    (unsigned long long)index, HD_STR_ARG(merge), what);
}

// The token whose text is first and second together. `guess` is tried before the table is asked: vocabularies list what merges make in their order.
static bool find_joined(const TkVocab *vocab, HdStr first, HdStr second, uint32_t guess, HdBuf *joined, uint32_t *out_id) {
    if (guess < vocab->count) {
        HdStr text = vocab->texts[guess];
        *out_id = guess;
        if (text.len == first.len + second.len && !memcmp(text.data, first.data, first.len)
            && !memcmp(text.data + first.len, second.data, second.len)) return true;
    }
    joined->len = 0;
    hd_buf_bytes(joined, first.data, first.len);
    hd_buf_bytes(joined, second.data, second.len);
    return hd_map_get(&vocab->ids, (HdStr){joined->data, joined->len}, out_id);
}

// "left right", split at the first space after the first character; `joined` is a buffer. *merged: of the merge before, then of this one.
static HdStatus *add_merge(const GgufFile *file, const TkVocab *vocab, HdStr merge, uint64_t index, HdBuf *joined,
                           uint32_t *merged, TkMerges *merges) {
    uint32_t left, right;
    const char *space = merge.len > 1 ? memchr(merge.data + 1, ' ', merge.len - 1) : NULL;
    if (!space) return bad_merge(file, index, merge, "expected two tokens with a space between them");
    HdStr first = {merge.data, (size_t)(space - merge.data)}, second = {space + 1, merge.len - first.len - 1};
    if (!hd_map_get(&vocab->ids, first, &left) || !hd_map_get(&vocab->ids, second, &right))
        return bad_merge(file, index, merge, "a part is not in tokenizer.ggml.tokens");
    if (!find_joined(vocab, first, second, *merged + 1, joined, merged))
        return bad_merge(file, index, merge, "the joined text is not in tokenizer.ggml.tokens");
    TkMerge *slot = find_slot(merges, pair_of((int32_t)left, (int32_t)right));
    if (slot->pair == free_slot) *slot = (TkMerge){pair_of((int32_t)left, (int32_t)right), (uint32_t)index, (int32_t)*merged};
    return NULL;
}

HdStatus *tk_merges_read(const GgufFile *file, const TkVocab *vocab, TkMerges *out_merges) {
    HdArena arena = {0};
    HdBuf joined = {0};
    HdStr *merges = NULL;
    uint64_t count = 0, slots = 16;
    uint32_t merged = 0;
    HdStatus *status = gguf_get_strings(file, "tokenizer.ggml.merges", &arena, &merges, &count);
    if (!status && count >= no_rank / 4)
        status = hd_error(HD_LIMIT, "%s: tokenizer.ggml.merges has %llu entries, at most 2^30 are read", gguf_path(file),
                          (unsigned long long)count);
    if (!status) {
        uint32_t bits = 4;
        while (slots < 2 * count) slots *= 2, bits++;
        *out_merges = (TkMerges){hd_xmalloc(slots * sizeof(TkMerge)), slots - 1, 64 - bits};
        for (uint64_t i = 0; i < slots; i++) out_merges->slots[i].pair = free_slot;
    }
    for (uint64_t i = 0; i < count && !status; i++) status = add_merge(file, vocab, merges[i], i, &joined, &merged, out_merges);
    hd_buf_free(&joined);
    hd_arena_free(&arena);
    return status;
}

void tk_merges_free(TkMerges *merges) { free(merges->slots); }

// ---- queue: a binary heap of rank << 32 | place, the smallest first ------------------------------------------

static void queue_push(TkWord *work, uint64_t entry) {
    hd_vec_push(&work->queue, entry);
    uint64_t *heap = work->queue.data;
    size_t at = work->queue.len - 1;
    for (; at && heap[(at - 1) / 2] > entry; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = entry;
}

static uint64_t queue_pop(TkWord *work) {
    uint64_t *heap = work->queue.data, top = heap[0], last = heap[--work->queue.len];
    size_t len = work->queue.len, at = 0;
    for (size_t child; (child = 2 * at + 1) < len; at = child) {
        if (child + 1 < len && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= last) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return top;
}

// ---- merging -------------------------------------------------------------------------------------------------

// Looks the pair that starts at `place` up, notes its rank and queues it.
static void rank_pair(const TkMerges *merges, TkWord *work, uint32_t place) {
    TkSymbol *symbol = &work->symbols.data[place];
    symbol->rank = no_rank;
    if (symbol->after == none) return;
    const TkMerge *merge = find_slot(merges, pair_of(symbol->id, work->symbols.data[symbol->after].id));
    if (merge->pair == free_slot) return;
    symbol->rank = merge->rank;
    queue_push(work, (uint64_t)merge->rank << 32 | place);
}

static HdStatus *start_word(const TkVocab *vocab, HdStr word, TkWord *work) {
    work->symbols.len = work->queue.len = 0;
    hd_vec_reserve(&work->symbols, word.len);
    for (size_t i = 0; i < word.len; i++) {
        uint8_t byte = (uint8_t)word.data[i];
        if (vocab->byte_ids[byte] < 0)
            return hd_error(HD_BAD_DATA, "the vocabulary has no token for byte 0x%02X, which the text contains", byte);
        work->symbols.data[i] =
            (TkSymbol){vocab->byte_ids[byte], no_rank, i ? (uint32_t)i - 1 : none, i + 1 < word.len ? (uint32_t)i + 1 : none};
    }
    work->symbols.len = word.len;
    return NULL;
}

// The symbol at `place` takes in the one after it.
static void merge_at(const TkMerges *merges, TkWord *work, uint32_t place) {
    TkSymbol *symbols = work->symbols.data, *symbol = &symbols[place], *taken = &symbols[symbol->after];
    symbol->id = find_slot(merges, pair_of(symbol->id, taken->id))->merged;
    taken->rank = no_rank;           // entries of the queue for it are void
    symbol->after = taken->after;
    if (symbol->after != none) symbols[symbol->after].before = place;
    rank_pair(merges, work, place);
    if (symbol->before != none) rank_pair(merges, work, symbol->before);
}

HdStatus *tk_merge_word(const TkMerges *merges, const TkVocab *vocab, HdStr word, TkWord *work, TkIds *ids) {
    HD_TRY(start_word(vocab, word, work));
    for (uint32_t i = 0; i < work->symbols.len; i++) rank_pair(merges, work, i);
    while (work->queue.len) {
        uint64_t entry = queue_pop(work);
        uint32_t place = (uint32_t)entry;
        if (work->symbols.data[place].rank == entry >> 32) merge_at(merges, work, place);   // else the pair is no longer there
    }
    for (uint32_t i = 0; i != none; i = work->symbols.data[i].after) hd_vec_push(ids, work->symbols.data[i].id);
    return NULL;
}

void tk_word_free(TkWord *work) {
    hd_vec_free(&work->symbols);
    hd_vec_free(&work->queue);
}
