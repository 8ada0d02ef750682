// SPDX-License-Identifier: Apache-2.0
// Tensors of the reference interpreter: memory, weights that are read row by row, the dot product.
#include "ir/interp_impl.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/gguf.h"

// ---- memory --------------------------------------------------------------------------------------------------

static IrForm form_of(IrDtype dtype) { return dtype == IR_Q8A ? IR_FORM_F64 : dtype == IR_I32 ? IR_FORM_I32 : IR_FORM_F32; }

size_t ir_form_bytes(IrForm form) { return form == IR_FORM_F64 ? sizeof(double) : sizeof(float); }

static HdStatus *tensor_alloc(IrTensor *tensor) {
    uint64_t bytes;
    bool fits = hd_mul_u64((uint64_t)tensor->count, ir_form_bytes(tensor->form), &bytes);
    tensor->data = fits ? calloc(HD_MAX(bytes, 1), 1) : NULL;
    if (tensor->data) return NULL;
    return hd_error(HD_NO_MEMORY, "no memory for a value of %lld elements", (long long)tensor->count);
}

HdStatus *ir_tensor_new(const IrFrame *frame, const IrType *type, bool with_data, IrTensor **out_tensor) {
    IrTensor tensor = {.refs = 1, .form = form_of(type->dtype), .dtype = type->dtype, .rank = type->rank};
    for (uint32_t i = 0; i < type->rank; i++)
        tensor.dims[i] = HD_MAX(ir_dim_eval(frame->graph, type->dims[i], &frame->binding), 0);
    tensor.count = ir_type_elements(frame->graph, type, &frame->binding);
    if (with_data) HD_TRY(tensor_alloc(&tensor));
    *out_tensor = hd_xmalloc(sizeof tensor);
    **out_tensor = tensor;
    return NULL;
}

IrTensor *ir_tensor_ref(IrTensor *tensor) { return tensor->refs++, tensor; }

void ir_tensor_drop(IrTensor *tensor) {
    if (!tensor || --tensor->refs) return;
    free(tensor->data);
    free(tensor);
}

void *ir_scratch(size_t count, size_t bytes) {
    uint64_t total;
    HD_ASSERT(hd_mul_u64(count, bytes, &total));
    return hd_xmalloc(HD_MAX(total, 1));
}

// ---- rows ----------------------------------------------------------------------------------------------------

// The row of the weight that is row `row` of the tensor.
static int64_t source_row(const IrTensor *tensor, int64_t row) {
    int64_t source = tensor->rows.first;
    for (int32_t axis = (int32_t)tensor->rank - 2; axis >= 0; axis--) {
        source += row % tensor->dims[axis] * tensor->rows.stride[axis];
        row /= tensor->dims[axis];
    }
    return source;
}

static HdStatus *read_rows(const IrFrame *frame, const IrTensor *tensor, int64_t begin, int64_t end, float *out_rows) {
    const IrWeights *weights = &frame->interp->weights;
    int64_t columns = ir_tensor_last(tensor);
    while (begin < end) {
        int64_t source = source_row(tensor, begin), run = 1;
        while (begin + run < end && source_row(tensor, begin + run) == source + run) run++;
        HD_TRY(weights->rows(weights->user, tensor->rows.name, (uint64_t)columns, (uint64_t)source, (uint64_t)(source + run),
                             out_rows));
        out_rows += run * columns;
        begin += run;
    }
    return NULL;
}

HdStatus *ir_tensor_materialise(const IrFrame *frame, IrTensor *tensor) {
    if (tensor->data || !tensor->rows.name) return NULL;
    HD_TRY(tensor_alloc(tensor));
    return read_rows(frame, tensor, 0, ir_tensor_row_count(tensor), tensor->f);
}

HdStatus *ir_tensor_rows(const IrFrame *frame, const IrTensor *tensor, int64_t begin, int64_t end, float *scratch,
                         const float **out_rows) {
    *out_rows = tensor->data ? tensor->f + begin * ir_tensor_last(tensor) : scratch;
    return tensor->data ? NULL : read_rows(frame, tensor, begin, end, scratch);
}

HdStatus *ir_weights_from_gguf(void *gguf_file, const char *name, uint64_t columns, uint64_t begin, uint64_t end,
                               float *out_rows) {
    const GgufFile *file = gguf_file;
    const GgufTensor *tensor = gguf_find_tensor(file, name);
    const char *path = gguf_path(file);
    if (!tensor) return hd_error(HD_NOT_FOUND, "%s: tensor %s does not exist", path, name);
    if (!tensor->data) return hd_error(HD_USAGE, "%s: opened without data, tensor %s cannot be read", path, name);
    uint64_t rows = tensor->ne[1] * tensor->ne[2] * tensor->ne[3];
    if (tensor->ne[0] != columns || begin > end || end > rows)
        return hd_error(HD_MISMATCH, "%s: tensor %s has %llu rows of %llu, not rows %llu..%llu of %llu", path, name,
                        (unsigned long long)rows, (unsigned long long)tensor->ne[0], (unsigned long long)begin,
                        (unsigned long long)end, (unsigned long long)columns);
    const uint8_t *first = tensor->data + begin * ggml_row_bytes(tensor->type, columns);
    if (ggml_dequantise(tensor->type->id, first, (end - begin) * columns, out_rows)) return NULL;
    return hd_error(HD_UNSUPPORTED, "%s: tensor %s has type %s, which cannot be decoded", path, name, tensor->type->name);
}

// ---- numbers -------------------------------------------------------------------------------------------------

double *ir_tensor_doubles(const IrTensor *tensor) {
    double *copy = ir_scratch((size_t)tensor->count, sizeof *copy);
    if (tensor->form == IR_FORM_F64) memcpy(copy, tensor->d, (size_t)tensor->count * sizeof *copy);
    else
        for (int64_t i = 0; i < tensor->count; i++) copy[i] = tensor->f[i];
    return copy;
}

// A vector by its type: of a loop over lanes compilers make none where a sanitizer looks at every element.
typedef double Lanes __attribute__((vector_size(64)));

double ir_dot(const double *a, const double *b, int64_t count) {
    Lanes part = {0}, x, y;
    double rest = 0;
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        memcpy(&x, a + i, sizeof x), memcpy(&y, b + i, sizeof y);
        part += x * y;
    }
    for (; i < count; i++) rest += a[i] * b[i];
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7])) + rest;
}
