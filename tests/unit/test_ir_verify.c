// SPDX-License-Identifier: Apache-2.0
// The verifier against graphs that a defective pass could leave behind: each kind of damage, a hundred times, must be
// found and named. (What text can express is in test_ir_malformed.c.)
#include "tests/unit/ir_broken.h"

// ---- choices -------------------------------------------------------------------------------------------------

static IrOpRef random_op(Broken *b, IrBlock block, bool (*wanted)(const IrGraph *graph, const IrOp *op)) {
    IrOpRef found = 0;
    uint32_t count = 0;
    IR_FOR_OPS(b->graph, block, ref)
        if ((!wanted || wanted(b->graph, ir_op(b->graph, ref))) && rg_below(&b->g, ++count) == 0) found = ref;
    return found;
}

static bool is_fused(const IrGraph *graph, const IrOp *op) { return (void)graph, op->kind == IR_OP_fused; }
static bool is_launch(const IrGraph *graph, const IrOp *op) { return (void)graph, op->result_count && !rg_is_view(op); }
static bool has_attrs(const IrGraph *graph, const IrOp *op) { return (void)graph, op->attr_mask && op->kind != IR_OP_fused; }
static bool has_result(const IrGraph *graph, const IrOp *op) { return (void)graph, op->result_count > 0; }

static bool is_launch_result(const IrGraph *graph, IrValue value) {
    return ir_value(graph, value)->kind == IR_VALUE_RESULT && is_launch(graph, ir_op(graph, ir_value(graph, value)->op));
}

// A launch whose operand 0 is made by a launch.
static bool follows_launch(const IrGraph *graph, const IrOp *op) {
    return is_launch(graph, op) && is_launch_result(graph, op->operands[0]);
}

static const char *name_of(const Broken *b, IrOpRef ref) { return ir_op_info(ir_op(b->graph, ref)->kind)->name; }
static bool names_op(Broken *b, IrOpRef ref) { return NEEDLE(b, "%s", name_of(b, ref)) > 0; }

// ---- structure -----------------------------------------------------------------------------------------------

static bool broken_link(Broken *b) {
    IrOpRef ref = random_op(b, 0, NULL);
    ir_op(b->graph, ref)->prev = ir_op(b->graph, ref)->prev + 1;
    return NEEDLE(b, "(%s) is linked wrongly", name_of(b, ref)) > 0;
}

static bool looped_list(Broken *b) {
    IrOpRef ref = random_op(b, 0, NULL);
    ir_op(b->graph, b->graph->blocks.data[0].last)->next = ref;
    return NEEDLE(b, "(%s) stands in two places", name_of(b, ref)) > 0;
}

static bool shortened_list(Broken *b) {
    IrOpRef ref = random_op(b, 0, NULL);
    if (!ir_op(b->graph, ref)->next) return false;
    ir_op(b->graph, ref)->next = 0;
    return NEEDLE(b, "block 0 ends in the wrong place") > 0;
}

static bool dead_but_listed(Broken *b) {
    IrOpRef ref = random_op(b, 0, NULL);
    ir_op(b->graph, ref)->dead = true;
    return NEEDLE(b, "(%s) is erased but listed", name_of(b, ref)) > 0;
}

static bool of_no_kind(Broken *b) {
    ir_op(b->graph, random_op(b, 0, NULL))->kind = (IrOpKind)(IR_OP_COUNT + rg_below(&b->g, 100));
    return NEEDLE(b, "is of no kind") > 0;
}

static bool stolen_result(Broken *b) {
    IrOpRef one = random_op(b, 0, has_result), two = random_op(b, 0, has_result);
    if (one == two) return false;
    ir_op(b->graph, one)->results[0] = ir_op(b->graph, two)->results[0];
    return NEEDLE(b, "(%s): result 0 belongs to something else", name_of(b, one)) > 0;
}

