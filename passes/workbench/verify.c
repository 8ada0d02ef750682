// SPDX-License-Identifier: Apache-2.0
#include "passes/workbench/verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CALLS = 3, MAX_SLOTS = 2, MAX_TOKENS = 256, TOKENS = 6 };

// ---- random weights ----------------------------------------------------------------------------------------------

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// A matrix keeps the size of what it multiplies.
static HdStatus *random_rows(void *user, const char *name, uint64_t columns, uint64_t begin, uint64_t end, float *out_rows)
{
    uint64_t seed = hd_digest(name, strlen(name)).lo;
    double scale = sqrt(3.0 / (double)columns);
    (void)user;
    for (uint64_t i = begin * columns; i < end * columns; i++) {
        double unit = (double)(mix(seed + (i + 1) * 0x9e3779b97f4a7c15u) >> 11) * 0x1p-53 * 2 - 1;
        *out_rows++ = (float)(unit * scale);
    }
    return NULL;
}

IrWeights wb_random_weights(void) { return (IrWeights){NULL, random_rows}; }

// ---- calls -------------------------------------------------------------------------------------------------------

typedef struct Call {
    int32_t tokens[MAX_TOKENS], segments[MAX_SLOTS][8], rows[MAX_SLOTS];
    uint32_t token_count, segment_count, row_count;
} Call;
typedef struct Calls {
    Call call[MAX_CALLS];
    uint32_t count, context;
} Calls;

// Rows of the table that token ids stand for.
static int64_t vocabulary(const IrGraph *graph)
{
    int64_t rows = 1000;
    for (IrOpRef ref = 1; ref < graph->ops.len; ref++) {
        const IrOp *op = ir_op(graph, ref);
        if (op->dead || op->kind != IR_OP_embed) continue;
        IrDim dim = ir_value(graph, op->operands[1])->type.dims[0];
        if (!ir_dim_is_sym(dim)) rows = HD_MIN(rows, dim);
    }
    return rows;
}

// The most tokens and segments that the graph takes, 0: any number. It has them as numbers, or its module has bounds.
static IrBinding limits(const IrGraph *graph)
{
    IrBinding most = {{0, 0, 0, 0}};
    ir_graph_bound(graph, &most);
    for (IrValue v = 1; v < graph->values.len; v++) {
        const IrValueData *data = ir_value(graph, v);
        if (data->kind != IR_VALUE_INPUT || ir_dim_is_sym(data->type.dims[0])) continue;
        if (data->index == IR_INPUT_TOKENS || data->index == IR_INPUT_ROPE) most.value[IR_SYM_T] = data->type.dims[0];
        if (data->index == IR_INPUT_SEGMENTS) most.value[IR_SYM_S] = data->type.dims[0];
        if (data->index == IR_INPUT_ROWS) most.value[IR_SYM_R] = data->type.dims[0];
    }
    return most;
}

// The chunk that delta-net is about to make; 0: none.
static int64_t chunk_of(const PassStep *step)
{
    int64_t chunk = 0;
    bool chunked = false;
    const PassOptionInfo *info;
    for (uint32_t o = 0; step && step->pass == PASS_delta_net && (info = pass_option_info(step->pass, o)); o++) {
        const char *value = step->options[o] ? step->options[o] : info->initial;
        if (!strcmp(info->name, "form")) chunked = !strcmp(value, "wy");
        if (!strcmp(info->name, "chunk")) hd_parse_i64(hd_str(value), &chunk);
    }
    return chunked ? chunk : 0;
}

// Tokens per call. Where there are chunks, or will be, two thirds of them (the longer sequence) are more than one.
static int64_t tokens_for(const IrGraph *graph, const PassStep *step, int64_t most)
{
    int64_t chunk = chunk_of(step);
    for (IrOpRef ref = 1; ref < graph->ops.len; ref++)
        if (!ir_op(graph, ref)->dead && ir_op(graph, ref)->attr_mask >> IR_ATTR_CHUNK & 1) chunk = HD_MAX(chunk, ir_op(graph, ref)->attr[IR_ATTR_CHUNK].i);
    int64_t tokens = chunk ? HD_MIN((HD_MIN(chunk, MAX_TOKENS) + 3) * 3 / 2, MAX_TOKENS) : TOKENS;
    return most ? HD_MIN(tokens, most) : tokens;
}

