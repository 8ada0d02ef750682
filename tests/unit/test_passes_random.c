// SPDX-License-Identifier: Apache-2.0
// Passes on random graphs, in which every operation turns up in places where no model has it: values stay, a pass run again does
// nothing, and what cannot be compiled is refused by one line.
#include "tests/unit/pass_fixture.h"
#include "tests/support/random_graph.h"

enum { GRAPHS = 210, WILD_GRAPHS = 300, SINGLE_GRAPHS = 60 };

static const double FOLDED = 1e-12;   // one rounding instead of two, somewhere in the graph
static const CallPlan calls[] = {{"decode", 2, {{1, 0}, {1, 0}}}, {"small", 2, {{2, 1}, {1, 2}}}};

// Numbers in -0.3..0.3, other ones in other weights.
static HdStatus *some_rows(void *user, const char *name, uint64_t columns, uint64_t begin, uint64_t end, float *out_rows) {
    (void)user;
    uint32_t seed = (uint32_t)hd_digest(name, strlen(name)).lo;
    for (uint64_t i = begin * columns; i < end * columns; i++) {
        uint32_t x = ((uint32_t)i + seed) * 2654435761u;
        x = (x ^ x >> 15) * 2246822519u;
        *out_rows++ = (float)((int32_t)(x ^ x >> 13) >> 8) * (0.3f / 8388608.0f);
    }
    return NULL;
}

static const IrWeights weights = {.rows = some_rows};

static Outcome outcome_of(const IrGraph *graph, const CallPlan *plan, const char *what) {
    Outcome outcome;
    HdStatus *status = run_calls(&weights, graph, plan, RG_VOCAB, &outcome);
    if (status) fail_msg("%s: %s", what, hd_status_message(status));
    return outcome;
}

static void expect_graph(const IrGraph *graph, const CallPlan *plan, const Outcome *want, double bound, const char *what) {
    Outcome have = outcome_of(graph, plan, what);
    expect_outcome(&have, want, bound, what);
    outcome_free(&have);
}

// One pass, run twice: the second run does nothing but the books. Counts are of the first run.
static HdStatus *run_pass(IrModule *module, const PassConfig *config, PassCtx *out_counts, const char *what) {
    PassCtx again;
    HD_TRY(pass_run(module, config, out_counts));
    HdBuf once = module_text(module);
    must(pass_run(module, config, &again));
    HdBuf twice = module_text(module);
    if (!same_text(&once, &twice)) fail_msg("%s: %s changes what it has made", what, config->passes);
    bool books = strstr(config->passes, "schedule") || strstr(config->passes, "plan-memory");
    for (int rule = 0; rule < RULE_COUNT && !books; rule++)
        if (again.fired[rule]) fail_msg("%s: rule %s fires again", what, pass_rule_info(rule)->name);
    hd_buf_free(&once);
    hd_buf_free(&twice);
    return NULL;
}

// How often each rule fired in all graphs of a test.
static uint32_t total[RULE_COUNT];

static void add_counts(const PassCtx *counts) {
    for (int rule = 0; rule < RULE_COUNT; rule++) total[rule] += counts->fired[rule];
}

static void expect_fired(const PassRule *rules, size_t count) {
    for (size_t i = 0; i < count; i++) {
        print_message("%s: %u times\n", pass_rule_info(rules[i])->name, total[rules[i]]);
        assert_true(total[rules[i]] >= 10);
    }
    memset(total, 0, sizeof total);
}

// ---- passes on @model ------------------------------------------------------------------------------------------

// Something for each rule to do, put behind a value: operations that change nothing, equal and nearly equal ones, chains of
// views.
typedef struct Noise { IrGraph *graph; IrOpRef before, made[8]; uint32_t count; } Noise;

static IrValue noise_op(Noise *n, IrOpKind kind, const IrValue *operands, uint32_t count, const IrAttr *attrs,
                        uint32_t attr_count, const IrType *given) {
    HdStatus *status;
    IrBuild build = {.kind = kind,
                     .operands = operands,
                     .operand_count = count,
                     .attrs = attrs,
                     .attr_count = attr_count,
                     .given = given,
                     .given_count = given != NULL,
                     .before = n->before};
    IrOpRef made = ir_build(n->graph, &build, &status);
    must(status);
    n->made[n->count++] = made;
    return ir_op(n->graph, made)->results[0];
}

