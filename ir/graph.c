// SPDX-License-Identifier: Apache-2.0
// Modules and graphs: building, changing, copying. Operations form a doubly linked list per block; values, operations
// and blocks are indices into growable arrays, and index 0 of values and operations is "none".
#include "ir/ir_internal.h"

#include <stdlib.h>
#include <string.h>

// ---- modules -------------------------------------------------------------------------------------------------

IrModule *ir_module_new(const char *name) {
    IrModule *module = hd_xcalloc(1, sizeof *module);
    module->name = ir_intern(module, hd_str(name));
    return module;
}

void ir_graph_free(IrGraph *graph) {
    if (!graph) return;
    for (size_t i = 0; i < graph->blocks.len; i++) {
        hd_vec_free(&graph->blocks.data[i].args);
        hd_vec_free(&graph->blocks.data[i].yields);
    }
    for (size_t i = 0; i < graph->users.len; i++) hd_vec_free(&graph->users.data[i]);
    hd_vec_free(&graph->syms);
    hd_vec_free(&graph->values);
    hd_vec_free(&graph->users);
    hd_vec_free(&graph->ops);
    hd_vec_free(&graph->blocks);
    hd_vec_free(&graph->results);
    free(graph);
}

void ir_module_free(IrModule *module) {
    if (!module) return;
    for (size_t i = 0; i < module->graphs.len; i++) ir_graph_free(module->graphs.data[i]);
    hd_vec_free(&module->graphs);
    hd_vec_free(&module->keys);
    hd_vec_free(&module->texts);
    hd_map_free(&module->names);
    hd_arena_free(&module->arena);
    free(module);
}

const char *ir_intern(IrModule *module, HdStr text) {
    uint32_t index;
    if (hd_map_get(&module->names, text, &index)) return module->texts.data[index];
    const char *copy = hd_arena_strndup(&module->arena, text.data, text.len);
    hd_map_put(&module->names, (HdStr){copy, text.len}, (uint32_t)module->texts.len);
    hd_vec_push(&module->texts, copy);
    return copy;
}

void ir_module_set_key(IrModule *module, const char *key, const char *value) {
    const char *text = ir_intern(module, hd_str(value));
    for (size_t i = 0; i < module->keys.len; i++)
        if (strcmp(module->keys.data[i].key, key) == 0) {
            module->keys.data[i].value = text;
            return;
        }
    hd_vec_reserve(&module->keys, module->keys.len + 1);
    module->keys.data[module->keys.len].key = ir_intern(module, hd_str(key));
    module->keys.data[module->keys.len++].value = text;
}

const char *ir_module_key(const IrModule *module, const char *key) {
    for (size_t i = 0; i < module->keys.len; i++)
        if (strcmp(module->keys.data[i].key, key) == 0) return module->keys.data[i].value;
    return NULL;
}

// ---- graphs --------------------------------------------------------------------------------------------------

static void add_base_syms(IrGraph *graph) {
    static const char *const names[IR_SYM_BASE_COUNT] = {"T", "S", "C", "R"};
    hd_vec_reserve(&graph->syms, IR_SYM_BASE_COUNT);
    for (uint32_t i = 0; i < IR_SYM_BASE_COUNT; i++) {
        graph->syms.data[i].name = ir_intern(graph->module, hd_str(names[i]));
        graph->syms.data[i].expr = ir_expr_base(i);
    }
    graph->syms.len = IR_SYM_BASE_COUNT;
}

IrGraph *ir_graph_new(IrModule *module, const char *name) {
    IrGraph *graph = hd_xcalloc(1, sizeof *graph);
    graph->module = module;
    graph->name = ir_intern(module, hd_str(name));
    graph->arena_bytes = -1;
    graph->layer = -1;
    add_base_syms(graph);
    hd_vec_push(&graph->values, ((IrValueData){.offset = -1}));
    hd_vec_push(&graph->users, ((IrOpRefs){0}));
    hd_vec_push(&graph->ops, ((IrOp){.dead = true}));
    hd_vec_push(&graph->blocks, ((IrBlockData){0}));
    hd_vec_push(&module->graphs, graph);
    return graph;
}

