// SPDX-License-Identifier: Apache-2.0
// Making groups: which operations may be taken out of a graph and put into one fused operation, and doing it.
//
// A group is legal when the graph with the group as one node has no cycle. Edges are operands, and the order of accesses to a
// state of which one writes. The order of the block is then made anew: depth first in the old order, operands before users. Only
// what stands between the first and the last member takes part: all before is above every member, all behind is below.
#include "passes/internal.h"

#include <stdlib.h>
#include <string.h>

bool pass_contains(const PassGroup *group, IrOpRef op)
{
    for (size_t i = 0; i < group->members.len; i++)
        if (group->members.data[i] == op) return true;
    return false;
}

IrOpRef pass_producer(const IrGraph *graph, IrValue value)
{
    const IrValueData *data = ir_value(graph, value);
    return data->kind == IR_VALUE_RESULT ? data->op : 0;
}

IrRole pass_role(const IrGraph *graph, IrOpRef op) { return ir_op_info(ir_op(graph, op)->kind)->role; }

PassReads pass_reads(const IrGraph *graph, IrOpRef ref, uint32_t operand)
{
    const IrOp *op = ir_op(graph, ref);
    IrRole role = pass_role(graph, ref);
    bool ids_or_plan = op->kind == IR_OP_grouped_linear && operand > 1;
    if (op->kind == IR_OP_fused || op->kind == IR_OP_pack) return PASS_READS_NO_VIEW;
    if (role == IR_ROLE_CONTRACT && operand > 0 && !ids_or_plan) return PASS_READS_NO_VIEW;
    if (role == IR_ROLE_CONTRACT || (role == IR_ROLE_SPECIAL && op->kind != IR_OP_topk)) return PASS_READS_RESHAPES;
    return PASS_READS_ANY_VIEW; // a topk chooses from a row that its own unit makes
}

bool pass_reads_view(const IrGraph *graph, IrOpRef op, uint32_t operand, IrOpRef view)
{
    PassReads reads = pass_reads(graph, op, operand);
    return reads == PASS_READS_ANY_VIEW || (reads == PASS_READS_RESHAPES && ir_op(graph, view)->kind == IR_OP_reshape);
}

IrType pass_type(const IrGraph *graph, IrOpRef ref)
{
    const IrOp *op = ir_op(graph, ref);
    return ir_value(graph, op->result_count ? op->results[0] : op->operands[0])->type;
}

IrOpRef pass_next_user(const IrGraph *graph, IrValue value, IrOpRef after)
{
    const IrOpRefs *users = ir_users(graph, value);
    IrOpRef next = 0;
    for (size_t i = 0; i < users->len; i++) {
        bool behind = !after || ir_is_before(graph, after, users->data[i]);
        if (behind && (!next || ir_is_before(graph, users->data[i], next))) next = users->data[i];
    }
    return next;
}

uint32_t pass_users(const IrGraph *graph, IrValue value, IrOpRef *out_users, uint32_t capacity)
{
    uint32_t count = 0;
    for (IrOpRef ref = 0; (ref = pass_next_user(graph, value, ref)); count++)
        if (count < capacity) out_users[count] = ref;
    return count;
}

bool pass_is_result(const IrGraph *graph, IrValue value)
{
    for (size_t i = 0; i < graph->results.len; i++)
        if (graph->results.data[i].value == value) return true;
    return false;
}

PassWalk pass_walk_begin(const IrGraph *graph) { return (PassWalk){graph, hd_xcalloc(graph->ops.len, 1), graph->ops.len, 0}; }
void pass_walk_end(PassWalk *walk) { free(walk->seen); }

void pass_walk_restart(PassWalk *walk)
{
    memset(walk->seen, 0, walk->count);
    walk->last = 0;
}

