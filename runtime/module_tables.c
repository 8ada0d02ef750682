// SPDX-License-Identifier: Apache-2.0
// Reads the tables of a module. A module is untrusted input: here every count, index and offset is compared with what it points
// into, so that nothing later needs to. Rows that a table's strings and numbers describe together must be equally many.
#include <inttypes.h>
#include <string.h>

#include "runtime/module.h"

enum {
    MAX_BOUND = 1 << 20,             // tokens, segments and rows of a step
    MAX_ARGS = 256,                  // of a launch
    ALIGN = 64,
};

typedef struct Table { const char *key; const int64_t *cells; uint64_t rows, columns; } Table;

static HdStatus *bad(const HeddleModule *module, const char *key, uint64_t row, const char *what)
{
    return hd_error(HD_BAD_DATA, "%s: key '%s': row %" PRIu64 ": %s", module->path, key, row, what);
}

static HdStatus *read_table(HeddleModule *module, const char *key, uint64_t columns, Table *out_table)
{
    int64_t *cells;
    uint64_t count;
    HD_TRY(gguf_get_ints(module->gguf, key, &module->arena, &cells, &count));
    if (count % columns || count / columns > UINT32_MAX)
        return hd_error(HD_BAD_DATA, "%s: key '%s': %" PRIu64 " numbers are not rows of %" PRIu64, module->path, key, count,
                        columns);
    *out_table = (Table){key, cells, count / columns, columns};
    return NULL;
}

static const int64_t *row_of(const Table *table, uint64_t row) { return table->cells + row * table->columns; }

static bool within(int64_t value, int64_t low, int64_t high) { return value >= low && value <= high; }

// Strings as NUL-terminated copies; names may hold no control characters. `want`: how many there have to be, UINT64_MAX: any
// number.
static HdStatus *read_names(HeddleModule *module, const char *key, uint64_t want, const char ***out_names, uint64_t *out_count)
{
    HdStr *strings;
    uint64_t count;
    HD_TRY(gguf_get_strings(module->gguf, key, &module->arena, &strings, &count));
    if ((want != UINT64_MAX && count != want) || count > UINT32_MAX)
        return hd_error(HD_BAD_DATA, "%s: key '%s' has %" PRIu64 " entries; the table it names has %" PRIu64, module->path, key,
                        count, want);
    const char **names = HD_NEW_ARRAY(&module->arena, const char *, count);
    for (uint64_t i = 0; i < count; i++) {
        for (size_t c = 0; c < strings[i].len; c++)
            if ((unsigned char)strings[i].data[c] < 0x20) return bad(module, key, i, "a control character in a name");
        names[i] = hd_arena_strndup(&module->arena, strings[i].data, strings[i].len);
    }
    *out_names = names;
    if (out_count) *out_count = count;
    return NULL;
}

// ---- the model it was made for -------------------------------------------------------------------------------

static HdStatus *read_tensor(HeddleModule *module, const char *name, const char *type, const int64_t *ne, uint64_t row,
                             RtTensor *out_tensor)
{
    RtTensor tensor = {.name = name, .type = ggml_type_named(hd_str(type))};
    if (!tensor.type) return bad(module, RT_KEY_MODEL_TYPES, row, "an unknown tensor type");
    for (int i = 0; i < 4; i++) {
        if (ne[i] < 1) return bad(module, RT_KEY_MODEL_NE, row, "a dimension below 1");
        tensor.ne[i] = (uint64_t)ne[i];
    }
    if (tensor.ne[0] % tensor.type->block)
        return bad(module, RT_KEY_MODEL_NE, row, "the first dimension is not a multiple of the type's block");
    bool fits = hd_mul_u64(tensor.ne[0] / tensor.type->block, tensor.type->block_bytes, &tensor.bytes);
    for (int i = 1; i < 4; i++) fits = fits && hd_mul_u64(tensor.bytes, tensor.ne[i], &tensor.bytes);
    if (!fits || tensor.bytes > INT64_MAX) return bad(module, RT_KEY_MODEL_NE, row, "the tensor's size does not fit 63 bits");
    *out_tensor = tensor;
    return NULL;
}

