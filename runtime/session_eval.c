// SPDX-License-Identifier: Apache-2.0
// Evaluation: input of any length is cut into steps within the module's bounds, each step runs the smallest step class that
// holds it.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"
#include "runtime/top.h"

// A piece on its way through the steps.
typedef struct Progress {
    const HeddlePiece *piece;
    RtSlot *slot;
    uint32_t done;                       // tokens
    uint64_t first_token, first_row;     // where its rows start in kept results
    uint64_t rows_done;
} Progress;

// What one step does with one piece.
// first: token of the step; begin: token of the piece; rows: wanted
typedef struct Segment { uint32_t progress, first, count, begin, rows; } Segment;

typedef struct Step {
    Segment *segments;                   // [bound S]
    uint32_t segment_count, token_count, row_count;
    uint32_t reach;                      // positions that the longest of its sequences has afterwards
} Step;

typedef struct Eval {
    HeddleSession *session;
    Progress *pieces;
    uint32_t piece_count;
    HeddleRowSink sink;                  // takes the rows of logits; NULL: they are kept
    void *user;
    // what is chosen of each row, which is not kept then; NULL: nobody asks
    int32_t *ids;                        // of the largest logits
    HeddleCandidate *top;                // the top_count largest
    uint32_t top_count;
    Step step;
} Eval;

static int32_t *input_i32(const HeddleSession *session, HeddleInput input) { return session->input[input]; }

// ---- checks: before anything is computed -----------------------------------------------------------------------

static HdStatus *check_tokens(const HeddleSession *session, const HeddlePiece *piece)
{
    if (piece->count && !piece->tokens) return hd_error(HD_USAGE, "slot %" PRIu32 ": no tokens are given", piece->slot);
    for (uint32_t i = 0; i < piece->count; i++)
        if (piece->tokens[i] < 0 || (uint32_t)piece->tokens[i] >= session->module->info.vocab)
            return hd_error(HD_USAGE, "slot %" PRIu32 ": token %" PRIu32 " is %" PRId32 "; the vocabulary has 0 to %" PRIu32,
                            piece->slot, i, piece->tokens[i], session->module->info.vocab - 1);
    return NULL;
}

static HdStatus *check_piece(const HeddleSession *session, const HeddlePiece *piece, RtSlot **out_slot)
{
    RtSlot *slot;
    HD_TRY(rt_whole_slot(session, piece->slot, &slot));
    if (piece->plane_in >= session->shape.planes || piece->plane_out >= session->shape.planes)
        return hd_error(HD_USAGE, "slot %" PRIu32 ": planes %" PRIu32 " and %" PRIu32 " asked for, this session has %" PRIu32,
                        piece->slot, piece->plane_in, piece->plane_out, session->shape.planes);
    if ((unsigned)piece->logits > HEDDLE_LOGITS_ALL)
        return hd_error(HD_USAGE, "slot %" PRIu32 ": unknown kind of logits", piece->slot);
    uint32_t position = slot->positions[piece->plane_in];
    if (position == RT_NO_POSITION)
        return hd_error(HD_USAGE, "slot %" PRIu32 ": plane %" PRIu32 " holds no state of the present sequence", piece->slot,
                        piece->plane_in);
    if (piece->count > session->shape.context - position)
        return hd_error(HD_LIMIT, "slot %" PRIu32 ": context full: %" PRIu32 " tokens and %" PRIu32 " more do not fit %" PRIu32
                        "; use a larger context (-c)", piece->slot, position, piece->count, session->shape.context);
    *out_slot = slot;
    return check_tokens(session, piece);
}

static uint64_t wanted_rows(const HeddlePiece *piece)
{
    return piece->logits == HEDDLE_LOGITS_ALL ? piece->count : piece->logits == HEDDLE_LOGITS_LAST && piece->count ? 1 : 0;
}

