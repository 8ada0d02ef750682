// SPDX-License-Identifier: Apache-2.0
// Which operations may become a group, against a plain search for a cycle over the whole graph; and that making the group leaves
// a graph in order, with everything before and behind the group where it was.
#include "passes/internal.h"
#include "tests/support/random_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

// ---- by removing what depends on nothing -----------------------------------------------------------------------

enum { MAX_OPS = 400 };

// need[a][b]: node a comes after node b. All members are the node of the first.
typedef struct Nodes {
    const IrGraph *graph;
    const PassGroup *group;
    IrOpRef ops[MAX_OPS];
    uint32_t count;
    bool need[MAX_OPS][MAX_OPS];
} Nodes;

static uint32_t node_of(const Nodes *nodes, IrOpRef ref)
{
    uint32_t i = 0;
    if (pass_contains(nodes->group, ref)) ref = nodes->group->members.data[0];
    while (nodes->ops[i] != ref) i++;
    return i;
}

static void add_need(Nodes *nodes, IrOpRef of, IrOpRef on)
{
    uint32_t a = node_of(nodes, of), b = node_of(nodes, on);
    if (a != b) nodes->need[a][b] = true;
}

// A member that reads through a view has a copy of it, and needs what lies below.
static void need_operand(Nodes *nodes, IrOpRef ref, uint32_t operand, IrValue value)
{
    IrOpRef maker = pass_producer(nodes->graph, value);
    if (!maker) return;
    bool copied = pass_contains(nodes->group, ref) && !pass_contains(nodes->group, maker) &&
                  pass_role(nodes->graph, maker) == IR_ROLE_VIEW && pass_reads_view(nodes->graph, ref, operand, maker);
    if (!copied) add_need(nodes, ref, maker);
    else
        for (uint32_t i = 0; i < ir_op(nodes->graph, maker)->operand_count; i++)
            need_operand(nodes, ref, operand, ir_op(nodes->graph, maker)->operands[i]);
}

static bool touch_one_state(const IrGraph *graph, IrOpRef a, IrOpRef b)
{
    for (uint32_t i = 0; i < ir_op(graph, a)->operand_count; i++)
        for (uint32_t k = 0; k < ir_op(graph, b)->operand_count; k++)
            if (ir_op(graph, a)->operands[i] == ir_op(graph, b)->operands[k] &&
                ir_value(graph, ir_op(graph, a)->operands[i])->kind == IR_VALUE_STATE)
                return true;
    return false;
}

static bool has_cycle(const Nodes *nodes)
{
    bool gone[MAX_OPS] = {false};
    for (bool again = true; again;) {
        again = false;
        for (uint32_t a = 0; a < nodes->count; a++) {
            bool free = !gone[a];
            for (uint32_t b = 0; b < nodes->count && free; b++) free = gone[b] || !nodes->need[a][b];
            if (free) gone[a] = again = true;
        }
    }
    for (uint32_t a = 0; a < nodes->count; a++)
        if (!gone[a]) return true;
    return false;
}

static bool makes_cycle(const IrGraph *graph, const PassGroup *group, bool states)
{
    static Nodes nodes;
    nodes = (Nodes){.graph = graph, .group = group};
    IR_FOR_OPS(graph, 0, ref) {
        assert_true(nodes.count < MAX_OPS);
        nodes.ops[nodes.count++] = ref;
    }
    for (uint32_t i = 0; i < nodes.count; i++) {
        const IrOp *op = ir_op(graph, nodes.ops[i]);
        for (uint32_t k = 0; k < op->operand_count; k++) need_operand(&nodes, nodes.ops[i], k, op->operands[k]);
        for (uint32_t before = 0; before < i && states; before++) {
            unsigned effect = ir_op_effect(graph, op) | ir_op_effect(graph, ir_op(graph, nodes.ops[before]));
            if ((effect & IR_EFFECT_WRITE) && touch_one_state(graph, nodes.ops[i], nodes.ops[before]))
                add_need(&nodes, nodes.ops[i], nodes.ops[before]);
        }
    }
    return has_cycle(&nodes);
}

// ---- random groups ---------------------------------------------------------------------------------------------

typedef struct Seen { uint32_t legal, cycles, by_state, too_many; } Seen;