static HdStatus *read_model(HeddleModule *module)
{
    const char **names, **types, **keys, **values;
    uint64_t count, key_count;
    Table ne;
    HD_TRY(read_names(module, RT_KEY_MODEL_TENSORS, UINT64_MAX, &names, &count));
    HD_TRY(read_names(module, RT_KEY_MODEL_TYPES, count, &types, NULL));
    HD_TRY(read_table(module, RT_KEY_MODEL_NE, 4, &ne));
    if (ne.rows != count) return bad(module, RT_KEY_MODEL_NE, ne.rows, "not a shape for every tensor");
    RtTensor *tensors = HD_NEW_ARRAY(&module->arena, RtTensor, count);
    for (uint64_t i = 0; i < count; i++) HD_TRY(read_tensor(module, names[i], types[i], row_of(&ne, i), i, &tensors[i]));
    HD_TRY(read_names(module, RT_KEY_MODEL_KEYS, UINT64_MAX, &keys, &key_count));
    HD_TRY(read_names(module, RT_KEY_MODEL_VALUES, key_count, &values, NULL));
    RtModelKey *pairs = HD_NEW_ARRAY(&module->arena, RtModelKey, key_count);
    for (uint64_t i = 0; i < key_count; i++) pairs[i] = (RtModelKey){keys[i], values[i]};
    module->tensors = tensors, module->tensor_count = (uint32_t)count;
    module->model_keys = pairs, module->model_key_count = (uint32_t)key_count;
    return NULL;
}

// ---- kernels, expressions, weights, states -------------------------------------------------------------------

// Where each kernel of a GPU lies in the object.
static HdStatus *read_kernel_places(HeddleModule *module, RtKernel *kernels, uint64_t count)
{
    Table table;
    int64_t len = (int64_t)rt_module_bytes(module, RT_TENSOR_OBJECT).len;
    HD_TRY(read_table(module, RT_TABLE_KERNELS, RT_KERNEL_COLUMNS, &table));
    if (table.rows != count) return bad(module, table.key, table.rows, "not a row for every kernel");
    for (uint64_t i = 0; i < count; i++) {
        const int64_t *row = row_of(&table, i), offset = row[RT_KERNEL_OFFSET], bytes = row[RT_KERNEL_BYTES];
        if (!within(bytes, 4, len) || !within(offset, 0, len - bytes)) return bad(module, table.key, i, "outside the object");
        if (offset % 4 || bytes % 4) return bad(module, table.key, i, "not aligned to 4 bytes");
        if (!within(row[RT_KERNEL_LANES], 1, HEDDLE_GPU_MAX_LANES)) return bad(module, table.key, i, "lanes have to be 1 to 1024");
        if (!within(row[RT_KERNEL_SHARED], 0, INT32_MAX)) return bad(module, table.key, i, "shared memory has to be 0 to 2^31 - 1 bytes");
        kernels[i].offset = (uint64_t)offset, kernels[i].bytes = (uint64_t)bytes;
        kernels[i].lanes = (uint32_t)row[RT_KERNEL_LANES], kernels[i].shared = (uint32_t)row[RT_KERNEL_SHARED];
    }
    return NULL;
}

static HdStatus *read_kernels(HeddleModule *module)
{
    const char **names, **digests;
    uint64_t count;
    HD_TRY(read_names(module, RT_KEY_KERNELS, UINT64_MAX, &names, &count));
    HD_TRY(read_names(module, RT_KEY_KERNEL_DIGESTS, count, &digests, NULL));
    RtKernel *kernels = HD_NEW_ARRAY(&module->arena, RtKernel, count);
    for (uint64_t i = 0; i < count; i++) kernels[i] = (RtKernel){.name = names[i], .digest = digests[i]};
    if (rt_module_is_for_gpu(module)) HD_TRY(read_kernel_places(module, kernels, count));
    module->kernels = kernels, module->kernel_count = (uint32_t)count;
    return NULL;
}

