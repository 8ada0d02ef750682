// SPDX-License-Identifier: Apache-2.0
// Segments and states in the reference interpreter, and the operations that write a KV cache, read it, or slide a window over
// inputs. Tokens outside all segments (padding) write no state and get zeros.
#include "ir/interp_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- segments ------------------------------------------------------------------------------------------------

IrSegment ir_segment_at(const int32_t *table, int64_t index) {
    const int32_t *row = table + index * IR_SEGMENT_WORDS;
    return (IrSegment){
        .slot = row[0], .position = row[1], .first = row[2], .count = row[3], .plane_in = row[4], .plane_out = row[5]};
}

static HdStatus *check_segment(const IrInterp *interp, IrSegment s, int64_t index, int64_t tokens) {
    if (s.slot < 0 || s.slot >= interp->slots)
        return hd_error(HD_LIMIT, "segment %lld: slot %lld, there are %u", (long long)index, (long long)s.slot, interp->slots);
    if (s.plane_in < 0 || s.plane_in >= interp->planes || s.plane_out < 0 || s.plane_out >= interp->planes)
        return hd_error(HD_LIMIT, "segment %lld: planes %lld and %lld, there are %u", (long long)index, (long long)s.plane_in,
                        (long long)s.plane_out, interp->planes);
    if (s.first < 0 || s.count < 0 || s.first + s.count > tokens)
        return hd_error(HD_LIMIT, "segment %lld: %lld tokens from token %lld, the call has %lld", (long long)index,
                        (long long)s.count, (long long)s.first, (long long)tokens);
    if (s.position < 0 || s.position + s.count > interp->context)
        return hd_error(HD_LIMIT, "segment %lld: positions %lld..%lld, the context has %u", (long long)index,
                        (long long)s.position, (long long)(s.position + s.count), interp->context);
    return NULL;
}

HdStatus *ir_check_segments(const IrInterp *interp, const int32_t *table, int64_t count, int64_t tokens) {
    for (int64_t i = 0; i < count; i++) {
        IrSegment s = ir_segment_at(table, i);
        HD_TRY(check_segment(interp, s, i, tokens));
        for (int64_t k = 0; k < i; k++) {
            IrSegment other = ir_segment_at(table, k);
            if (other.slot == s.slot)
                return hd_error(HD_USAGE, "segments %lld and %lld have the same slot %lld", (long long)k, (long long)i,
                                (long long)s.slot);
            if (HD_MAX(other.first, s.first) < HD_MIN(other.first + other.count, s.first + s.count))
                return hd_error(HD_USAGE, "segments %lld and %lld share tokens", (long long)k, (long long)i);
        }
    }
    return NULL;
}

static HdStatus *check_table(const IrFrame *frame, const IrTensor *table, int64_t tokens) {
    return ir_check_segments(frame->interp, table->i, ir_segment_count(table), tokens);
}

// ---- states --------------------------------------------------------------------------------------------------

static HdStatus *state_new(const IrFrame *frame, const IrValueData *value, int64_t elements, IrStateStore **out_state) {
    const IrInterp *interp = frame->interp;
    uint32_t planes = value->index == IR_STATE_KV ? 1 : interp->planes;
    uint64_t total;
    bool fits = hd_mul_u64((uint64_t)elements, (uint64_t)planes * interp->slots, &total) && total <= SIZE_MAX / sizeof(double);
    double *data = fits ? calloc(HD_MAX(total, 1), sizeof *data) : NULL;
    if (!data)
        return hd_error(HD_NO_MEMORY, "no memory for state %s: %u slots of %u planes of %lld values", value->name, interp->slots,
                        planes, (long long)elements);
    IrStateStore *state = hd_xmalloc(sizeof *state);
    *state = (IrStateStore){.name = hd_xstrdup(value->name), .kind = (IrStateKind)value->index, .dtype = value->type.dtype,
                            .elements = elements, .planes = planes, .data = data};
    *out_state = state;
    return NULL;
}