IrOpRef pass_walk_next(PassWalk *walk)
{
    const IrGraph *graph = walk->graph;
    while (walk->last && ir_op(graph, walk->last)->dead) walk->last = ir_op(graph, walk->last)->prev;
    for (IrOpRef ref = walk->last ? walk->last : graph->blocks.data[0].first; ref; ref = ir_op(graph, ref)->next) {
        if (ref >= walk->count || walk->seen[ref]) continue;
        walk->seen[ref] = 1;
        return walk->last = ref;
    }
    return 0;
}

// ---- order -----------------------------------------------------------------------------------------------------

// Operations as nodes; the members of the group share one node.
typedef struct Order {
    const IrGraph *graph;
    const PassGroup *group;
    IrOpRef first, last; // of the members, in the old order
    uint8_t *mark; // per op ref: 0 new, 1 being visited, 2 done
    HD_VEC(IrOpRef) out; // from first to last in the new order; the group stands as its members, one after another
    bool cycle;
} Order;

static void visit(Order *order, IrOpRef ref);

// Accesses to a state, in program order: an access comes after every earlier one unless both only read.
static void visit_states(Order *order, IrOpRef ref, IrValue state, IrEffect effect)
{
    for (IrOpRef before = 0; (before = pass_next_user(order->graph, state, before)) && before != ref;)
        if ((effect | ir_op_effect(order->graph, ir_op(order->graph, before))) & IR_EFFECT_WRITE) visit(order, before);
}

// Does a member that reads this operation's result as its operand have a copy of its own, being a view that it reads through?
static bool has_copy(const IrGraph *graph, const PassGroup *group, IrOpRef producer, IrOpRef member, uint32_t operand)
{
    return producer && !pass_contains(group, producer) && pass_role(graph, producer) == IR_ROLE_VIEW &&
           pass_reads_view(graph, member, operand, producer);
}

// Then the member only depends on what lies below the view.
static void visit_below_views(Order *order, IrOpRef producer, IrOpRef member, uint32_t operand)
{
    if (!has_copy(order->graph, order->group, producer, member, operand)) {
        visit(order, producer);
        return;
    }
    const IrOp *view = ir_op(order->graph, producer);
    for (uint32_t i = 0; i < view->operand_count; i++) {
        IrOpRef below = pass_producer(order->graph, view->operands[i]);
        if (below) visit_below_views(order, below, member, operand);
    }
}

static void visit_operands(Order *order, IrOpRef ref)
{
    const IrOp *op = ir_op(order->graph, ref);
    IrEffect effect = ir_op_effect(order->graph, op);
    bool member = pass_contains(order->group, ref);
    for (uint32_t i = 0; i < op->operand_count; i++) {
        const IrValueData *value = ir_value(order->graph, op->operands[i]);
        if (value->kind == IR_VALUE_RESULT && member) visit_below_views(order, value->op, ref, i);
        else if (value->kind == IR_VALUE_RESULT) visit(order, value->op);
        if (value->kind == IR_VALUE_STATE && effect != IR_EFFECT_PURE) visit_states(order, ref, op->operands[i], effect);
    }
}

static void visit(Order *order, IrOpRef ref)
{
    if (order->mark[ref] == 2 || order->cycle || ir_is_before(order->graph, ref, order->first)) return;
    bool member = pass_contains(order->group, ref);
    if (order->mark[ref] == 1) {
        // Members see each other while the group is visited; anyone else has come back to himself.
        order->cycle = order->cycle || !member || order->mark[0] == 1;
        return;
    }
    if (!member) {
        order->mark[ref] = 1;
        uint8_t inside = order->mark[0];
        if (inside == 2) order->mark[0] = 1; // we left the group: meeting a member now is a cycle
        visit_operands(order, ref);
        order->mark[0] = inside;
        order->mark[ref] = 2;
        hd_vec_push(&order->out, ref);
        return;
    }
    for (size_t i = 0; i < order->group->members.len; i++) order->mark[order->group->members.data[i]] = 1;
    order->mark[0] = 2; // 2: directly inside the group
    for (size_t i = 0; i < order->group->members.len; i++) visit_operands(order, order->group->members.data[i]);
    order->mark[0] = 0;
    for (size_t i = 0; i < order->group->members.len; i++) {
        order->mark[order->group->members.data[i]] = 2;
        hd_vec_push(&order->out, order->group->members.data[i]);
    }
}