static IrValue noise_slice(Noise *n, IrValue x, int64_t begin, int64_t end) {
    return noise_op(n, IR_OP_slice, &x, 1, (IrAttr[]){RG_INT(AXIS, 1), RG_INT(BEGIN, begin), RG_INT(END, end)}, 3, NULL);
}

// The same operation again, its float attributes changed by `factor`.
static IrValue noise_twin(Noise *n, IrOp op, float factor) {
    IrAttr attrs[IR_ATTR_COUNT];
    uint32_t count = 0;
    for (uint32_t a = 0; a < IR_ATTR_COUNT; a++) {
        if (!(op.attr_mask >> a & 1)) continue;
        attrs[count] = (IrAttr){(IrAttrId)a, op.attr[a]};
        if (ir_attr_info((IrAttrId)a)->kind == IR_ATTR_KIND_F32) attrs[count].value.f *= factor;
        count++;
    }
    IrType type = ir_value(n->graph, op.results[0])->type;
    return noise_op(n, op.kind, op.operands, op.operand_count, attrs, count, op.kind == IR_OP_reshape ? &type : NULL);
}

static IrValue noise_views(Noise *n, IrValue x, IrType type, bool slices) {
    int64_t width = ir_type_last(&type), half = width / 2;
    if (!slices) {
        IrType pairs = rg_type3(IR_F32, type.dims[0], half, 2);
        IrValue there = noise_op(n, IR_OP_reshape, &x, 1, NULL, 0, &pairs);
        return noise_op(n, IR_OP_reshape, &there, 1, NULL, 0, &type);
    }
    IrValue parts[2] = {noise_slice(n, noise_slice(n, x, 0, width - 1), 0, half), noise_slice(n, x, 1, width)};
    parts[1] = noise_slice(n, parts[1], half - 1, width - 1);
    return noise_op(n, IR_OP_concat, parts, 2, (IrAttr[]){RG_INT(AXIS, 1)}, 1, NULL);
}

// What takes the place of the operation's result.
static IrValue noise_behind(Noise *n, const IrOp *op, uint64_t choice) {
    IrValue x = op->results[0];
    IrType type = ir_value(n->graph, x)->type;
    bool even = type.rank == 2 && ir_type_last(&type) >= 4 && ir_type_last(&type) % 2 == 0;
    switch (choice % 6) {
    case 0: return noise_twin(n, *op, 1);
    case 1: return noise_op(n, IR_OP_add, (IrValue[]){x, noise_twin(n, *op, 1.5f)}, 2, NULL, 0, NULL);
    case 2: return noise_op(n, IR_OP_scale, &x, 1, (IrAttr[]){RG_F32(VALUE, 1)}, 1, NULL);
    case 3: {
        IrValue scaled = noise_op(n, IR_OP_scale, &x, 1, (IrAttr[]){RG_F32(VALUE, 1.1f)}, 1, NULL);
        return choice / 6 % 2 ? scaled : noise_op(n, IR_OP_add, (IrValue[]){x, scaled}, 2, NULL, 0, NULL);
    }
    default: {
        IrValue views = even ? noise_views(n, x, type, choice % 6 == 5) : x;
        return choice / 6 % 2 ? views : x;   // or nobody reads them
    }
    }
}

static void add_noise(IrGraph *graph, uint64_t seed) {
    IrOpRef next;
    for (IrOpRef ref = graph->blocks.data[0].first; ref; ref = next) {
        const IrOp op = *ir_op(graph, ref);
        next = op.next;
        if (ir_op_effect(graph, &op) != IR_EFFECT_PURE || op.result_count != 1 || op.kind == IR_OP_pack) continue;
        IrValue x = op.results[0];
        uint64_t choice = rg_next(&seed);
        if (choice % 3 || ir_value(graph, x)->type.dtype != IR_F32) continue;
        Noise noise = {.graph = graph, .before = next};
        IrValue by = noise_behind(&noise, &op, choice >> 8);
        if (by == x) continue;
        ir_replace_uses(graph, x, by);
        for (uint32_t i = 0; i < noise.count; i++)   // these still read x
            for (uint32_t k = 0; k < ir_op(graph, noise.made[i])->operand_count; k++)
                if (ir_op(graph, noise.made[i])->operands[k] == by) ir_set_operand(graph, noise.made[i], k, x);
    }
    must(ir_verify(graph));
}

