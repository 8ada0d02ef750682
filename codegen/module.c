// SPDX-License-Identifier: Apache-2.0
// Writes a compiled program as a module file. The format, its keys and the columns of its tables are in runtime/module.h; the
// reader (runtime/module_tables.c) checks what this file writes.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"
#include "runtime/module.h"

typedef HD_VEC(int64_t) Cells;
typedef HD_VEC(HdStr) Names;

typedef struct Writing {
    const CgProgram *program;
    const IrModule *ir;
    const IrTarget *target;
    const CgModuleInfo *info;
    GgufWriter *gguf;
    HdHasher *fingerprint;           // over all heddle.model.* keys, in the order they are written
    HdArena arena;
    HD_VEC(const CgWeight *) tensors;   // distinct names of the weight table, sorted
    uint32_t vocab;
    HdBuf graph;
} Writing;

static void put_cells(Writing *writing, const char *key, Cells *cells)
{
    gguf_writer_ints(writing->gguf, key, cells->data, cells->len);
    hd_vec_free(cells);
}

static void put_names(Writing *writing, const char *key, Names *names)
{
    gguf_writer_strings(writing->gguf, key, names->data, names->len);
    hd_vec_free(names);
}

static void put_text(Writing *writing, const char *key, const char *text)
{
    gguf_writer_string(writing->gguf, key, hd_str(text ? text : ""));
}

static const char *hex_of(Writing *writing, HdDigest digest)
{
    char hex[33];
    hd_digest_hex(digest, hex);
    return hd_arena_strndup(&writing->arena, hex, 32);
}

// ---- what the model was -----------------------------------------------------------------------------------------

static void print_strings(HdHasher *hasher, const Names *names)
{
    for (size_t i = 0; i < names->len; i++) {
        hd_hasher_add(hasher, names->data[i].data, names->data[i].len);
        hd_hasher_add(hasher, "\n", 1);
    }
}

static void put_model_names(Writing *writing, const char *key, Names *names)
{
    print_strings(writing->fingerprint, names);
    put_names(writing, key, names);
}

static void put_hyperparameters(Writing *writing, const char *architecture)
{
    Names keys = {0}, values = {0};
    size_t count = writing->info->model ? gguf_key_count(writing->info->model) : 0;
    for (size_t i = 0; i < count; i++) {
        const GgufValue *value = gguf_key_at(writing->info->model, i);
        if (!rt_is_model_key(value->key, architecture)) continue;
        HdBuf text = {0};
        rt_model_value_text(value, &text);
        hd_vec_push(&keys, value->key);
        hd_vec_push(&values, hd_str(hd_arena_strndup(&writing->arena, text.data, text.len)));
        hd_buf_free(&text);
    }
    put_model_names(writing, RT_KEY_MODEL_KEYS, &keys);
    put_model_names(writing, RT_KEY_MODEL_VALUES, &values);
}

// GGUF's order: the fastest dimension first, missing ones are 1.
static HdStatus *weight_ne(const CgWeight *weight, int64_t out_ne[4])
{
    for (uint32_t i = 0; i < 4; i++) {
        out_ne[i] = i < weight->type.rank ? weight->type.dims[weight->type.rank - 1 - i] : 1;
        if (out_ne[i] < 1) return hd_error(HD_INTERNAL, "weight %s has a dimension that is not a number", weight->name);
    }
    return NULL;
}

static HdStatus *put_tensors(Writing *writing)
{
    Names names = {0}, types = {0};
    Cells shapes = {0};
    HdStatus *status = NULL;
    for (size_t i = 0; i < writing->tensors.len && !status; i++) {
        const CgWeight *weight = writing->tensors.data[i];
        const IrDtypeInfo *dtype = ir_dtype_info(weight->type.dtype);
        const GgmlTypeInfo *type = dtype->ggml < 0 ? NULL : ggml_type_info((uint32_t)dtype->ggml);
        int64_t ne[4];
        if (type) status = weight_ne(weight, ne);
        else status = hd_error(HD_INTERNAL, "weight %s: type %s is none of a file", weight->name, dtype->name);
        if (status) break;
        hd_vec_push(&names, hd_str(weight->name));
        hd_vec_push(&types, hd_str(type->name));
        for (int k = 0; k < 4; k++) hd_vec_push(&shapes, ne[k]);
    }
    hd_hasher_add(writing->fingerprint, shapes.data, shapes.len * sizeof *shapes.data);
    put_model_names(writing, RT_KEY_MODEL_TENSORS, &names);
    put_model_names(writing, RT_KEY_MODEL_TYPES, &types);
    put_cells(writing, RT_KEY_MODEL_NE, &shapes);
    return status;
}

