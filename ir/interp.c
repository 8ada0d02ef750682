// SPDX-License-Identifier: Apache-2.0
// The reference interpreter: runs the operations of a graph one after another on tensors. Floats are rounded to f32 when a result
// is stored; every sum, norm, exponential and recurrence inside an operation is float64. A value lives until its last use.
//
// Placements, stages and layouts do not matter here: a layout changes no value, and a fused operation runs its region.
#include "ir/interp_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static IrRunOp *const run_table[IR_OP_COUNT] = {
#define IR_OP(name, text, min, max, results, effect, numerics, role, attrs, doc) [IR_OP_##name] = ir_run_##name,
#include "ir/ops.def"
#undef IR_OP
};

// ---- life ----------------------------------------------------------------------------------------------------

IrInterp *ir_interp_new(const IrWeights *weights, uint32_t slots, uint32_t planes, uint32_t context) {
    IrInterp *interp = hd_xcalloc(1, sizeof *interp);
    *interp = (IrInterp){.weights = *weights, .slots = slots, .planes = planes, .context = context};
    return interp;
}

static void forget_outcomes(IrInterp *interp) {
    for (size_t i = 0; i < interp->outcomes.len; i++) {
        free(interp->outcomes.data[i].name);
        free(interp->outcomes.data[i].values);
    }
    interp->outcomes.len = 0;
}

void ir_interp_free(IrInterp *interp) {
    if (!interp) return;
    for (size_t i = 0; i < interp->states.len; i++) ir_state_free(interp->states.data[i]);
    forget_outcomes(interp);
    hd_vec_free(&interp->states);
    hd_vec_free(&interp->outcomes);
    free(interp);
}

void ir_interp_reset(IrInterp *interp, uint32_t slot) {
    HD_ASSERT(slot < interp->slots);
    for (size_t i = 0; i < interp->states.len; i++) {
        const IrStateStore *state = interp->states.data[i];
        memset(ir_state_plane(state, slot, 0), 0, (size_t)state->elements * state->planes * sizeof *state->data);
    }
}

void ir_interp_trace(IrInterp *interp, IrTrace trace, void *user) {
    interp->trace = trace;
    interp->trace_user = user;
}

double *ir_interp_state(const IrInterp *interp, size_t index, const char **out_name, uint64_t *out_count) {
    if (index >= interp->states.len) return NULL;
    const IrStateStore *state = interp->states.data[index];
    *out_name = state->name;
    *out_count = (uint64_t)state->elements * state->planes * interp->slots;
    return state->data;
}

// ---- inputs --------------------------------------------------------------------------------------------------

static HdStatus *copy_input(const char *what, const int32_t *words, uint64_t count, IrTensor *tensor) {
    if ((uint64_t)tensor->count != count)
        return hd_error(HD_USAGE, "input %s: the graph has %lld words, the call %llu", what, (long long)tensor->count,
                        (unsigned long long)count);
    if (count) memcpy(tensor->i, words, count * sizeof *words);
    return NULL;
}

static void rope_row(double position, double theta, int64_t n, float *out) {
    for (int64_t i = 0; i < n / 2; i++) {
        double angle = position * pow(theta, -2.0 * (double)i / (double)n);
        out[i] = (float)cos(angle);
        out[n / 2 + i] = (float)sin(angle);
    }
}

// [T, n]: n/2 cosines, then n/2 sines, of position * theta^(-2i/n). Tokens outside all segments have position 0.
static HdStatus *fill_rope(const IrCall *call, double theta, IrTensor *table) {
    if (table->dims[0] != call->token_count)
        return hd_error(HD_USAGE, "input rope: the graph has %lld rows, the call %u tokens", (long long)table->dims[0],
                        call->token_count);
    int64_t n = table->dims[1];
    for (uint32_t t = 0; t < call->token_count; t++) rope_row(0, theta, n, table->f + t * n);
    for (uint32_t i = 0; i < call->segment_count; i++) {
        IrSegment s = ir_segment_at(call->segments, i);
        for (int64_t t = 0; t < s.count; t++) rope_row((double)(s.position + t), theta, n, table->f + (s.first + t) * n);
    }
    return NULL;
}

static HdStatus *fill_input(const IrCall *call, const IrValueData *value, IrTensor *tensor) {
    switch ((IrInputKind)value->index) {
    case IR_INPUT_TOKENS: return copy_input("tokens", call->tokens, call->token_count, tensor);
    case IR_INPUT_SEGMENTS:
        return copy_input("segments", call->segments, (uint64_t)call->segment_count * IR_SEGMENT_WORDS, tensor);
    case IR_INPUT_ROWS: return copy_input("rows", call->rows, call->row_count, tensor);
    case IR_INPUT_ROPE: return fill_rope(call, value->theta, tensor);
    case IR_INPUT_COUNT: break;
    }
    return hd_error(HD_INTERNAL, "input of no known kind");
}

