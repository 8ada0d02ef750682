// SPDX-License-Identifier: Apache-2.0
// The verifier, run between all passes. First what printing itself needs (indices, lists), then per operation in order:
// operands defined and visible, types by the rules, regions; then states over the whole graph; then plans (verify_plan.c).
#include "ir/verify.h"

#include <stdlib.h>
#include <string.h>

typedef struct Verifier {
    const IrGraph *graph;
    bool *defined;           // by value: seen so far
    bool *listed;            // by operation: stands in a block
    IrOpRef *region_owner;   // by block
} Verifier;

HdStatus *verify_op_error(const IrGraph *graph, IrOpRef op, const char *fmt, ...) {
    HdBuf label = {0};
    va_list args;
    ir_print_op_label(graph, op, &label);
    va_start(args, fmt);
    HdStatus *status = hd_annotate(hd_verror(HD_INTERNAL, fmt, args), "@%s: %s", graph->name, label.data);
    va_end(args);
    hd_buf_free(&label);
    return status;
}

static HdStatus *graph_error(const IrGraph *graph, const char *fmt, ...) HD_PRINTF(2, 3);
static HdStatus *graph_error(const IrGraph *graph, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    HdStatus *status = hd_annotate(hd_verror(HD_INTERNAL, fmt, args), "@%s", graph->name);
    va_end(args);
    return status;
}

// ---- structure: everything that a walk relies on --------------------------------------------------------------

static HdStatus *check_syms(const IrGraph *graph) {
    if (!ir_is_word(hd_str(graph->name))) return graph_error(graph, "the name of the graph is no word");
    for (size_t i = 0; i < graph->syms.len; i++) {
        const char *name = graph->syms.data[i].name;
        IrExpr canonical = graph->syms.data[i].expr;
        if (!ir_is_word(hd_str(name))) return graph_error(graph, "dimension \"%s\" is no word", name);
        if (!ir_expr_canonical(&canonical) || !ir_expr_eq(&canonical, &graph->syms.data[i].expr))
            return graph_error(graph, "the expression of dimension %s is not canonical", name);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(graph->syms.data[k].name, name) == 0) return graph_error(graph, "dimension %s is defined twice", name);
            if (ir_expr_eq(&graph->syms.data[k].expr, &canonical))
                return graph_error(graph, "dimensions %s and %s are the same", graph->syms.data[k].name, name);
        }
    }
    return NULL;
}

static bool value_exists(const IrGraph *graph, IrValue value) { return value > 0 && value < graph->values.len; }

static HdStatus *check_results_of(const IrGraph *graph, IrOpRef ref) {
    const IrOp *op = ir_op(graph, ref);
    const char *name = ir_op_info(op->kind)->name;
    if (op->result_count > HD_COUNT(op->results) || op->operand_count > HD_COUNT(op->operands))
        return graph_error(graph, "operation %u (%s) has %u operands and %u results", ref, name, op->operand_count,
                           op->result_count);
    for (uint32_t i = 0; i < op->result_count; i++) {
        if (!value_exists(graph, op->results[i]))
            return graph_error(graph, "operation %u (%s): result %u is no value", ref, name, i);
        const IrValueData *data = ir_value(graph, op->results[i]);
        if (data->kind != IR_VALUE_RESULT || data->op != ref || data->index != i || data->block != op->block)
            return graph_error(graph, "operation %u (%s): result %u belongs to something else", ref, name, i);
    }
    return NULL;
}

static HdStatus *check_list(Verifier *v, IrBlock block) {
    const IrGraph *graph = v->graph;
    IrOpRef before = 0;
    for (IrOpRef ref = graph->blocks.data[block].first; ref; before = ref, ref = ir_op(graph, ref)->next) {
        if (ref >= graph->ops.len) return graph_error(graph, "operation %u does not exist", ref);
        const IrOp *op = ir_op(graph, ref);
        if ((unsigned)op->kind >= IR_OP_COUNT) return graph_error(graph, "operation %u is of no kind", ref);
        const char *name = ir_op_info(op->kind)->name;
        if (v->listed[ref]) return graph_error(graph, "operation %u (%s) stands in two places", ref, name);
        if (op->dead) return graph_error(graph, "operation %u (%s) is erased but listed", ref, name);
        if (op->block != block || op->prev != before || (before && !ir_is_before(graph, before, ref)))
            return graph_error(graph, "operation %u (%s) is linked wrongly", ref, name);
        v->listed[ref] = true;
        HD_TRY(check_results_of(graph, ref));
    }
    return graph->blocks.data[block].last == before ? NULL : graph_error(graph, "block %u ends in the wrong place", block);
}