static void test_exact_passes(void **state) {
    (void)state;
    static const char *const passes[] = {"canonicalize", "cse", "dce", "canonicalize", "cse"};
    static const PassRule rules[] = {RULE_canonicalize_identity, RULE_canonicalize_view_chain, RULE_canonicalize_fold_scale,
                                     RULE_cse_equal, RULE_dce_unused};
    IrTarget target = target_named("cpu:x86-64-v2");
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        char what[64];
        IrModule *module = ir_module_new("random");
        IrGraph *graph = rg_graph(module, "model", &(RgOptions){.seed = seed, .pieces = 5});
        snprintf(what, sizeof what, "seed %u", (unsigned)seed);
        add_noise(graph, seed);
        Outcome before = outcome_of(graph, &calls[1], what);
        bool folded = false;
        for (size_t i = 0; i < HD_COUNT(passes); i++) {
            PassCtx counts;
            must(run_pass(module, &(PassConfig){.target = &target, .passes = passes[i]}, &counts, what));
            add_counts(&counts);
            folded = folded || counts.fired[RULE_canonicalize_fold_scale];
        }
        expect_graph(graph, &calls[1], &before, folded ? FOLDED : 0, what);
        outcome_free(&before);
        ir_module_free(module);
    }
    expect_fired(rules, HD_COUNT(rules));
}

// ---- the whole pipeline ----------------------------------------------------------------------------------------

typedef struct Trial { const char *target, *delta_net, *quantise; } Trial;
static const Trial trials[] = {{"cpu:x86-64-v2", "delta-net", "quantise-activations{act=f32}"},
                               {"cpu:znver4", "delta-net", "quantise-activations"},
                               {"cpu:x86-64-v2", "delta-net{form=wy,chunk=16}", "quantise-activations{act=f32}"}};

static const char *item_of(const Trial *trial, HdStr text) {
    static char item[64];
    if (hd_str_is(text, "delta-net")) return trial->delta_net;
    if (hd_str_is(text, "quantise-activations")) return trial->quantise;
    snprintf(item, sizeof item, "%.*s", (int)text.len, text.data);
    return item;
}

// The step graphs now give `want`, within the bound; `want` is what they give from here on.
static void compare_and_keep(const IrModule *module, Outcome want[2], double bound, const char *what) {
    for (int c = 0; c < 2; c++) {
        Outcome have = outcome_of(ir_graph_find(module, calls[c].graph), &calls[c], what);
        expect_outcome(&have, &want[c], bound, what);
        outcome_free(&want[c]);
        want[c] = have;
    }
}

// As compare_and_keep, of @model after fold-scale.
static void compare_model(const IrModule *module, Outcome want[2], const char *what) {
    for (int c = 0; c < 2; c++) {
        Outcome have = outcome_of(ir_graph_find(module, "model"), &calls[c], what);
        expect_outcome(&have, &want[c], FOLDED, what);
        outcome_free(&want[c]);
        want[c] = have;
    }
}

// A product or special stage reads whole rows: in its group no slice or concat may stand before it.
static void expect_rows(const IrGraph *graph, const IrOp *member, const char *what) {
    IrRole role = ir_op_info(member->kind)->role;
    if ((role != IR_ROLE_CONTRACT && role != IR_ROLE_SPECIAL) || member->kind == IR_OP_topk) return;
    for (uint32_t i = 0; i < member->operand_count; i++) {
        const IrValueData *data = ir_value(graph, member->operands[i]);
        while (data->kind == IR_VALUE_RESULT && ir_op(graph, data->op)->kind == IR_OP_reshape)
            data = ir_value(graph, ir_op(graph, data->op)->operands[0]);
        if (data->kind == IR_VALUE_RESULT && ir_op_info(ir_op(graph, data->op)->kind)->role == IR_ROLE_VIEW)
            fail_msg("%s: @%s: %s reads rows in pieces", what, graph->name, ir_op_info(member->kind)->name);
    }
}

static bool is_product_group(const IrOp *group) {
    const char *kind = group->attr[IR_ATTR_KIND].name;
    return !strcmp(kind, ir_group_name(IR_GROUP_MATMUL)) || !strcmp(kind, ir_group_name(IR_GROUP_GROUPED));
}