static HdStatus *read_exprs(HeddleModule *module)
{
    Table table;
    HD_TRY(read_table(module, RT_TABLE_EXPRS, RT_EXPR_COLUMNS, &table));
    RtExpr *exprs = HD_NEW_ARRAY(&module->arena, RtExpr, table.rows);
    for (uint64_t i = 0; i < table.rows; i++) {
        const int64_t *row = row_of(&table, i);
        if (!within(row[RT_EXPR_CEILS], 0, 2)) return bad(module, table.key, i, "more than two quotients");
        RtExpr *expr = &exprs[i];
        expr->constant = row[RT_EXPR_CONSTANT];
        memcpy(expr->coef, row + RT_EXPR_T, sizeof expr->coef);
        expr->ceils = (uint32_t)row[RT_EXPR_CEILS];
        for (uint32_t c = 0; c < expr->ceils; c++) {
            const int64_t *ceil = row + RT_EXPR_CEIL0 + 3 * c;
            if (ceil[1] < 1) return bad(module, table.key, i, "a divisor below 1");
            if (!within(ceil[2], 0, RT_SYMS - 1)) return bad(module, table.key, i, "an unknown symbol");
            expr->ceil[c].coef = ceil[0], expr->ceil[c].div = ceil[1], expr->ceil[c].sym = (uint32_t)ceil[2];
        }
    }
    module->exprs = exprs, module->expr_count = (uint32_t)table.rows;
    return NULL;
}

static HdStatus *read_weights(HeddleModule *module)
{
    Table table;
    const char **layouts;
    HD_TRY(read_table(module, RT_TABLE_WEIGHTS, RT_WEIGHT_COLUMNS, &table));
    HD_TRY(read_names(module, RT_KEY_LAYOUTS, table.rows, &layouts, NULL));
    RtWeight *weights = HD_NEW_ARRAY(&module->arena, RtWeight, table.rows);
    uint64_t total = 0;
    for (uint64_t i = 0; i < table.rows; i++) {
        const int64_t *row = row_of(&table, i);
        if (!within(row[RT_WEIGHT_TENSOR], 0, (int64_t)module->tensor_count - 1))
            return bad(module, table.key, i, "an unknown tensor");
        if (!within(row[RT_WEIGHT_PACKED_BYTES], 0, INT64_MAX - ALIGN)) return bad(module, table.key, i, "a size below 0");
        weights[i] = (RtWeight){(uint32_t)row[RT_WEIGHT_TENSOR], layouts[i], (uint64_t)row[RT_WEIGHT_PACKED_BYTES]};
        if (!hd_add_u64(total, hd_align_up(weights[i].packed_bytes, ALIGN), &total))
            return bad(module, table.key, i, "packed weights do not fit 64 bits");
    }
    module->weights = weights, module->weight_count = (uint32_t)table.rows;
    module->info.packed_bytes = total;
    return NULL;
}

static HdStatus *read_states(HeddleModule *module)
{
    Table table;
    const char **names, **kinds, **types;
    HD_TRY(read_table(module, RT_TABLE_STATES, RT_STATE_COLUMNS, &table));
    HD_TRY(read_names(module, RT_KEY_STATES, table.rows, &names, NULL));
    HD_TRY(read_names(module, RT_KEY_STATE_KINDS, table.rows, &kinds, NULL));
    HD_TRY(read_names(module, RT_KEY_STATE_TYPES, table.rows, &types, NULL));
    RtState *states = HD_NEW_ARRAY(&module->arena, RtState, table.rows);
    for (uint64_t i = 0; i < table.rows; i++) {
        int64_t bytes = row_of(&table, i)[RT_STATE_ROW_BYTES];
        if (!within(bytes, 1, (int64_t)1 << 40)) return bad(module, table.key, i, "a state of no bytes, or of more than a TiB");
        states[i] = (RtState){names[i], kinds[i], types[i], !strcmp(kinds[i], RT_STATE_APPEND), (uint64_t)bytes};
        if (states[i].append_only) module->info.kv_type = types[i];
    }
    module->states = states, module->state_count = (uint32_t)table.rows;
    return NULL;
}

// ---- the schedule --------------------------------------------------------------------------------------------

