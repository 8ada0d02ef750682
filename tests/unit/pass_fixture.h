// SPDX-License-Identifier: Apache-2.0
// What the tests of passes share: models with their weights in memory, calls for the interpreter that carry state between them,
// what the calls gave, and graphs as text.
#ifndef HEDDLE_TESTS_PASS_FIXTURE_H
#define HEDDLE_TESTS_PASS_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>

#include "ir/interp_impl.h"
#include "passes/passes.h"
#include "tests/unit/model_fixture.h"

#define RANDOM(name) TEST_DATA "/models/" name ".gguf"
#define TINY(name) MODEL_DATA "/" name ".gguf"

// ---- names -----------------------------------------------------------------------------------------------------

static inline PassId pass_named(const char *name) {
    for (int i = 0; i < PASS_COUNT; i++)
        if (!strcmp(pass_name((PassId)i), name)) return (PassId)i;
    fail_msg("no pass %s", name);
    return PASS_COUNT;
}

static inline IrTarget target_named(const char *name) {
    IrTarget target;
    must(ir_target_parse(name, &target));
    return target;
}

// ---- text ------------------------------------------------------------------------------------------------------

static inline HdBuf graph_text(const IrGraph *graph) {
    HdBuf text = {0};
    ir_print_graph(graph, &text);
    return text;
}

static inline HdBuf module_text(const IrModule *module) {
    HdBuf text = {0};
    ir_print_module(module, &text);
    return text;
}

static inline bool same_text(const HdBuf *a, const HdBuf *b) { return a->len == b->len && !memcmp(a->data, b->data, a->len); }

// One line that has `part`, if any; frees the status.
static inline void expect_line(HdStatus *status, HdCode code, const char *part, const char *what) {
    if (!status) fail_msg("%s: accepted, but a refusal with \"%s\" was expected", what, part);
    const char *message = hd_status_message(status);
    if (!strstr(message, part)) fail_msg("%s: \"%s\" does not say \"%s\"", what, message, part);
    if (strchr(message, '\n')) fail_msg("%s: more than one line: \"%s\"", what, message);
    if (hd_status_code(status) != code) fail_msg("%s: code %d for \"%s\"", what, (int)hd_status_code(status), message);
    hd_status_free(status);
}

// ---- calls -----------------------------------------------------------------------------------------------------

enum { SLOTS = 2, CALLS_MAX = 3, TOKENS_MAX = 128 };

// What a step class is run with: in each call so many tokens of two sequences, which go on from call to call.
typedef struct CallPlan { const char *graph; uint32_t calls, tokens[CALLS_MAX][SLOTS]; } CallPlan;

enum { PLANS = 3 };
static const CallPlan short_calls[PLANS] = {
    {"decode", 3, {{1, 0}, {0, 1}, {1, 0}}}, {"small", 2, {{3, 2}, {2, 1}}}, {"prefill", 1, {{6, 3}}}};
static const CallPlan few_calls[PLANS] = {{"decode", 2, {{1, 0}, {1, 0}}}, {"small", 1, {{2, 1}}}, {"prefill", 1, {{3, 2}}}};
// Long enough for every chunk length to be exceeded, met and fallen short of.
static const CallPlan long_calls[PLANS] = {
    {"decode", 2, {{1, 0}, {1, 0}}}, {"small", 2, {{9, 7}, {7, 9}}}, {"prefill", 2, {{65, 16}, {15, 33}}}};

// Everything the calls gave: all results of all calls, then all states, by name.
typedef struct Outcome { HD_VEC(float) results; HD_VEC(double) states; } Outcome;

static inline void outcome_free(Outcome *outcome) {
    hd_vec_free(&outcome->results);
    hd_vec_free(&outcome->states);
}

#define APPEND(list, from, count)                                                                \
    (hd_vec_reserve((list), (list)->len + (count)),                                              \
     memcpy((list)->data + (list)->len, (from), (count) * sizeof *(list)->data), (list)->len += (count))

// All but what the pass arg-max adds, which says nothing that the logits do not.
static inline void keep_results(const IrInterp *interp, Outcome *outcome) {
    for (size_t i = 0; i < interp->outcomes.len; i++)
        if (strcmp(interp->outcomes.data[i].name, "argmax") && strcmp(interp->outcomes.data[i].name, "top"))
            APPEND(&outcome->results, interp->outcomes.data[i].values, interp->outcomes.data[i].count);
}