static bool result_out_of_range(Broken *b) {
    IrOpRef ref = random_op(b, 0, has_result);
    ir_op(b->graph, ref)->results[0] = rg_chance(&b->g, 50) ? 0 : (IrValue)b->graph->values.len;
    return NEEDLE(b, "(%s): result 0 is no value", name_of(b, ref)) > 0;
}

static bool orphaned_region(Broken *b) {
    IrOpRef ref = random_op(b, 0, is_fused);
    if (!ref) return false;
    b->graph->blocks.data[ir_op(b->graph, ref)->region].parent = 0;
    return NEEDLE(b, "does not own its region") > 0;
}

static bool shared_region(Broken *b) {
    IrOpRef one = random_op(b, 0, is_fused), two = random_op(b, 0, is_fused);
    if (!one || one == two) return false;
    ir_op(b->graph, one)->region = ir_op(b->graph, two)->region;
    return NEEDLE(b, "does not own its region") > 0;
}

static bool missing_region(Broken *b) {
    IrOpRef ref = random_op(b, 0, is_fused);
    if (!ref) return false;
    ir_op(b->graph, ref)->region = 0;
    return NEEDLE(b, "fused: has no region") > 0 && ir_op(b->graph, ref)->result_count > 0;
}

static bool region_of_another_kind(Broken *b) {
    IrOpRef fused = random_op(b, 0, is_fused), other = random_op(b, 0, has_attrs);
    if (!fused || !other) return false;
    ir_op(b->graph, other)->region = ir_op(b->graph, fused)->region;
    return NEEDLE(b, "does not own its region") > 0;
}

static bool bad_name(Broken *b) {
    IrExpr expr = {.constant = 5, .coef = {0, 0, 0, 7}};
    bool graph = rg_chance(&b->g, 50);
    if (graph) b->graph->name = rg_chance(&b->g, 50) ? "two words" : "";
    else ir_dim(b->graph, "1x", &expr);
    return NEEDLE(b, graph ? "the name of the graph is no word" : "dimension \"1x\" is no word") > 0;
}

static bool expression_not_canonical(Broken *b) {
    IrExpr expr = {.constant = 5, .coef = {0, 0, 0, 7}};
    IrDim dim = ir_dim(b->graph, "X", &expr);
    IrExpr *changed = &b->graph->syms.data[ir_dim_sym(dim)].expr;
    changed->ceils = 1;
    changed->ceil[0].div = rg_below(&b->g, 2);   // no division, or a term of zero
    return NEEDLE(b, "the expression of dimension X is not canonical") > 0;
}

static bool too_many_operands(Broken *b) {
    IrOpRef ref = random_op(b, 0, NULL);
    if (rg_chance(&b->g, 50)) ir_op(b->graph, ref)->operand_count = 33;
    else ir_op(b->graph, ref)->result_count = 9;
    return NEEDLE(b, "(%s) has %u operands and %u results", name_of(b, ref), ir_op(b->graph, ref)->operand_count,
                  ir_op(b->graph, ref)->result_count) > 0;
}

static bool link_out_of_range(Broken *b) {
    IrOpRef ref = random_op(b, 0, NULL);
    ir_op(b->graph, ref)->next = (IrOpRef)b->graph->ops.len + rg_below(&b->g, 100);
    return NEEDLE(b, "does not exist") > 0;
}

static bool stolen_argument(Broken *b) {
    IrOpRef ref = random_op(b, 0, is_fused);
    if (!ref) return false;
    IrBlockData *region = &b->graph->blocks.data[ir_op(b->graph, ref)->region];
    switch (rg_below(&b->g, 3)) {
    case 0: region->args.data[0] = 0; break;
    case 1: region->args.data[0] = ir_op(b->graph, ref)->operands[0]; break;
    default: ir_value(b->graph, region->args.data[0])->index++; break;
    }
    return NEEDLE(b, "argument 0 of region %u belongs to something else", ir_op(b->graph, ref)->region) > 0;
}