static HdStatus *check_region_args(const IrGraph *graph, IrBlock block) {
    const IrBlockData *region = &graph->blocks.data[block];
    for (size_t i = 0; i < region->args.len; i++) {
        const IrValueData *arg = value_exists(graph, region->args.data[i]) ? ir_value(graph, region->args.data[i]) : NULL;
        if (!arg || arg->kind != IR_VALUE_ARG || arg->block != block || arg->index != i)
            return graph_error(graph, "argument %zu of region %u belongs to something else", i, block);
    }
    return NULL;
}

// Body first, then the regions of its operations: every block that counts, each once.
static HdStatus *check_structure(Verifier *v) {
    const IrGraph *graph = v->graph;
    HD_TRY(check_syms(graph));
    HD_TRY(check_list(v, 0));
    IR_FOR_OPS(graph, 0, ref) {
        IrBlock region = ir_op(graph, ref)->region;
        if (region == 0) continue;
        if (region >= graph->blocks.len || v->region_owner[region] || graph->blocks.data[region].parent != ref)
            return graph_error(graph, "operation %u (%s) does not own its region", ref,
                               ir_op_info(ir_op(graph, ref)->kind)->name);
        v->region_owner[region] = ref;
        HD_TRY(check_list(v, region));
        HD_TRY(check_region_args(graph, region));
    }
    return NULL;
}

// ---- values without an operation ------------------------------------------------------------------------------

static void mark_used(const IrGraph *graph, bool *used, IrBlock block) {
    IR_FOR_OPS(graph, block, ref) {
        const IrOp *op = ir_op(graph, ref);
        for (uint32_t i = 0; i < op->operand_count; i++)
            if (value_exists(graph, op->operands[i])) used[op->operands[i]] = true;
        if (op->region && block == 0) mark_used(graph, used, op->region);
    }
}

static const char *source_name(const IrValueData *data) {
    return data->kind == IR_VALUE_INPUT ? ir_input_names[data->index] : data->name;
}

// One value per input kind and per state name; one per weight and layout, all of that weight of one type.
static bool sources_clash(const IrValueData *a, const IrValueData *b) {
    if (a->kind != b->kind) return false;
    if (a->kind == IR_VALUE_INPUT) return a->index == b->index;
    if (strcmp(a->name, b->name) != 0) return false;
    if (a->kind == IR_VALUE_STATE) return true;
    IrType other = b->type;
    other.layout = a->type.layout;
    return a->type.layout == b->type.layout || !ir_type_eq(&a->type, &other);
}

static HdStatus *check_source(const IrGraph *graph, IrValue value) {
    HdStatus *status = ir_check_source(graph, ir_value(graph, value));
    if (!status) return NULL; // before the label, which takes a walk over the graph
    HdBuf label = {0};
    ir_print_value(graph, value, &label);
    status = hd_annotate(status, "@%s: %s", graph->name, label.data);
    hd_buf_free(&label);
    return status;
}

static HdStatus *check_source_values(const IrGraph *graph, const bool *used) {
    for (IrValue value = 1; value < graph->values.len; value++) {
        const IrValueData *data = ir_value(graph, value);
        if (!used[value] || data->kind == IR_VALUE_RESULT || data->kind == IR_VALUE_ARG) continue;
        HD_TRY(check_source(graph, value));
        for (IrValue other = 1; other < value; other++)
            if (used[other] && sources_clash(ir_value(graph, other), data))
                return graph_error(graph, "%s is declared twice, or with two types", source_name(data));
    }
    return NULL;
}

static HdStatus *check_sources(const IrGraph *graph) {
    bool *used = hd_xcalloc(graph->values.len, sizeof *used);
    mark_used(graph, used, 0);
    for (size_t i = 0; i < graph->results.len; i++)
        if (value_exists(graph, graph->results.data[i].value)) used[graph->results.data[i].value] = true;
    HdStatus *status = check_source_values(graph, used);
    free(used);
    return status;
}