// A group that a kernel can be made for: it has a kind, writes something, and its members find and give rows where they should.
static void expect_group(const IrGraph *graph, const IrOp *op, const char *what) {
    bool writes = op->result_count > 0;
    if (op->kind != IR_OP_fused || !(op->attr_mask >> IR_ATTR_KIND & 1))
        fail_msg("%s: @%s keeps %s outside of groups", what, graph->name, ir_op_info(op->kind)->name);
    IR_FOR_OPS(graph, op->region, ref) {
        expect_rows(graph, ir_op(graph, ref), what);
        writes = writes || ir_op(graph, ref)->kind == IR_OP_kv_append;
    }
    if (!writes) fail_msg("%s: @%s has a group that gives nothing", what, graph->name);
    const IrBlockData *region = &graph->blocks.data[op->region];
    for (size_t i = 0; i < region->yields.len && is_product_group(op); i++) {
        const IrOp *maker = ir_op(graph, ir_value(graph, region->yields.data[i])->op);
        if (maker->kind == IR_OP_slice || maker->kind == IR_OP_concat)
            fail_msg("%s: @%s: a product gives its rows in pieces", what, graph->name);
    }
}

static void expect_groups_only(const IrModule *module, const char *what) {
    for (size_t g = 0; g < module->graphs.len; g++) {
        const IrGraph *graph = module->graphs.data[g];
        if (!strcmp(graph->name, "model")) continue;
        IR_FOR_OPS(graph, 0, ref) expect_group(graph, ir_op(graph, ref), what);
    }
}

static void check_pipeline(IrModule *module, const Trial *trial, Outcome want[2], const char *seed_text) {
    IrTarget target = target_named(trial->target);
    const char *list = pass_default_pipeline(&target);
    for (size_t len; *list; list += len + (list[len] == ',')) {
        PassCtx counts;
        char what[128];
        len = strcspn(list, ",");
        const char *item = item_of(trial, (HdStr){list, len});
        snprintf(what, sizeof what, "%s, %s, %s", seed_text, trial->target, item);
        must(run_pass(module, &(PassConfig){.target = &target, .passes = item}, &counts, what));
        add_counts(&counts);
        if (!strcmp(item, "quantise-activations")) compare_and_keep(module, want, 0.1, what);
        if (strstr(item, "form=wy")) compare_and_keep(module, want, ir_op_bound(IR_OP_delta_chunk_scan), what);
        if (counts.fired[RULE_canonicalize_fold_scale]) compare_model(module, want, what);
        if (!strcmp(item, "plan-memory")) compare_and_keep(module, want, 0, what);
    }
    expect_groups_only(module, seed_text);
}

static void test_whole_pipelines(void **state) {
    (void)state;
    static const PassRule rules[] = {
        RULE_cse_equal, RULE_dce_unused, RULE_delta_net_step, RULE_delta_net_scan, RULE_delta_net_wy, RULE_moe_dispatch_dispatch,
        RULE_quantise_activations_quantise, RULE_quantise_activations_bf16, RULE_merge_projections_merge, RULE_select_layout_pack,
        RULE_fuse_epilogue_matmul, RULE_fuse_epilogue_grouped, RULE_fuse_epilogue_conv, RULE_fuse_epilogue_topk,
        RULE_fuse_epilogue_heads, RULE_fuse_norm_norm, RULE_partition_single};
    for (uint64_t seed = 0; seed < GRAPHS; seed++) {
        char what[64];
        IrModule *module = ir_module_new("random");
        IrGraph *graph = rg_graph(module, "model", &(RgOptions){.seed = 1000 + seed, .pieces = 4});
        snprintf(what, sizeof what, "seed %u", (unsigned)(1000 + seed));
        if (seed % 2) add_noise(graph, seed);
        Outcome want[2] = {outcome_of(graph, &calls[0], what), outcome_of(graph, &calls[1], what)};
        check_pipeline(module, &trials[seed % HD_COUNT(trials)], want, what);
        for (int c = 0; c < 2; c++) outcome_free(&want[c]);
        ir_module_free(module);
    }
    expect_fired(rules, HD_COUNT(rules));
}

// ---- refusals --------------------------------------------------------------------------------------------------

typedef struct Judge { uint64_t state; bool copies_only; uint32_t refused; } Judge;

static bool is_copy(const PassEvent *event) {
    return event->rule == RULE_partition_single && ir_op_info(ir_op(event->graph, event->node)->kind)->role == IR_ROLE_VIEW;
}