static bool nested_fused(Broken *b) {
    IrOpRef outer = random_op(b, 0, is_fused), inner = random_op(b, 0, is_fused);
    if (!outer || outer == inner) return false;
    IrBlock region = ir_op(b->graph, outer)->region, lost = ir_op(b->graph, inner)->region;
    ir_move_to_block(b->graph, inner, region);
    ir_move_before(b->graph, inner, b->graph->blocks.data[region].first);
    IrOp *op = ir_op(b->graph, inner);   // with operands of its new place, so that nothing else is wrong
    for (uint32_t i = 0; i < op->operand_count; i++) op->operands[i] = b->graph->blocks.data[region].args.data[0];
    IR_FOR_OPS(b->graph, 0, ref) {
        const IrOp *user = ir_op(b->graph, ref);
        for (uint32_t i = 0; i < user->operand_count; i++)
            if (ir_value(b->graph, user->operands[i])->op == inner) return false;
    }
    for (size_t i = 0; i < b->graph->results.len; i++)
        if (ir_value(b->graph, b->graph->results.data[i].value)->op == inner) return false;
    return lost != 0 && NEEDLE(b, "fused operations do not nest") > 0;
}

// ---- operands and types --------------------------------------------------------------------------------------

static bool operand_out_of_range(Broken *b) {
    IrOpRef ref = random_op(b, 0, NULL);
    ir_op(b->graph, ref)->operands[0] = rg_chance(&b->g, 50) ? 0 : (IrValue)b->graph->values.len;
    return NEEDLE(b, "operand 0 is no value") > 0;
}

// The types stay right, so that only the list of readers tells.
static bool reads_one_twice(const IrGraph *graph, const IrOp *op) {
    IrType types[2];
    if ((op->kind != IR_OP_add && op->kind != IR_OP_mul) || op->block || op->operands[0] == op->operands[1]) return false;
    for (int i = 0; i < 2; i++) types[i] = ir_value(graph, op->operands[i])->type;
    return ir_type_eq(&types[0], &types[1]);
}

static bool operand_written_directly(Broken *b) {
    IrOpRef ref = random_op(b, 0, reads_one_twice);
    if (!ref) return false;
    ir_op(b->graph, ref)->operands[1] = ir_op(b->graph, ref)->operands[0];
    return NEEDLE(b, "(%s) is in the list of readers of value", name_of(b, ref)) > 0;
}

static bool reader_not_listed(Broken *b) {
    IrOpRef ref = random_op(b, 0, NULL);
    b->graph->users.data[ir_op(b->graph, ref)->operands[0]].len--;
    return NEEDLE(b, "entries in the lists of readers") > 0;
}

static bool wrong_order(Broken *b) {
    IrOpRef ref = random_op(b, 0, follows_launch);
    if (!ref) return false;
    ir_op(b->graph, ref)->order = ir_op(b->graph, ir_op(b->graph, ref)->prev)->order - rg_below(&b->g, 2);
    return NEEDLE(b, "(%s) is linked wrongly", name_of(b, ref)) > 0;
}

static bool moved_before_its_operand(Broken *b) {
    IrOpRef ref = random_op(b, 0, follows_launch);
    if (!ref) return false;
    ir_move_before(b->graph, ref, b->graph->blocks.data[0].first);
    return NEEDLE(b, "is not defined before its use") > 0;
}

static bool operand_of_erased(Broken *b) {
    IrOpRef ref = random_op(b, 0, follows_launch);
    if (!ref) return false;
    IrOp *maker = ir_op(b->graph, ir_value(b->graph, ir_op(b->graph, ref)->operands[0])->op);
    IrOpRef before = maker->prev, after = maker->next;
    *(before ? &ir_op(b->graph, before)->next : &b->graph->blocks.data[0].first) = after;
    ir_op(b->graph, after)->prev = before;
    maker->dead = true;
    return NEEDLE(b, "is not defined before its use") > 0;
}