// ---- operations ------------------------------------------------------------------------------------------------

static HdStatus *value_error(const IrGraph *graph, IrOpRef ref, uint32_t index, const char *problem) {
    HdBuf name = {0};
    ir_print_value(graph, ir_op(graph, ref)->operands[index], &name);
    HdStatus *status = verify_op_error(graph, ref, "operand %u (%s) %s", index, name.data, problem);
    hd_buf_free(&name);
    return status;
}

static bool is_local(const IrValueData *data) { return data->kind == IR_VALUE_RESULT || data->kind == IR_VALUE_ARG; }

static HdStatus *check_operands(const Verifier *v, IrOpRef ref) {
    const IrOp *op = ir_op(v->graph, ref);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        if (!value_exists(v->graph, op->operands[i])) return verify_op_error(v->graph, ref, "operand %u is no value", i);
        const IrValueData *data = ir_value(v->graph, op->operands[i]);
        IrBlock home = is_local(data) ? data->block : 0;
        if (home != op->block) return value_error(v->graph, ref, i, op->block ? "is not of its region" : "belongs to a region");
        if (is_local(data) && !v->defined[op->operands[i]]) return value_error(v->graph, ref, i, "is not defined before its use");
    }
    return NULL;
}

static IrBuild build_of(const IrOp *op, IrAttr attrs[IR_ATTR_COUNT], const IrType *given) {
    IrBuild build = {.kind = op->kind,
                     .operands = op->operands,
                     .operand_count = op->operand_count,
                     .attrs = attrs,
                     .block = op->block,
                     .region = op->region};
    for (int id = 0; id < IR_ATTR_COUNT; id++)
        if (op->attr_mask >> id & 1) attrs[build.attr_count++] = (IrAttr){(IrAttrId)id, op->attr[id]};
    if (op->kind == IR_OP_reshape || op->kind == IR_OP_fused) build.given = given, build.given_count = op->result_count;
    return build;
}

static HdStatus *compare_types(const IrGraph *graph, IrOpRef ref, const IrType *by_rule, const IrType *have, uint32_t index) {
    if (ir_type_eq(by_rule, have)) return NULL;
    HdBuf want = {0}, text = {0};
    ir_print_type(graph, by_rule, &want);
    ir_print_type(graph, have, &text);
    HdStatus *status = verify_op_error(graph, ref, "result %u is %s, by its type rule %s", index, text.data, want.data);
    hd_buf_free(&want);
    hd_buf_free(&text);
    return status;
}

static HdStatus *check_types(const IrGraph *graph, IrOpRef ref) {
    const IrOp *op = ir_op(graph, ref);
    IrAttr attrs[IR_ATTR_COUNT];
    IrType have[HD_COUNT(op->results)], by_rule[HD_COUNT(op->results)];
    uint32_t count;
    for (uint32_t i = 0; i < op->result_count; i++) have[i] = ir_value(graph, op->results[i])->type;
    if (op->attr_mask >> IR_ATTR_COUNT) return verify_op_error(graph, ref, "has attributes that do not exist");
    IrBuild build = build_of(op, attrs, have);
    HdStatus *status = ir_infer(graph, &build, by_rule, &count);
    if (status) {
        HdStatus *named = verify_op_error(graph, ref, "%s", hd_status_message(status));
        hd_status_free(status);
        return named;
    }
    if (count != op->result_count)
        return verify_op_error(graph, ref, "has %u results, by its type rule %u", op->result_count, count);
    for (uint32_t i = 0; i < count; i++) HD_TRY(compare_types(graph, ref, &by_rule[i], &have[i], i));
    return NULL;
}

static HdStatus *check_block(Verifier *v, IrBlock block);