static inline int by_name(const void *a, const void *b) {
    return strcmp((*(IrStateStore *const *)a)->name, (*(IrStateStore *const *)b)->name);
}

static inline void keep_states(IrInterp *interp, Outcome *outcome) {
    if (interp->states.len) qsort(interp->states.data, interp->states.len, sizeof interp->states.data[0], by_name);
    for (size_t i = 0; i < interp->states.len; i++) {
        const IrStateStore *state = interp->states.data[i];
        APPEND(&outcome->states, state->data, (size_t)state->elements * state->planes * SLOTS);
    }
}

// The segments of one call, of the sequences that have tokens in it; `had`: tokens of each before, moved on.
static inline uint32_t fill_segments(const CallPlan *plan, uint32_t call, uint32_t had[SLOTS], int32_t (*segments)[8]) {
    uint32_t count = 0;
    int32_t first = 0;
    for (int32_t slot = 0; slot < SLOTS; slot++) {
        int32_t tokens = (int32_t)plan->tokens[call][slot];
        if (!tokens) continue;
        // The planes of a sequence change places with every call of its own.
        int32_t plane = 0;
        for (uint32_t before = 0; before < call; before++) plane ^= plan->tokens[before][slot] > 0;
        memcpy(segments[count++], (int32_t[8]){slot, (int32_t)had[slot], first, tokens, plane, !plane}, sizeof segments[0]);
        had[slot] += (uint32_t)tokens;
        first += tokens;
    }
    return count;
}

static inline HdStatus *run_one_call(IrInterp *interp, const IrGraph *graph, const CallPlan *plan, uint32_t call,
                                     uint32_t had[SLOTS], int32_t vocab) {
    int32_t segments[SLOTS][8], rows[SLOTS], tokens[TOKENS_MAX];
    uint32_t count = fill_segments(plan, call, had, segments), total = 0;
    for (uint32_t s = 0; s < count; s++) {
        for (int32_t t = 0; t < segments[s][3]; t++)
            tokens[total++] = (segments[s][0] * 31 + (segments[s][1] + t) * 57 + 11) % vocab;
        rows[s] = (int32_t)total - 1;
    }
    return ir_interp_run(interp, graph, &(IrCall){tokens, total, segments[0], count, rows, count});
}

static inline uint32_t tokens_at_most(const CallPlan *plan) {
    uint32_t had[SLOTS] = {0}, most = 0;
    for (uint32_t call = 0; call < plan->calls; call++)
        for (int slot = 0; slot < SLOTS; slot++) {
            had[slot] += plan->tokens[call][slot];
            most = HD_MAX(most, had[slot]);
        }
    return most;
}

// Runs all calls of the plan from zeroed state. The caller frees the outcome.
static inline HdStatus *run_calls(const IrWeights *weights, const IrGraph *graph, const CallPlan *plan, int32_t vocab,
                                  Outcome *out_outcome) {
    IrInterp *interp = ir_interp_new(weights, SLOTS, 2, tokens_at_most(plan));
    uint32_t had[SLOTS] = {0};
    HdStatus *status = NULL;
    *out_outcome = (Outcome){0};
    for (uint32_t call = 0; call < plan->calls && !status; call++) {
        status = run_one_call(interp, graph, plan, call, had, vocab);
        if (!status) keep_results(interp, out_outcome);
    }
    if (!status) keep_states(interp, out_outcome);
    ir_interp_free(interp);
    return status;
}

// ---- comparing -------------------------------------------------------------------------------------------------

static inline bool same_outcome(const Outcome *a, const Outcome *b) {
    if (a->results.len != b->results.len || a->states.len != b->states.len) return false;
    if (a->results.len && memcmp(a->results.data, b->results.data, a->results.len * sizeof a->results.data[0])) return false;
    return !a->states.len || !memcmp(a->states.data, b->states.data, a->states.len * sizeof a->states.data[0]);
}

// The larger of the results' and the states' NMSE; infinite when there are not equally many.
static inline double outcome_nmse(const Outcome *got, const Outcome *want) {
    double error = 0, energy = 0;
    if (got->results.len != want->results.len || got->states.len != want->states.len) return INFINITY;
    double results = nmse(got->results.data, want->results.data, want->results.len);
    for (size_t i = 0; i < want->states.len; i++) {
        error += (got->states.data[i] - want->states.data[i]) * (got->states.data[i] - want->states.data[i]);
        energy += want->states.data[i] * want->states.data[i];
    }
    return want->states.len ? HD_MAX(results, error / energy) : results;
}