// Half of the firings of rules that are not needed; or all copies of views.
static bool judge(void *user, const PassEvent *event) {
    Judge *j = user;
    if (!event->fired) return true;
    bool refuse = j->copies_only ? is_copy(event) : !pass_info(pass_rule_info(event->rule)->pass)->mandatory && rg_next(&j->state) % 2;
    j->refused += refuse;
    return !refuse;
}

static void test_refused_firings(void **state) {
    (void)state;
    static const char *const sets[] = {"quantise-activations{act=f32}"};
    IrTarget target = target_named("cpu:x86-64-v2");
    uint32_t copies = 0, refused = 0;
    for (uint64_t seed = 2000; seed < 2000 + GRAPHS; seed++) {
        char what[64];
        Judge judged = {.state = seed, .copies_only = seed % 3 == 0};
        IrModule *module = ir_module_new("random");
        IrGraph *graph = rg_graph(module, "model", &(RgOptions){.seed = seed, .pieces = 4});
        snprintf(what, sizeof what, "seed %u", (unsigned)seed);
        if (seed % 2) add_noise(graph, seed);
        Outcome want[2] = {outcome_of(graph, &calls[0], what), outcome_of(graph, &calls[1], what)};
        PassConfig config = {.target = &target, .sets = sets, .set_count = 1, .event = judge, .user = &judged};
        HdStatus *status = pass_run(module, &config, NULL);
        if (judged.copies_only && judged.refused) {
            expect_line(status, HD_UNSUPPORTED, "pass partition on @decode: a group for ", what);
            copies++;
        } else {
            must(status);
            refused += judged.refused;
            expect_groups_only(module, what);
            compare_and_keep(module, want, FOLDED, what);
        }
        for (int c = 0; c < 2; c++) outcome_free(&want[c]);
        ir_module_free(module);
    }
    print_message("%u graphs with refused copies, %u other firings refused\n", copies, refused);
    assert_true(copies >= 4 && refused >= 500);
}

// ---- odd graphs ------------------------------------------------------------------------------------------------

// Any names, constants and data types, results that nobody reads: compiled so far, or refused by one line.
static void test_wild_graphs(void **state) {
    (void)state;
    static const char *const delta_nets[] = {"delta-net{form=scan}", "delta-net{form=wy}"};
    IrTarget target = target_named("cpu:znver4");
    uint32_t refused = 0;
    for (uint64_t seed = 3000; seed < 3000 + WILD_GRAPHS; seed++) {
        char what[64];
        IrModule *module = ir_module_new("random");
        must(ir_verify(rg_graph(module, "model", &(RgOptions){.seed = seed, .wild = true, .single = seed % 3 == 0})));
        snprintf(what, sizeof what, "wild seed %u", (unsigned)seed);
        PassConfig config = {.target = &target, .sets = &delta_nets[seed % 2], .set_count = 1};
        HdStatus *status = pass_run(module, &config, NULL);
        if (status) expect_line(status, HD_UNSUPPORTED, "holds the operation", what), refused++;
        else expect_groups_only(module, what);
        ir_module_free(module);
    }
    print_message("%u of %u wild graphs refused\n", refused, WILD_GRAPHS);
}

// One token as a number in all types.
static void test_single_token_graphs(void **state) {
    (void)state;
    static const CallPlan one = {"decode", 3, {{1, 0}, {0, 1}, {1, 0}}};
    static const char *const sets[] = {"quantise-activations{act=f32}"};
    IrTarget target = target_named("cpu:x86-64-v2");
    for (uint64_t seed = 4000; seed < 4000 + SINGLE_GRAPHS; seed++) {
        char what[64];
        IrModule *module = ir_module_new("random");
        IrGraph *graph = rg_graph(module, "model", &(RgOptions){.seed = seed, .pieces = 5, .single = true});
        snprintf(what, sizeof what, "seed %u", (unsigned)seed);
        Outcome want = outcome_of(graph, &one, what);
        must(pass_run(module, &(PassConfig){.target = &target, .sets = sets, .set_count = 1}, NULL));
        expect_graph(ir_graph_find(module, "decode"), &one, &want, FOLDED, what);
        expect_groups_only(module, what);
        outcome_free(&want);
        ir_module_free(module);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_passes), cmocka_unit_test(test_whole_pipelines),     cmocka_unit_test(test_refused_firings),
        cmocka_unit_test(test_wild_graphs),  cmocka_unit_test(test_single_token_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