static HdStatus *check_yields(const Verifier *v, IrOpRef ref) {
    const IrOp *op = ir_op(v->graph, ref);
    const IrBlockData *region = &v->graph->blocks.data[op->region];
    if (region->yields.len != op->result_count)
        return verify_op_error(v->graph, ref, "its region yields %zu values for %u results", region->yields.len,
                               op->result_count);
    for (uint32_t i = 0; i < op->result_count; i++) {
        IrValue value = region->yields.data[i];
        bool own = value_exists(v->graph, value) && is_local(ir_value(v->graph, value)) &&
                   ir_value(v->graph, value)->block == op->region;
        if (!own || !v->defined[value]) return verify_op_error(v->graph, ref, "yield %u is no value of its region", i);
        if (!ir_type_eq(&ir_value(v->graph, value)->type, &ir_value(v->graph, op->results[i])->type))
            return verify_op_error(v->graph, ref, "yield %u is not of the type of result %u", i, i);
        IrValue source = ir_value(v->graph, value)->kind == IR_VALUE_ARG ? ir_source(v->graph, value) : 0;
        if (source && ir_value(v->graph, source)->kind == IR_VALUE_STATE)
            return verify_op_error(v->graph, ref, "yield %u is a state", i);
    }
    return NULL;
}

static HdStatus *check_region(Verifier *v, IrOpRef ref) {
    const IrOp *op = ir_op(v->graph, ref);
    if (op->block) return verify_op_error(v->graph, ref, "fused operations do not nest");
    if (!op->region) return verify_op_error(v->graph, ref, "has no region");
    const IrBlockData *region = &v->graph->blocks.data[op->region];
    if (!region->first) return verify_op_error(v->graph, ref, "its region is empty");
    if (region->args.len != op->operand_count)
        return verify_op_error(v->graph, ref, "its region has %zu arguments for %u operands", region->args.len,
                               op->operand_count);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        if (!ir_type_eq(&ir_value(v->graph, region->args.data[i])->type, &ir_value(v->graph, op->operands[i])->type))
            return verify_op_error(v->graph, ref, "argument %u is not of the type of operand %u", i, i);
        v->defined[region->args.data[i]] = true;
    }
    HD_TRY(check_block(v, op->region));
    return check_yields(v, ref);
}

static HdStatus *check_op(Verifier *v, IrOpRef ref) {
    const IrOp *op = ir_op(v->graph, ref);
    HD_TRY(check_operands(v, ref));
    HD_TRY(check_types(v->graph, ref));
    if (op->kind == IR_OP_fused) HD_TRY(check_region(v, ref));
    if (op->layer < -1 || op->stage < -1)
        return verify_op_error(v->graph, ref, "stage %d or layer %d is below -1", op->stage, op->layer);
    if (op->block && op->stage >= 0)
        return verify_op_error(v->graph, ref, "a member of a fused operation has no stage of its own");
    for (uint32_t i = 0; i < op->result_count; i++) v->defined[op->results[i]] = true;
    return NULL;
}

static HdStatus *check_block(Verifier *v, IrBlock block) {
    IR_FOR_OPS(v->graph, block, ref) HD_TRY(check_op(v, ref));
    return NULL;
}

// ---- states ----------------------------------------------------------------------------------------------------

IrEffect verify_state_access(const IrGraph *graph, const IrOp *op, uint32_t index) {
    if (op->kind != IR_OP_fused)
        return ir_state_operand(op->kind, index) == IR_STATE_COUNT ? IR_EFFECT_PURE : ir_op_info(op->kind)->effect;
    unsigned effect = IR_EFFECT_PURE;
    IrValue arg = graph->blocks.data[op->region].args.data[index];
    IR_FOR_OPS(graph, op->region, ref) {
        const IrOp *member = ir_op(graph, ref);
        for (uint32_t i = 0; i < member->operand_count; i++)
            if (member->operands[i] == arg) effect |= verify_state_access(graph, member, i);
    }
    return (IrEffect)effect;
}

typedef struct Access { IrOpRef writer, reader; } Access;

// A state has one writer per graph: a second one would read the plane that the first one has replaced, or not, depending
// on the planes of the call. A cache is read behind the append, because a token attends to itself.
static HdStatus *note_access(const IrGraph *graph, Access *access, IrOpRef ref, IrValue state, IrEffect effect) {
    const char *name = ir_value(graph, state)->name;
    if (effect & IR_EFFECT_WRITE) {
        if (access->writer) return verify_op_error(graph, ref, "state \"%s\" has been written before", name);
        if (access->reader) return verify_op_error(graph, ref, "state \"%s\" is read before it is written", name);
        access->writer = ref;
    }
    if (effect & IR_EFFECT_READ) access->reader = ref;
    return NULL;
}