static HdStatus *put_model(Writing *writing)
{
    const char *architecture = ir_module_key(writing->ir, "arch");
    if (!architecture) return hd_error(HD_INTERNAL, "module \"%s\" has no key \"arch\"", writing->ir->name);
    put_text(writing, RT_KEY_MODEL_NAME, writing->ir->name);
    put_text(writing, RT_KEY_MODEL_ARCH, architecture);
    hd_hasher_add(writing->fingerprint, architecture, strlen(architecture));
    put_hyperparameters(writing, architecture);
    HD_TRY(put_tensors(writing));
    HdDigest digest = hd_hasher_finish(writing->fingerprint);
    writing->fingerprint = NULL;
    put_text(writing, RT_KEY_FINGERPRINT, hex_of(writing, digest));
    return NULL;
}

// ---- numbers the runtime needs ------------------------------------------------------------------------------------

static HdStatus *put_context(Writing *writing)
{
    const char *text = ir_module_key(writing->ir, "context_length");
    uint64_t context;
    if (!text || !hd_parse_u64(hd_str(text), &context) || context < 1 || context > INT32_MAX)
        return hd_error(HD_INTERNAL, "module \"%s\": key \"context_length\" is \"%s\"; it has to be a number from 1 to 2^31 - 1",
                        writing->ir->name, text ? text : "missing");
    gguf_writer_u32(writing->gguf, RT_KEY_CONTEXT, (uint32_t)context);
    return NULL;
}

// All rope inputs of all graphs must agree: a step has one table.
static HdStatus *put_rope(Writing *writing)
{
    float theta = 0;
    int64_t width = 0;
    for (size_t g = 0; g < writing->ir->graphs.len; g++)
        for (size_t i = 1; i < writing->ir->graphs.data[g]->values.len; i++) {
            const IrValueData *value = &writing->ir->graphs.data[g]->values.data[i];
            if (value->kind != IR_VALUE_INPUT || value->index != IR_INPUT_ROPE) continue;
            if (width && (width != ir_type_last(&value->type) || theta != value->theta))
                return hd_error(HD_UNSUPPORTED, "module \"%s\": graphs with different rotary tables", writing->ir->name);
            width = ir_type_last(&value->type), theta = value->theta;
        }
    if (width < 0 || width > 65536)
        return hd_error(HD_INTERNAL, "module \"%s\": a rotary table of no fixed width", writing->ir->name);
    gguf_writer_f32(writing->gguf, RT_KEY_ROPE_THETA, theta);
    gguf_writer_u32(writing->gguf, RT_KEY_ROPE_N, (uint32_t)width);
    return NULL;
}

// Elements of one row: the product of all dimensions but the first.
static HdStatus *result_columns(const CgResult *result, int64_t *out_columns)
{
    int64_t columns = 1;
    for (uint32_t i = 1; i < result->type.rank; i++) {
        if (ir_dim_is_sym(result->type.dims[i]) || __builtin_mul_overflow(columns, result->type.dims[i], &columns))
            return hd_error(HD_INTERNAL, "result %s: a row of no fixed size", result->name);
    }
    if (result->type.dtype != (strcmp(result->name, "argmax") ? IR_F32 : IR_I32))
        return hd_error(HD_INTERNAL, "result %s: of type %s; results are f32, argmax is i32", result->name,
                        ir_dtype_info(result->type.dtype)->name);
    *out_columns = columns;
    return NULL;
}

static HdStatus *put_vocab(Writing *writing)
{
    int64_t vocab = 0;
    for (size_t c = 0; c < writing->program->classes.len; c++)
        for (size_t r = 0; r < writing->program->classes.data[c].results.len; r++) {
            const CgResult *result = &writing->program->classes.data[c].results.data[r];
            if (!strcmp(result->name, "logits")) HD_TRY(result_columns(result, &vocab));
        }
    if (vocab < 1 || vocab > INT32_MAX)
        return hd_error(HD_INTERNAL, "module \"%s\": no step class has a result \"logits\"", writing->ir->name);
    gguf_writer_u32(writing->gguf, RT_KEY_VOCAB, writing->vocab = (uint32_t)vocab);
    return NULL;
}

// ---- tables -------------------------------------------------------------------------------------------------------