static bool order_make(const IrGraph *graph, const PassGroup *group, Order *out_order)
{
    IrOpRef any = group->members.data[0];
    *out_order = (Order){.graph = graph, .group = group, .first = any, .last = any, .mark = hd_xcalloc(graph->ops.len, 1)};
    for (size_t i = 1; i < group->members.len; i++) {
        IrOpRef member = group->members.data[i];
        if (ir_is_before(graph, member, out_order->first)) out_order->first = member;
        if (ir_is_before(graph, out_order->last, member)) out_order->last = member;
    }
    IrOpRef end = ir_op(graph, out_order->last)->next;
    for (IrOpRef ref = out_order->first; ref != end; ref = ir_op(graph, ref)->next) visit(out_order, ref);
    free(out_order->mark);
    return !out_order->cycle;
}

// ---- legality --------------------------------------------------------------------------------------------------

enum { MAX_OPERANDS = 32, MAX_RESULTS = 8 };

// Is a result of a member read outside, by an operation or as a result of the graph?
static bool read_outside(const IrGraph *graph, const PassGroup *group, IrValue value)
{
    const IrOpRefs *users = ir_users(graph, value);
    bool outside = pass_is_result(graph, value);
    for (size_t i = 0; i < users->len && !outside; i++) outside = !pass_contains(group, users->data[i]);
    return outside;
}

typedef HD_VEC(IrValue) Values;

static bool has_value(const Values *values, IrValue value)
{
    for (size_t i = 0; i < values->len; i++)
        if (values->data[i] == value) return true;
    return false;
}

static void add_once(Values *values, IrValue value)
{
    if (!has_value(values, value)) hd_vec_push(values, value);
}

typedef struct Collector {
    const IrGraph *graph;
    const PassGroup *group;
    IrOpRef member; // whose operand is looked at
    uint32_t operand;
    Values *out;
} Collector;

// The outside values behind an operand: itself, or, through views, what the views read. A view that another member wants
// contiguous is there already.
static void collect_value(const Collector *c, IrValue value)
{
    IrOpRef producer = pass_producer(c->graph, value);
    if ((producer && pass_contains(c->group, producer)) || has_value(c->out, value)) return;
    if (!has_copy(c->graph, c->group, producer, c->member, c->operand)) {
        add_once(c->out, value);
        return;
    }
    const IrOp *view = ir_op(c->graph, producer);
    for (uint32_t i = 0; i < view->operand_count; i++) collect_value(c, view->operands[i]);
}

// Of all operands that are read through any view, or of all others.
static void collect_operands(const IrGraph *graph, const PassGroup *group, bool any_view, Values *out_operands)
{
    for (size_t i = 0; i < group->members.len; i++) {
        IrOpRef member = group->members.data[i];
        for (uint32_t o = 0; o < ir_op(graph, member)->operand_count; o++) {
            Collector c = {graph, group, member, o, out_operands};
            if ((pass_reads(graph, member, o) == PASS_READS_ANY_VIEW) == any_view)
                collect_value(&c, ir_op(graph, member)->operands[o]);
        }
    }
}

static void collect(const IrGraph *graph, const PassGroup *group, Values *out_operands, Values *out_yields)
{
    collect_operands(graph, group, false, out_operands);
    collect_operands(graph, group, true, out_operands);
    for (size_t i = 0; i < group->members.len; i++) {
        const IrOp *op = ir_op(graph, group->members.data[i]);
        for (uint32_t r = 0; r < op->result_count; r++)
            if (read_outside(graph, group, op->results[r])) add_once(out_yields, op->results[r]);
    }
}