// Three calls of one token for @decode, else two of several, of two sequences in turn; each goes on where it was.
static Calls make_calls(const IrGraph *graph, const PassStep *step)
{
    IrBinding most = limits(graph);
    Calls calls = {.count = most.value[IR_SYM_T] == 1 ? 3 : 2};
    int64_t tokens = tokens_for(graph, step, most.value[IR_SYM_T]), vocab = vocabulary(graph), had[MAX_SLOTS] = {0};
    uint32_t slots = tokens > 2 && most.value[IR_SYM_S] != 1 ? 2 : 1;
    for (uint32_t c = 0; c < calls.count; c++) {
        Call *call = &calls.call[c];
        call->token_count = (uint32_t)tokens;
        call->segment_count = slots;
        call->row_count = most.value[IR_SYM_R] ? (uint32_t)HD_MIN(slots, most.value[IR_SYM_R]) : slots;
        uint32_t third = call->token_count / 3, share = slots == 1 ? call->token_count : c % 2 ? third : call->token_count - third;
        for (uint32_t s = 0, first = 0; s < slots; s++) {
            uint32_t count = s ? call->token_count - first : share;
            memcpy(call->segments[s], (int32_t[8]){(int32_t)s, (int32_t)had[s], (int32_t)first, (int32_t)count, c % 2, (c + 1) % 2}, sizeof call->segments[s]);
            first += count, had[s] += count;
            call->rows[s] = (int32_t)first - 1;
        }
        for (uint32_t t = 0; t < call->token_count; t++) call->tokens[t] = (int32_t)((c * 131 + t * 57 + 11) % (uint64_t)vocab);
    }
    calls.context = (uint32_t)HD_MAX(had[0], had[1]);
    return calls;
}

// ---- what the graph gave before ----------------------------------------------------------------------------------

typedef struct Kept {
    float *values;
    uint64_t count;
} Kept;
typedef struct State {
    char *name;
    double *values;
    uint64_t count;
} State;
typedef struct Result {
    const char *name;                      // of the module
    IrValue value;
} Result;
struct WbTrace {
    IrWeights weights;
    Calls calls;
    HD_VEC(IrValue) order;                 // of the values that are kept
    Kept *kept[MAX_CALLS];                 // by value
    size_t values;
    HD_VEC(State) states[MAX_CALLS];       // behind each call
    HD_VEC(Result) results;
};

typedef struct Keeper {
    WbTrace *trace;
    uint32_t call;
} Keeper;

static void keep(void *user, const IrGraph *graph, IrOpRef op, uint32_t result, float *values, uint64_t count)
{
    const Keeper *keeper = user;
    IrValue value = ir_op(graph, op)->results[result];
    Kept *kept = &keeper->trace->kept[keeper->call][value];
    if (!keeper->call) hd_vec_push(&keeper->trace->order, value);
    *kept = (Kept){hd_xmalloc(HD_MAX(count, 1) * sizeof *values), count};
    if (count) memcpy(kept->values, values, count * sizeof *values);
}

static HdStatus *run_call(IrInterp *interp, const IrGraph *graph, const Call *call)
{
    return ir_interp_run(interp, graph, &(IrCall){call->tokens, call->token_count, call->segments[0], call->segment_count, call->rows, call->row_count});
}

static void keep_states(const IrInterp *interp, WbTrace *trace, uint32_t call)
{
    const char *name;
    uint64_t count;
    const double *values;
    for (size_t i = 0; (values = ir_interp_state(interp, i, &name, &count)); i++) {
        State state = {hd_xstrdup(name), hd_xmalloc(count * sizeof *values), count};
        memcpy(state.values, values, count * sizeof *values);
        hd_vec_push(&trace->states[call], state);
    }
}

HdStatus *wb_trace_new(const IrGraph *graph, const IrGraph *calls_of, const PassStep *step, const IrWeights *weights, WbTrace **out_trace)
{
    WbTrace *trace = *out_trace = hd_xcalloc(1, sizeof *trace);
    *trace = (WbTrace){.weights = *weights, .calls = make_calls(calls_of ? calls_of : graph, step), .values = graph->values.len};
    IrInterp *interp = ir_interp_new(weights, MAX_SLOTS, 2, trace->calls.context);
    HdStatus *status = NULL;
    for (size_t i = 0; i < graph->results.len; i++) hd_vec_push(&trace->results, ((Result){graph->results.data[i].name, graph->results.data[i].value}));
    for (uint32_t c = 0; c < trace->calls.count && !status; c++) {
        Keeper keeper = {trace, c};
        trace->kept[c] = hd_xcalloc(trace->values, sizeof *trace->kept[c]);
        ir_interp_trace(interp, keep, &keeper);
        status = run_call(interp, graph, &trace->calls.call[c]);
        keep_states(interp, trace, c);
    }
    ir_interp_free(interp);
    if (!status) return NULL;
    wb_trace_free(trace);
    *out_trace = NULL;
    return hd_annotate(status, "--verify: @%s cannot be evaluated", graph->name);
}