HdStatus *ir_state_find(const IrFrame *frame, const IrValueData *value, IrStateStore **out_state) {
    IrInterp *interp = frame->interp;
    int64_t elements = ir_type_elements(frame->graph, &value->type, &frame->binding);
    for (size_t i = 0; i < interp->states.len; i++) {
        IrStateStore *state = *out_state = interp->states.data[i];
        if (strcmp(state->name, value->name) != 0) continue;
        if (state->kind == (IrStateKind)value->index && state->dtype == value->type.dtype && state->elements == elements)
            return NULL;
        return hd_error(HD_MISMATCH, "state %s has another type than in an earlier graph", value->name);
    }
    HD_TRY(state_new(frame, value, elements, out_state));
    hd_vec_push(&interp->states, *out_state);
    return NULL;
}

double *ir_state_plane(const IrStateStore *state, int64_t slot, int64_t plane) {
    return state->data + (slot * state->planes + plane) * state->elements;
}

void ir_state_free(IrStateStore *state) {
    free(state->name);
    free(state->data);
    free(state);
}

// ---- the KV cache --------------------------------------------------------------------------------------------

// As check_table; and a cache of a fixed length has room for the positions.
static HdStatus *check_cache(const IrFrame *frame, const IrTensor *cache, const IrTensor *table, int64_t tokens) {
    HD_TRY(check_table(frame, table, tokens));
    for (int64_t i = 0; i < ir_segment_count(table); i++) {
        IrSegment s = ir_segment_at(table->i, i);
        if (s.position + s.count > cache->dims[0])
            return hd_error(HD_LIMIT, "segment %lld: positions up to %lld, cache %s has %lld", (long long)i,
                            (long long)(s.position + s.count), cache->state->name, (long long)cache->dims[0]);
    }
    return NULL;
}

static double stored(IrDtype dtype, float value) { return dtype == IR_F16 ? hd_f16_to_f32(hd_f32_to_f16(value)) : value; }

HdStatus *ir_run_kv_append(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)op, (void)out;
    const IrTensor *x = in[0], *cache = in[1], *table = in[2];
    int64_t tokens = x->dims[0], row = x->dims[1] * x->dims[2];
    HD_TRY(check_cache(frame, cache, table, tokens));
    for (int64_t i = 0; i < ir_segment_count(table); i++) {
        IrSegment s = ir_segment_at(table->i, i);
        double *to = ir_state_plane(cache->state, s.slot, 0) + s.position * row;
        for (int64_t k = 0; k < s.count * row; k++) to[k] = stored(cache->dtype, x->f[s.first * row + k]);
    }
    return NULL;
}

// One head of one query over `keys` cache rows, `stride` apart. score: scratch of `keys`. Gives the sums of the values with weights
// e^(score - largest), that largest score, and the sum of the weights.
static void attend(const double *q, const double *k, const double *v, int64_t keys, int64_t stride, int64_t d, double scale,
                   double *score, double *out, double *out_most, double *out_total) {
    double most = IR_NO_SCORE, total = 0;
    for (int64_t p = 0; p < keys; p++) {
        score[p] = ir_dot(q, k + p * stride, d) * scale;
        most = HD_MAX(most, score[p]);
    }
    memset(out, 0, (size_t)d * sizeof *out);
    for (int64_t p = 0; p < keys; p++) {
        double weight = exp(score[p] - most);
        total += weight;
        for (int64_t c = 0; c < d; c++) out[c] += weight * v[p * stride + c];
    }
    *out_most = most, *out_total = total;
}