// A group gives what its members leave unread too when it gives nothing else: a kernel needs a place to write to.
static void collect_unread(const IrGraph *graph, const PassGroup *group, Values *out_yields)
{
    for (size_t i = 0; i < group->members.len && out_yields->len < MAX_RESULTS; i++) {
        const IrOp *op = ir_op(graph, group->members.data[i]);
        if (op->result_count && !ir_use_count(graph, op->results[0])) add_once(out_yields, op->results[0]);
    }
}

bool pass_group_legal(const IrGraph *graph, const PassGroup *group, PassMissed *out_reason)
{
    Values operands = {0}, yields = {0};
    collect(graph, group, &operands, &yields);
    bool fits = operands.len <= MAX_OPERANDS && yields.len <= MAX_RESULTS;
    hd_vec_free(&operands);
    hd_vec_free(&yields);
    *out_reason = MISSED_too_many;
    if (!fits) return false;
    Order order;
    bool acyclic = order_make(graph, group, &order);
    hd_vec_free(&order.out);
    *out_reason = MISSED_cycle;
    return acyclic;
}

// ---- making ----------------------------------------------------------------------------------------------------

typedef struct Clone {
    IrGraph *graph;
    IrBlock region;
    HD_VEC(IrValue) from, to;
} Clone;

static void clone_map(Clone *clone, IrValue from, IrValue to)
{
    hd_vec_push(&clone->from, from);
    hd_vec_push(&clone->to, to);
}

static void clone_op(Clone *clone, IrOpRef ref);

static IrValue clone_value(Clone *clone, IrValue value)
{
    for (size_t i = 0; i < clone->from.len; i++)
        if (clone->from.data[i] == value) return clone->to.data[i];
    IrOpRef producer = pass_producer(clone->graph, value);
    HD_ASSERT(producer && pass_role(clone->graph, producer) == IR_ROLE_VIEW); // all else is a member or an operand
    clone_op(clone, producer);
    return clone_value(clone, value);
}

// Copies an operation into the region; its operands first.
static void clone_op(Clone *clone, IrOpRef ref)
{
    const IrOp old = *ir_op(clone->graph, ref);
    IrValue operands[MAX_OPERANDS];
    IrAttr attrs[IR_ATTR_COUNT];
    uint32_t attr_count = 0;
    for (uint32_t i = 0; i < old.operand_count; i++) operands[i] = clone_value(clone, old.operands[i]);
    for (uint32_t a = 0; a < IR_ATTR_COUNT; a++)
        if (old.attr_mask >> a & 1) attrs[attr_count++] = (IrAttr){(IrAttrId)a, old.attr[a]};
    IrType given = old.result_count ? ir_value(clone->graph, old.results[0])->type : (IrType){0};
    IrBuild build = {.kind = old.kind,
                     .operands = operands,
                     .operand_count = old.operand_count,
                     .attrs = attrs,
                     .attr_count = attr_count,
                     .block = clone->region};
    if (old.kind == IR_OP_reshape) build.given = &given, build.given_count = 1;
    IrOpRef made = pass_build(clone->graph, &build, ref);
    for (uint32_t i = 0; i < old.result_count; i++) {
        clone_map(clone, old.results[i], ir_op(clone->graph, made)->results[i]);
        ir_set_heir(clone->graph, old.results[i], ir_op(clone->graph, made)->results[i]);
    }
}

// Erases the views that made these values, and what they alone read, as far as nobody reads them any more.
static void erase_unread_views(IrGraph *graph, Values *values)
{
    for (size_t i = 0; i < values->len; i++) {
        IrOpRef view = pass_producer(graph, values->data[i]);
        if (!view || ir_op(graph, view)->dead || pass_role(graph, view) != IR_ROLE_VIEW) continue;
        if (ir_use_count(graph, values->data[i])) continue;
        for (uint32_t k = 0; k < ir_op(graph, view)->operand_count; k++)
            hd_vec_push(values, ir_op(graph, view)->operands[k]);
        ir_erase(graph, view);
    }
}