static HdStatus *check_pieces(Eval *eval, const HeddlePiece *pieces)
{
    uint8_t *seen = hd_xcalloc(eval->session->shape.slots, 1);
    HdStatus *status = NULL;
    for (uint32_t i = 0; i < eval->piece_count && !status; i++) {
        eval->pieces[i].piece = &pieces[i];
        status = check_piece(eval->session, &pieces[i], &eval->pieces[i].slot);
        if (!status && seen[pieces[i].slot]++)
            status = hd_error(HD_USAGE, "slot %" PRIu32 " is named by two pieces of one evaluation", pieces[i].slot);
    }
    free(seen);
    return status;
}

// ---- kept results ----------------------------------------------------------------------------------------------

static HdStatus *reserve(RtKept *kept, uint64_t rows)
{
    kept->row_count = 0;
    if (rows <= kept->cap) return NULL;
    uint64_t bytes;
    bool fits = hd_mul_u64(rows, kept->columns * sizeof(float), &bytes) && bytes < SIZE_MAX / 2;
    float *data = fits ? realloc(kept->data, bytes) : NULL;
    if (!data)
        return hd_annotate(rt_no_memory(rows * kept->columns * sizeof(float), "results"), "%s, %" PRIu64 " rows", kept->name,
                           rows);
    kept->data = data;
    kept->cap = rows;
    return NULL;
}

static HdStatus *reserve_all(Eval *eval)
{
    HeddleSession *session = eval->session;
    uint64_t tokens = 0, rows = 0;
    for (uint32_t i = 0; i < eval->piece_count; i++) {
        eval->pieces[i].first_token = tokens, eval->pieces[i].first_row = rows;
        tokens += eval->pieces[i].piece->count, rows += wanted_rows(eval->pieces[i].piece);
    }
    for (size_t i = 0; i < session->kept.len; i++) {
        RtKept *kept = &session->kept.data[i];
        uint64_t want = i == 0 && (eval->sink || eval->ids || eval->top) ? 0 : kept->rows == RT_ROWS_TOKENS ? tokens : rows;
        HD_TRY(reserve(kept, want));
        kept->row_count = want;
    }
    return NULL;
}

// ---- filling a step --------------------------------------------------------------------------------------------

// How many tokens of a piece the step takes: as many as fit, and no more wanted rows than are left.
static uint32_t take(const Progress *progress, uint32_t room, uint32_t rows_left, uint32_t *out_rows)
{
    uint32_t left = progress->piece->count - progress->done, count = HD_MIN(left, room);
    *out_rows = 0;
    if (!count) return 0;
    if (progress->piece->logits == HEDDLE_LOGITS_ALL) {
        count = HD_MIN(count, rows_left);
        *out_rows = count;
    } else {
        bool wants_row = progress->piece->logits == HEDDLE_LOGITS_LAST && count == left;
        if (wants_row && !rows_left) count--;            // the last token waits for a step that has a row for it
        *out_rows = wants_row && rows_left ? 1 : 0;
    }
    return count;
}

// The slot's sequence ends at `position` from now on: planes that stand beyond it, and cache rows, belong to a continuation
// that no longer exists.
static void cut_slot(RtSlot *slot, uint32_t position, uint32_t planes)
{
    slot->filled = position;
    for (uint32_t p = 0; p < planes; p++)
        if (slot->positions[p] != RT_NO_POSITION && slot->positions[p] > position) slot->positions[p] = RT_NO_POSITION;
}

// What kernels read about a token: its segment, slot, position and index in the segment, and the rotary row of its position.
static void write_token(HeddleSession *session, size_t token, uint32_t segment, uint32_t slot, uint32_t position, uint32_t index)
{
    const int32_t info[4] = {(int32_t)segment, (int32_t)slot, (int32_t)position, (int32_t)index};
    uint32_t n = session->module->rope_n;
    memcpy(input_i32(session, HEDDLE_INPUT_TOKEN_INFO) + 4 * token, info, sizeof info);
    if (n) memcpy((float *)session->input[HEDDLE_INPUT_ROPE] + token * n, rt_rope_row(session, position), n * sizeof(float));
}

