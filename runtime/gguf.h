// SPDX-License-Identifier: Apache-2.0
// GGUF files: reading (memory-mapped, every count and offset checked) and writing. Weights, compiled modules, pack
// files and goldens are all GGUF. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
//
// A reader never trusts a count, a length or an offset: each is compared with what the file can hold before it is
// used. Architecture rules (required keys, shapes) are not checked here; they belong to the model level.
#ifndef HEDDLE_GGUF_H
#define HEDDLE_GGUF_H

#include "runtime/base/base.h"

// ---- tensor types (runtime/ggml_types.def) -------------------------------------------------------------------

typedef enum GgmlType {
#define GGML_TYPE(name, text, id, block, bytes, flags) GGML_##name = id,
#include "runtime/ggml_types.def"
#undef GGML_TYPE
} GgmlType;

typedef struct GgmlTypeInfo {
    const char *name;        // "Q4_K"
    uint32_t id, block;      // block: elements per block
    uint32_t block_bytes;    // bytes per block
    bool is_quantised;       // has blocks and scales
} GgmlTypeInfo;

// NULL for an id that is unknown or was removed from the format.
const GgmlTypeInfo *ggml_type_info(uint32_t id);
// By its name, upper or lower case; NULL when unknown.
const GgmlTypeInfo *ggml_type_named(HdStr name);
// Bytes of a row of `ne0` elements; ne0 must be a multiple of the block.
uint64_t ggml_row_bytes(const GgmlTypeInfo *type, uint64_t ne0);
// Decodes `count` elements (a multiple of the block) of type `id` exactly as the format defines them, in float32 arithmetic;
// false when the type has no decoder (integers, Q8_1, Q8_K, Q2_0). Block layouts and formulas: ggml-quants.c (dequantize_row_*).
bool ggml_dequantise(uint32_t id, const void *blocks, uint64_t count, float *out_values);

// ---- reading -------------------------------------------------------------------------------------------------

typedef enum GgufValueType {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY,
    GGUF_U64, GGUF_I64, GGUF_F64,
    GGUF_VALUE_TYPE_COUNT
} GgufValueType;

typedef struct GgufValue {
    HdStr key;
    GgufValueType type, elem_type;   // elem_type: of an array's elements; the type itself for a scalar
    uint64_t count;                  // elements of an array; 1 for a scalar
    const uint8_t *data;             // unaligned, inside the mapping: the scalar, the first element, or a string's length word
} GgufValue;

typedef struct GgufTensor {
    HdStr name;
    const GgmlTypeInfo *type;
    uint32_t n_dims;                 // 1..4
    uint64_t ne[4];                  // fastest dimension first; missing trailing dimensions are 1
    uint64_t bytes;                  // size of the data, without padding
    uint64_t offset;                 // in its file, absolute; 0 when opened without data
    uint32_t part;                   // which file of a split model
    const uint8_t *data;             // inside the mapping; NULL when opened without data
} GgufTensor;

typedef struct GgufFile GgufFile;

typedef struct GgufOptions {
    bool header_only;                // the file may end after the tensor infos; tensors have no data. All split parts must be there.
} GgufOptions;

// Opens `path` and, for part 1 of a split model (PREFIX-00001-of-0000N.gguf), all other parts. options may be NULL.
// Errors name the file and the key or tensor. The file stays mapped until gguf_close.
HD_MUST_USE HdStatus *gguf_open(const char *path, const GgufOptions *options, GgufFile **out_file);
// The same over bytes in memory, which must outlive the file; `name` stands for the path in messages. No split files.
HD_MUST_USE HdStatus *gguf_open_memory(const char *name, const void *data, size_t len, const GgufOptions *options,
                                       GgufFile **out_file);
void gguf_close(GgufFile *file);                                        // NULL is fine

const char *gguf_path(const GgufFile *file);
uint64_t gguf_header_bytes(const GgufFile *file);                       // of part 1: magic to the end of the tensor infos, unpadded
const uint8_t *gguf_header_data(const GgufFile *file);
size_t gguf_key_count(const GgufFile *file);
const GgufValue *gguf_key_at(const GgufFile *file, size_t index);       // in file order
const GgufValue *gguf_find_key(const GgufFile *file, const char *key);  // NULL when absent
size_t gguf_tensor_count(const GgufFile *file);
const GgufTensor *gguf_tensor_at(const GgufFile *file, size_t index);   // in file order, parts one after another
const GgufTensor *gguf_find_tensor(const GgufFile *file, const char *name);
// Adds what the header says: part 1's header as it is, and name, type and shape of every tensor (the other parts of a split model
// only add tensors).
void gguf_hash_header(const GgufFile *file, HdHasher *hasher);
uint32_t gguf_part_count(const GgufFile *file);
const HdMapping *gguf_part_mapping(const GgufFile *file, uint32_t part);

