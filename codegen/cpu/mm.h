// SPDX-License-Identifier: Apache-2.0
// The micro-kernel of all matrix products on the CPU: a panel of 16 weight rows times a few rows of activations ("tokens").
//
// Numerics (class ordered). Lanes are weight rows; every output element has an accumulator of its own that takes the columns in
// rising order, by a structure that depends on nothing but K: a fresh sum per part (16 columns in float32, 32 in bf16, one scale
// group in int8, exact in integers), parts into the total: in float32 by compensated additions, else by way of a sum per 256
// columns. The instructions for one token are the same whatever the number of tokens in the tile, so the bits of an output depend
// on its row of weights and its row of activations only.
//
// mm_tile.c generates this; mm_format.c knows the panels (layout.h); mm_pack.c and mm_decode.c make them from native rows;
// mm_group.c builds the launches of a group around it.
#ifndef HEDDLE_CODEGEN_CPU_MM_H
#define HEDDLE_CODEGEN_CPU_MM_H

#include "codegen/cpu/layout.h"
#include "codegen/mm.h"

enum { MM_MAX_TOKENS = 8, MM_MAX_LANES = MM_MAX_TOKENS * MM_MAX_PANELS, MM_MAX_GROUPS = 4 };

// ---- mm_format.c: reading panels -----------------------------------------------------------------------------------

// A place in a panel: `part` k's of it, found by mm_part_open.
typedef struct MmCursor {
    KirFn *fn;
    IrDtype dtype;
    KirRef panel;
    bool prefetch;               // the panel comes from memory in order: ask for what follows
    uint32_t part;               // k's from one mm_part_open to the next
    bool decoded;                // the panel is one that mm_decode.c makes
    KirRef block;                // ptr: superblock; set by mm_super_open
    KirRef d, dmin;              // f32x16 of the superblock
    KirRef quants, bits;         // ptr: quants and fifth bits of the part
    KirRef scale[MM_MAX_GROUPS]; // f32x16 per scale group of the part: the number meant is (q - offset) * scale - min
    KirRef min[MM_MAX_GROUPS];
} MmCursor;

// How a quantised type is made; for types of plain numbers only `part` is set.
typedef struct MmFormat {
    uint8_t part;                // k's per part, a loop round of the kernel; 0: the type cannot be multiplied
    uint8_t group;               // k's per scale: 16 or 32; 0: plain numbers
    uint8_t offset;              // of the stored quants
    bool has_min, has_super;     // has_super: K is a multiple of 256
    bool any_exponent;           // scales may be as large as a float can be; others are an f16 times an integer of at most 11 bits
    const int8_t *codes;         // what the 16 codes of a packed panel stand for; NULL: the quants themselves
} MmFormat;

// words >> right (or << -right) & bits, lane by lane of i32x16: bit fields of four bytes at once, where `bits` keeps what stays
// in its byte.
KirRef mm_field(KirFn *fn, KirRef words, int right, uint32_t bits);
const MmFormat *mm_format(IrDtype dtype);
bool mm_is_quantised(IrDtype dtype);                    // quants with scales
// Bytes of 32 columns of a decoded panel (layout.h); 0: the type has no quants.
uint64_t mm_decoded_bytes(IrDtype dtype);
// Goes to the superblock of 256 columns that begins at column k0 (i64).
void mm_super_open(MmCursor *cursor, KirRef k0);
// Goes to the part at column k0 + k (i64 both); loads its scales.
void mm_part_open(MmCursor *cursor, KirRef k0, KirRef k);
// Vector i of the part's quants: i8x64, unsigned, columns 4i..4i+3.
KirRef mm_quants(const MmCursor *cursor, uint32_t i);
// Column i of the part as numbers: f32x16, exactly what the format defines.
KirRef mm_numbers(const MmCursor *cursor, uint32_t i);
// Columns 2i, 2i+1 of a bf16 part: i16x32.
KirRef mm_bf16_pairs(const MmCursor *cursor, uint32_t i);
// Column k (i64) of a panel of plain numbers.
KirRef mm_plain_column(const MmCursor *cursor, KirRef k);

