// SPDX-License-Identifier: Apache-2.0
// What the files of this folder share: the opened file, the parser's position, unaligned little-endian loads.
#ifndef HEDDLE_GGUF_INTERNAL_H
#define HEDDLE_GGUF_INTERNAL_H

#include <string.h>

#include "runtime/gguf.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF data is used in place: the machine has to be little-endian");

static inline uint16_t gguf_load_u16(const void *p) { uint16_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint32_t gguf_load_u32(const void *p) { uint32_t v; memcpy(&v, p, sizeof v); return v; }
static inline uint64_t gguf_load_u64(const void *p) { uint64_t v; memcpy(&v, p, sizeof v); return v; }

enum {
    GGUF_HEADER_FIXED = 24,                                // magic, version, two counts
    GGUF_NAME_MAX = 63,                                    // bytes of a tensor's name (ggml's limit)
    GGUF_ALIGNMENT_DEFAULT = 32, GGUF_ALIGNMENT_MIN = 8, GGUF_ALIGNMENT_MAX = 1 << 20,
};

typedef struct GgufKeys {
    HD_VEC(GgufValue) list;
    HdMap index;                                           // key → position in the list
} GgufKeys;

typedef struct GgufPart {
    char *path;                                            // what messages call it
    HdMapping mapping;
    bool is_borrowed;                                      // the caller's memory, not mapped by us
    uint64_t header_bytes;                                 // magic to the end of the tensor infos
    size_t first_tensor;                                   // its tensors are [first_tensor, the next part's first)
} GgufPart;

struct GgufFile {
    HD_VEC(GgufPart) parts;
    GgufKeys keys;                                         // of part 1: the others only repeat how they are split
    HD_VEC(GgufTensor) tensors;
    HdMap tensor_index;                                    // name → position in tensors
};

// parse.c
// Reads the header of `part` (rules of the container, not of any architecture). Keys go to `keys`, tensors are appended to the
// file with `offset` relative to the data section; part.header_bytes is set. `part_index` is noted in the tensors.
HD_MUST_USE HdStatus *gguf_parse_header(GgufFile *file, GgufPart *part, uint32_t part_index, GgufKeys *keys);

// layout.c
// Checks the offsets of the part's tensors against each other and, unless `header_only`, against the file; then makes them
// absolute and fills `data`, or clears both for header_only.
HD_MUST_USE HdStatus *gguf_place_tensors(GgufFile *file, const GgufPart *part, const GgufKeys *keys, bool header_only);

// value.c
uint32_t gguf_value_type_bytes(GgufValueType type);        // of a scalar; 0 for strings and arrays
const GgufValue *gguf_keys_find(const GgufKeys *keys, HdStr key);   // NULL when absent
uint64_t gguf_value_bytes(const GgufValue *value);         // in the file: scalar, elements, or string with its length
void gguf_keys_free(GgufKeys *keys);

#endif