static bool operand_from_a_region(Broken *b) {
    IrOpRef fused = random_op(b, 0, is_fused), ref = random_op(b, 0, follows_launch);
    if (!fused || !ref || ref == fused) return false;
    ir_op(b->graph, ref)->operands[0] = b->graph->blocks.data[ir_op(b->graph, fused)->region].args.data[0];
    return NEEDLE(b, "belongs to a region") > 0;
}

static bool changed_result_type(Broken *b) {
    IrOpRef ref = random_op(b, 0, has_result);
    IrType *type = &ir_value(b->graph, ir_op(b->graph, ref)->results[0])->type;
    if (rg_chance(&b->g, 50)) type->dtype = type->dtype == IR_I32 ? IR_F32 : IR_I32;
    else type->dims[type->rank - 1] = 12345;
    return names_op(b, ref);
}

static bool invalid_result_type(Broken *b) {
    IrOpRef ref = random_op(b, 0, has_result);
    if (ir_op(b->graph, ref)->kind == IR_OP_fused) return false;
    ir_value(b->graph, ir_op(b->graph, ref)->results[0])->type.rank = 0;
    return names_op(b, ref);
}

static bool lost_attribute(Broken *b) {
    IrOpRef ref = random_op(b, 0, has_attrs);
    if (!ref) return false;
    IrOp *op = ir_op(b->graph, ref);
    op->attr_mask &= op->attr_mask - 1;
    return NEEDLE(b, "is missing") > 0;
}

static bool strange_attribute(Broken *b) {
    IrOpRef ref = random_op(b, 0, NULL);
    ir_op(b->graph, ref)->attr_mask |= 1u << 31;
    return NEEDLE(b, "has attributes that do not exist") > 0;
}

static bool too_many_results(Broken *b) {
    IrOpRef ref = random_op(b, 0, follows_launch);
    if (!ref || ir_op(b->graph, ref)->result_count != 1) return false;
    IrOp *op = ir_op(b->graph, ref);
    IrValueData copy = *ir_value(b->graph, op->results[0]);
    copy.index = op->result_count;
    op->results[op->result_count++] = (IrValue)b->graph->values.len;
    hd_vec_push(&b->graph->values, copy);
    return op->kind == IR_OP_fused ? NEEDLE(b, "its region yields 1 values for 2 results") > 0
                                   : NEEDLE(b, "has 2 results, by its type rule 1") > 0;
}

static bool yield_of_other_type(Broken *b) {
    IrOpRef ref = random_op(b, 0, is_fused);
    if (!ref || ir_op(b->graph, ref)->result_count == 0) return false;
    IrBlockData *region = &b->graph->blocks.data[ir_op(b->graph, ref)->region];
    IrValue other = region->args.data[rg_below(&b->g, (uint32_t)region->args.len)];
    if (ir_type_eq(&ir_value(b->graph, other)->type, &ir_value(b->graph, region->yields.data[0])->type)) return false;
    region->yields.data[0] = other;
    return NEEDLE(b, "yield 0 is not of the type of result 0") > 0;
}

static bool yield_of_the_body(Broken *b) {
    IrOpRef ref = random_op(b, 0, is_fused);
    if (!ref || ir_op(b->graph, ref)->result_count == 0) return false;
    b->graph->blocks.data[ir_op(b->graph, ref)->region].yields.data[0] = ir_op(b->graph, ref)->operands[0];
    return NEEDLE(b, "yield 0 is no value of its region") > 0;
}

static bool attribute_without_value(Broken *b) {
    IrOpRef ref = random_op(b, 0, has_attrs);
    if (!ref) return false;
    IrOp *op = ir_op(b->graph, ref);
    if (op->attr_mask >> IR_ATTR_HEADS & 1) op->attr[IR_ATTR_HEADS].name = NULL;
    else if (op->attr_mask >> IR_ATTR_TO & 1) op->attr[IR_ATTR_TO].dtype = IR_DTYPE_COUNT;
    else if (op->attr_mask >> IR_ATTR_LAYOUT & 1) op->attr[IR_ATTR_LAYOUT].layout = IR_LAYOUT_COUNT;
    else return false;
    return NEEDLE(b, "has no valid value") > 0;
}

