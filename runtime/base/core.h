// SPDX-License-Identifier: Apache-2.0
// The part of base.h that passes of one's own see too (docs/WRITING_A_PASS.md): status values, arenas, arrays, text. It is installed, as is what
// it includes, and so includes relative to itself.
#ifndef HEDDLE_CORE_H
#define HEDDLE_CORE_H

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
#include "status.def"
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

#endif