IrGraph *ir_graph_find(const IrModule *module, const char *name) {
    for (size_t i = 0; i < module->graphs.len; i++)
        if (strcmp(module->graphs.data[i]->name, name) == 0) return module->graphs.data[i];
    return NULL;
}

// Replaces the contents of one growable array by those of another of the same type.
#define COPY_VEC(to, from)                                                                                  \
    do {                                                                                                    \
        (to)->len = 0;                                                                                      \
        if ((from)->len == 0) break;                                                                        \
        hd_vec_reserve((to), (from)->len);                                                                  \
        memcpy((to)->data, (from)->data, (from)->len * sizeof *(to)->data);                                 \
        (to)->len = (from)->len;                                                                            \
    } while (0)

static void copy_blocks(IrGraph *to, const IrGraph *from) {
    for (size_t i = 0; i < from->blocks.len; i++) {
        const IrBlockData *source = &from->blocks.data[i];
        IrBlockData copy = {.first = source->first, .last = source->last, .parent = source->parent};
        COPY_VEC(&copy.args, &source->args);
        COPY_VEC(&copy.yields, &source->yields);
        if (i == 0) to->blocks.data[0] = copy;
        else hd_vec_push(&to->blocks, copy);
    }
}

static void copy_users(IrGraph *to, const IrGraph *from) {
    for (size_t i = 1; i < from->users.len; i++) {
        IrOpRefs copy = {0};
        COPY_VEC(&copy, &from->users.data[i]);
        hd_vec_push(&to->users, copy);
    }
}

IrGraph *ir_graph_clone(const IrGraph *graph, const char *name) {
    IrGraph *clone = ir_graph_new(graph->module, name);
    COPY_VEC(&clone->syms, &graph->syms);
    COPY_VEC(&clone->values, &graph->values);
    COPY_VEC(&clone->ops, &graph->ops);
    COPY_VEC(&clone->results, &graph->results);
    copy_blocks(clone, graph);
    copy_users(clone, graph);
    clone->arena_bytes = graph->arena_bytes;
    clone->layer = graph->layer;
    return clone;
}

void ir_graph_remove(IrModule *module, IrGraph *graph) {
    for (size_t i = 0; i < module->graphs.len; i++) {
        if (module->graphs.data[i] != graph) continue;
        module->graphs.len--;
        memmove(&module->graphs.data[i], &module->graphs.data[i + 1], (module->graphs.len - i) * sizeof module->graphs.data[0]);
        ir_graph_free(graph);
        return;
    }
}

IrGraph *ir_graph_copy(const IrGraph *graph) {
    IrGraph *copy = ir_graph_clone(graph, graph->name);
    graph->module->graphs.len--;   // it is the last
    return copy;
}

// ---- values without an operation -----------------------------------------------------------------------------

static IrValue add_value(IrGraph *graph, IrValueData data) {
    data.offset = -1;
    hd_vec_push(&graph->values, data);
    hd_vec_push(&graph->users, ((IrOpRefs){0}));
    return (IrValue)(graph->values.len - 1);
}

IrValueData *ir_value(const IrGraph *graph, IrValue value) { return &graph->values.data[value]; }
IrOp *ir_op(const IrGraph *graph, IrOpRef op) { return &graph->ops.data[op]; }

IrValue ir_input(IrGraph *graph, IrInputKind kind, IrType type, float theta) {
    for (IrValue v = 1; v < graph->values.len; v++) {
        const IrValueData *data = ir_value(graph, v);
        bool same = data->kind == IR_VALUE_INPUT && data->index == kind && memcmp(&data->theta, &theta, sizeof theta) == 0;
        if (same && ir_type_eq(&data->type, &type)) return v;
    }
    return add_value(graph, (IrValueData){.kind = IR_VALUE_INPUT, .type = type, .index = kind, .theta = theta});
}

IrValue ir_weight(IrGraph *graph, const char *name, IrType type) {
    const char *interned = ir_intern(graph->module, hd_str(name));
    for (IrValue v = 1; v < graph->values.len; v++) {
        const IrValueData *data = ir_value(graph, v);
        if (data->kind == IR_VALUE_WEIGHT && data->name == interned && ir_type_eq(&data->type, &type)) return v;
    }
    return add_value(graph, (IrValueData){.kind = IR_VALUE_WEIGHT, .type = type, .name = interned});
}