// ---- sources and results -------------------------------------------------------------------------------------

static IrValue random_source(Broken *b, IrValueKind kind) {
    IrValue found = 0;
    uint32_t count = 0;
    for (IrValue v = 1; v < b->graph->values.len; v++)
        if (ir_value(b->graph, v)->kind == kind && ir_use_count(b->graph, v) > 0 && rg_below(&b->g, ++count) == 0) found = v;
    return found;
}

static bool bad_weight(Broken *b) {
    IrValueData *weight = ir_value(b->graph, random_source(b, IR_VALUE_WEIGHT));
    switch (rg_below(&b->g, 6)) {
    case 0: weight->type.rank = 5; break;
    case 3: weight->type.rank = 0; break;
    case 4: weight->type.dtype = IR_DTYPE_COUNT; break;
    case 1: weight->type.dims[0] = 0; break;
    case 2: weight->type.dims[0] = ir_sym((uint32_t)b->graph->syms.len); break;
    default: weight->name = ""; break;
    }
    return NEEDLE(b, "@model: %%w") > 0;
}

static bool bad_state(Broken *b) {
    IrValue state = random_source(b, IR_VALUE_STATE);
    if (!state) return false;
    IrValueData *data = ir_value(b->graph, state);
    if (rg_chance(&b->g, 50)) data->type.rank = 1;
    else data->type.dtype = IR_BF16;
    return NEEDLE(b, "@model: %%s") > 0;
}

static bool source_of_no_kind(Broken *b) {
    IrValueData *input = ir_value(b->graph, random_source(b, IR_VALUE_INPUT));
    input->index = IR_INPUT_COUNT + rg_below(&b->g, 5);
    return NEEDLE(b, "is of no known kind") > 0;
}

static bool same_weight_with_two_types(Broken *b) {
    IrValue one = random_source(b, IR_VALUE_WEIGHT), two = random_source(b, IR_VALUE_WEIGHT);
    if (one == two || ir_type_eq(&ir_value(b->graph, one)->type, &ir_value(b->graph, two)->type)) return false;
    ir_value(b->graph, two)->name = ir_value(b->graph, one)->name;
    return NEEDLE(b, "%s is declared twice, or with two types", ir_value(b->graph, one)->name) > 0;
}

static bool dimension_twice(Broken *b) {
    bool name = rg_chance(&b->g, 50);
    IrExpr expr = {.coef = {0, 0, 0, 77}};
    ir_dim(b->graph, "X", &expr);
    expr.constant = 1;
    ir_dim(b->graph, "Y", &expr);
    size_t last = b->graph->syms.len - 1;
    if (name) b->graph->syms.data[last].name = "X";
    else b->graph->syms.data[last].expr = b->graph->syms.data[last - 1].expr;
    return NEEDLE(b, name ? "dimension X is defined twice" : "dimensions X and Y are the same") > 0;
}

static bool bad_result(Broken *b) {
    IrResult *result = &b->graph->results.data[0];
    IrValue state = random_source(b, IR_VALUE_STATE);
    switch (rg_below(&b->g, 3)) {
    case 0: result->value = (IrValue)b->graph->values.len; break;
    case 1: result->name = ""; break;
    default: result->value = state; break;
    }
    return NEEDLE(b, *result->name ? "result logits" : "result 0 has no name") > 0;
}

static bool result_name_twice(Broken *b) {
    IrResult again = b->graph->results.data[0];
    hd_vec_push(&b->graph->results, again);
    return NEEDLE(b, "result logits is given twice") > 0;
}

// ---- stages --------------------------------------------------------------------------------------------------