// Typed access. Integers of any width are accepted where they fit the range, and for an f32 also f64 and integers; anything
// else is an error that names file, key, the type found and the type wanted. A missing key is NOT_FOUND.
HD_MUST_USE HdStatus *gguf_get_u32(const GgufFile *file, const char *key, uint32_t *out_value);
HD_MUST_USE HdStatus *gguf_get_u64(const GgufFile *file, const char *key, uint64_t *out_value);
HD_MUST_USE HdStatus *gguf_get_f32(const GgufFile *file, const char *key, float *out_value);
HD_MUST_USE HdStatus *gguf_get_bool(const GgufFile *file, const char *key, bool *out_value);
HD_MUST_USE HdStatus *gguf_get_string(const GgufFile *file, const char *key, HdStr *out_value);
// An array of integers that fit i64; one of bools, or of integers that are all 0 or 1. Values go to `arena`, 8 and 1 bytes each.
HD_MUST_USE HdStatus *gguf_get_ints(const GgufFile *file, const char *key, HdArena *arena, int64_t **out_values,
                                    uint64_t *out_count);
HD_MUST_USE HdStatus *gguf_get_bools(const GgufFile *file, const char *key, HdArena *arena, uint8_t **out_values,
                                     uint64_t *out_count);
// Views into the mapping.
HD_MUST_USE HdStatus *gguf_get_strings(const GgufFile *file, const char *key, HdArena *arena, HdStr **out_values,
                                       uint64_t *out_count);
// One scalar as i64 (integers up to INT64_MAX, bools) or f64 (those and floats); false when it is something else.
bool gguf_scalar_i64(const GgufValue *value, int64_t *out_value);
bool gguf_scalar_f64(const GgufValue *value, double *out_value);
const char *gguf_value_type_name(GgufValueType type);

// Optional scan of tensor data (rule 20): an error names the first tensor that holds a NaN, an infinity or a non-finite scale.
HD_MUST_USE HdStatus *gguf_check_finite(const GgufFile *file);

// ---- writing -------------------------------------------------------------------------------------------------
// Keys and tensors are written in the order they were added; the same calls give the same bytes. What a reader would refuse (a
// key or tensor added twice, a name of 64 bytes, a row that is no multiple of the block) is a defect of the caller and asserted.
// Tensors lie on multiples of 32, or of general.alignment when that key was added.

typedef struct GgufWriter GgufWriter;
GgufWriter *gguf_writer_new(const char *architecture);                   // adds general.architecture; NULL adds nothing
void gguf_writer_u32(GgufWriter *writer, const char *key, uint32_t value);
void gguf_writer_u64(GgufWriter *writer, const char *key, uint64_t value);
void gguf_writer_f32(GgufWriter *writer, const char *key, float value);
void gguf_writer_bool(GgufWriter *writer, const char *key, bool value);
void gguf_writer_string(GgufWriter *writer, const char *key, HdStr value);
void gguf_writer_strings(GgufWriter *writer, const char *key, const HdStr *values, uint64_t count);
void gguf_writer_ints(GgufWriter *writer, const char *key, const int64_t *values, uint64_t count);   // an i64 array
// Copies key `value` of another file as it is.
void gguf_writer_copy_key(GgufWriter *writer, const GgufValue *value);
// `data` (bytes as ne and type say) must stay valid until the file is written; ne is fastest first.
void gguf_writer_tensor(GgufWriter *writer, const char *name, GgmlType type, uint32_t n_dims, const uint64_t *ne,
                        const void *data);
// The whole file in memory.
void gguf_writer_finish(GgufWriter *writer, HdBuf *out_bytes);
// Atomically to `path`.
HD_MUST_USE HdStatus *gguf_writer_save(GgufWriter *writer, const char *path);
void gguf_writer_free(GgufWriter *writer);

#endif