static void put_kernels(Writing *writing)
{
    Names names = {0}, digests = {0};
    for (size_t i = 0; i < writing->program->kernels.len; i++) {
        hd_vec_push(&names, hd_str(writing->program->kernels.data[i].name));
        hd_vec_push(&digests, hd_str(hex_of(writing, writing->program->kernels.data[i].digest)));
    }
    put_names(writing, RT_KEY_KERNELS, &names);
    put_names(writing, RT_KEY_KERNEL_DIGESTS, &digests);
}

// Where the kernels of a GPU lie in the object.
static void put_kernel_places(Writing *writing)
{
    Cells cells = {0};
    for (size_t i = 0; i < writing->program->kernels.len; i++) {
        const CgKernel *kernel = &writing->program->kernels.data[i];
        if (!kernel->lanes) continue;
        hd_vec_push(&cells, (int64_t)kernel->offset);
        hd_vec_push(&cells, (int64_t)kernel->bytes);
        hd_vec_push(&cells, kernel->lanes);
        hd_vec_push(&cells, kernel->shared);
    }
    if (cells.len) put_cells(writing, RT_TABLE_KERNELS, &cells);
}

static void put_args(Writing *writing)
{
    Cells cells = {0};
    for (size_t i = 0; i < writing->program->args.len; i++) {
        hd_vec_push(&cells, (int64_t)writing->program->args.data[i].kind);
        hd_vec_push(&cells, writing->program->args.data[i].index);
    }
    put_cells(writing, RT_TABLE_ARGS, &cells);
}

static void put_exprs(Writing *writing)
{
    Cells cells = {0};
    _Static_assert((int)IR_SYM_T == (int)RT_T && (int)IR_SYM_S == (int)RT_S && (int)IR_SYM_C == (int)RT_C
                   && (int)IR_SYM_R == (int)RT_R, "one order of symbols");
    for (size_t i = 0; i < writing->program->exprs.len; i++) {
        const IrExpr *expr = &writing->program->exprs.data[i];
        int64_t row[RT_EXPR_COLUMNS] = {[RT_EXPR_CONSTANT] = expr->constant, [RT_EXPR_CEILS] = expr->ceils};
        memcpy(row + RT_EXPR_T, expr->coef, sizeof expr->coef);
        for (uint32_t c = 0; c < expr->ceils; c++) {
            int64_t *ceil = row + RT_EXPR_CEIL0 + 3 * c;
            ceil[0] = expr->ceil[c].coef, ceil[1] = expr->ceil[c].div, ceil[2] = expr->ceil[c].sym;
        }
        for (int c = 0; c < RT_EXPR_COLUMNS; c++) hd_vec_push(&cells, row[c]);
    }
    put_cells(writing, RT_TABLE_EXPRS, &cells);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const CgWeight *const *)a)->name, (*(const CgWeight *const *)b)->name);
}

// The distinct tensors; rows of the weight table that differ only in layout share one. By name, so that they are the same for every target:
// they belong to the fingerprint.
static void list_tensors(Writing *writing)
{
    size_t count = 0;
    for (size_t i = 0; i < writing->program->weights.len; i++) hd_vec_push(&writing->tensors, &writing->program->weights.data[i]);
    const CgWeight **list = writing->tensors.data;
    if (list) qsort(list, writing->tensors.len, sizeof *list, by_name);
    for (size_t i = 0; i < writing->tensors.len; i++)
        if (!i || strcmp(list[i]->name, list[count - 1]->name)) list[count++] = list[i];
    writing->tensors.len = count;
}

static int64_t tensor_row(const Writing *writing, const CgWeight *weight)
{
    const CgWeight *const *found = bsearch(&weight, writing->tensors.data, writing->tensors.len, sizeof *writing->tensors.data, by_name);
    HD_ASSERT(found);
    return found - writing->tensors.data;
}

static void put_weights(Writing *writing)
{
    Names layouts = {0};
    Cells cells = {0};
    list_tensors(writing);
    for (size_t i = 0; i < writing->program->weights.len; i++) {
        const CgWeight *weight = &writing->program->weights.data[i];
        hd_vec_push(&layouts, hd_str(ir_layout_name(weight->type.layout)));
        hd_vec_push(&cells, tensor_row(writing, weight));
        hd_vec_push(&cells, (int64_t)weight->packed_bytes);
    }
    put_names(writing, RT_KEY_LAYOUTS, &layouts);
    put_cells(writing, RT_TABLE_WEIGHTS, &cells);
}