static bool stage_of_producer(Broken *b) {
    IrOpRef ref = random_op(b, 0, follows_launch);
    if (!ref) return false;
    IrOp *op = ir_op(b->graph, ref);
    op->stage = (int32_t)rg_below(&b->g, (uint32_t)ir_op(b->graph, ir_value(b->graph, op->operands[0])->op)->stage + 1);
    return NEEDLE(b, "stage %d, but an operand is made in stage", op->stage) > 0;
}

static bool no_stage(Broken *b) {
    IrOpRef ref = random_op(b, 0, is_launch);
    ir_op(b->graph, ref)->stage = -1;
    return NEEDLE(b, "%s: has no stage", name_of(b, ref)) > 0;
}

// The read of a cache and its append in one stage, far enough back for all else.
static bool state_in_one_stage(Broken *b) {
    int32_t stage = -1;
    IR_FOR_OPS(b->graph, 0, ref) {
        IrOp *op = ir_op(b->graph, ref);
        if (stage < 0 && op->kind == IR_OP_kv_append) stage = op->stage + 1000;
        if (op->kind == IR_OP_kv_append) op->stage = stage;
        if (stage < 0 || (op->kind != IR_OP_attention && op->kind != IR_OP_attention_spans)) continue;
        op->stage = stage - (int32_t)rg_below(&b->g, 2);
        return NEEDLE(b, "%s: stage %d, but state \"", ir_op_info(op->kind)->name, op->stage) > 0;
    }
    return false;
}

static bool stage_of_member(Broken *b) {
    IrOpRef ref = random_op(b, 0, is_fused);
    if (!ref) return false;
    ir_op(b->graph, random_op(b, ir_op(b->graph, ref)->region, NULL))->stage = 3;
    return NEEDLE(b, "has no stage of its own") > 0;
}

static bool below_minus_one(Broken *b) {
    IrOpRef ref = random_op(b, 0, NULL);
    if (rg_chance(&b->g, 50)) ir_op(b->graph, ref)->stage = -2;
    else ir_op(b->graph, ref)->layer = -7;
    return NEEDLE(b, "is below -1") > 0;
}

// ---- placements ----------------------------------------------------------------------------------------------

static bool overlap_with_operand(Broken *b) {
    IrOpRef ref = random_op(b, 0, follows_launch);
    if (!ref) return false;
    const IrOp *op = ir_op(b->graph, ref);
    ir_value(b->graph, op->results[0])->offset = ir_value(b->graph, op->operands[0])->offset;
    b->graph->arena_bytes *= 2;
    return NEEDLE(b, "overlap with those of") > 0;
}

static bool past_the_arena(Broken *b) {
    IrOpRef ref = random_op(b, 0, is_launch);
    IrValueData *data = ir_value(b->graph, ir_op(b->graph, ref)->results[0]);
    int64_t bytes = ir_type_bytes(b->graph, &data->type, &(IrBinding){{16, 3, 64, 5}});
    data->offset = b->graph->arena_bytes - bytes + 1 + rg_below(&b->g, 1000);
    return NEEDLE(b, "the arena has %lld", (long long)b->graph->arena_bytes) > 0;
}

static bool no_arena(Broken *b) {
    b->graph->arena_bytes = -1;
    return NEEDLE(b, "the graph has no arena") > 0;
}

static bool placed_source(Broken *b) {
    IrValue value = random_source(b, rg_chance(&b->g, 50) ? IR_VALUE_WEIGHT : IR_VALUE_STATE);
    if (!value) return false;
    ir_value(b->graph, value)->offset = 64;
    return NEEDLE(b, "only inputs and results of the body are placed") > 0;
}

static bool bad_bounds(Broken *b) {
    static const char *const bad[] = {"", "1 2 3", "1 2 3 4 5", "1 2 3 x", "1  2 3 4", "0 1 1 1", "-1 1 1 1", "1 2 3 4 "};
    ir_module_set_key(b->module, "bounds.model", bad[rg_below(&b->g, HD_COUNT(bad))]);
    return NEEDLE(b, "key \"bounds.model\"") > 0;
}