// ---- mm_tile.c: the micro-kernel -----------------------------------------------------------------------------------

enum { MM_TILE_SCRATCH = 2 * MM_MAX_TOKENS * 256 };
typedef struct MmProduct {
    IrDtype weight, activation;
    int64_t columns;             // K; only K mod 256 decides what is generated, the number itself is the parameter k
    KirRef k;                    // i64
    uint32_t panel_count;        // panels that share what is loaded of the activations
    KirRef panel[MM_MAX_PANELS]; // ptr
    bool prefetch, decoded;      // as a cursor has them
    bool fused;                  // the target has fma
    bool is_signed;              // it multiplies signed bytes at least as fast as unsigned with signed ones
    KirRef scratch;              // int8 activations: ptr to MM_TILE_SCRATCH bytes
} MmProduct;

// rows[i]: ptr to the activation row of token i. Gives sums[p * tokens + i]: f32x16, the products of token i with the 16 rows of
// panel p.
void mm_tile(KirFn *fn, const MmProduct *product, const KirRef *rows, uint32_t tokens, KirRef *out_sums);

// ---- mm_pack.c: making panels ---------------------------------------------------------------------------------------

// Packs rows 0..valid-1 (i64, 1..16) of a native matrix at `rows` (ptr), `columns` elements each, into the panel at `panel`.
void mm_pack(KirFn *fn, IrDtype dtype, KirRef rows, int64_t columns, KirRef k, KirRef valid, KirRef panel);
KirRef mm_native_row_bytes(KirFn *fn, IrDtype dtype, KirRef k);         // i64
// Row r's eight words (i32x8) are rows[r]; out_words[w] (i32x16) has word w of row r in lane r.
void mm_interleave(KirFn *fn, const KirRef rows[CG_PANEL_ROWS], KirRef out_words[8]);

// ---- mm_decode.c: decoded panels ------------------------------------------------------------------------------------

enum { MM_STAGE_BYTES = CG_PANEL_ROWS * 256 };
// As mm_pack, with MM_STAGE_BYTES of scratch at `stage` (ptr). Lanes of rows that do not exist repeat the last one that does.
void mm_decode(KirFn *fn, IrDtype dtype, KirRef rows, KirRef k, KirRef valid, KirRef stage, KirRef panel);
// The same panel from a packed one, for many tokens: the same quants and scales that the micro-kernel would take out of it for each tile.
void mm_expand(KirFn *fn, IrDtype dtype, KirRef packed, KirRef k, KirRef panel);
// The same of float32, as that type is packed: the numbers that the micro-kernel would take out of it for each tile.
void mm_expand_numbers(KirFn *fn, IrDtype dtype, KirRef packed, KirRef k, KirRef panel);

// ---- mm_group.c: the launches of a group with products --------------------------------------------------------------
// Many tokens pass each panel: it lies in a cache for most of them, and is decoded before where it needs unpacking. (The 16 or so that an expert has in a
// step are too few.) To be called before the launch begins.
void mm_job_expect_many(MmJob *job);
// Begins the launch and makes the parameters that every job has. Bytes and flops are filled; `matrices` is how many experts are
// read (1: no experts).
void mm_job_begin(MmJob *job, CgGroupBuilder *builder, const char *name, const IrExpr *matrices);
// Number of panels of a matrix.
static inline int64_t mm_job_panels(const MmJob *job) { return hd_ceil_div(job->rows, CG_PANEL_ROWS); }
// Panels that a work unit takes where several tokens pass them.
uint32_t mm_unit_panels(const IrTarget *target);
// Number of units of a matrix.
static inline int64_t mm_job_units(const MmJob *job, uint32_t panels) { return hd_ceil_div(mm_job_panels(job), panels); }
// Unit `unit` (i64) of expert `expert` (i64; 0: no experts), with `panels` panels or, at the end of the matrix, one less: computes and stores the results
// of tokens 0..count-1 (i64). most: count is never larger (0: unknown).
void mm_job_unit(MmJob *job, KirRef unit, uint32_t panels, KirRef expert, KirRef count, int64_t most, MmTokenAt *at, void *user);

#endif
