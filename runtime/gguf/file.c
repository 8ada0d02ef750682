// SPDX-License-Identifier: Apache-2.0
// Opening a file or all parts of a split one, and looking things up in it.
#include <inttypes.h>
#include <stdlib.h>

#include "runtime/gguf/internal.h"

enum { SPLIT_MAX = 65535 };                                // split.count is a u16

typedef struct Split {
    int64_t no, count, tensors;                            // -1: absent
} Split;

// ---- split models --------------------------------------------------------------------------------------------

static HdStatus *read_split_key(const GgufPart *part, const GgufKeys *keys, const char *key, int64_t max, int64_t *out_value) {
    const GgufValue *value = gguf_keys_find(keys, hd_str(key));
    *out_value = -1;
    if (!value) return NULL;
    if (value->type == GGUF_BOOL || !gguf_scalar_i64(value, out_value) || *out_value < 0 || *out_value > max)
        return hd_error(HD_BAD_DATA, "%s: key '%s' has to be an integer from 0 to %" PRId64, part->path, key, max);
    return NULL;
}

static HdStatus *read_split(const GgufPart *part, const GgufKeys *keys, Split *out_split) {
    HD_TRY(read_split_key(part, keys, "split.no", SPLIT_MAX, &out_split->no));
    HD_TRY(read_split_key(part, keys, "split.count", SPLIT_MAX, &out_split->count));
    return read_split_key(part, keys, "split.tensors.count", INT64_MAX, &out_split->tensors);
}

// "PREFIX-00001-of-00003.gguf" → PREFIX, when `path` is part 1 of `count` by its name.
static bool split_prefix(const char *path, int64_t count, HdStr *out_prefix) {
    char suffix[64];
    int len = snprintf(suffix, sizeof suffix, "-%05d-of-%05d.gguf", 1, (int)count);
    HdStr name = hd_str(path);
    if (name.len < (size_t)len) return false;
    *out_prefix = (HdStr){name.data, name.len - (size_t)len};
    return strcmp(name.data + out_prefix->len, suffix) == 0;
}

static HdStatus *check_first_part(const GgufPart *part, const Split *split, HdStr *out_prefix) {
    if (part->is_borrowed)
        return hd_error(HD_UNSUPPORTED, "%s: part of a split model; those can only be opened as files", part->path);
    if (split->no != 0)
        return hd_error(HD_BAD_DATA,
                        "%s: part %" PRId64 " of %" PRId64
                        " of a split model; open part 1, the file that ends in -00001-of-%05d.gguf",
                        part->path, split->no + 1, split->count, (int)split->count);
    if (split->tensors < 0)
        return hd_error(HD_BAD_DATA, "%s: key 'split.tensors.count' is missing from a split model", part->path);
    if (!split_prefix(part->path, split->count, out_prefix))
        return hd_error(HD_BAD_DATA,
                        "%s: part 1 of a split model of %" PRId64
                        " has to be called NAME-00001-of-%05d.gguf, or the other parts cannot be found",
                        part->path, split->count, (int)split->count);
    return NULL;
}

static HdStatus *check_later_part(const GgufPart *part, const Split *first, const Split *split, int64_t no) {
    if (split->no < 0 || split->count < 0)
        return hd_error(HD_BAD_DATA, "%s: key '%s' is missing from a part of a split model", part->path,
                        split->no < 0 ? "split.no" : "split.count");
    if (split->no != no)
        return hd_error(HD_BAD_DATA, "%s: key 'split.no' is %" PRId64 "; by the file's name it has to be %" PRId64, part->path,
                        split->no, no);
    if (split->count != first->count)
        return hd_error(HD_BAD_DATA, "%s: key 'split.count' is %" PRId64 "; part 1 says %" PRId64, part->path, split->count,
                        first->count);
    if (split->tensors >= 0 && split->tensors != first->tensors)
        return hd_error(HD_BAD_DATA, "%s: key 'split.tensors.count' is %" PRId64 "; part 1 says %" PRId64, part->path,
                        split->tensors, first->tensors);
    return NULL;
}

// ---- opening -------------------------------------------------------------------------------------------------

// Adds a part, parses it into `keys` and places its tensors.
static HdStatus *add_part(GgufFile *file, GgufPart part, GgufKeys *keys, bool header_only) {
    uint32_t index = (uint32_t)file->parts.len;
    part.first_tensor = file->tensors.len;
    hd_vec_push(&file->parts, part);
    GgufPart *added = &file->parts.data[index];
    HD_TRY(gguf_parse_header(file, added, index, keys));
    return gguf_place_tensors(file, added, keys, header_only);
}

static HdStatus *add_path(GgufFile *file, const char *path, GgufKeys *keys, bool header_only) {
    GgufPart part = {0};
    HD_TRY(hd_map_file(path, &part.mapping));
    part.path = hd_xstrdup(path);
    return add_part(file, part, keys, header_only);
}

