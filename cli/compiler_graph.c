// SPDX-License-Identifier: Apache-2.0
// Graphs in text form, for `heddle opt` and for `heddle compile GRAPH.hir --model MODEL.gguf`.
#include "cli/compiler_internal.h"

#include <string.h>

HdStatus *compiler_graph_parse(const char *name, HdStr text, IrModule **out_module)
{
    HdStatus *status = NULL;
    HD_TRY(ir_parse_module(name, text, out_module));
    for (size_t i = 0; i < (*out_module)->graphs.len && !status; i++)
        status = hd_annotate(ir_verify((*out_module)->graphs.data[i]), "%s", name);
    if (status) ir_module_free(*out_module);
    return status;
}

// ---- a graph and its model -------------------------------------------------------------------------------------

// Weights of any graph of the model, by name.
static const IrType *weight_type(const IrModule *module, const char *name)
{
    for (size_t g = 0; g < module->graphs.len; g++)
        for (IrValue v = 1; v < module->graphs.data[g]->values.len; v++) {
            const IrValueData *data = ir_value(module->graphs.data[g], v);
            if (data->kind == IR_VALUE_WEIGHT && !strcmp(data->name, name)) return &data->type;
        }
    return NULL;
}

static HdStatus *check_weights(const char *path, const IrGraph *graph, const IrModule *model)
{
    for (IrValue v = 1; v < graph->values.len; v++) {
        const IrValueData *data = ir_value(graph, v);
        if (data->kind != IR_VALUE_WEIGHT) continue;
        const IrType *have = weight_type(model, data->name);
        if (!have) return hd_error(HD_MISMATCH, "%s: @%s: the model has no weight \"%s\"", path, graph->name, data->name);
        IrType wanted = data->type;
        HdBuf want = {0}, is = {0};
        wanted.layout = have->layout;
        ir_print_type(graph, &wanted, &want);
        ir_print_type(model->graphs.data[0], have, &is);
        HdStatus *status = ir_type_eq(&wanted, have) ? NULL : hd_error(HD_MISMATCH, "%s: @%s: weight \"%s\" is %s, in the model %s", path, graph->name,
                                                                       data->name, want.data, is.data);
        hd_buf_free(&want);
        hd_buf_free(&is);
        HD_TRY(status);
    }
    return NULL;
}

// Keys of the model that the text lacks are taken over; those that it has must agree, but for what is of the graph itself.
static HdStatus *take_keys(const char *path, IrModule *module, const IrModule *model)
{
    static const char *const own[] = {"layers", "pipeline", "kv.dtype"};
    for (size_t i = 0; i < model->keys.len; i++) {
        const IrKey *key = &model->keys.data[i];
        const char *have = ir_module_key(module, key->key);
        bool free = false;
        for (size_t k = 0; k < HD_COUNT(own); k++) free = free || !strcmp(own[k], key->key);
        if (!have) ir_module_set_key(module, key->key, key->value);
        else if (!free && strcmp(have, key->value) != 0)
            return hd_error(HD_MISMATCH, "%s: key \"%s\" is \"%s\", of the model \"%s\": the graph is of another model", path, key->key, have, key->value);
    }
    return NULL;
}

HdStatus *compiler_graph_read(const char *path, IrModule *model, IrModule **out_module)
{
    HdBuf text = {0};
    IrModule *module = NULL;
    HdStatus *status = hd_read_file(path, &text);
    if (!status) status = compiler_graph_parse(path, (HdStr){text.data, text.len}, &module);
    hd_buf_free(&text);
    if (status) module = NULL;
    if (!status) status = take_keys(path, module, model);
    for (size_t i = 0; !status && i < module->graphs.len; i++) status = check_weights(path, module->graphs.data[i], model);
    ir_module_free(model);
    if (status) ir_module_free(module);
    else *out_module = module;
    return status;
}

// ---- what can be compiled --------------------------------------------------------------------------------------

bool compiler_graph_is_done(const IrModule *module)
{
    bool done = ir_graph_find(module, "decode") != NULL;
    for (size_t i = 0; i < module->graphs.len; i++)
        done = done && (module->graphs.data[i]->arena_bytes >= 0 || !strcmp(module->graphs.data[i]->name, "model"));
    return done;
}

static HdStatus *check_graph(const IrGraph *graph)
{
    bool load = !strcmp(graph->name, "load");
    IR_FOR_OPS(graph, 0, ref)
    {
        const IrOp *op = ir_op(graph, ref);
        const char *lacks = op->kind != IR_OP_fused ? "is in no group (partition)" : op->stage < 0 ? "has no stage (schedule)" : NULL;
        for (uint32_t i = 0; i < op->result_count && !load && !lacks; i++)
            if (ir_value(graph, op->results[i])->offset < 0) lacks = "has no place in memory (plan-memory)";
        if (lacks)
            return hd_error(HD_UNSUPPORTED, "@%s cannot be compiled yet: an operation %s in layer %d %s; --start-from PASS runs the passes that are left",
                            graph->name, ir_op_info(op->kind)->name, op->layer, lacks);
    }
    return NULL;
}

HdStatus *compiler_graph_check(const IrModule *module)
{
    static const char *const names[] = {"decode", "small", "prefill", "load"};
    IrBinding bound;
    for (size_t i = 0; i < HD_COUNT(names); i++) {
        const IrGraph *graph = ir_graph_find(module, names[i]);
        if (!graph) return hd_error(HD_UNSUPPORTED, "there is no graph @%s; a module has @decode, @small, @prefill and @load (specialise)", names[i]);
        if (i < 3 && !ir_graph_bound(graph, &bound)) return hd_error(HD_UNSUPPORTED, "key \"bounds.%s\" is missing, or is not four numbers", names[i]);
        HD_TRY(check_graph(graph));
    }
    return NULL;
}