static HdStatus *check_arg(const HeddleModule *module, const RtClass *class, uint64_t row)
{
    const RtArg *arg = &module->args[row];
    int64_t limit = INT64_MAX;                           // indices are below it
    switch (arg->kind) {
    case HEDDLE_ARG_ARENA: limit = (int64_t)class->arena_bytes; break;
    case HEDDLE_ARG_WEIGHT: limit = module->weight_count; break;
    case HEDDLE_ARG_STATE: case HEDDLE_ARG_STATE_SLOT: case HEDDLE_ARG_STATE_PLANE: limit = module->state_count; break;
    case HEDDLE_ARG_INPUT: limit = HEDDLE_INPUT_COUNT; break;
    case HEDDLE_ARG_EXPR: limit = module->expr_count; break;
    case HEDDLE_ARG_CONST: case HEDDLE_ARG_STATUS: return NULL;
    case HEDDLE_ARG_KIND_COUNT: break;
    }
    if (arg->index < 0 || arg->index >= limit)
        return bad(module, RT_TABLE_ARGS, row, "an index outside its table, or an offset outside the arena");
    return NULL;
}

static HdStatus *read_args(HeddleModule *module)
{
    Table table;
    HD_TRY(read_table(module, RT_TABLE_ARGS, RT_ARG_COLUMNS, &table));
    RtArg *args = HD_NEW_ARRAY(&module->arena, RtArg, table.rows);
    for (uint64_t i = 0; i < table.rows; i++) {
        const int64_t *row = row_of(&table, i);
        if (!within(row[RT_ARG_KIND], 0, HEDDLE_ARG_KIND_COUNT - 1))
            return bad(module, table.key, i, "an unknown kind of argument");
        args[i] = (RtArg){(HeddleArgKind)row[RT_ARG_KIND], row[RT_ARG_INDEX]};
    }
    module->args = args, module->arg_count = (uint32_t)table.rows;
    return NULL;
}

static bool good_expr(const HeddleModule *module, const RtClass *class, int64_t row)
{
    int64_t value;
    return within(row, 0, (int64_t)module->expr_count - 1) && rt_expr_eval(&module->exprs[row], &class->bound, &value)
        && value >= 0;
}

static HdStatus *read_launch(const HeddleModule *module, const Table *table, uint64_t index, RtClass *class, RtLaunch *out_launch)
{
    const int64_t *row = row_of(table, index);
    if (!within(row[RT_LAUNCH_KERNEL], 0, (int64_t)module->kernel_count - 1))
        return bad(module, table->key, index, "an unknown kernel");
    if (!within(row[RT_LAUNCH_STAGE], 0, INT32_MAX) || !within(row[RT_LAUNCH_LAYER], -1, INT32_MAX))
        return bad(module, table->key, index, "a stage or layer out of range");
    int64_t last_first = (int64_t)module->arg_count - row[RT_LAUNCH_ARGS];
    if (!within(row[RT_LAUNCH_ARGS], 0, MAX_ARGS) || !within(row[RT_LAUNCH_FIRST_ARG], 0, last_first))
        return bad(module, table->key, index, "arguments outside their table");
    if (!within(row[RT_LAUNCH_SCRATCH], 0, INT32_MAX)) return bad(module, table->key, index, "a scratch size out of range");
    for (int column = RT_LAUNCH_UNITS; column < RT_LAUNCH_COLUMNS; column++)
        if (column != RT_LAUNCH_SCRATCH && !good_expr(module, class, row[column]))
            return bad(module, table->key, index, "an expression that is unknown, negative or too large");
    *out_launch = (RtLaunch){
        .kernel = (uint32_t)row[RT_LAUNCH_KERNEL], .stage = (int32_t)row[RT_LAUNCH_STAGE], .layer = (int32_t)row[RT_LAUNCH_LAYER],
        .first_arg = (uint32_t)row[RT_LAUNCH_FIRST_ARG], .arg_count = (uint32_t)row[RT_LAUNCH_ARGS],
        .units = (uint32_t)row[RT_LAUNCH_UNITS], .scratch = (uint32_t)row[RT_LAUNCH_SCRATCH],
        .bytes = (uint32_t)row[RT_LAUNCH_BYTES], .flops = (uint32_t)row[RT_LAUNCH_FLOPS]};
    for (uint32_t i = 0; i < out_launch->arg_count; i++) HD_TRY(check_arg(module, class, out_launch->first_arg + i));
    class->arg_slots += out_launch->arg_count;
    class->scratch = HD_MAX(class->scratch, out_launch->scratch);
    return NULL;
}

