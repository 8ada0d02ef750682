// SPDX-License-Identifier: Apache-2.0
// The foundation every room stands on: status values, checked arithmetic, string views, arenas, growable
// buffers, UTF-8, a string map, digests and the log. Depends on libc only.
//
// Memory: big, input-sized allocations (weights, state, arenas of a session) report failure as a status. Small
// bookkeeping allocations go through hd_xmalloc and friends, which end the process with one line when the machine has
// no memory left: there is nothing sensible to unwind to.
#ifndef HEDDLE_BASE_H
#define HEDDLE_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#if defined(__GNUC__)
#define HD_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define HD_MUST_USE __attribute__((warn_unused_result))
#define HD_NONNULL __attribute__((returns_nonnull))        // lets the compiler see that an error path leaves
#else
#define HD_PRINTF(f, a)
#define HD_MUST_USE
#define HD_NONNULL
#endif

#define HD_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HD_MIN(a, b) ((a) < (b) ? (a) : (b))
#define HD_MAX(a, b) ((a) > (b) ? (a) : (b))

// ---- status.c ------------------------------------------------------------------------------------------------
// NULL is success. Any other status is one line of text with a code; the receiver owns it and frees it, passes it on,
// or prints it. The text names the file, key, tensor or option that is wrong and what would be right.

typedef enum HdCode {
#define HD_STATUS(name, exit_code, doc) HD_##name,
#include "runtime/base/status.def"
#undef HD_STATUS
    HD_CODE_COUNT
} HdCode;

typedef struct HdStatus HdStatus;

// Makes an error; fmt is printf's. Control characters in the result become spaces: a message stays one line.
HD_MUST_USE HD_NONNULL HdStatus *hd_error(HdCode code, const char *fmt, ...) HD_PRINTF(2, 3);
HD_MUST_USE HD_NONNULL HdStatus *hd_verror(HdCode code, const char *fmt, va_list args) HD_PRINTF(2, 0);
// Puts "text: " in front of the message of `status` and returns it; NULL stays NULL.
HD_MUST_USE HdStatus *hd_annotate(HdStatus *status, const char *fmt, ...) HD_PRINTF(2, 3);
HdCode hd_status_code(const HdStatus *status);            // HD_OK for NULL
const char *hd_status_message(const HdStatus *status);    // "" for NULL; lives as long as the status
const char *hd_code_name(HdCode code);                    // "BAD_DATA"
int hd_code_exit(HdCode code);                            // the exit code of the program: 0, 1 or 2
void hd_status_free(HdStatus *status);                    // NULL is fine

// Returns from the calling function when `expr` is an error.
#define HD_TRY(expr)                                                                                                   \
    do {                                                                                                               \
        HdStatus *hd_try_status_ = (expr);                                                                             \
        if (hd_try_status_) return hd_try_status_;                                                                     \
    } while (0)

// An invariant of ours, never a check of input: prints file, line and condition, and aborts. Stays in release builds.
#define HD_ASSERT(cond) ((cond) ? (void)0 : hd_assert_failed(__FILE__, __LINE__, #cond))
_Noreturn void hd_assert_failed(const char *file, int line, const char *cond);

// ---- memory.c ------------------------------------------------------------------------------------------------

void *hd_xmalloc(size_t bytes);
void *hd_xcalloc(size_t count, size_t bytes);             // zeroed; the product is checked
void *hd_xrealloc(void *old, size_t bytes);
char *hd_xstrdup(const char *text);

// A bump allocator: everything is freed at once. Results are zeroed and aligned to 16 bytes.
typedef struct HdArena { struct HdArenaBlock *head; size_t used, total; } HdArena;
void *hd_arena_alloc(HdArena *arena, size_t bytes);
char *hd_arena_strndup(HdArena *arena, const char *text, size_t len);
char *hd_arena_printf(HdArena *arena, const char *fmt, ...) HD_PRINTF(2, 3);
void hd_arena_free(HdArena *arena);                       // leaves an empty arena, ready for use
#define HD_NEW(arena, type) ((type *)hd_arena_alloc((arena), sizeof(type)))
#define HD_NEW_ARRAY(arena, type, count) ((type *)hd_arena_alloc((arena), sizeof(type) * (size_t)(count)))

// Growable arrays: struct { T *data; size_t len, cap; }, zero-initialised.
#define HD_VEC(T) struct { T *data; size_t len, cap; }
#define hd_vec_reserve(v, n) hd_vec_grow((void **)&(v)->data, &(v)->cap, (n), sizeof *(v)->data)
#define hd_vec_push(v, item) (hd_vec_reserve((v), (v)->len + 1), (v)->data[(v)->len++] = (item))
#define hd_vec_free(v) (free((v)->data), (v)->data = NULL, (v)->len = (v)->cap = 0)
void hd_vec_grow(void **data, size_t *cap, size_t need, size_t item_bytes);

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

// ---- text.c: views and buffers -------------------------------------------------------------------------------

typedef struct HdStr { const char *data; size_t len; } HdStr;   // not terminated
#define HD_STR(literal) ((HdStr){(literal), sizeof(literal) - 1})
#define HD_STR_FMT "%.*s"
#define HD_STR_ARG(s) (int)((s).len > 200 ? 200 : (s).len), (s).data   // long input is cut in messages
HdStr hd_str(const char *text);
bool hd_str_eq(HdStr a, HdStr b);
bool hd_str_is(HdStr a, const char *text);
bool hd_str_starts(HdStr a, const char *prefix);
// Takes the first item off a list: what stands in front of the first `separator` outside of braces. Behind the last item rest->data is NULL; an
// empty text is one empty item.
HdStr hd_next_item(HdStr *rest, char separator);

// A growable byte buffer; data is always terminated by a NUL that len does not count.
typedef struct HdBuf { char *data; size_t len, cap; } HdBuf;
void hd_buf_bytes(HdBuf *buf, const void *data, size_t len);
void hd_buf_str(HdBuf *buf, const char *text);
void hd_buf_printf(HdBuf *buf, const char *fmt, ...) HD_PRINTF(2, 3);
void hd_buf_vprintf(HdBuf *buf, const char *fmt, va_list args) HD_PRINTF(2, 0);
void hd_buf_free(HdBuf *buf);

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

// ---- log.c: messages for people, on stderr unless a sink is set ----------------------------------------------

typedef enum HdLogLevel { HD_LOG_ERROR, HD_LOG_WARNING, HD_LOG_INFO, HD_LOG_DEBUG } HdLogLevel;
typedef struct HdLog { HdLogLevel level; void (*sink)(void *user, HdLogLevel level, const char *line); void *user; } HdLog;
void hd_log(const HdLog *log, HdLogLevel level, const char *fmt, ...) HD_PRINTF(3, 4);   // log may be NULL: nothing is said

#endif
