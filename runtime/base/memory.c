// SPDX-License-Identifier: Apache-2.0
// Small allocations that cannot fail, the arena, and growable arrays.
#include "runtime/base/base.h"

#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGN = 16, ARENA_BLOCK = 64 * 1024 };

struct HdArenaBlock {
    struct HdArenaBlock *next;
    size_t cap;                                            // bytes of `data`
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

_Noreturn static void out_of_memory(size_t bytes) {
    fprintf(stderr, "heddle: out of memory: %zu bytes wanted\n", bytes);
    exit(1);
}

void *hd_xmalloc(size_t bytes) {
    void *p = malloc(bytes ? bytes : 1);
    if (!p) out_of_memory(bytes);
    return p;
}

void *hd_xcalloc(size_t count, size_t bytes) {
    void *p = calloc(count ? count : 1, bytes ? bytes : 1);   // calloc refuses a product that overflows
    if (!p) out_of_memory(bytes && count > SIZE_MAX / bytes ? SIZE_MAX : count * bytes);
    return p;
}

void *hd_xrealloc(void *old, size_t bytes) {
    void *p = realloc(old, bytes ? bytes : 1);
    if (!p) out_of_memory(bytes);
    return p;
}

char *hd_xstrdup(const char *text) {
    size_t bytes = strlen(text) + 1;
    return memcpy(hd_xmalloc(bytes), text, bytes);
}

// `used` counts bytes of the head block, `total` all bytes handed out.
static struct HdArenaBlock *block_new(size_t cap) {
    if (cap > SIZE_MAX - sizeof(struct HdArenaBlock)) out_of_memory(cap);
    struct HdArenaBlock *block = hd_xcalloc(1, sizeof(struct HdArenaBlock) + cap);
    block->cap = cap;
    return block;
}

// A request too large for the usual block gets one of its own behind the head, which stays in use.
static void *alloc_alone(HdArena *arena, size_t bytes) {
    struct HdArenaBlock *block = block_new(bytes);
    block->next = arena->head->next;
    arena->head->next = block;
    return block->data;
}

void *hd_arena_alloc(HdArena *arena, size_t bytes) {
    if (bytes > SIZE_MAX - ARENA_ALIGN) out_of_memory(bytes);
    size_t need = (size_t)hd_align_up(bytes ? bytes : 1, ARENA_ALIGN);
    if (!arena->head) arena->head = block_new(ARENA_BLOCK);
    arena->total += need;
    if (need > ARENA_BLOCK / 4) return alloc_alone(arena, need);
    if (need > arena->head->cap - arena->used) {
        struct HdArenaBlock *block = block_new(ARENA_BLOCK);
        block->next = arena->head;
        arena->head = block;
        arena->used = 0;
    }
    void *p = arena->head->data + arena->used;
    arena->used += need;
    return p;
}

char *hd_arena_strndup(HdArena *arena, const char *text, size_t len) {
    char *copy = hd_arena_alloc(arena, len + 1);
    if (len) memcpy(copy, text, len);
    return copy;
}

char *hd_arena_printf(HdArena *arena, const char *fmt, ...) {
    HdBuf text = {0};
    va_list args;
    va_start(args, fmt);
    hd_buf_vprintf(&text, fmt, args);
    va_end(args);
    char *copy = hd_arena_strndup(arena, text.data, text.len);
    hd_buf_free(&text);
    return copy;
}

void hd_arena_free(HdArena *arena) {
    for (struct HdArenaBlock *block = arena->head, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    *arena = (HdArena){0};
}

void hd_vec_grow(void **data, size_t *cap, size_t need, size_t item_bytes) {
    if (need <= *cap) return;
    size_t grown = HD_MAX(need, *cap + *cap / 2 + 8);
    if (grown > SIZE_MAX / item_bytes) out_of_memory(SIZE_MAX);
    *data = hd_xrealloc(*data, grown * item_bytes);
    *cap = grown;
}
