// SPDX-License-Identifier: Apache-2.0
// IQ1, IQ2 and IQ3: entries of a codebook (8 or 4 numbers each) with signs and scales of groups.
#include "codegen/simt/decode_internal.h"

// Codes as signed bytes, negative where a bit is set; none is 0, so that the 1 which makes -code of ~code never carries.
static Words negate(const Block *b, Words codes, KirRef bits) {
    Words ones = spread(b, bits);
    for (int i = 0; i < 4; i++) {
        KirRef one = ones.word[i], all = kir_sub(b->fn, left(b, one, 8), one);
        codes.word[i] = kir_add(b->fn, kir_xor(b->fn, codes.word[i], all), one);
    }
    return codes;
}

// Two entries of eight numbers, or four of four, side by side.
static Words entries(const Block *b, const GgmlCodebook *book, int factor, const char *text, const KirRef *index) {
    Block table = {.fn = b->fn, .ptr = cg_book_table(b->fn, book, factor, text), .bytes = 4};
    uint32_t words = book->width / 4;
    Words codes;
    for (uint32_t i = 0; i < 4; i++) codes.word[i] = word_at(&table, 4 * (i % words), left(b, index[i / words], words - 1));
    return codes;
}

// The eight signs, of which a byte's low seven bits are stored: the last is their parity. 0x6996 has the parities of 0..15.
static KirRef eight_signs(const Block *b, KirRef seven) {
    KirRef four = mask(b, kir_xor(b->fn, seven, right(b, seven, 4)), 15);
    return join(b, seven, mask(b, kir_lshr(b->fn, number(b, 0x6996), four), 1), 7);
}
static KirRef signs_of(const Block *b, KirRef first, KirRef second) { return join(b, eight_signs(b, first), eight_signs(b, second), 8); }

// d * (add + integer) * factor
static KirRef scale_of(const Block *b, KirRef d, float add, KirRef integer, float factor) {
    KirRef sum = kir_add(b->fn, kir_itof(b->fn, integer), kir_float(b->fn, KT_F32, add));
    return kir_mul(b->fn, kir_mul(b->fn, d, sum), kir_float(b->fn, KT_F32, factor));
}

// IQ2_XXS and IQ3_XXS: the signs and the scale of a group of 32 are a word.
static Sixteen signed_by_word(const Block *b, Words codes, KirRef word, float factor) {
    KirRef mine = kir_lshr(b->fn, word, kir_mul(b->fn, half_of(b), number(b, 14)));
    return (Sixteen){negate(b, codes, signs_of(b, mask(b, mine, 127), field(b, mine, 7, 127))), .is_signed = true,
                     .scale = scale_of(b, half_at(b, 0), 0.5f, right(b, word, 28), factor)};
}

Sixteen simt_decode_iq2_xxs(const Block *b) {
    KirRef both = short_at(b, 2, join(b, half_of(b), j_of(b), 2)), index[2] = {mask(b, both, 255), right(b, both, 8)};
    return signed_by_word(b, entries(b, &ggml_codebook_iq2_xxs, 1, "iq2_xxs", index), word_at(b, 6, left(b, j_of(b), 1)), 0.25f);
}

Sixteen simt_decode_iq3_xxs(const Block *b) {
    KirRef all = word_at(b, 2, b->s), index[4];
    for (uint32_t i = 0; i < 4; i++) index[i] = field(b, all, 8 * i, 255);
    return signed_by_word(b, entries(b, &ggml_codebook_iq3_xxs, 1, "iq3_xxs", index), word_at(b, 66, j_of(b)), 0.5f);
}

// The scale of 16 numbers in IQ2_XS and IQ2_S.
static KirRef iq2_scale(const Block *b, uint32_t scales) {
    return scale_of(b, half_at(b, 0), 0.5f, nibble_at(b, scales, b->s), 0.25f);
}

Sixteen simt_decode_iq2_xs(const Block *b) {
    KirRef both = word_at(b, 2, b->s), index[2] = {mask(b, both, 511), field(b, both, 16, 511)};
    Words codes = entries(b, &ggml_codebook_iq2_xs, 1, "iq2_xs", index);
    return (Sixteen){negate(b, codes, signs_of(b, field(b, both, 9, 127), right(b, both, 25))), .is_signed = true,
                     .scale = iq2_scale(b, 66)};
}

