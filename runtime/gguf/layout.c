// SPDX-License-Identifier: Apache-2.0
// Where the tensors lie: alignment, no overlap, all inside the file.
#include <inttypes.h>
#include <stdlib.h>

#include "runtime/gguf/internal.h"

typedef struct Span {
    uint64_t offset, end;
    uint32_t tensor;
} Span;

HD_MUST_USE HD_PRINTF(3, 4) static HdStatus *bad_tensor(const GgufPart *part, const GgufTensor *tensor, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    HdStatus *status = hd_verror(HD_BAD_DATA, fmt, args);
    va_end(args);
    return hd_annotate(status, "%s: tensor '" HD_STR_FMT "'", part->path, HD_STR_ARG(tensor->name));
}

static HdStatus *read_alignment(const GgufPart *part, const GgufKeys *keys, uint64_t *out_alignment) {
    const GgufValue *value = gguf_keys_find(keys, HD_STR("general.alignment"));
    *out_alignment = GGUF_ALIGNMENT_DEFAULT;
    if (!value) return NULL;
    if (value->type != GGUF_U32)
        return hd_error(HD_BAD_DATA, "%s: key 'general.alignment' is of type %s; it has to be u32", part->path,
                        gguf_value_type_name(value->type));
    uint32_t alignment = gguf_load_u32(value->data);
    if (alignment < GGUF_ALIGNMENT_MIN || alignment > GGUF_ALIGNMENT_MAX || (alignment & (alignment - 1)))
        return hd_error(HD_BAD_DATA, "%s: key 'general.alignment' is %" PRIu32 "; it has to be a power of two from %d to %d",
                        part->path, alignment, GGUF_ALIGNMENT_MIN, GGUF_ALIGNMENT_MAX);
    *out_alignment = alignment;
    return NULL;
}

static int compare_spans(const void *a, const void *b) {
    const Span *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

static HdStatus *check_overlap(const GgufFile *file, const GgufPart *part, Span *spans, size_t count) {
    bool sorted = true;
    for (size_t i = 1; i < count; i++) sorted = sorted && spans[i - 1].offset <= spans[i].offset;
    if (!sorted) qsort(spans, count, sizeof *spans, compare_spans);
    for (size_t i = 1; i < count; i++) {
        if (spans[i - 1].end <= spans[i].offset) continue;
        const GgufTensor *first = &file->tensors.data[spans[i - 1].tensor], *second = &file->tensors.data[spans[i].tensor];
        return bad_tensor(part, second, "its data at offset %" PRIu64 " overlaps that of '" HD_STR_FMT "'", second->offset,
                          HD_STR_ARG(first->name));
    }
    return NULL;
}

static HdStatus *check_offsets(const GgufFile *file, const GgufPart *part, uint64_t alignment) {
    size_t count = file->tensors.len - part->first_tensor;
    Span *spans = hd_xcalloc(count, sizeof *spans);
    HdStatus *status = NULL;
    for (size_t i = 0; i < count && !status; i++) {
        const GgufTensor *tensor = &file->tensors.data[part->first_tensor + i];
        spans[i] = (Span){.offset = tensor->offset, .tensor = (uint32_t)(part->first_tensor + i)};
        if (tensor->offset % alignment)
            status = bad_tensor(part, tensor, "its offset %" PRIu64 " is not a multiple of the alignment %" PRIu64,
                                tensor->offset, alignment);
        else if (!hd_add_u64(tensor->offset, tensor->bytes, &spans[i].end))
            status = bad_tensor(part, tensor, "its offset %" PRIu64 " plus its %" PRIu64 " bytes overflow 64 bits",
                                tensor->offset, tensor->bytes);
    }
    if (!status) status = check_overlap(file, part, spans, count);
    free(spans);
    return status;
}

// Absolute offset and data of one tensor; `start` is where the data section starts.
static HdStatus *place_tensor(const GgufPart *part, GgufTensor *tensor, uint64_t start, bool header_only) {
    uint64_t offset, end, len = part->mapping.len;
    if (!hd_add_u64(start, tensor->offset, &offset) || !hd_add_u64(offset, tensor->bytes, &end))
        return bad_tensor(part, tensor, "its offset %" PRIu64 " overflows 64 bits", tensor->offset);
    tensor->offset = 0;
    if (header_only) return NULL;
    if (end > len)
        return bad_tensor(part, tensor,
                          "its data ends at byte %" PRIu64 ", but the file has only %" PRIu64
                          ": it is truncated (an incomplete download?)",
                          end, len);
    tensor->offset = offset;
    tensor->data = part->mapping.data + offset;
    return NULL;
}

HdStatus *gguf_place_tensors(GgufFile *file, const GgufPart *part, const GgufKeys *keys, bool header_only) {
    uint64_t alignment, start;
    HD_TRY(read_alignment(part, keys, &alignment));
    HD_TRY(check_offsets(file, part, alignment));
    start = hd_align_up(part->header_bytes, alignment);    // no overflow: the header lies inside a mapping
    for (size_t i = part->first_tensor; i < file->tensors.len; i++)
        HD_TRY(place_tensor(part, &file->tensors.data[i], start, header_only));
    return NULL;
}