IrValue ir_state(IrGraph *graph, IrStateKind kind, const char *name, IrType type) {
    const char *interned = ir_intern(graph->module, hd_str(name));
    for (IrValue v = 1; v < graph->values.len; v++) {
        const IrValueData *data = ir_value(graph, v);
        bool same = data->kind == IR_VALUE_STATE && data->name == interned && data->index == kind;
        if (same && ir_type_eq(&data->type, &type)) return v;
    }
    return add_value(graph, (IrValueData){.kind = IR_VALUE_STATE, .type = type, .index = kind, .name = interned});
}

// ---- building ------------------------------------------------------------------------------------------------

// Numbers along a block leave room between them; where it is used up, all are given anew. What is put between two neighbours
// stays near the first, because the next one will mostly come behind it.
#define ORDER_APPENDED (UINT64_C(1) << 40)
#define ORDER_INSERTED (UINT64_C(1) << 20)

static void renumber(IrGraph *graph, IrBlock block) {
    uint64_t order = 0;
    IR_FOR_OPS(graph, block, ref) ir_op(graph, ref)->order = order += ORDER_APPENDED;
}

static void give_order(IrGraph *graph, IrOpRef ref) {
    IrOp *op = ir_op(graph, ref);
    uint64_t low = op->prev ? ir_op(graph, op->prev)->order : 0;
    uint64_t room = (op->next ? ir_op(graph, op->next)->order : UINT64_MAX) - low;
    uint64_t step = op->next ? HD_MIN(room / 2, ORDER_INSERTED) : HD_MIN(room / 2, ORDER_APPENDED);
    op->order = low + step;
    if (!step) renumber(graph, op->block);
}

static void link_before(IrGraph *graph, IrOpRef ref, IrBlock block, IrOpRef before) {
    IrBlockData *list = &graph->blocks.data[block];
    IrOp *op = ir_op(graph, ref);
    op->block = block;
    op->next = before;
    op->prev = before ? ir_op(graph, before)->prev : list->last;
    *(op->prev ? &ir_op(graph, op->prev)->next : &list->first) = ref;
    *(before ? &ir_op(graph, before)->prev : &list->last) = ref;
    give_order(graph, ref);
}

static void unlink_op(IrGraph *graph, IrOpRef ref) {
    IrOp *op = ir_op(graph, ref);
    IrBlockData *list = &graph->blocks.data[op->block];
    *(op->prev ? &ir_op(graph, op->prev)->next : &list->first) = op->next;
    *(op->next ? &ir_op(graph, op->next)->prev : &list->last) = op->prev;
    op->prev = op->next = 0;
}

static void set_attrs(IrGraph *graph, IrOp *op, const IrBuild *build) {
    for (uint32_t i = 0; i < build->attr_count; i++) {
        IrAttr attr = build->attrs[i];
        if (ir_attr_info(attr.id)->kind == IR_ATTR_KIND_NAME) attr.value.name = ir_intern(graph->module, hd_str(attr.value.name));
        op->attr[attr.id] = attr.value;
        op->attr_mask |= 1u << attr.id;
    }
}

IrOpRef ir_build(IrGraph *graph, const IrBuild *build, HdStatus **out_status) {
    IrType types[8];
    uint32_t count = 0;
    *out_status = ir_infer_in(graph, graph, build, types, &count);
    if (*out_status) return 0;
    IrOp op = {.kind = build->kind, .block = build->block, .region = build->region, .operand_count = build->operand_count,
               .result_count = count, .layer = graph->layer, .stage = -1};
    memcpy(op.operands, build->operands, build->operand_count * sizeof op.operands[0]);
    set_attrs(graph, &op, build);
    IrOpRef ref = (IrOpRef)graph->ops.len;
    for (uint32_t i = 0; i < count; i++)
        op.results[i] = add_value(graph, (IrValueData){.kind = IR_VALUE_RESULT, .type = types[i], .op = ref, .index = i,
                                                       .block = build->block});
    hd_vec_push(&graph->ops, op);
    link_before(graph, ref, build->block, build->before);
    for (uint32_t i = 0; i < build->operand_count; i++) ir_add_user(graph, op.operands[i], ref);
    if (build->region) graph->blocks.data[build->region].parent = ref;
    return ref;
}