static const BrokenKind kinds[] = {
#define KIND(name) {#name, name, false, false}
#define FUSED(name) {#name, name, true, false}
#define PLANNED(name) {#name, name, false, true}
    KIND(broken_link),
    KIND(looped_list),
    KIND(shortened_list),
    KIND(dead_but_listed),
    KIND(of_no_kind),
    KIND(stolen_result),
    KIND(result_out_of_range),
    FUSED(orphaned_region),
    FUSED(shared_region),
    FUSED(missing_region),
    KIND(bad_name),
    KIND(expression_not_canonical),
    KIND(too_many_operands),
    KIND(link_out_of_range),
    FUSED(stolen_argument),
    FUSED(nested_fused),
    KIND(attribute_without_value),
    KIND(source_of_no_kind),
    FUSED(region_of_another_kind),
    KIND(wrong_order),
    KIND(operand_out_of_range),
    KIND(operand_written_directly),
    FUSED(reader_not_listed),
    KIND(moved_before_its_operand),
    KIND(operand_of_erased),
    FUSED(operand_from_a_region),
    KIND(changed_result_type),
    FUSED(changed_result_type),
    KIND(invalid_result_type),
    KIND(lost_attribute),
    KIND(strange_attribute),
    KIND(too_many_results),
    FUSED(too_many_results),
    FUSED(yield_of_other_type),
    FUSED(yield_of_the_body),
    KIND(bad_weight),
    KIND(bad_state),
    KIND(same_weight_with_two_types),
    KIND(dimension_twice),
    KIND(bad_result),
    KIND(result_name_twice),
    PLANNED(stage_of_producer),
    PLANNED(no_stage),
    PLANNED(state_in_one_stage),
    {"stage_of_member", stage_of_member, true, true},
    KIND(below_minus_one),
    PLANNED(overlap_with_operand),
    {"overlap_of_fused", overlap_with_operand, true, true},
    PLANNED(past_the_arena),
    PLANNED(no_arena),
    PLANNED(placed_source),
    PLANNED(bad_bounds),
#undef KIND
#undef FUSED
#undef PLANNED
};

static HdStatus *verify(const Broken *b) { return ir_verify(b->graph); }

static void test_kinds(void **state) {
    (void)state;
    broken_run(kinds, HD_COUNT(kinds), verify);
}

// ---- placements that are right -------------------------------------------------------------------------------

static HdStatus *verify_text(const char *body) {
    HdBuf text = {0};
    IrModule *module = NULL;
    hd_buf_printf(&text, "module \"m\" { key \"bounds.g\" = \"4 1 8 1\" graph @g { %s } }", body);
    HdStatus *status = ir_parse_module("m", (HdStr){text.data, text.len}, &module);
    if (status) fail_msg("%s", hd_status_message(status));
    status = ir_verify(module->graphs.data[0]);
    ir_module_free(module);
    hd_buf_free(&text);
    return status;
}

static void accepted(const char *body) {
    HdStatus *status = verify_text(body);
    if (status) fail_msg("%s", hd_status_message(status));
}

static void refused(const char *body, const char *message) {
    HdStatus *status = verify_text(body);
    assert_string_equal(hd_status_message(status), message);
    hd_status_free(status);
}

#define HEAD "arena 4096 %w = weight \"w\" : f32[8, 8] %tokens = input tokens : i32[T] %0 = embed %tokens, %w : f32[T, 8] at 0 "