// The tensor of an input, a weight or a state.
static HdStatus *make_source(const IrFrame *frame, const IrValueData *value, IrTensor **out_tensor) {
    HD_TRY(ir_tensor_new(frame, &value->type, value->kind == IR_VALUE_INPUT, out_tensor));
    IrTensor *tensor = *out_tensor;
    if (value->kind == IR_VALUE_INPUT) return fill_input(frame->call, value, tensor);
    if (value->kind == IR_VALUE_STATE) return ir_state_find(frame, value, &tensor->state);
    if (value->kind != IR_VALUE_WEIGHT) return hd_error(HD_INTERNAL, "a value is used before it is computed");
    tensor->rows.name = value->name;
    int64_t stride = 1;
    for (int32_t axis = (int32_t)tensor->rank - 2; axis >= 0; stride *= tensor->dims[axis--]) tensor->rows.stride[axis] = stride;
    return NULL;
}

// ---- one operation -------------------------------------------------------------------------------------------

static HdStatus *find_cell(IrFrame *frame, IrValue value, IrTensor **out_tensor) {
    IrTensor **cell = &frame->cells[value];
    if (!*cell) HD_TRY(make_source(frame, ir_value(frame->graph, value), cell));
    *out_tensor = *cell;
    return NULL;
}

static void drop_cell(IrFrame *frame, IrValue value) {
    ir_tensor_drop(frame->cells[value]);
    frame->cells[value] = NULL;
}

static void use_cell(IrFrame *frame, IrValue value) {
    if (--frame->uses[value] == 0) drop_cell(frame, value);
}

// Operations that take weights as they are, without having all rows in memory.
static bool reads_rows(IrOpKind kind, uint32_t operand) {
    switch (kind) {
    case IR_OP_linear:
    case IR_OP_multi_linear: return operand >= 1;
    case IR_OP_grouped_linear:
    case IR_OP_embed: return operand == 1;
    case IR_OP_reshape:
    case IR_OP_slice:
    case IR_OP_pack:
    case IR_OP_fused: return true;
    default: return false;
    }
}

static bool makes_its_results(IrOpKind kind) {
    return ir_op_info(kind)->role == IR_ROLE_VIEW || kind == IR_OP_pack || kind == IR_OP_fused;
}

static HdStatus *take_operands(IrFrame *frame, const IrOp *op, IrTensor **in) {
    for (uint32_t i = 0; i < op->operand_count; i++) {
        HD_TRY(find_cell(frame, op->operands[i], &in[i]));
        if (!reads_rows(op->kind, i)) HD_TRY(ir_tensor_materialise(frame, in[i]));
    }
    return NULL;
}

static HdStatus *compute(IrFrame *frame, const IrOp *op, IrTensor **out) {
    IrTensor *in[32];
    HD_TRY(take_operands(frame, op, in));
    for (uint32_t i = 0; i < op->result_count && !makes_its_results(op->kind); i++)
        HD_TRY(ir_tensor_new(frame, &ir_value(frame->graph, op->results[i])->type, true, &out[i]));
    return run_table[op->kind](frame, op, in, out);
}

static HdStatus *trace_result(IrFrame *frame, IrOpRef ref, uint32_t result, IrTensor *tensor);

static HdStatus *run_op(IrFrame *frame, IrOpRef ref) {
    const IrOp *op = ir_op(frame->graph, ref);
    IrTensor *out[8] = {0};
    HdStatus *status = compute(frame, op, out);
    for (uint32_t i = 0; i < op->result_count; i++) frame->cells[op->results[i]] = out[i];
    for (uint32_t i = 0; i < op->result_count && !status; i++) status = trace_result(frame, ref, i, out[i]);
    if (status)
        return hd_annotate(status, "graph @%s: %s in layer %d", frame->graph->name, ir_op_info(op->kind)->name, op->layer);
    for (uint32_t i = 0; i < op->operand_count; i++) use_cell(frame, op->operands[i]);
    for (uint32_t i = 0; i < op->result_count; i++)
        if (frame->uses[op->results[i]] == 0) drop_cell(frame, op->results[i]);
    return NULL;
}

static HdStatus *run_block(IrFrame *frame, IrBlock block) {
    IR_FOR_OPS(frame->graph, block, ref) HD_TRY(run_op(frame, ref));
    return NULL;
}

HdStatus *ir_run_fused(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    const IrBlockData *region = &frame->graph->blocks.data[op->region];
    for (size_t i = 0; i < region->args.len; i++)
        if (frame->uses[region->args.data[i]]) frame->cells[region->args.data[i]] = ir_tensor_ref(in[i]);
    HD_TRY(run_block(frame, op->region));
    for (size_t i = 0; i < region->yields.len; i++) {
        HD_TRY(find_cell(frame, region->yields.data[i], &out[i]));
        ir_tensor_ref(out[i]);
        use_cell(frame, region->yields.data[i]);
    }
    return NULL;
}