void wb_trace_free(WbTrace *trace)
{
    if (!trace) return;
    for (uint32_t c = 0; c < MAX_CALLS; c++) {
        for (size_t v = 0; v < trace->values && trace->kept[c]; v++) free(trace->kept[c][v].values);
        free(trace->kept[c]);
        for (size_t i = 0; i < trace->states[c].len; i++) {
            free(trace->states[c].data[i].name);
            free(trace->states[c].data[i].values);
        }
        hd_vec_free(&trace->states[c]);
    }
    hd_vec_free(&trace->order);
    hd_vec_free(&trace->results);
    free(trace);
}

// ---- what it gives after -----------------------------------------------------------------------------------------

// sum((x - y)^2) / sum(y^2); 0 for equal bits, infinite where one is not finite and the other is.
static double nmse_of(double error, double energy) { return error == 0 ? 0 : energy > 0 && isfinite(error) ? error / energy : INFINITY; }

static double nmse_floats(const float *have, const float *want, uint64_t count)
{
    double error = 0, energy = 0;
    if (!count || !memcmp(have, want, count * sizeof *have)) return 0;
    for (uint64_t i = 0; i < count; i++) {
        double difference = (double)have[i] - want[i];
        if (isnan(have[i]) && isnan(want[i])) difference = 0;
        error += difference * difference, energy += (double)want[i] * want[i];
    }
    return error > 0 || error != error ? nmse_of(error, energy) : 0x1p-149;   // signs of zeros
}

static double nmse_doubles(const double *have, const double *want, uint64_t count)
{
    double error = 0, energy = 0;
    if (!count || !memcmp(have, want, count * sizeof *have)) return 0;
    for (uint64_t i = 0; i < count; i++) error += (have[i] - want[i]) * (have[i] - want[i]), energy += want[i] * want[i];
    return error > 0 || error != error ? nmse_of(error, energy) : 0x1p-149;
}

typedef struct Judge {
    const WbTrace *trace;
    const IrValue *source;                 // by value of the graph after: what it stands for; 0: nothing that was there
    size_t values;
    uint32_t call;
    double tolerance;
    WbVerdict *verdict;
} Judge;

static void judge_error(WbVerdict *verdict, double error, double tolerance, IrOpRef op, const char *what)
{
    verdict->compared++;
    verdict->worst = HD_MAX(verdict->worst, error);
    if (error <= tolerance || verdict->failed) return;
    verdict->failed = true;
    verdict->error = error, verdict->allowed = tolerance;
    verdict->op = op;
    snprintf(verdict->what, sizeof verdict->what, "%s", what);
}

static void judge(void *user, const IrGraph *graph, IrOpRef op, uint32_t result, float *values, uint64_t count)
{
    const Judge *j = user;
    IrValue value = ir_op(graph, op)->results[result], source = value < j->values ? j->source[value] : 0;
    if (!source) return;
    const Kept *want = &j->trace->kept[j->call][source];
    bool ids = ir_value(graph, value)->type.dtype == IR_I32;
    if (count != want->count) {
        judge_error(j->verdict, INFINITY, 0, op, "another number of elements");
        return;
    }
    judge_error(j->verdict, nmse_floats(values, want->values, count), ids ? 0 : j->tolerance, op, "");
    if (count) memcpy(values, want->values, count * sizeof *values);
}

static IrOpRef writer_of(const IrGraph *graph, const char *state)
{
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        for (uint32_t i = 0; i < op->operand_count; i++) {
            const IrValueData *data = ir_value(graph, op->operands[i]);
            if (data->kind == IR_VALUE_STATE && !strcmp(data->name, state) && (ir_op_effect(graph, op) & IR_EFFECT_WRITE)) return ref;
        }
    }
    return 0;
}

static State *find_state(const WbTrace *trace, uint32_t call, const char *name)
{
    for (size_t i = 0; i < trace->states[call].len; i++)
        if (!strcmp(trace->states[call].data[i].name, name)) return &trace->states[call].data[i];
    return NULL;
}

