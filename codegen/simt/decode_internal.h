// SPDX-License-Identifier: Apache-2.0
// For the block decoders (decode*.c): integers, reading, and sixteen codes as bytes, four in a word and worked on four at a time: no
// operation carries from one byte into the next.
#ifndef HEDDLE_CODEGEN_SIMT_DECODE_INTERNAL_H
#define HEDDLE_CODEGEN_SIMT_DECODE_INTERNAL_H

#include "codegen/block_parts.h"
#include "codegen/simt/decode.h"

// s: which 16 elements (i32); bytes: the block's size, of whose largest power of two the address is a multiple, up to 4.
// scale: in layout `split` the scale that stood `scale_at` bytes into the block; what followed it lies `moved` bytes before its place. 0: there
typedef struct Block { KirFn *fn; KirRef ptr, s; uint32_t bytes; KirRef scale; uint32_t scale_at, moved; } Block;
typedef struct Words { KirRef word[4]; } Words;              // 16 codes, lowest byte of word[0] first
// The numbers meant are (code - less) * scale + add; codes are signed bytes or unsigned ones. Where something is added, the product is
// exact: 11 bits of an f16, 6 of a scale, 5 of a code.
typedef struct Sixteen {
    Words codes;
    bool is_signed;
    int32_t less;
    KirRef scale, add;                                       // f32; add 0: none
} Sixteen;
typedef Sixteen Decoder(const Block *b);

// ---- integers ------------------------------------------------------------------------------------------------------

static inline KirRef number(const Block *b, int64_t value) { return kir_int(b->fn, KT_I32, (int32_t)value); }
static inline KirRef mask(const Block *b, KirRef value, int64_t bits) { return kir_and(b->fn, value, number(b, bits)); }
static inline KirRef right(const Block *b, KirRef value, uint32_t by) { return by ? kir_lshr(b->fn, value, number(b, by)) : value; }
static inline KirRef left(const Block *b, KirRef value, uint32_t by) { return by ? kir_shl(b->fn, value, number(b, by)) : value; }
// (value >> by) & bits
static inline KirRef field(const Block *b, KirRef value, uint32_t by, int64_t bits) { return mask(b, right(b, value, by), bits); }
// The same where the shift is known at run time.
static inline KirRef field_at(const Block *b, KirRef value, KirRef by, int64_t bits) { return mask(b, kir_lshr(b->fn, value, by), bits); }
static inline KirRef join(const Block *b, KirRef low, KirRef high, uint32_t by) { return kir_or(b->fn, low, left(b, high, by)); }
static inline KirRef plus(const Block *b, KirRef value, int64_t add) { return kir_add(b->fn, value, number(b, add)); }
static inline KirRef times(const Block *b, KirRef integer, KirRef scale) { return kir_mul(b->fn, kir_itof(b->fn, integer), scale); }
static inline KirRef twice_plus_one(const Block *b, KirRef value) { return plus(b, left(b, value, 1), 1); }

// ---- reading: element `index` (i32; 0: none) of an array that begins at `bytes` -------------------------------------

static inline KirRef address(const Block *b, uint32_t bytes, KirRef index, uint32_t size) {
    if (b->scale && !index && bytes == b->scale_at) return b->scale;
    if (!index) return kir_offset_const(b->fn, b->ptr, bytes - b->moved);
    return kir_at(b->fn, b->ptr, kir_zext(b->fn, index, KIR_I64), size, bytes - b->moved);
}
static inline KirRef load_wide(const Block *b, KirType type, KirRef ptr) { return kir_zext(b->fn, kir_load(b->fn, type, ptr), KIR_I32); }
static inline KirRef byte_at(const Block *b, uint32_t bytes, KirRef index) { return load_wide(b, KT_I8, address(b, bytes, index, 1)); }
static inline KirRef short_at(const Block *b, uint32_t bytes, KirRef index) { return load_wide(b, KT_I16, address(b, bytes, index, 2)); }
static inline KirRef half_at(const Block *b, uint32_t bytes) { return kir_f16_f32(b->fn, kir_load(b->fn, KT_I16, address(b, bytes, 0, 2))); }

// `ptr` is as much aligned as `bytes` in the block.
static inline KirRef load_word(const Block *b, KirRef ptr, uint32_t bytes) {
    uint32_t odd = (b->bytes | (bytes - b->moved)) % 4, step = odd == 0 ? 4 : odd == 2 ? 2 : 1;
    if (step == 4) return kir_load(b->fn, KT_I32, ptr);
    KirRef word = load_wide(b, step == 2 ? KT_I16 : KT_I8, ptr);
    for (uint32_t i = step; i < 4; i += step)
        word = join(b, word, load_wide(b, step == 2 ? KT_I16 : KT_I8, kir_offset_const(b->fn, ptr, i)), 8 * i);
    return word;
}
static inline KirRef word_at(const Block *b, uint32_t bytes, KirRef index) { return load_word(b, address(b, bytes, index, 4), bytes); }
static inline Words words_at(const Block *b, uint32_t bytes, KirRef index) {
    KirRef ptr = address(b, bytes, index, 16);
    Words words;
    for (uint32_t i = 0; i < 4; i++) words.word[i] = load_word(b, kir_offset_const(b->fn, ptr, 4 * i), bytes);
    return words;
}

// ---- sixteen codes -------------------------------------------------------------------------------------------------

static const int64_t each = 0x01010101;                      // times a byte: that byte four times

// (code >> by) & bits, by is an i32
static inline Words fields(const Block *b, Words codes, KirRef by, int64_t bits) {
    for (int i = 0; i < 4; i++) codes.word[i] = field_at(b, codes.word[i], by, bits * each);
    return codes;
}
static inline Words join_codes(const Block *b, Words low, Words high, uint32_t by) {
    for (int i = 0; i < 4; i++) low.word[i] = join(b, low.word[i], high.word[i], by);
    return low;
}
// Bit l of `bits` (i32) as code l, 0 or 1. The product has bit k of the four at k, k + 7, k + 14, k + 21: no two of them meet.
static inline Words spread(const Block *b, KirRef bits) {
    Words codes;
    for (uint32_t i = 0; i < 4; i++)
        codes.word[i] = mask(b, kir_mul(b->fn, field(b, bits, 4 * i, 15), number(b, 1 | 1 << 7 | 1 << 14 | 1 << 21)), each);
    return codes;
}

// ---- parts of a block of 256: bits of s are j h where e = 32 j + 16 h ------------------------------------------------

static inline KirRef half_of(const Block *b) { return mask(b, b->s, 1); }
static inline KirRef j_of(const Block *b) { return right(b, b->s, 1); }
// Nibble `index` of an array of bytes.
static inline KirRef nibble_at(const Block *b, uint32_t bytes, KirRef index) {
    return field_at(b, byte_at(b, bytes, right(b, index, 1)), left(b, mask(b, index, 1), 2), 15);
}

// decode_book.c
Decoder simt_decode_iq2_xxs, simt_decode_iq2_xs, simt_decode_iq2_s, simt_decode_iq3_xxs, simt_decode_iq3_s, simt_decode_iq1_s,
    simt_decode_iq1_m;

#endif