IrValue ir_op1(IrGraph *graph, IrOpKind kind, uint32_t operand_count, const IrValue *operands, uint32_t attr_count,
               const IrAttr *attrs) {
    IrBuild build = {
        .kind = kind, .operands = operands, .operand_count = operand_count, .attrs = attrs, .attr_count = attr_count};
    HdStatus *status;
    IrOpRef ref = ir_build(graph, &build, &status);
    if (status) hd_assert_failed(__FILE__, __LINE__, hd_status_message(status));
    return ir_op(graph, ref)->results[0];
}

IrBlock ir_block_new(IrGraph *graph) {
    hd_vec_push(&graph->blocks, ((IrBlockData){0}));
    return (IrBlock)(graph->blocks.len - 1);
}

IrValue ir_block_arg(IrGraph *graph, IrBlock block, IrType type) {
    IrBlockData *data = &graph->blocks.data[block];
    uint32_t index = (uint32_t)data->args.len;
    IrValue arg = add_value(graph, (IrValueData){.kind = IR_VALUE_ARG, .type = type, .index = index, .block = block});
    hd_vec_push(&data->args, arg);
    return arg;
}

IrValue ir_source(const IrGraph *graph, IrValue value) {
    const IrValueData *data = ir_value(graph, value);
    if (data->kind != IR_VALUE_ARG) return value;
    IrOpRef parent = graph->blocks.data[data->block].parent;
    return parent && data->index < ir_op(graph, parent)->operand_count ? ir_op(graph, parent)->operands[data->index] : 0;
}

// ---- changing ------------------------------------------------------------------------------------------------

static void drop_operands(IrGraph *graph, IrOpRef ref) {
    const IrOp *op = ir_op(graph, ref);
    for (uint32_t i = 0; i < op->operand_count; i++) ir_remove_user(graph, op->operands[i], ref);
}

static void erase_region(IrGraph *graph, IrBlock block) {
    IrBlockData *region = &graph->blocks.data[block];
    IR_FOR_OPS(graph, block, ref) {
        drop_operands(graph, ref);
        ir_op(graph, ref)->dead = true;
    }
    hd_vec_free(&region->args);
    hd_vec_free(&region->yields);
    region->first = region->last = region->parent = 0;
}

void ir_erase(IrGraph *graph, IrOpRef ref) {
    IrOp *op = ir_op(graph, ref);
    for (uint32_t i = 0; i < op->result_count; i++) HD_ASSERT(ir_use_count(graph, op->results[i]) == 0);
    IrOpRef before = op->prev;
    drop_operands(graph, ref);
    unlink_op(graph, ref);
    op->prev = before;
    op->dead = true;
    if (op->region) erase_region(graph, op->region);
}

void ir_move_before(IrGraph *graph, IrOpRef op, IrOpRef before) {
    IrBlock block = ir_op(graph, op)->block;
    if (op == before) return;
    HD_ASSERT(!before || ir_op(graph, before)->block == block);
    unlink_op(graph, op);
    link_before(graph, op, block, before);
}

void ir_move_to_block(IrGraph *graph, IrOpRef ref, IrBlock block) {
    unlink_op(graph, ref);
    link_before(graph, ref, block, 0);
    const IrOp *op = ir_op(graph, ref);
    for (uint32_t i = 0; i < op->result_count; i++) ir_value(graph, op->results[i])->block = block;
}

bool ir_is_before(const IrGraph *graph, IrOpRef a, IrOpRef b) { return ir_op(graph, a)->order < ir_op(graph, b)->order; }

IrEffect ir_op_effect(const IrGraph *graph, const IrOp *op) {
    if (op->kind != IR_OP_fused || !op->region) return ir_op_info(op->kind)->effect;
    unsigned effect = IR_EFFECT_PURE;
    IR_FOR_OPS(graph, op->region, ref) effect |= ir_op_info(ir_op(graph, ref)->kind)->effect;
    return (IrEffect)effect;
}