// f32[4, 8] has 128 bytes at these bounds; %0 and %1 are live together in stage 1, %0 and %2 are not.
static void test_placements(void **state) {
    (void)state;
    accepted(HEAD "stage 0 %1 = silu %0 : f32[T, 8] at 128 stage 1 %2 = neg %1 : f32[T, 8] at 0 stage 2 return y = %2");
    refused(HEAD "stage 0 %1 = silu %0 : f32[T, 8] at 127 stage 1 return y = %1",
            "@g: %1: bytes 127..254 overlap with those of %0, which lives at the same time");
    // the same by position, without stages
    accepted(HEAD "%1 = silu %0 : f32[T, 8] at 128 %2 = neg %1 : f32[T, 8] at 0 return y = %2");
    refused(HEAD "%1 = silu %0 : f32[T, 8] at 64 %2 = neg %1 : f32[T, 8] return y = %2",
            "@g: %1: bytes 64..191 overlap with those of %0, which lives at the same time");
    // a result of the graph lives to the end
    refused(HEAD "stage 0 %1 = silu %0 : f32[T, 8] at 128 stage 1 %2 = neg %1 : f32[T, 8] at 0 stage 2 return x = %0, y = %2",
            "@g: %2: bytes 0..127 overlap with those of %0, which lives at the same time");
}

// A reshape or slice lies on its source and keeps it alive; parts of a concat lie in it, but not on each other.
static void test_view_placements(void **state) {
    (void)state;
    accepted(HEAD "stage 0 %1 = reshape %0 : f32[T, 2, 4] at 0 %2 = neg %1 : f32[T, 2, 4] at 128 stage 1 return y = %2");
    refused(HEAD "stage 0 %1 = reshape %0 : f32[T, 2, 4] %2 = neg %1 : f32[T, 2, 4] at 0 stage 1 return y = %2",
            "@g: %2: bytes 0..127 overlap with those of %0, which lives at the same time");
    refused(HEAD "stage 0 %1 = slice %0 {axis = 1, begin = 0, end = 4} : f32[T, 4] at 0 %2 = neg %1 : f32[T, 4] at 0 stage 1 "
                 "return y = %2",
            "@g: %2: bytes 0..63 overlap with those of %0, which lives at the same time");
#define PARTS(a, b) HEAD "stage 0 %1 = silu %0 : f32[T, 8] at " a " stage 1 %2 = neg %0 : f32[T, 8] at " b \
    " stage 1 %3 = concat %1, %2 {axis = 1} : f32[T, 16] at 128 %4 = exp %3 : f32[T, 16] at 512 stage 2 return y = %4"
    accepted(PARTS("128", "256"));
    refused(PARTS("128", "192"), "@g: %2: bytes 192..319 overlap with those of %1, which lives at the same time");
#undef PARTS
}

// A view needs no stage and passes on that of its source.
static void test_view_stages(void **state) {
    (void)state;
    accepted(HEAD "stage 3 %1 = reshape %0 : f32[T, 2, 4] %2 = neg %1 : f32[T, 2, 4] stage 4 return y = %2");
    refused(HEAD "stage 3 %1 = reshape %0 : f32[T, 2, 4] %2 = neg %1 : f32[T, 2, 4] stage 3 return y = %2",
            "@g: %2 = neg: stage 3, but an operand is made in stage 3");
    refused(HEAD "stage 3 %1 = reshape %0 : f32[T, 2, 4] stage 2 return y = %1",
            "@g: %1 = reshape: stage 2, but an operand is made in stage 3");
}

// A state goes into a region, and never comes out.
static void test_yielded_state(void **state) {
    (void)state;
    refused("%k = state \"k\" kv : f32[C, 1, 8] %w = weight \"w\" : f32[8] "
            "%f = fused %k, %w (%a: f32[C, 1, 8], %b: f32[8]) { %n = neg %b : f32[8] yield %a } : f32[C, 1, 8] return",
            "@g: %0 = fused: yield 0 is a state");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kinds), cmocka_unit_test(test_placements),
                                       cmocka_unit_test(test_view_placements), cmocka_unit_test(test_view_stages),
                                       cmocka_unit_test(test_yielded_state)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