// Compares the states behind a call, and sets them to what they were.
static void judge_states(const Judge *j, const IrGraph *graph, const IrInterp *interp)
{
    const char *name;
    uint64_t count;
    double *values;
    size_t met = 0;
    for (; (values = ir_interp_state(interp, met, &name, &count)); met++) {
        const State *want = find_state(j->trace, j->call, name);
        char what[128];
        snprintf(what, sizeof what, "state \"%s\"", name);
        bool known = want && want->count == count;
        judge_error(j->verdict, known ? nmse_doubles(values, want->values, count) : INFINITY, j->tolerance, writer_of(graph, name), what);
        if (known) memcpy(values, want->values, count * sizeof *values);
    }
    if (met < j->trace->states[j->call].len) judge_error(j->verdict, INFINITY, 0, 0, "a state is not touched any more");
}

// Each result is by name what it was: the operations before are right by now, so one that is not is another value.
static void judge_results(const Judge *j, const IrGraph *graph, const IrInterp *interp)
{
    for (size_t i = 0; i < j->trace->results.len; i++) {
        const Result *result = &j->trace->results.data[i];
        const Kept *want = &j->trace->kept[j->call][result->value];
        char what[128];
        uint64_t count;
        const float *have = ir_interp_result(interp, result->name, &count);
        snprintf(what, sizeof what, "result %s", result->name);
        if (!want->values) continue;       // it is no operation's
        IrOpRef op = 0;
        for (size_t r = 0; r < graph->results.len; r++)
            if (graph->results.data[r].name == result->name) op = ir_value(graph, graph->results.data[r].value)->op;
        bool known = have && count == want->count;
        judge_error(j->verdict, known ? nmse_floats(have, want->values, count) : INFINITY, j->tolerance, op, what);
    }
}

// A value stands for itself and for what it is the heir of; of several the last counts (a norm with a folded scale stands for the scale).
static IrValue *sources(const WbTrace *trace, const IrGraph *graph)
{
    IrValue *source = hd_xcalloc(graph->values.len, sizeof *source);
    for (size_t i = 0; i < trace->order.len; i++)
        for (IrValue at = trace->order.data[i]; at; at = ir_value(graph, at)->heir) source[at] = trace->order.data[i];
    return source;
}

WbVerdict wb_trace_compare(const WbTrace *trace, const IrGraph *graph, double tolerance)
{
    WbVerdict verdict = {.ran = true};
    IrValue *source = sources(trace, graph);
    IrInterp *interp = ir_interp_new(&trace->weights, MAX_SLOTS, 2, trace->calls.context);
    HdStatus *status = NULL;
    for (uint32_t c = 0; c < trace->calls.count && !status && !verdict.failed; c++) {
        Judge j = {trace, source, graph->values.len, c, tolerance, &verdict};
        ir_interp_trace(interp, judge, &j);
        status = run_call(interp, graph, &trace->calls.call[c]);
        if (!status && !verdict.failed) judge_states(&j, graph, interp);
        if (!status && !verdict.failed) judge_results(&j, graph, interp);
    }
    if (status && !verdict.failed) {
        verdict.failed = true, verdict.error = INFINITY;
        snprintf(verdict.what, sizeof verdict.what, "%s", hd_status_message(status));
    }
    hd_status_free(status);
    ir_interp_free(interp);
    free(source);
    return verdict;
}

// ---- how far ----------------------------------------------------------------------------------------------------

// ordered: float32 rounded once more or less, an NMSE of some 1e-15; bounded: as kernels of the chunked delta rule may be; activations in int8 or bf16 are off by design,
// by an NMSE of about 1e-5 to 1e-4 in one product.
double wb_tolerance(const PassStep *step, const IrGraph *after)
{
    const double ordered = 1e-12, quantised = 1e-3;
    IrNumerics numerics = pass_info(step->pass)->numerics;
    if (step->pass == PASS_quantise_activations) return quantised;
    if (numerics == IR_NUMERICS_EXACT) return 0;
    bool chunks = false;
    for (IrOpRef ref = 1; ref < after->ops.len; ref++)
        chunks = chunks || (!ir_op(after, ref)->dead && ir_op_info(ir_op(after, ref)->kind)->numerics == IR_NUMERICS_BOUNDED);
    return numerics == IR_NUMERICS_BOUNDED && chunks ? HD_MAX(ordered, ir_op_bound(IR_OP_delta_chunk_scan)) : ordered;
}