static void put_states(Writing *writing)
{
    static const char *const kinds[IR_STATE_COUNT] = {[IR_STATE_KV] = RT_STATE_APPEND, [IR_STATE_CONV] = "conv",
                                                      [IR_STATE_DELTA] = "delta"};
    Names names = {0}, kind_names = {0}, types = {0};
    Cells cells = {0};
    for (size_t i = 0; i < writing->program->states.len; i++) {
        const CgState *state = &writing->program->states.data[i];
        hd_vec_push(&names, hd_str(state->name));
        hd_vec_push(&kind_names, hd_str(kinds[state->kind]));
        hd_vec_push(&types, hd_str(ir_dtype_info(state->dtype)->name));
        hd_vec_push(&cells, (int64_t)state->row_bytes);
    }
    put_names(writing, RT_KEY_STATES, &names);
    put_names(writing, RT_KEY_STATE_KINDS, &kind_names);
    put_names(writing, RT_KEY_STATE_TYPES, &types);
    put_cells(writing, RT_TABLE_STATES, &cells);
}

static void push_launch(Cells *cells, const CgLaunch *launch)
{
    const int64_t row[RT_LAUNCH_COLUMNS] = {
        [RT_LAUNCH_KERNEL] = launch->kernel,       [RT_LAUNCH_STAGE] = launch->stage,    [RT_LAUNCH_LAYER] = launch->layer,
        [RT_LAUNCH_FIRST_ARG] = launch->first_arg, [RT_LAUNCH_ARGS] = launch->arg_count, [RT_LAUNCH_UNITS] = launch->units,
        [RT_LAUNCH_SCRATCH] = launch->scratch,     [RT_LAUNCH_BYTES] = launch->bytes,    [RT_LAUNCH_FLOPS] = launch->flops};
    for (int c = 0; c < RT_LAUNCH_COLUMNS; c++) hd_vec_push(cells, row[c]);
}

// The runtime knows how long the runs of "top" are.
static HdStatus *check_top(const CgResult *result, uint32_t width)
{
    const IrType *type = &result->type;
    if (strcmp(result->name, RT_RESULT_TOP) || (type->rank == 3 && type->dims[2] == 1 + width)) return NULL;
    return hd_error(HD_INTERNAL, "result %s: expected runs of %u logits, each behind its number", result->name, width);
}

static HdStatus *push_result(const Writing *writing, Cells *cells, const CgResult *result)
{
    int64_t columns;
    HD_TRY(result_columns(result, &columns));
    HD_TRY(check_top(result, rt_run_width(writing->vocab)));
    hd_vec_push(cells, result->arena_offset);
    hd_vec_push(cells, (int64_t)result->rows);
    hd_vec_push(cells, columns);
    return NULL;
}

static void push_class(Cells *cells, const CgClass *class)
{
    for (int i = 0; i < IR_SYM_BASE_COUNT; i++) hd_vec_push(cells, class->bound.value[i]);
    hd_vec_push(cells, (int64_t)class->arena_bytes);
    hd_vec_push(cells, (int64_t)class->launches.len);
    hd_vec_push(cells, (int64_t)class->results.len);
}

static HdStatus *put_classes(Writing *writing)
{
    Names names = {0}, result_names = {0};
    Cells classes = {0}, launches = {0}, results = {0};
    HdStatus *status = NULL;
    for (size_t c = 0; c < writing->program->classes.len; c++) {
        const CgClass *class = &writing->program->classes.data[c];
        hd_vec_push(&names, hd_str(class->name));
        push_class(&classes, class);
        for (size_t i = 0; i < class->launches.len; i++) push_launch(&launches, &class->launches.data[i]);
        for (size_t i = 0; i < class->results.len && !status; i++) {
            hd_vec_push(&result_names, hd_str(class->results.data[i].name));
            status = push_result(writing, &results, &class->results.data[i]);
        }
    }
    put_names(writing, RT_KEY_CLASSES, &names);
    put_names(writing, RT_KEY_RESULTS, &result_names);
    put_cells(writing, RT_TABLE_CLASSES, &classes);
    put_cells(writing, RT_TABLE_LAUNCHES, &launches);
    put_cells(writing, RT_TABLE_RESULTS, &results);
    return status;
}

// ---- the file -----------------------------------------------------------------------------------------------------

// A writer with the keys that every file begins with.
static GgufWriter *begin_file(void)
{
    GgufWriter *gguf = gguf_writer_new(RT_ARCHITECTURE);
    gguf_writer_string(gguf, RT_KEY_DIGEST, HD_STR("00000000000000000000000000000000"));   // second key, filled in by the seal
    gguf_writer_u32(gguf, RT_KEY_FORMAT, RT_MODULE_FORMAT);
    gguf_writer_u32(gguf, RT_KEY_ABI, HEDDLE_ABI_VERSION);
    return gguf;
}