static HdStatus *read_launches(HeddleModule *module, const Table *table, uint64_t first, uint64_t count, RtClass *class)
{
    RtLaunch *launches = HD_NEW_ARRAY(&module->arena, RtLaunch, count);
    for (uint64_t i = 0; i < count; i++) {
        HD_TRY(read_launch(module, table, first + i, class, &launches[i]));
        if (i && launches[i].stage < launches[i - 1].stage)
            return bad(module, table->key, first + i, "an earlier stage than the launch before it");
    }
    class->launches = launches, class->launch_count = (uint32_t)count;
    return NULL;
}

// A result has a row per token or a row per wanted logits row: nothing else can be told apart when input is split.
static bool rows_kind(const RtExpr *expr, RtRows *out_rows)
{
    if (expr->constant || expr->ceils || expr->coef[RT_S] || expr->coef[RT_C] || expr->coef[RT_T] + expr->coef[RT_R] != 1)
        return false;
    *out_rows = expr->coef[RT_T] ? RT_ROWS_TOKENS : RT_ROWS_WANTED;
    return (expr->coef[RT_T] | expr->coef[RT_R]) == 1;
}

static HdStatus *read_result(const HeddleModule *module, const Table *table, const char *name, uint64_t index,
                             const RtClass *class, RtResult *out_result)
{
    const int64_t *row = row_of(table, index);
    RtResult result = {.name = name};
    bool known = within(row[RT_RESULT_ROWS], 0, (int64_t)module->expr_count - 1);
    if (!known || !rows_kind(&module->exprs[row[RT_RESULT_ROWS]], &result.rows))
        return bad(module, table->key, index, "a result needs T or R rows");
    if (!within(row[RT_RESULT_COLUMNS_OF_ROW], 1, INT32_MAX) || row[RT_RESULT_OFFSET] < 0 || row[RT_RESULT_OFFSET] % 4)
        return bad(module, table->key, index, "a size or an offset out of range");
    result.columns = (uint64_t)row[RT_RESULT_COLUMNS_OF_ROW];
    result.offset = (uint64_t)row[RT_RESULT_OFFSET];
    uint64_t rows = (uint64_t)class->bound.value[result.rows == RT_ROWS_TOKENS ? RT_T : RT_R];
    if (result.offset > class->arena_bytes || rows * result.columns * sizeof(float) > class->arena_bytes - result.offset)
        return bad(module, table->key, index, "the result ends outside the arena");
    *out_result = result;
    return NULL;
}

// Of each row some runs of logits, of which there are as many.
static bool is_top(const HeddleModule *module, const RtResult *result)
{
    uint32_t vocab = module->info.vocab, record = 1 + rt_run_width(vocab), runs = rt_run_count(vocab);
    bool whole = result->rows == RT_ROWS_WANTED && result->columns % record == 0;
    return whole && runs <= RT_MOST_RUNS && result->columns / record <= HD_MIN(runs, HEDDLE_MOST_TOP);
}

static HdStatus *read_results(HeddleModule *module, const Table *table, const char *const *names, uint64_t first,
                              uint64_t count, RtClass *class)
{
    RtResult *results = HD_NEW_ARRAY(&module->arena, RtResult, count);
    for (uint64_t i = 0; i < count; i++) {
        HD_TRY(read_result(module, table, names[first + i], first + i, class, &results[i]));
        bool wanted = results[i].rows == RT_ROWS_WANTED;
        if (!strcmp(results[i].name, "logits") && (!wanted || results[i].columns != module->info.vocab))
            return bad(module, table->key, first + i, "logits need R rows of the vocabulary");
        if (!strcmp(results[i].name, RT_RESULT_ARGMAX) && (!wanted || results[i].columns != 1))
            return bad(module, table->key, first + i, "argmax needs R rows of one number");
        if (!strcmp(results[i].name, RT_RESULT_TOP) && !is_top(module, &results[i]))
            return bad(module, table->key, first + i, "top needs R rows of some runs of the vocabulary");
    }
    class->results = results, class->result_count = (uint32_t)count;
    return NULL;
}