// Two to five operations out of so many neighbours.
static void random_group(const IrGraph *graph, uint64_t *state, PassGroup *group)
{
    uint32_t count = 0, width = 3 + (uint32_t)(rg_next(state) % 40), want = 2 + (uint32_t)(rg_next(state) % 4), at = 0;
    IR_FOR_OPS(graph, 0, ref) count++;
    uint32_t begin = (uint32_t)(rg_next(state) % count);
    group->members.len = 0;
    IR_FOR_OPS(graph, 0, ref) {
        if (at >= begin && at < begin + width && group->members.len < want && rg_next(state) % width < want)
            hd_vec_push(&group->members, ref);
        at++;
    }
    for (size_t i = 1; i < group->members.len; i++) {        // in any order
        size_t other = rg_next(state) % (i + 1);
        IrOpRef swapped = group->members.data[i];
        group->members.data[i] = group->members.data[other];
        group->members.data[other] = swapped;
    }
}

// Operations of `clone` that stand before the group's first member, or behind its last, in `graph`: are they where they were?
static void check_surroundings(const IrGraph *graph, const IrGraph *clone, const PassGroup *group)
{
    IrOpRef first = group->members.data[0], last = first;
    for (size_t i = 1; i < group->members.len; i++) {
        if (ir_is_before(graph, group->members.data[i], first)) first = group->members.data[i];
        if (ir_is_before(graph, last, group->members.data[i])) last = group->members.data[i];
    }
    IrOpRef now = clone->blocks.data[0].first;
    for (IrOpRef ref = graph->blocks.data[0].first; ref != first; ref = ir_op(graph, ref)->next) {
        if (ir_op(clone, ref)->dead) continue;               // a view that only members read
        assert_int_equal(now, ref);
        now = ir_op(clone, now)->next;
    }
    now = clone->blocks.data[0].last;
    for (IrOpRef ref = graph->blocks.data[0].last; ref != last; ref = ir_op(graph, ref)->prev) {
        assert_int_equal(now, ref);
        now = ir_op(clone, now)->prev;
    }
}

static void make(const IrGraph *graph, const PassGroup *group)
{
    IrGraph *clone = ir_graph_clone(graph, "clone");
    IrOpRef fused = pass_group_make(clone, group, IR_GROUP_ROWWISE);
    HdStatus *status = ir_verify(clone);
    if (status) fail_msg("%s", hd_status_message(status));
    assert_int_equal(ir_op(clone, fused)->kind, IR_OP_fused);
    for (size_t i = 0; i < group->members.len; i++) assert_true(ir_op(clone, group->members.data[i])->dead);
    check_surroundings(graph, clone, group);
    ir_graph_remove(graph->module, clone);
}

static void try_group(const IrGraph *graph, const PassGroup *group, Seen *seen)
{
    PassMissed reason;
    bool legal = pass_group_legal(graph, group, &reason), cycle = makes_cycle(graph, group, true);
    if (!legal && reason == MISSED_too_many) {
        seen->too_many++;
        return;
    }
    if (legal == cycle) {
        HdBuf text = {0};
        ir_print_graph(graph, &text);
        for (size_t i = 0; i < group->members.len; i++) print_message("member: operation %u\n", group->members.data[i]);
        fail_msg("said to be %s\n%s", legal ? "legal" : "a cycle", text.data);
    }
    seen->cycles += cycle;
    seen->by_state += cycle && !makes_cycle(graph, group, false);
    seen->legal += legal;
    if (legal) make(graph, group);
}

static void legal_is_what_a_search_finds(void **state)
{
    (void)state;
    Seen seen = {0};
    PassGroup group = {0};
    for (uint64_t seed = 0; seed < 60; seed++) {
        uint64_t random = seed;
        IrModule *module = ir_module_new("m");
        IrGraph *graph = rg_graph(module, "model", &(RgOptions){.seed = seed, .pieces = 7});
        for (int i = 0; i < 40; i++) {
            random_group(graph, &random, &group);
            if (group.members.len > 1) try_group(graph, &group, &seen);
        }
        ir_module_free(module);
    }
    hd_vec_free(&group.members);
    print_message("%u legal, %u cycles, %u of these by a state only, %u too many\n", seen.legal, seen.cycles, seen.by_state,
                  seen.too_many);
    assert_true(seen.legal > 300 && seen.cycles > 300 && seen.by_state > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(legal_is_what_a_search_finds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