// Equal bits (bound 0), or NMSE within the bound. Returns the NMSE.
static inline double expect_outcome(const Outcome *got, const Outcome *want, double bound, const char *what) {
    assert_true(want->results.len > 0);
    double error = same_outcome(got, want) ? 0 : outcome_nmse(got, want);
    bool equal = same_outcome(got, want);
    if (bound == 0 ? !equal : !(error <= bound)) fail_msg("%s: NMSE %.3g, allowed is %.3g", what, error, bound);
    return error;
}

// ---- models ----------------------------------------------------------------------------------------------------

typedef struct Held { const char *name; float *values; } Held;                   // a weight, decoded
typedef struct Memo { HdDigest meaning; const CallPlan *plan; Outcome outcome; } Memo;
typedef struct Subject {
    const char *name;
    GgufFile *file;
    int32_t vocab;
    HD_VEC(Held) weights;
    HD_VEC(Memo) memos;          // what graphs of these meanings gave
} Subject;

static inline HdStatus *held_rows(void *user, const char *name, uint64_t columns, uint64_t begin, uint64_t end, float *out_rows) {
    Subject *subject = user;
    Held *held = NULL;
    for (size_t i = 0; i < subject->weights.len && !held; i++)
        if (!strcmp(subject->weights.data[i].name, name)) held = &subject->weights.data[i];
    if (!held) {
        const GgufTensor *tensor = gguf_find_tensor(subject->file, name);
        if (!tensor) return hd_error(HD_NOT_FOUND, "no tensor %s", name);
        uint64_t rows = tensor->ne[1] * tensor->ne[2] * tensor->ne[3];
        Held one = {hd_xstrdup(name), hd_xmalloc(rows * tensor->ne[0] * sizeof(float))};
        HD_TRY(ir_weights_from_gguf(subject->file, name, tensor->ne[0], 0, rows, one.values));
        hd_vec_push(&subject->weights, one);
        held = &subject->weights.data[subject->weights.len - 1];
    }
    memcpy(out_rows, held->values + begin * columns, (end - begin) * columns * sizeof *out_rows);
    return NULL;
}

static inline Subject subject_of(const char *name, GgufFile *file) { return (Subject){.name = name, .file = file}; }
static inline Subject subject_open(const char *name, const char *path) { return subject_of(name, open_gguf(path)); }

static inline void subject_close(Subject *subject) {
    for (size_t i = 0; i < subject->weights.len; i++) {
        free((char *)(uintptr_t)subject->weights.data[i].name);
        free(subject->weights.data[i].values);
    }
    for (size_t i = 0; i < subject->memos.len; i++) outcome_free(&subject->memos.data[i].outcome);
    hd_vec_free(&subject->weights);
    hd_vec_free(&subject->memos);
    gguf_close(subject->file);
}

static inline IrModule *subject_build(Subject *subject) {
    IrModule *module = build(subject->file, NULL);
    int64_t vocab = 0;
    assert_true(hd_parse_i64(hd_str(ir_module_key(module, "vocab")), &vocab));
    subject->vocab = (int32_t)vocab;
    return module;
}

// Digest of the graph's text without what the interpreter does not look at: name, stages, places.
static inline HdDigest meaning_of(const IrGraph *graph) {
    IrGraph *plain = ir_graph_clone(graph, "plain");
    plain->arena_bytes = -1;
    for (IrOpRef ref = 1; ref < plain->ops.len; ref++) ir_op(plain, ref)->stage = -1;
    for (IrValue value = 1; value < plain->values.len; value++) ir_value(plain, value)->offset = -1;
    HdBuf text = graph_text(plain);
    HdDigest digest = hd_digest(text.data, text.len);
    hd_buf_free(&text);
    ir_graph_remove(plain->module, plain);
    return digest;
}

// What the graph gives in these calls, kept by the subject: graphs of one meaning are run once.
static inline Outcome subject_run(Subject *subject, const IrGraph *graph, const CallPlan *plan) {
    Memo memo = {.meaning = meaning_of(graph), .plan = plan};
    for (size_t i = 0; i < subject->memos.len; i++) {
        const Memo *have = &subject->memos.data[i];
        if (have->plan == plan && !memcmp(&have->meaning, &memo.meaning, sizeof memo.meaning)) return have->outcome;
    }
    must(run_calls(&(IrWeights){.user = subject, .rows = held_rows}, graph, plan, subject->vocab, &memo.outcome));
    hd_vec_push(&subject->memos, memo);
    return memo.outcome;
}

#endif