// In program order, members of fused operations in their place.
static HdStatus *walk_states(const IrGraph *graph, Access *accesses, IrBlock block) {
    IR_FOR_OPS(graph, block, ref) {
        const IrOp *op = ir_op(graph, ref);
        if (op->kind == IR_OP_fused) HD_TRY(walk_states(graph, accesses, op->region));
        for (uint32_t i = 0; op->kind != IR_OP_fused && i < op->operand_count; i++) {
            IrValue state = ir_source(graph, op->operands[i]);
            if (ir_state_operand(op->kind, i) == IR_STATE_COUNT) continue;
            HD_TRY(note_access(graph, &accesses[state], ref, state, ir_op_info(op->kind)->effect));
        }
    }
    return NULL;
}

static HdStatus *check_states(const IrGraph *graph) {
    Access *accesses = hd_xcalloc(graph->values.len, sizeof *accesses);
    HdStatus *status = walk_states(graph, accesses, 0);
    free(accesses);
    return status;
}

// ---- the whole graph -------------------------------------------------------------------------------------------

static HdStatus *check_results(const Verifier *v) {
    const IrGraph *graph = v->graph;
    for (size_t i = 0; i < graph->results.len; i++) {
        const IrResult *result = &graph->results.data[i];
        if (!result->name || !*result->name) return graph_error(graph, "result %zu has no name", i);
        if (!value_exists(graph, result->value)) return graph_error(graph, "result %s is no value", result->name);
        const IrValueData *data = ir_value(graph, result->value);
        bool body = !is_local(data) || (data->block == 0 && v->defined[result->value]);
        if (!body || data->kind == IR_VALUE_STATE)
            return graph_error(graph, "result %s must be a value of the body and no state", result->name);
        for (size_t k = 0; k < i; k++)
            if (strcmp(graph->results.data[k].name, result->name) == 0)
                return graph_error(graph, "result %s is given twice", result->name);
    }
    return NULL;
}

static uint32_t count_reads(const IrOp *op, IrValue value) {
    uint32_t reads = 0;
    for (uint32_t i = 0; i < op->operand_count; i++) reads += op->operands[i] == value;
    return reads;
}

// Do the lists of readers say what the operands say? Passes that change an operand by themselves are found here.
static HdStatus *check_users(const Verifier *v) {
    size_t listed = 0, read = 0;
    for (IrValue value = 1; value < v->graph->values.len; value++) {
        const IrOpRefs *users = ir_users(v->graph, value);
        listed += users->len;
        for (size_t i = 0; i < users->len; i++)
            if (!v->listed[users->data[i]] || !count_reads(ir_op(v->graph, users->data[i]), value))
                return graph_error(v->graph, "operation %u (%s) is in the list of readers of value %u, which it does not read",
                                   users->data[i], ir_op_info(ir_op(v->graph, users->data[i])->kind)->name, value);
    }
    for (size_t ref = 1; ref < v->graph->ops.len; ref++)
        if (v->listed[ref]) read += ir_op(v->graph, (IrOpRef)ref)->operand_count;
    return read == listed ? NULL : graph_error(v->graph, "%zu operands, but %zu entries in the lists of readers", read, listed);
}

static HdStatus *verify_all(Verifier *v) {
    HD_TRY(check_structure(v));
    HD_TRY(check_sources(v->graph));
    HD_TRY(check_block(v, 0));
    HD_TRY(check_results(v));
    HD_TRY(check_users(v));
    HD_TRY(check_states(v->graph));
    HD_TRY(verify_stages(v->graph));
    return verify_placements(v->graph);
}

HdStatus *ir_verify(const IrGraph *graph) {
    Verifier v = {graph, hd_xcalloc(graph->values.len, sizeof(bool)), hd_xcalloc(graph->ops.len, sizeof(bool)),
                  hd_xcalloc(graph->blocks.len, sizeof(IrOpRef))};
    HdStatus *status = verify_all(&v);
    free(v.defined);
    free(v.listed);
    free(v.region_owner);
    return status;
}
