// SPDX-License-Identifier: Apache-2.0
// Added tokens in raw text, as Hugging Face's tokenizers cut them out: leftmost first, the longest at each place.
#include "runtime/tokenizer/internal.h"

#include <stdlib.h>

static bool is_added(uint8_t type) { return type == TK_UNKNOWN || type == TK_CONTROL || type == TK_USER_DEFINED; }

static int longest_first(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x < y) - (x > y);
}

void tk_special_init(TkVocab *vocab, TkSpecial *out_special) {
    HD_VEC(uint32_t) lengths = {0};
    *out_special = (TkSpecial){0};
    for (uint32_t id = 0; id < vocab->count; id++) {
        HdStr text = vocab->texts[id];
        if (!is_added(vocab->types[id]) || !text.len) continue;
        hd_map_put(&out_special->ids, text, id);
        out_special->first[(uint8_t)text.data[0]] = true;
        hd_vec_push(&lengths, (uint32_t)text.len);
    }
    if (lengths.len) qsort(lengths.data, lengths.len, sizeof *lengths.data, longest_first);
    out_special->lengths = HD_NEW_ARRAY(&vocab->arena, uint32_t, lengths.len);
    for (size_t i = 0; i < lengths.len; i++)
        if (!i || lengths.data[i] != lengths.data[i - 1]) out_special->lengths[out_special->length_count++] = lengths.data[i];
    hd_vec_free(&lengths);
}

void tk_special_free(TkSpecial *special) { hd_map_free(&special->ids); }

static bool find_at(const TkSpecial *special, const TkVocab *vocab, HdStr rest, bool parse_control, int32_t *out_id,
                    size_t *out_len) {
    for (size_t i = 0; i < special->length_count; i++) {
        uint32_t len = special->lengths[i], id;
        if (len > rest.len || !hd_map_get(&special->ids, (HdStr){rest.data, len}, &id)) continue;
        if (vocab->types[id] != TK_USER_DEFINED && !parse_control) continue;
        *out_id = (int32_t)id;
        *out_len = len;
        return true;
    }
    return false;
}

bool tk_special_find(const TkSpecial *special, const TkVocab *vocab, HdStr text, size_t from, bool parse_control, int32_t *out_id,
                     size_t *out_start, size_t *out_end) {
    for (size_t at = from, len; at < text.len; at++) {
        if (!special->first[(uint8_t)text.data[at]]) continue;
        if (!find_at(special, vocab, (HdStr){text.data + at, text.len - at}, parse_control, out_id, &len)) continue;
        *out_start = at;
        *out_end = at + len;
        return true;
    }
    return false;
}
