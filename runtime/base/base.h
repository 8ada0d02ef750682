// SPDX-License-Identifier: Apache-2.0
// The foundation every room stands on: status values, checked arithmetic, string views, arenas, growable
// buffers, UTF-8, a string map, digests and the log. Depends on libc only.
//
// Memory: big, input-sized allocations (weights, state, arenas of a session) report failure as a status. Small
// bookkeeping allocations go through hd_xmalloc and friends, which end the process with one line when the machine has
// no memory left: there is nothing sensible to unwind to.
#ifndef HEDDLE_BASE_H
#define HEDDLE_BASE_H

#include "runtime/base/core.h"

// ---- arith.c: checked arithmetic; false on overflow, *out untouched ------------------------------------------

bool hd_add_u64(uint64_t a, uint64_t b, uint64_t *out);
bool hd_mul_u64(uint64_t a, uint64_t b, uint64_t *out);
bool hd_align_u64(uint64_t value, uint64_t alignment, uint64_t *out);   // up; alignment is a power of two
static inline uint64_t hd_align_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }
static inline int64_t hd_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

float hd_f16_to_f32(uint16_t half);                       // IEEE, exact, subnormals and infinities included
uint16_t hd_f32_to_f16(float value);                      // round to nearest even
static inline float hd_bf16_to_f32(uint16_t half) { union { uint32_t u; float f; } x = {(uint32_t)half << 16}; return x.f; }
uint16_t hd_f32_to_bf16(float value);                     // round to nearest even; a NaN stays a quiet NaN

// ---- utf8.c --------------------------------------------------------------------------------------------------

enum { HD_ILL_FORMED = -1, HD_INCOMPLETE = -2 };
// The code point that starts at data[0] (len > 0) and its length. HD_ILL_FORMED: it is none, and *out_used bytes are its maximal
// well-formed beginning (at least 1); HD_INCOMPLETE: the same, but the text ends there and more bytes could complete it. Table
// 3-7 of the Unicode standard.
int32_t hd_utf8_decode(const char *data, size_t len, size_t *out_used);
void hd_buf_utf8(HdBuf *buf, int32_t code);               // appends a code point, 0 to 0x10FFFF
// `text` itself when it is well-formed, else a copy in `store` with U+FFFD for every ill-formed part.
HdStr hd_well_formed(HdStr text, HdBuf *store);

// ---- json.c --------------------------------------------------------------------------------------------------

// Appends a string in quotes, as JSON has it; `ascii`: what is not ASCII is escaped. Ill-formed parts become U+FFFD.
void hd_buf_json(HdBuf *buf, HdStr text, bool ascii);

// ---- number.c ------------------------------------------------------------------------------------------------

// Shortest decimal text that reads back to the same float or double, independent of the locale ("1e-06", "0.5", "nan").
void hd_buf_f32(HdBuf *buf, float value);
void hd_buf_f64(HdBuf *buf, double value);
// The whole of `text` as a number (decimal, no blanks, no leading plus; f64 also nan, inf, -inf), independent of the locale; false
// otherwise.
bool hd_parse_i64(HdStr text, int64_t *out);
bool hd_parse_u64(HdStr text, uint64_t *out);
bool hd_parse_f64(HdStr text, double *out);

enum { HD_SIZE_TEXT = 32 };
void hd_size_text(uint64_t bytes, char out_text[HD_SIZE_TEXT]);   // "494.3 MiB", "12 bytes"

// ---- map.c: string to u32, open addressing; keys are not copied ----------------------------------------------

typedef struct HdMap { struct HdMapSlot *slots; size_t len, cap; } HdMap;
void hd_map_reserve(HdMap *map, size_t len);               // room for `len` keys in all
bool hd_map_put(HdMap *map, HdStr key, uint32_t value);   // false when the key is there already (its value stays)
bool hd_map_get(const HdMap *map, HdStr key, uint32_t *out_value);
void hd_map_free(HdMap *map);

// ---- digest.c: content digests (XXH3, stable across machines) ------------------------------------------------

typedef struct HdDigest { uint64_t lo, hi; } HdDigest;
typedef struct HdHasher HdHasher;
HdHasher *hd_hasher_new(void);
void hd_hasher_add(HdHasher *hasher, const void *data, size_t len);
void hd_hasher_text(HdHasher *hasher, const char *text);  // with its end, so that neighbours stay apart; NULL counts as ""
HdDigest hd_hasher_finish(HdHasher *hasher);              // frees the hasher
HdDigest hd_digest(const void *data, size_t len);
void hd_digest_hex(HdDigest digest, char out_hex[33]);    // 32 lower-case digits, hi first

// ---- file.c --------------------------------------------------------------------------------------------------

// A file mapped read-only. An empty file maps to len 0; data is NULL only when nothing is mapped.
typedef struct HdMapping { const uint8_t *data; size_t len; int fd; } HdMapping;
HD_MUST_USE HdStatus *hd_map_file(const char *path, HdMapping *out_mapping);
void hd_unmap_file(HdMapping *mapping);
HD_MUST_USE HdStatus *hd_read_file(const char *path, HdBuf *out_text);
// Writes through a temporary file beside `path` and renames it: a reader sees the old file or the whole new one, and
// an error leaves nothing behind. What is not a regular file (a pipe, /dev/null) is written in place.
HD_MUST_USE HdStatus *hd_write_file(const char *path, const void *data, size_t len);
// The same for content that lies in several places, one after another.
typedef struct HdSpan { const void *data; size_t len; } HdSpan;
HD_MUST_USE HdStatus *hd_write_spans(const char *path, const HdSpan *spans, size_t count);

// ---- clock.c -------------------------------------------------------------------------------------------------

double hd_seconds(void);                                  // since some moment in the past; never goes back
double hd_cpu_seconds(void);                              // of all threads of this process on processors

// ---- log.c: messages for people, on stderr unless a sink is set ----------------------------------------------

typedef enum HdLogLevel { HD_LOG_ERROR, HD_LOG_WARNING, HD_LOG_INFO, HD_LOG_DEBUG } HdLogLevel;
typedef struct HdLog { HdLogLevel level; void (*sink)(void *user, HdLogLevel level, const char *line); void *user; } HdLog;
void hd_log(const HdLog *log, HdLogLevel level, const char *fmt, ...) HD_PRINTF(3, 4);   // log may be NULL: nothing is said

#endif