static void write_segment(Eval *eval, const Segment *segment, uint32_t index)
{
    HeddleSession *session = eval->session;
    const Progress *progress = &eval->pieces[segment->progress];
    const HeddlePiece *piece = progress->piece;
    uint32_t plane_in = progress->done ? piece->plane_out : piece->plane_in, position = progress->slot->positions[plane_in];
    int32_t *out = input_i32(session, HEDDLE_INPUT_SEGMENTS) + 8 * (size_t)index;
    const int32_t row[8] = {(int32_t)piece->slot, (int32_t)position, (int32_t)segment->first, (int32_t)segment->count,
                            (int32_t)plane_in, (int32_t)piece->plane_out};
    memcpy(out, row, sizeof row);
    cut_slot(progress->slot, position, session->shape.planes);
    memcpy(input_i32(session, HEDDLE_INPUT_TOKENS) + segment->first, piece->tokens + segment->begin,
           segment->count * sizeof(int32_t));
    memcpy(progress->slot->tokens + position, piece->tokens + segment->begin, segment->count * sizeof(int32_t));
    eval->step.reach = HD_MAX(eval->step.reach, position + segment->count);
    for (uint32_t i = 0; i < segment->count; i++) write_token(session, segment->first + i, index, piece->slot, position + i, i);
    int32_t *rows = input_i32(session, HEDDLE_INPUT_ROWS) + eval->step.row_count;
    for (uint32_t r = 0; r < segment->rows; r++) rows[r] = (int32_t)(segment->first + segment->count - segment->rows + r);
}

// Takes tokens from the pieces in order until the step is full. False when none are left.
static bool fill_step(Eval *eval)
{
    const RtBinding *bound = &eval->session->module->largest->bound;
    Step *step = &eval->step;
    step->segment_count = step->token_count = step->row_count = step->reach = 0;
    for (uint32_t i = 0; i < eval->piece_count && step->segment_count < bound->value[RT_S]; i++) {
        Progress *progress = &eval->pieces[i];
        Segment segment = {.progress = i, .first = step->token_count, .begin = progress->done};
        segment.count = take(progress, eval->session->shape.tokens - step->token_count,
                             (uint32_t)bound->value[RT_R] - step->row_count, &segment.rows);
        if (!segment.count) continue;
        write_segment(eval, &segment, step->segment_count);
        step->segments[step->segment_count++] = segment;
        step->token_count += segment.count, step->row_count += segment.rows;
    }
    return step->token_count > 0;
}

// ---- after a step ----------------------------------------------------------------------------------------------

static void commit(Eval *eval)
{
    for (uint32_t s = 0; s < eval->step.segment_count; s++) {
        const Segment *segment = &eval->step.segments[s];
        Progress *progress = &eval->pieces[segment->progress];
        RtSlot *slot = progress->slot;
        slot->filled += segment->count;                  // cut_slot has set it to where the tokens began
        slot->plane = progress->piece->plane_out;
        slot->positions[slot->plane] = slot->filled;
        progress->done += segment->count;
    }
}

static void break_slots(Eval *eval)
{
    for (uint32_t s = 0; s < eval->step.segment_count; s++) eval->pieces[eval->step.segments[s].progress].slot->broken = true;
}

static HdStatus *not_finite(Eval *eval, int32_t token, int32_t layer, const char *what)
{
    uint32_t safe = token >= 0 && (uint32_t)token < eval->step.token_count ? (uint32_t)token : 0;
    const int32_t *info = input_i32(eval->session, HEDDLE_INPUT_TOKEN_INFO) + 4 * (size_t)safe;
    break_slots(eval);
    if (layer < 0) return hd_error(HD_NOT_FINITE, "%s at position %" PRId32 " of slot %" PRId32, what, info[2], info[1]);
    return hd_error(HD_NOT_FINITE, "%s at position %" PRId32 " of slot %" PRId32 ", layer %" PRId32, what, info[2], info[1],
                    layer);
}