// spans 0: the attention itself, in out[0]; else its spans.
static HdStatus *attend_all(IrFrame *frame, const IrOp *op, IrTensor *const *in, int64_t spans, IrTensor **out) {
    const IrTensor *q = in[0], *k = in[1], *v = in[2], *table = in[3];
    int64_t tokens = q->dims[0], heads = q->dims[1], d = q->dims[2], kv_heads = k->dims[1], group = heads / kv_heads,
            stride = kv_heads * d;
    HD_TRY(check_cache(frame, k, table, tokens));
    double *query = ir_tensor_doubles(q), *score = ir_scratch((size_t)frame->interp->context, sizeof *score),
           *sum = ir_scratch((size_t)d, sizeof *sum), most, total;
    for (int64_t i = 0; i < ir_segment_count(table); i++) {
        IrSegment s = ir_segment_at(table->i, i);
        const double *keys = ir_state_plane(k->state, s.slot, 0), *values = ir_state_plane(v->state, s.slot, 0);
        for (int64_t unit = 0; unit < s.count * heads; unit++) {
            int64_t t = unit / heads, a = unit % heads, row = (s.first + t) * heads + a, shared = a / group * d, seen = s.position + t + 1;
            int64_t length = spans ? ir_span_length(seen, spans) : seen;
            for (int64_t span = 0; span < HD_MAX(spans, 1); span++) {
                int64_t first = HD_MIN(span * length, seen), to = row * HD_MAX(spans, 1) + span;
                attend(query + row * d, keys + first * stride + shared, values + first * stride + shared, HD_MIN(length, seen - first), stride,
                       d, op->attr[IR_ATTR_SCALE].f, score, sum, &most, &total);
                for (int64_t c = 0; c < d; c++) out[0]->f[to * d + c] = (float)(spans ? sum[c] : sum[c] / total);
                if (spans) out[1]->f[to] = (float)most, out[2]->f[to] = (float)total;
            }
        }
    }
    free(query);
    free(score);
    free(sum);
    return NULL;
}

HdStatus *ir_run_attention(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) { return attend_all(frame, op, in, 0, out); }

HdStatus *ir_run_attention_spans(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    return attend_all(frame, op, in, op->attr[IR_ATTR_SPANS].i, out);
}

// One row: d channels of each span. Zeros where nothing was seen (padding).
static void merge_spans(const float *sums, const float *most, const float *total, int64_t spans, int64_t d, float *out) {
    double largest = IR_NO_SCORE, all = 0;
    for (int64_t s = 0; s < spans; s++) largest = HD_MAX(largest, most[s]);
    for (int64_t s = 0; s < spans; s++) all += total[s] * exp(most[s] - largest);
    for (int64_t c = 0; c < d; c++) {
        double sum = 0;
        for (int64_t s = 0; s < spans; s++) sum += sums[s * d + c] * exp(most[s] - largest);
        out[c] = (float)(all > 0 ? sum / all : 0);
    }
}

HdStatus *ir_run_attention_merge(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame, (void)op;
    int64_t rows = in[0]->dims[0] * in[0]->dims[1], spans = in[0]->dims[2], d = in[0]->dims[3];
    for (int64_t r = 0; r < rows; r++)
        merge_spans(in[0]->f + r * spans * d, in[1]->f + r * spans, in[2]->f + r * spans, spans, d, out[0]->f + r * d);
    return NULL;
}

// ---- convolution ---------------------------------------------------------------------------------------------

// past: K-1 inputs of the window, then the segment's tokens.
static void convolve(const double *past, const float *w, int64_t count, int64_t channels, int64_t taps, float *out) {
    for (int64_t t = 0; t < count; t++)
        for (int64_t c = 0; c < channels; c++) {
            double sum = 0;
            for (int64_t j = 0; j < taps; j++) sum += (double)w[c * taps + j] * past[(t + j) * channels + c];
            out[t * channels + c] = (float)sum;
        }
}

HdStatus *ir_run_conv1d(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)op;
    const IrTensor *u = in[0], *w = in[1], *window = in[2], *table = in[3];
    int64_t tokens = u->dims[0], channels = u->dims[1], taps = w->dims[1], kept = (taps - 1) * channels;
    HD_TRY(check_table(frame, table, tokens));
    double *past = ir_scratch((size_t)(kept + u->count), sizeof *past);
    for (int64_t i = 0; i < ir_segment_count(table); i++) {
        IrSegment s = ir_segment_at(table->i, i);
        memcpy(past, ir_state_plane(window->state, s.slot, s.plane_in), (size_t)kept * sizeof *past);
        for (int64_t k = 0; k < s.count * channels; k++) past[kept + k] = u->f[s.first * channels + k];
        convolve(past, w->f, s.count, channels, taps, out[0]->f + s.first * channels);
        memcpy(ir_state_plane(window->state, s.slot, s.plane_out), past + s.count * channels, (size_t)kept * sizeof *past);
    }
    free(past);
    return NULL;
}