static void finish_file(GgufWriter *gguf, HdBuf *out_bytes)
{
    gguf_writer_finish(gguf, out_bytes);
    rt_module_seal(out_bytes->data, out_bytes->len);
}

static void put_head(Writing *writing)
{
    Names features = {0};
    put_text(writing, RT_KEY_PRODUCER, writing->info->producer ? writing->info->producer : cg_compiler_version());
    put_text(writing, RT_KEY_TARGET, writing->target->name);
    for (int i = 0; i < IR_FEATURE_COUNT; i++)
        if (ir_target_has(writing->target, (IrFeature)i)) hd_vec_push(&features, hd_str(ir_feature_name((IrFeature)i)));
    put_names(writing, RT_KEY_FEATURES, &features);
    put_text(writing, RT_KEY_NUMERICS, writing->info->numerics ? writing->info->numerics : "ordered");
    const char *pipeline = writing->info->pipeline ? writing->info->pipeline : ir_module_key(writing->ir, "pipeline");
    put_text(writing, RT_KEY_PIPELINE, pipeline);
}

static void put_bytes(GgufWriter *gguf, const char *name, const HdBuf *bytes)
{
    uint64_t len = bytes->len;
    if (len) gguf_writer_tensor(gguf, name, GGML_I8, 1, &len, bytes->data);
}

static HdStatus *write_all(Writing *writing, HdBuf *out_bytes)
{
    put_head(writing);
    HD_TRY(put_context(writing));
    HD_TRY(put_rope(writing));
    HD_TRY(put_vocab(writing));
    put_kernels(writing);
    put_kernel_places(writing);
    put_args(writing);
    put_exprs(writing);
    put_weights(writing);
    put_states(writing);
    HD_TRY(put_classes(writing));
    HD_TRY(put_model(writing));
    ir_print_module(writing->ir, &writing->graph);
    put_bytes(writing->gguf, RT_TENSOR_OBJECT, &writing->program->object);
    put_bytes(writing->gguf, RT_TENSOR_GRAPH, &writing->graph);
    finish_file(writing->gguf, out_bytes);
    return NULL;
}

HdStatus *cg_module_write(const CgProgram *program, const IrModule *final_ir, const IrTarget *target, const CgModuleInfo *info,
                          HdBuf *out_bytes)
{
    static const CgModuleInfo defaults;
    Writing writing = {.program = program, .ir = final_ir, .target = target, .info = info ? info : &defaults};
    writing.gguf = begin_file();
    writing.fingerprint = hd_hasher_new();
    HdStatus *status = write_all(&writing, out_bytes);
    if (writing.fingerprint) (void)hd_hasher_finish(writing.fingerprint);
    gguf_writer_free(writing.gguf);
    hd_vec_free(&writing.tensors);
    hd_buf_free(&writing.graph);
    hd_arena_free(&writing.arena);
    return status;
}

// ---- several modules in one file ----------------------------------------------------------------------------------

static HdStatus *put_variants(GgufFile *const *files, uint32_t count, GgufWriter *gguf)
{
    HdStr fingerprint, targets[RT_MAX_VARIANTS];
    HD_TRY(gguf_get_string(files[0], RT_KEY_FINGERPRINT, &fingerprint));
    for (uint32_t i = 0; i < count; i++) HD_TRY(gguf_get_string(files[i], RT_KEY_TARGET, &targets[i]));
    gguf_writer_string(gguf, RT_KEY_FINGERPRINT, fingerprint);
    gguf_writer_strings(gguf, RT_KEY_VARIANTS, targets, count);
    return NULL;
}

HdStatus *cg_module_join(const HdBuf *modules, uint32_t count, HdBuf *out_bytes)
{
    GgufFile *files[RT_MAX_VARIANTS] = {0};
    GgufWriter *gguf = begin_file();
    HdStatus *status = NULL;
    HD_ASSERT(count && count <= RT_MAX_VARIANTS);
    for (uint32_t i = 0; i < count && !status; i++) {
        char name[32];
        snprintf(name, sizeof name, RT_TENSOR_VARIANT, i + 1);
        put_bytes(gguf, name, &modules[i]);
        status = gguf_open_memory(name, modules[i].data, modules[i].len, NULL, &files[i]);
    }
    if (!status) status = put_variants(files, count, gguf);
    if (!status) finish_file(gguf, out_bytes);
    for (uint32_t i = 0; i < count; i++) gguf_close(files[i]);
    gguf_writer_free(gguf);
    return status;
}