HdStatus *ir_run_pack(IrFrame *frame, const IrOp *op, IrTensor *const *in, IrTensor **out) {
    (void)frame, (void)op;
    out[0] = ir_tensor_ref(in[0]);
    return NULL;
}

// ---- results -------------------------------------------------------------------------------------------------

// The elements as f32: `tensor`'s own, or converted into *scratch, which the caller frees.
static HdStatus *as_floats(const IrFrame *frame, IrTensor *tensor, float **scratch, float **out_values) {
    *scratch = NULL;
    if (tensor->state) return hd_error(HD_UNSUPPORTED, "state %s cannot be a result", tensor->state->name);
    HD_TRY(ir_tensor_materialise(frame, tensor));
    *out_values = tensor->f;
    if (tensor->form == IR_FORM_F32) return NULL;
    *scratch = ir_scratch((size_t)tensor->count, sizeof **scratch);
    for (int64_t i = 0; i < tensor->count; i++)
        (*scratch)[i] = tensor->form == IR_FORM_I32 ? (float)tensor->i[i] : (float)tensor->d[i];
    *out_values = *scratch;
    return NULL;
}

static HdStatus *trace_result(IrFrame *frame, IrOpRef ref, uint32_t result, IrTensor *tensor) {
    const IrInterp *interp = frame->interp;
    float *values, *scratch;
    if (!interp->trace) return NULL;
    HD_TRY(as_floats(frame, tensor, &scratch, &values));
    interp->trace(interp->trace_user, frame->graph, ref, result, values, (uint64_t)tensor->count);
    free(scratch);
    return NULL;
}

static HdStatus *keep_result(IrFrame *frame, const IrResult *result) {
    IrTensor *tensor;
    float *values, *scratch;
    HD_TRY(find_cell(frame, result->value, &tensor));
    HD_TRY(as_floats(frame, tensor, &scratch, &values));
    IrOutcome outcome = {.name = hd_xstrdup(result->name), .values = scratch, .count = (uint64_t)tensor->count};
    if (!scratch) {
        outcome.values = ir_scratch(outcome.count, sizeof *values);
        memcpy(outcome.values, values, outcome.count * sizeof *values);
    }
    hd_vec_push(&frame->interp->outcomes, outcome);
    use_cell(frame, result->value);
    return NULL;
}

const float *ir_interp_result(const IrInterp *interp, const char *name, uint64_t *out_count) {
    for (size_t i = 0; i < interp->outcomes.len; i++)
        if (strcmp(interp->outcomes.data[i].name, name) == 0)
            return *out_count = interp->outcomes.data[i].count, interp->outcomes.data[i].values;
    return NULL;
}

// ---- one run -------------------------------------------------------------------------------------------------

static void count_uses(IrFrame *frame, IrBlock block) {
    const IrBlockData *data = &frame->graph->blocks.data[block];
    IR_FOR_OPS(frame->graph, block, ref) {
        const IrOp *op = ir_op(frame->graph, ref);
        for (uint32_t i = 0; i < op->operand_count; i++) frame->uses[op->operands[i]]++;
        if (op->kind == IR_OP_fused) count_uses(frame, op->region);
    }
    for (size_t i = 0; i < data->yields.len; i++) frame->uses[data->yields.data[i]]++;
}

static HdStatus *check_call(const IrInterp *interp, const IrCall *call) {
    HD_TRY(ir_check_segments(interp, call->segments, call->segment_count, call->token_count));
    for (uint32_t i = 0; i < call->row_count; i++)
        if (call->rows[i] < 0 || (uint32_t)call->rows[i] >= call->token_count)
            return hd_error(HD_USAGE, "row %u is token %d, the call has %u", i, call->rows[i], call->token_count);
    return NULL;
}

static HdStatus *run_frame(IrFrame *frame) {
    const IrGraph *graph = frame->graph;
    HD_TRY(run_block(frame, 0));
    for (size_t i = 0; i < graph->results.len; i++) HD_TRY(keep_result(frame, &graph->results.data[i]));
    return NULL;
}

HdStatus *ir_interp_run(IrInterp *interp, const IrGraph *graph, const IrCall *call) {
    forget_outcomes(interp);
    HD_TRY(check_call(interp, call));
    IrFrame frame = {.interp = interp,
                     .graph = graph,
                     .call = call,
                     .binding.value = {[IR_SYM_T] = call->token_count,
                                       [IR_SYM_S] = call->segment_count,
                                       [IR_SYM_C] = interp->context,
                                       [IR_SYM_R] = call->row_count}};
    frame.cells = hd_xcalloc(graph->values.len, sizeof *frame.cells);
    frame.uses = hd_xcalloc(graph->values.len, sizeof *frame.uses);
    count_uses(&frame, 0);
    for (size_t i = 0; i < graph->results.len; i++) frame.uses[graph->results.data[i].value]++;
    HdStatus *status = run_frame(&frame);
    for (size_t i = 0; i < graph->values.len; i++) ir_tensor_drop(frame.cells[i]);
    free(frame.cells);
    free(frame.uses);
    return status;
}