Sixteen simt_decode_iq2_s(const Block *b) {
    KirRef low = short_at(b, 2, b->s), high = nibble_at(b, 66, b->s);
    KirRef index[2] = {join(b, mask(b, low, 255), mask(b, high, 3), 8), join(b, right(b, low, 8), right(b, high, 2), 8)};
    Words codes = entries(b, &ggml_codebook_iq2_s, 1, "iq2_s", index);
    return (Sixteen){negate(b, codes, short_at(b, 34, b->s)), .is_signed = true, .scale = iq2_scale(b, 74)};
}

Sixteen simt_decode_iq3_s(const Block *b) {
    KirRef low = word_at(b, 2, b->s), high = nibble_at(b, 66, b->s), index[4];
    for (uint32_t i = 0; i < 4; i++) index[i] = join(b, field(b, low, 8 * i, 255), field(b, high, i, 1), 8);
    Words codes = entries(b, &ggml_codebook_iq3_s, 1, "iq3_s", index);
    KirRef odd = twice_plus_one(b, nibble_at(b, 106, j_of(b)));
    return (Sixteen){negate(b, codes, short_at(b, 74, b->s)), .is_signed = true, .scale = times(b, odd, half_at(b, 0))};
}

// IQ1: numbers -1, 0, 1 moved by an eighth up or down (`down`: bit i for half i). In eighths these are integers; the scale is divided
// by 8, which is exact. Codes are 8 x + 128, unsigned, to which the move adds 0 or 2.
static Sixteen iq1(const Block *b, const KirRef *index, const KirRef *down, KirRef d, KirRef scale) {
    Sixteen q = {entries(b, &ggml_codebook_iq1, 8, "iq1", index), .less = 129,
                 .scale = scale_of(b, d, 0, twice_plus_one(b, scale), 0.125f)};
    for (int i = 0; i < 4; i++) {
        KirRef up = kir_mul(b->fn, kir_xor(b->fn, down[i / 2], number(b, 1)), number(b, 2 * each));
        q.codes.word[i] = kir_add(b->fn, kir_xor(b->fn, q.codes.word[i], number(b, 128 * each)), up);
    }
    return q;
}

// Indices: low bytes in `low`, three bits more of each in `high`, `apart` bits from one another.
static void iq1_indices(const Block *b, KirRef low, KirRef high, uint32_t apart, KirRef out_index[2]) {
    for (uint32_t i = 0; i < 2; i++) out_index[i] = join(b, field(b, low, 8 * i, 255), field(b, high, apart * i, 7), 8);
}

Sixteen simt_decode_iq1_s(const Block *b) {
    KirRef word = short_at(b, 34, j_of(b)), down = right(b, word, 15), index[2];
    KirRef high = kir_lshr(b->fn, word, kir_mul(b->fn, half_of(b), number(b, 6)));
    iq1_indices(b, short_at(b, 2, b->s), high, 3, index);
    return iq1(b, index, (KirRef[]){down, down}, half_at(b, 0), field(b, word, 12, 7));
}

// The f16 scale of an IQ1_M block is spread over the top nibbles of its four u16 of scales.
static KirRef iq1_m_scale(const Block *b) {
    KirRef low = word_at(b, 48, 0), high = word_at(b, 52, 0);
    KirRef bits = join(b, join(b, field(b, low, 12, 0xf), field(b, low, 24, 0xf0), 0),
                       join(b, field(b, high, 4, 0xf00), field(b, high, 16, 0xf000), 0), 0);
    return kir_f16_f32(b->fn, kir_trunc(b->fn, bits, KIR_I16));
}

Sixteen simt_decode_iq1_m(const Block *b) {
    KirRef high = byte_at(b, 32, b->s), index[2];
    iq1_indices(b, short_at(b, 0, b->s), high, 4, index);
    KirRef by = kir_mul(b->fn, mask(b, b->s, 3), number(b, 3)), scale = field_at(b, short_at(b, 48, right(b, b->s, 2)), by, 7);
    return iq1(b, index, (KirRef[]){field(b, high, 3, 1), right(b, high, 7)}, iq1_m_scale(b), scale);
}