// By the exponent's bits, without a branch: a row has as many numbers as the vocabulary.
static bool all_finite(const float *row, uint64_t count)
{
    uint32_t bad = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

// The rows of a result that the step has computed, NULL: none; valid until the next are asked for.
static HdStatus *fetch_rows(const Eval *eval, const RtClass *class, const char *name, RtRows kind, const void **out_rows)
{
    HeddleSession *session = eval->session;
    uint64_t rows = kind == RT_ROWS_TOKENS ? eval->step.token_count : eval->step.row_count;
    const RtResult *result = class->results;
    while (strcmp(result->name, name)) result++;         // every step class has it: heddle_keep_result has looked
    *out_rows = NULL;
    if (!rows) return NULL;
    return rt_fetch(session->device, session->device->type->arena(session->queue), result->offset, rows * result->columns * sizeof(float),
                    &session->fetched, out_rows);
}

static void keep_rows(const Eval *eval, const float *rows, RtKept *kept)
{
    for (uint32_t s = 0, row = 0; s < eval->step.segment_count && rows; s++) {
        const Segment *segment = &eval->step.segments[s];
        const Progress *progress = &eval->pieces[segment->progress];
        bool per_token = kept->rows == RT_ROWS_TOKENS;
        uint64_t to = per_token ? progress->first_token + segment->begin : progress->first_row + progress->rows_done;
        uint64_t count = per_token ? segment->count : segment->rows;
        if (count) memcpy(kept->data + to * kept->columns, rows + row * kept->columns, count * kept->columns * sizeof(float));
        row += (uint32_t)count;
    }
}

static HdStatus *bad_logits(Eval *eval, uint32_t row)
{
    return not_finite(eval, input_i32(eval->session, HEDDLE_INPUT_ROWS)[row], -1, "non-finite logits");
}

static HdStatus *check_logits(Eval *eval, const float *logits)
{
    const RtKept *kept = &eval->session->kept.data[0];
    for (uint32_t r = 0; r < eval->step.row_count; r++)
        if (!all_finite(logits + r * kept->columns, kept->columns)) return bad_logits(eval, r);
    return NULL;
}

static void sink_rows(const Eval *eval, const float *logits)
{
    uint64_t columns = eval->session->kept.data[0].columns;
    for (uint32_t s = 0, row = 0; s < eval->step.segment_count; s++) {
        const Segment *segment = &eval->step.segments[s];
        for (uint32_t r = 0; r < segment->rows; r++, row++) eval->sink(eval->user, segment->progress,
            segment->begin + segment->count - segment->rows + r, logits + row * columns);
    }
}

// ---- choices -----------------------------------------------------------------------------------------------------

// Takes what is wanted of a row; `rows`: what was fetched, row: of the step, to: of the evaluation.
typedef HdStatus *TakeRow(Eval *eval, const void *rows, uint32_t row, uint64_t to);

static HdStatus *take_rows(Eval *eval, const void *rows, TakeRow *take_row)
{
    for (uint32_t s = 0, row = 0; s < eval->step.segment_count; s++) {
        const Segment *segment = &eval->step.segments[s];
        const Progress *progress = &eval->pieces[segment->progress];
        uint64_t first = progress->first_row + progress->rows_done;
        for (uint32_t r = 0; r < segment->rows; r++, row++) HD_TRY(take_row(eval, rows, row, first + r));
    }
    return NULL;
}

static HdStatus *take_id(Eval *eval, const void *rows, uint32_t row, uint64_t to)
{
    eval->ids[to] = ((const int32_t *)rows)[row];
    return eval->ids[to] < 0 ? bad_logits(eval, row) : NULL;
}

static RtTop top_of(const Eval *eval, uint64_t to) { return (RtTop){.first = eval->top + to * eval->top_count, .count = eval->top_count}; }

// The k largest are in the first k runs, or in all.
static HdStatus *take_runs(Eval *eval, const void *rows, uint32_t row, uint64_t to)
{
    const HeddleModule *module = eval->session->module;
    uint32_t vocab = module->info.vocab, width = rt_run_width(vocab), runs = rt_run_count(vocab);
    const float *run = (const float *)rows + (uint64_t)row * module->top_runs * (1 + width);
    RtTop top = top_of(eval, to);
    for (uint32_t i = 0; i < HD_MIN(top.count, module->top_runs); i++, run += 1 + width) {
        if (!(run[0] >= 0 && run[0] < (float)runs))
            return hd_error(HD_INTERNAL, "the device names run %g of a row of logits, which has 0 to %" PRIu32, (double)run[0], runs - 1);
        uint32_t first = (uint32_t)run[0] * width, number = HD_MIN(width, vocab - first);
        if (!all_finite(run + 1, number)) return bad_logits(eval, row);
        rt_top_add(&top, (int32_t)first, run + 1, number);
    }
    return NULL;
}

static const float *logits_of(const Eval *eval, const void *rows, uint32_t row)
{
    return (const float *)rows + row * eval->session->kept.data[0].columns;
}

static HdStatus *pick_id(Eval *eval, const void *rows, uint32_t row, uint64_t to)
{
    return heddle_argmax(logits_of(eval, rows, row), eval->session->module->info.vocab, &eval->ids[to]);
}

static HdStatus *pick_top(Eval *eval, const void *rows, uint32_t row, uint64_t to)
{
    RtTop top = top_of(eval, to);
    rt_top_add(&top, 0, logits_of(eval, rows, row), eval->session->module->info.vocab);
    return NULL;
}

// What the steps of the module have chosen.
static HdStatus *deliver_chosen(Eval *eval, const RtClass *class)
{
    const void *rows;
    HD_TRY(fetch_rows(eval, class, eval->ids ? RT_RESULT_ARGMAX : RT_RESULT_TOP, RT_ROWS_WANTED, &rows));
    return take_rows(eval, rows, eval->ids ? take_id : take_runs);
}

static HdStatus *deliver_logits(Eval *eval, const RtClass *class)
{
    const void *rows;
    HD_TRY(fetch_rows(eval, class, "logits", RT_ROWS_WANTED, &rows));
    HD_TRY(check_logits(eval, rows));
    if (eval->ids || eval->top) return take_rows(eval, rows, eval->ids ? pick_id : pick_top);
    if (eval->sink) sink_rows(eval, rows);
    else keep_rows(eval, rows, &eval->session->kept.data[0]);
    return NULL;
}

static HdStatus *deliver(Eval *eval, const RtClass *class)
{
    HeddleSession *session = eval->session;
    const HeddleModuleInfo *info = &session->module->info;
    bool chosen = eval->ids ? info->argmax : eval->top && eval->top_count <= info->top;
    const void *rows;
    HD_TRY(chosen ? deliver_chosen(eval, class) : deliver_logits(eval, class));
    for (size_t i = 1; i < session->kept.len; i++) {
        HD_TRY(fetch_rows(eval, class, session->kept.data[i].name, session->kept.data[i].rows, &rows));
        keep_rows(eval, rows, &session->kept.data[i]);
    }
    for (uint32_t s = 0; s < eval->step.segment_count; s++) {
        const Segment *segment = &eval->step.segments[s];
        eval->pieces[segment->progress].rows_done += segment->rows;
    }
    return NULL;
}

// ---- steps -----------------------------------------------------------------------------------------------------

// C of the step: the positions it looks at, rounded up so that its launches are distributed anew only when these have doubled.
static uint32_t context_bound(const HeddleSession *session, const Step *step)
{
    uint64_t bound = 64;
    while (bound < step->reach) bound *= 2;
    return (uint32_t)HD_MIN(bound, session->shape.context);
}

static HdStatus *run_step(Eval *eval)
{
    HeddleSession *session = eval->session;
    const Step *step = &eval->step;
    const RtClass *class = rt_class_for(session->module, step->token_count, step->segment_count, step->row_count);
    RtBinding binding = {{step->token_count, step->segment_count, context_bound(session, step), step->row_count}};
    HeddleStepStatus result = {0, 0};
    session->queue->reach = step->reach;
    HdStatus *status = session->device->type->step(session->queue, class, &binding, &result);
    if (status) {
        break_slots(eval);
        return status;
    }
    session->counters.steps++, session->counters.tokens += step->token_count, session->counters.rows += step->row_count;
    if (result.layer_plus_1) return not_finite(eval, result.token, result.layer_plus_1 - 1, "a value that is not finite");
    status = deliver(eval, class);
    if (status) break_slots(eval);                       // the state has moved on, the slot has not
    else commit(eval);
    return status;
}

static HdStatus *evaluate(Eval *eval, const HeddlePiece *pieces)
{
    HD_TRY(check_pieces(eval, pieces));
    HD_TRY(reserve_all(eval));
    HdStatus *status = NULL;
    while (!status && fill_step(eval)) status = run_step(eval);
    for (size_t i = 0; i < eval->session->kept.len && status; i++) eval->session->kept.data[i].row_count = 0;
    return status;
}

static HdStatus *evaluate_all(Eval eval, const HeddlePiece *pieces)
{
    eval.pieces = hd_xcalloc(eval.piece_count, sizeof *eval.pieces);
    eval.step.segments = hd_xcalloc((size_t)eval.session->module->largest->bound.value[RT_S], sizeof *eval.step.segments);
    double start = eval.session->queue->trace ? hd_seconds() : 0;
    HdStatus *status = evaluate(&eval, pieces);
    free(eval.pieces);
    free(eval.step.segments);
    if (eval.session->queue->trace) rt_trace_evaluation(eval.session->queue->trace, start);
    return status;
}

HeddleStatus *heddle_eval_rows(HeddleSession *session, const HeddlePiece *pieces, uint32_t piece_count, HeddleRowSink sink,
                               void *user)
{
    return evaluate_all((Eval){.session = session, .piece_count = piece_count, .sink = sink, .user = user}, pieces);
}

HeddleStatus *heddle_eval_greedy(HeddleSession *session, const HeddlePiece *pieces, uint32_t piece_count, int32_t *out_ids)
{
    return evaluate_all((Eval){.session = session, .piece_count = piece_count, .ids = out_ids}, pieces);
}

HeddleStatus *heddle_eval_top(HeddleSession *session, const HeddlePiece *pieces, uint32_t piece_count, uint32_t count,
                              HeddleCandidate *out_candidates)
{
    uint32_t most = HD_MIN(session->module->info.vocab, (uint32_t)HEDDLE_MOST_TOP);
    if (!count || count > most) return hd_error(HD_USAGE, "the %" PRIu32 " largest logits are asked for; expected 1 to %" PRIu32, count, most);
    return evaluate_all((Eval){.session = session, .piece_count = piece_count, .top = out_candidates, .top_count = count}, pieces);
}

HeddleStatus *heddle_eval(HeddleSession *session, const HeddlePiece *pieces,
                          uint32_t piece_count) { return heddle_eval_rows(session, pieces, piece_count, NULL, NULL); }

const float *heddle_result(const HeddleSession *session, const char *name, uint64_t *out_rows, uint64_t *out_columns)
{
    for (size_t i = 0; i < session->kept.len; i++) {
        const RtKept *kept = &session->kept.data[i];
        if (strcmp(kept->name, name)) continue;
        if (out_rows) *out_rows = kept->row_count;
        if (out_columns) *out_columns = kept->columns;
        return kept->row_count ? kept->data : NULL;
    }
    if (out_rows) *out_rows = 0;
    if (out_columns) *out_columns = 0;
    return NULL;
}

const float *heddle_logits(const HeddleSession *session, uint64_t *out_rows) { return heddle_result(session, "logits", out_rows,
    NULL); }