static HdStatus *read_class(HeddleModule *module, const Table *table, uint64_t index, const char *name, RtClass *out_class)
{
    const int64_t *row = row_of(table, index);
    RtClass class = {.name = name};
    for (int i = 0; i < RT_SYMS; i++) {
        class.bound.value[i] = row[RT_CLASS_T + i];
        if (!within(row[RT_CLASS_T + i], 1, i == RT_C ? INT32_MAX : MAX_BOUND))
            return bad(module, table->key, index, "a bound out of range");
    }
    if (!within(row[RT_CLASS_ARENA], 0, (int64_t)1 << 46)) return bad(module, table->key, index, "an arena size out of range");
    class.arena_bytes = (uint64_t)row[RT_CLASS_ARENA];
    *out_class = class;
    return NULL;
}

// As many of the largest logits as there are runs are in these; where all runs are there, all logits are.
static void read_top(HeddleModule *module)
{
    uint32_t vocab = module->info.vocab;
    const RtResult *top = rt_result_named(module, RT_RESULT_TOP);
    module->top_runs = top ? (uint32_t)(top->columns / (1 + rt_run_width(vocab))) : 0;
    module->info.top = module->top_runs < rt_run_count(vocab) ? module->top_runs : HD_MIN(vocab, HEDDLE_MOST_TOP);
}

static HdStatus *read_classes(HeddleModule *module)
{
    Table table, launches, results;
    const char **names, **result_names;
    HD_TRY(read_table(module, RT_TABLE_CLASSES, RT_CLASS_COLUMNS, &table));
    HD_TRY(read_table(module, RT_TABLE_LAUNCHES, RT_LAUNCH_COLUMNS, &launches));
    HD_TRY(read_table(module, RT_TABLE_RESULTS, RT_RESULT_COLUMNS, &results));
    HD_TRY(read_names(module, RT_KEY_CLASSES, table.rows, &names, NULL));
    HD_TRY(read_names(module, RT_KEY_RESULTS, results.rows, &result_names, NULL));
    RtClass *classes = HD_NEW_ARRAY(&module->arena, RtClass, table.rows);
    uint64_t launch = 0, result = 0;
    for (uint64_t i = 0; i < table.rows; i++) {
        const int64_t *row = row_of(&table, i);
        if (!within(row[RT_CLASS_LAUNCHES], 0, (int64_t)(launches.rows - launch))
            || !within(row[RT_CLASS_RESULTS], 0, (int64_t)(results.rows - result)))
            return bad(module, table.key, i, "more launches or results than there are");
        HD_TRY(read_class(module, &table, i, names[i], &classes[i]));
        HD_TRY(read_launches(module, &launches, launch, (uint64_t)row[RT_CLASS_LAUNCHES], &classes[i]));
        HD_TRY(read_results(module, &results, result_names, result, (uint64_t)row[RT_CLASS_RESULTS], &classes[i]));
        launch += (uint64_t)row[RT_CLASS_LAUNCHES], result += (uint64_t)row[RT_CLASS_RESULTS];
        for (uint64_t k = 0; k < i; k++)
            if (!strcmp(names[k], names[i])) return bad(module, table.key, i, "a class of this name exists");
        if (!rt_class_is_step(&classes[i])) continue;
        if (!module->largest || classes[i].bound.value[RT_T] > module->largest->bound.value[RT_T]) module->largest = &classes[i];
    }
    if (launch != launches.rows || result != results.rows)
        return bad(module, table.key, table.rows, "launches or results that belong to no class");
    module->classes = classes, module->class_count = (uint32_t)table.rows;
    module->info.argmax = rt_result_named(module, RT_RESULT_ARGMAX) != NULL;
    read_top(module);
    return NULL;
}

HdStatus *rt_module_read_tables(HeddleModule *module)
{
    HD_TRY(read_model(module));
    HD_TRY(read_kernels(module));
    HD_TRY(read_exprs(module));
    HD_TRY(read_weights(module));
    HD_TRY(read_states(module));
    HD_TRY(read_args(module));
    return read_classes(module);
}