// The members are read by nobody any more; each goes after its readers among them.
static void erase_members(IrGraph *graph, const PassGroup *group)
{
    Values read = {0};
    for (size_t left = group->members.len; left;)
        for (size_t i = 0; i < group->members.len; i++) {
            const IrOp *op = ir_op(graph, group->members.data[i]);
            uint32_t uses = 0;
            for (uint32_t r = 0; r < op->result_count; r++) uses += ir_use_count(graph, op->results[r]);
            if (op->dead || uses) continue;
            for (uint32_t o = 0; o < op->operand_count; o++) hd_vec_push(&read, op->operands[o]);
            ir_erase(graph, group->members.data[i]);
            left--;
        }
    erase_unread_views(graph, &read);
    hd_vec_free(&read);
}

IrOpRef pass_group_make(IrGraph *graph, const PassGroup *group, IrGroup kind)
{
    Values operands = {0}, yields = {0};
    Order order;
    HD_ASSERT(order_make(graph, group, &order));
    collect(graph, group, &operands, &yields);
    if (!yields.len) collect_unread(graph, group, &yields);

    IrBlock region = ir_block_new(graph);
    Clone clone = {.graph = graph, .region = region};
    for (size_t i = 0; i < operands.len; i++)
        clone_map(&clone, operands.data[i], ir_block_arg(graph, region, ir_value(graph, operands.data[i])->type));
    IrOpRef behind = ir_op(graph, order.last)->next;
    for (IrOpRef ref = order.first; ref != behind; ref = ir_op(graph, ref)->next)
        if (pass_contains(group, ref)) clone_op(&clone, ref);
    IrType types[MAX_RESULTS];
    for (size_t i = 0; i < yields.len; i++) {
        types[i] = ir_value(graph, yields.data[i])->type;
        IrValue inner = clone_value(&clone, yields.data[i]);
        hd_vec_push(&graph->blocks.data[region].yields, inner);
    }
    IrAttr attr = {IR_ATTR_KIND, {.name = ir_intern(graph->module, hd_str(ir_group_name(kind)))}};
    IrBuild build = {.kind = IR_OP_fused,
                     .operands = operands.data,
                     .operand_count = (uint32_t)operands.len,
                     .attrs = &attr,
                     .attr_count = 1,
                     .region = region,
                     .given = types,
                     .given_count = (uint32_t)yields.len};
    IrOpRef fused = pass_build(graph, &build, group->members.data[0]);

    // The new order, the group where its first member stands.
    bool placed = false;
    for (size_t i = 0; i < order.out.len; i++) {
        bool member = pass_contains(group, order.out.data[i]);
        if (!member) ir_move_before(graph, order.out.data[i], behind);
        else if (!placed) ir_move_before(graph, fused, behind), placed = true;
    }
    for (size_t i = 0; i < yields.len; i++) ir_replace_uses(graph, yields.data[i], ir_op(graph, fused)->results[i]);
    // A yield of the region names the inner value; replacing uses above has not touched it, since inner values are new ones.
    erase_members(graph, group);
    hd_vec_free(&operands);
    hd_vec_free(&yields);
    hd_vec_free(&order.out);
    hd_vec_free(&clone.from);
    hd_vec_free(&clone.to);
    return fused;
}

bool pass_fuse(IrGraph *graph, PassCtx *ctx, PassRule rule, IrGroup kind, const IrOpRef *members, uint32_t count)
{
    PassGroup group = {0};
    PassMissed reason;
    for (uint32_t i = 0; i < count; i++) hd_vec_push(&group.members, members[i]);
    bool legal = pass_group_legal(graph, &group, &reason), made = legal && pass_fire(ctx, rule, graph, members[0]);
    if (!legal) pass_missed(ctx, rule, graph, members[0], reason);
    if (made) pass_group_make(graph, &group, kind);
    hd_vec_free(&group.members);
    return made;
}