static HdStatus *add_later_part(GgufFile *file, HdStr prefix, const Split *first, int64_t no, bool header_only) {
    HdBuf path = {0};
    GgufKeys keys = {0};
    Split split;
    hd_buf_bytes(&path, prefix.data, prefix.len);
    hd_buf_printf(&path, "-%05d-of-%05d.gguf", (int)no + 1, (int)first->count);
    HdStatus *status = add_path(file, path.data, &keys, header_only);
    const GgufPart *part = &file->parts.data[file->parts.len - 1];
    if (!status) status = read_split(part, &keys, &split);
    if (!status) status = check_later_part(part, first, &split, no);
    else if (hd_status_code(status) == HD_NOT_FOUND)
        status = hd_annotate(status, "part %" PRId64 " of %" PRId64 " of the split model is missing", no + 1, first->count);
    gguf_keys_free(&keys);
    hd_buf_free(&path);
    return status;
}

static HdStatus *add_other_parts(GgufFile *file, bool header_only) {
    Split split;
    HdStr prefix;
    char *first_path = file->parts.data[0].path;           // the list of parts may move, the text does not
    HD_TRY(read_split(&file->parts.data[0], &file->keys, &split));
    if (split.count <= 1) return NULL;
    HD_TRY(check_first_part(&file->parts.data[0], &split, &prefix));
    for (int64_t no = 1; no < split.count; no++) HD_TRY(add_later_part(file, prefix, &split, no, header_only));
    if ((uint64_t)split.tensors == file->tensors.len) return NULL;
    return hd_error(HD_BAD_DATA, "%s: key 'split.tensors.count' is %" PRId64 ", but the parts hold %zu tensors", first_path,
                    split.tensors, file->tensors.len);
}

static HdStatus *finish_open(HdStatus *status, GgufFile *file, bool header_only, GgufFile **out_file) {
    if (!status) status = add_other_parts(file, header_only);
    if (status) gguf_close(file);
    *out_file = status ? NULL : file;
    return status;
}

HdStatus *gguf_open(const char *path, const GgufOptions *options, GgufFile **out_file) {
    GgufFile *file = hd_xcalloc(1, sizeof *file);
    bool header_only = options && options->header_only;
    return finish_open(add_path(file, path, &file->keys, header_only), file, header_only, out_file);
}

HdStatus *gguf_open_memory(const char *name, const void *data, size_t len, const GgufOptions *options, GgufFile **out_file) {
    GgufFile *file = hd_xcalloc(1, sizeof *file);
    bool header_only = options && options->header_only;
    GgufPart part = {.path = hd_xstrdup(name), .mapping = {data, len, -1}, .is_borrowed = true};
    return finish_open(add_part(file, part, &file->keys, header_only), file, header_only, out_file);
}

void gguf_close(GgufFile *file) {
    if (!file) return;
    for (size_t i = 0; i < file->parts.len; i++) {
        if (!file->parts.data[i].is_borrowed) hd_unmap_file(&file->parts.data[i].mapping);
        free(file->parts.data[i].path);
    }
    hd_vec_free(&file->parts);
    gguf_keys_free(&file->keys);
    hd_vec_free(&file->tensors);
    hd_map_free(&file->tensor_index);
    free(file);
}

// ---- looking up ----------------------------------------------------------------------------------------------

const char *gguf_path(const GgufFile *file) { return file->parts.data[0].path; }

uint64_t gguf_header_bytes(const GgufFile *file) { return file->parts.data[0].header_bytes; }

const uint8_t *gguf_header_data(const GgufFile *file) { return file->parts.data[0].mapping.data; }

void gguf_hash_header(const GgufFile *file, HdHasher *hasher) {
    hd_hasher_add(hasher, gguf_header_data(file), (size_t)gguf_header_bytes(file));
    for (size_t i = 0; i < file->tensors.len; i++) {
        const GgufTensor *tensor = &file->tensors.data[i];
        hd_hasher_add(hasher, tensor->name.data, tensor->name.len);
        hd_hasher_add(hasher, &tensor->type->id, sizeof tensor->type->id);
        hd_hasher_add(hasher, tensor->ne, sizeof tensor->ne);
    }
}

size_t gguf_key_count(const GgufFile *file) { return file->keys.list.len; }

const GgufValue *gguf_key_at(const GgufFile *file, size_t index) {
    HD_ASSERT(index < file->keys.list.len);
    return &file->keys.list.data[index];
}

const GgufValue *gguf_find_key(const GgufFile *file, const char *key) { return gguf_keys_find(&file->keys, hd_str(key)); }

size_t gguf_tensor_count(const GgufFile *file) { return file->tensors.len; }

const GgufTensor *gguf_tensor_at(const GgufFile *file, size_t index) {
    HD_ASSERT(index < file->tensors.len);
    return &file->tensors.data[index];
}

const GgufTensor *gguf_find_tensor(const GgufFile *file, const char *name) {
    uint32_t index;
    return hd_map_get(&file->tensor_index, hd_str(name), &index) ? &file->tensors.data[index] : NULL;
}

uint32_t gguf_part_count(const GgufFile *file) { return (uint32_t)file->parts.len; }

const HdMapping *gguf_part_mapping(const GgufFile *file, uint32_t part) {
    HD_ASSERT(part < file->parts.len);
    return &file->parts.data[part].mapping;
}
