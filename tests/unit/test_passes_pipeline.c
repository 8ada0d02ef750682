// SPDX-License-Identifier: Apache-2.0
// Pipelines as text, passes run again, and what a pipeline leaves: how many groups and stages, which follow whom, and who shares
// bytes of the arena with whom.
#include "tests/unit/pass_fixture.h"

// ---- text ------------------------------------------------------------------------------------------------------

#define TAIL "specialise,delta-net,select-layout,partition,schedule,plan-memory"

static const struct { const char *passes, *set, *says; } wrong_texts[] = {
    {"nonsense", NULL, "there is no pass \"nonsense\"; passes are canonicalize, cse"},
    {"default{form=wy}", NULL, "there is no pass \"default\""},
    {"Default", NULL, "there is no pass \"Default\""},
    {"cse ,default", NULL, "there is no pass \"cse \""},
    {"", NULL, "an item is empty"},
    {",default", NULL, "an item is empty"},
    {"default,", NULL, "an item is empty"},
    {"canonicalize,,default", NULL, "an item is empty"},
    {"{form=wy}", NULL, "there is no pass \"\""},
    {"specialise,delta-net{form=wy,select-layout", NULL, "delta-net{form=wy,select-layout\": does not end in \"}\""},
    {"specialise,delta-net{form=wy}x,select-layout", NULL, "does not end in \"}\""},
    {"specialise,delta-net}", NULL, "there is no pass \"delta-net}\""},
    {"specialise,delta-net{form=wy}}", NULL, "delta-net{form=wy}}: expected one of scan|wy"},
    {"specialise,delta-net{form=wy}{chunk=16}", NULL, "expected one of scan|wy"},
    {"specialise,delta-net{}", NULL, "options are written name=value"},
    {"specialise,delta-net{form}", NULL, "options are written name=value"},
    {"specialise,delta-net{form=wy,}", NULL, "options are written name=value"},
    {"specialise,delta-net{,form=wy}", NULL, "options are written name=value"},
    {"specialise,delta-net{from=wy}", NULL, "delta-net has no option \"from\""},
    {"dce{form=wy}", NULL, "dce has no option \"form\""},
    {"specialise,delta-net{=wy}", NULL, "delta-net has no option \"\""},
    {"specialise,delta-net{form=}", NULL, "delta-net{form=}: expected one of scan|wy"},
    {"specialise,delta-net{form=wyy}", NULL, "delta-net{form=wyy}: expected one of scan|wy"},
    {"specialise,delta-net{form=w}", NULL, "delta-net{form=w}: expected one of scan|wy"},
    {"specialise,delta-net{form=scan|wy}", NULL, "expected one of scan|wy"},
    {"specialise,delta-net{chunk=17}", NULL, "delta-net{chunk=17}: expected one of 16|32|64"},
    {"specialise{small=1}", NULL, "specialise{small=1}: expected a number from 2 to 64"},
    {"specialise{small=65}", NULL, "expected a number from 2 to 64"},
    {"specialise{small=0x10}", NULL, "expected a number from 2 to 64"},
    {"specialise{small=16 }", NULL, "expected a number from 2 to 64"},
    {"specialise{small=99999999999999999999}", NULL, "expected a number from 2 to 64"},
    {NULL, "delta-net", "--set delta-net: expected PASS{option=value}"},
    {NULL, "", "--set : expected PASS{option=value}"},
    {NULL, "nonsense{a=b}", "there is no pass \"nonsense\""},
    {NULL, "delta-net{from=wy}", "delta-net has no option \"from\""},
    {NULL, "delta-net{form=wy", "does not end in \"}\""},
    {NULL, "delta-net{form=wy},cse", "does not end in \"}\""},
    {NULL, "default{form=wy}", "there is no pass \"default\""},
    {TAIL, "moe-dispatch{tile=8}", "--set moe-dispatch{tile=8}: the pipeline has no pass moe-dispatch"},
    // order
    {"default,default", NULL, "the pipeline has pass \"specialise\" twice"},
    {"specialise,specialise,delta-net", NULL, "the pipeline has pass \"specialise\" twice"},
    {"default,plan-memory", NULL, "the pipeline has pass \"plan-memory\" twice"},
    {"default,fuse-norm", NULL, "pass \"fuse-norm\" must stand before \"plan-memory\""},
    {"fuse-norm,default", NULL, "pass \"specialise\" must stand before \"fuse-norm\""},
    {"select-layout,specialise", NULL, "pass \"specialise\" must stand before \"select-layout\""},
    {"specialise,merge-projections,quantise-activations", NULL,
     "pass \"quantise-activations\" must stand before \"merge-projections\""},
    {"specialise,fuse-epilogue,moe-dispatch", NULL, "pass \"moe-dispatch\" must stand before \"fuse-epilogue\""},
    {"specialise,partition,fuse-epilogue", NULL, "pass \"fuse-epilogue\" must stand before \"partition\""},
    {"specialise,delta-net,select-layout,schedule,partition,plan-memory", NULL,
     "pass \"partition\" must stand before \"schedule\""},
    {"specialise,delta-net,select-layout,partition,plan-memory,schedule", NULL,
     "pass \"schedule\" must stand before \"plan-memory\""},
};

// Lists that run but make nothing that can be compiled: refused before a compilation, allowed for parts.
static const struct { const char *passes, *says; } parts[] = {
    {"canonicalize", "the pipeline lacks pass \"specialise\""},
    {"specialise,select-layout,partition,schedule,plan-memory", "the pipeline lacks pass \"delta-net\""},
    {"specialise,delta-net,partition,schedule,plan-memory", "the pipeline lacks pass \"select-layout\""},
    {"specialise,delta-net,select-layout,schedule,plan-memory", "the pipeline lacks pass \"partition\""},
    {"specialise,delta-net,select-layout,partition,plan-memory", "the pipeline lacks pass \"schedule\""},
    {"specialise,delta-net,select-layout,partition,schedule", "the pipeline lacks pass \"plan-memory\""},
};

static const char *const right_texts[] = {
    NULL,
    "default",
    TAIL,
    "canonicalize,canonicalize,default,dce,dce",
    "specialise{small=2,prefill=4096,rows=1},delta-net{chunk=16,form=wy},select-layout,fuse-norm,fuse-norm,partition,schedule,"
    "plan-memory",
};

static HdStatus *nothing_after(void *user, const PassStep *step, const IrGraph *graph) {
    (void)user;
    fail_msg("%s has run on @%s", pass_name(step->pass), graph->name);
    return NULL;
}

static bool nothing_fires(void *user, const PassEvent *event) {
    (void)user;
    fail_msg("rule %s has been tried", pass_rule_name(event->rule));
    return true;
}

static void test_wrong_texts(void **state) {
    (void)state;
    GgufFile *file = open_gguf(RANDOM("h1-mha-tied"));
    IrModule *module = build(file, NULL);
    IrTarget target = target_named("cpu:x86-64-v2");
    HdBuf before = module_text(module);
    for (size_t i = 0; i < HD_COUNT(wrong_texts); i++) {
        const char *sets[] = {wrong_texts[i].set}, *what = wrong_texts[i].passes ? wrong_texts[i].passes : wrong_texts[i].set;
        PassConfig config = {.target = &target,
                             .passes = wrong_texts[i].passes,
                             .sets = sets,
                             .set_count = wrong_texts[i].set != NULL,
                             .event = nothing_fires,
                             .after = nothing_after};
        expect_line(pass_check(&config), HD_USAGE, wrong_texts[i].says, what);
        expect_line(pass_run(module, &config, NULL), HD_USAGE, wrong_texts[i].says, what);
    }
    HdBuf after = module_text(module);
    assert_true(same_text(&before, &after));
    hd_buf_free(&before);
    hd_buf_free(&after);
    ir_module_free(module);
    gguf_close(file);
}

static void test_parts_of_pipelines(void **state) {
    (void)state;
    IrTarget target = target_named("cpu:x86-64-v2");
    for (size_t i = 0; i < HD_COUNT(parts); i++)
        expect_line(pass_check(&(PassConfig){.target = &target, .passes = parts[i].passes}), HD_USAGE, parts[i].says,
                    parts[i].passes);
    for (size_t i = 0; i < HD_COUNT(right_texts); i++)
        must(pass_check(&(PassConfig){.target = &target, .passes = right_texts[i]}));
}

// What was used stands in the module, with every option, as a list that gives the same again.
static void test_pipeline_is_kept(void **state) {
    (void)state;
    GgufFile *file = open_gguf(RANDOM("moe-e16-k4"));
    IrModule *first = build(file, NULL), *second = build(file, NULL);
    IrTarget target = target_named("cpu:x86-64-v2");
    static const char *const sets[] = {"delta-net{form=wy}", "moe-dispatch{tile=8}", "delta-net{chunk=16,form=scan}"};
    must(pass_run(first, &(PassConfig){.target = &target, .sets = sets, .set_count = HD_COUNT(sets)}, NULL));
    const char *used = ir_module_key(first, "pipeline");
    assert_non_null(strstr(used, ",delta-net{form=scan,chunk=16,least=2},moe-dispatch{tile=8},quantise-activations{act=auto},cse,"));
    must(pass_run(second, &(PassConfig){.target = &target, .passes = used}, NULL));
    HdBuf a = module_text(first), b = module_text(second);
    assert_true(same_text(&a, &b));
    hd_buf_free(&a);
    hd_buf_free(&b);
    ir_module_free(first);
    ir_module_free(second);
    gguf_close(file);
}

// ---- passes run again ------------------------------------------------------------------------------------------

static uint32_t all_fired(const PassCtx *counts) {
    uint32_t fired = 0;
    for (int rule = 0; rule < RULE_COUNT; rule++) fired += counts->fired[rule];
    return fired;
}

// One item of a pipeline, twice; bookkeeping passes fire for everything each time.
static void run_twice(const char *model, IrModule *module, const PassConfig *config) {
    PassCtx counts;
    bool books = !strncmp(config->passes, "schedule", 8) || !strncmp(config->passes, "plan-memory", 11);
    must(pass_run(module, config, NULL));
    HdBuf once = module_text(module);
    must(pass_run(module, config, &counts));
    HdBuf twice = module_text(module);
    if (!same_text(&once, &twice)) fail_msg("%s: %s changes what it has made", model, config->passes);
    if (!books && all_fired(&counts)) fail_msg("%s: %s fires again", model, config->passes);
    hd_buf_free(&once);
    hd_buf_free(&twice);
}

static void check_twice(const char *path, const char *target_name, const char *delta_net) {
    GgufFile *file = open_gguf(path);
    IrModule *module = build(file, NULL);
    IrTarget target = target_named(target_name);
    const char *list = pass_default_pipeline(&target);
    for (size_t len; *list; list += len + (list[len] == ',')) {
        char item[64];
        len = strcspn(list, ",");
        snprintf(item, sizeof item, "%.*s", (int)len, list);
        run_twice(path, module, &(PassConfig){.target = &target, .passes = strcmp(item, "delta-net") ? item : delta_net});
    }
    ir_module_free(module);
    gguf_close(file);
}

static void test_passes_run_twice(void **state) {
    (void)state;
    check_twice(RANDOM("h1-mha-tied"), "cpu:x86-64-v2", "delta-net");
    check_twice(RANDOM("h2-gqa4"), "cpu:x86-64-v2", "delta-net{form=wy,chunk=32}");
    check_twice(RANDOM("moe-e16-k4"), "cpu:znver4", "delta-net");
    check_twice(TINY("tiny-dense-bf16"), "cpu:znver4", "delta-net");
    check_twice(TINY("tiny-dense-q4_k_m"), "cpu:x86-64-v2", "delta-net");
    check_twice(TINY("tiny-moe-q8_0"), "cpu:x86-64-v2", "delta-net{form=wy}");
}

// ---- stages and memory -----------------------------------------------------------------------------------------

static bool reads_value(const IrOp *op, IrValue value) {
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (op->operands[i] == value) return true;
    return false;
}

static bool writes_state(const IrGraph *graph, const IrOp *op, IrValue state) {
    const IrBlockData *region = &graph->blocks.data[op->region];
    bool writes = false;
    for (uint32_t i = 0; i < op->operand_count; i++) {
        if (op->operands[i] != state) continue;
        IR_FOR_OPS(graph, op->region, ref) {
            const IrOp *member = ir_op(graph, ref);
            bool touches = reads_value(member, region->args.data[i]);
            writes = writes || (touches && (ir_op_info(member->kind)->effect & IR_EFFECT_WRITE));
        }
    }
    return writes;
}

// Must `later` wait for `op`, which stands before it: for a result of it, or for a state that one of them writes?
static bool waits_for(const IrGraph *graph, const IrOp *later, const IrOp *op) {
    for (uint32_t i = 0; i < later->operand_count; i++) {
        IrValue value = later->operands[i];
        const IrValueData *data = ir_value(graph, value);
        if (data->kind == IR_VALUE_RESULT && ir_op(graph, data->op) == op) return true;
        if (data->kind == IR_VALUE_STATE && reads_value(op, value) &&
            (writes_state(graph, later, value) || writes_state(graph, op, value)))
            return true;
    }
    return false;
}

// The body holds groups only, each in the first stage that comes after all it waits for.
static void check_stages(const IrGraph *graph) {
    IR_FOR_OPS(graph, 0, ref) {
        const IrOp *op = ir_op(graph, ref);
        int32_t earliest = 0;
        assert_int_equal(op->kind, IR_OP_fused);
        for (IrOpRef before = op->prev; before; before = ir_op(graph, before)->prev)
            if (waits_for(graph, op, ir_op(graph, before))) earliest = HD_MAX(earliest, ir_op(graph, before)->stage + 1);
        if (op->stage != earliest) fail_msg("@%s: a group is in stage %d, could be in %d", graph->name, op->stage, earliest);
    }
}

typedef struct Place { int64_t begin, end; int32_t made, read; } Place;   // bytes; stages, both inclusive

static Place place_of(const IrGraph *graph, const IrOp *op, IrValue value, const IrBinding *bound) {
    const IrValueData *data = ir_value(graph, value);
    Place place = {.begin = data->offset, .made = op->stage, .read = op->stage};
    place.end = place.begin + ir_type_bytes(graph, &data->type, bound);
    IR_FOR_OPS(graph, 0, user)
        if (reads_value(ir_op(graph, user), value)) place.read = HD_MAX(place.read, ir_op(graph, user)->stage);
    for (size_t i = 0; i < graph->results.len; i++)
        if (graph->results.data[i].value == value) place.read = INT32_MAX;
    return place;
}

// The arena holds every result of a group, those that live in the same stage in different bytes. Returns the most bytes that live
// in one stage.
static int64_t check_places(const IrGraph *graph, const IrBinding *bound) {
    HD_VEC(Place) places = {0};
    int64_t most = 0;
    IR_FOR_OPS(graph, 0, ref) {
        const IrOp *op = ir_op(graph, ref);
        for (uint32_t i = 0; i < op->result_count; i++) hd_vec_push(&places, place_of(graph, op, op->results[i], bound));
    }
    for (size_t i = 0; i < places.len; i++) {
        const Place *a = &places.data[i];
        int64_t alive = 0;
        assert_true(a->begin >= 0 && a->begin % 64 == 0 && a->end <= graph->arena_bytes);
        for (size_t k = 0; k < places.len; k++) {
            const Place *b = &places.data[k];
            bool together = a->made <= b->read && b->made <= a->read, apart = a->end <= b->begin || b->end <= a->begin;
            if (i != k && together && !apart)
                fail_msg("@%s: values at %lld and %lld are used at the same time", graph->name, (long long)a->begin,
                         (long long)b->begin);
            if (b->made <= a->made && a->made <= b->read) alive += b->end - b->begin;
        }
        most = HD_MAX(most, alive);
    }
    hd_vec_free(&places);
    return most;
}

static IrModule *compiled(const char *path, const char *set) {
    GgufFile *file = open_gguf(path);
    IrModule *module = build(file, NULL);
    IrTarget target = target_named("cpu:x86-64-v3");
    must(pass_run(module, &(PassConfig){.target = &target, .sets = &set, .set_count = 1}, NULL));
    gguf_close(file);
    return module;
}

static void test_stages_and_places(void **state) {
    (void)state;
    static const struct { const char *path, *set; } models[] = {
        {RANDOM("h1-mha-tied"), "delta-net{form=scan}"},       {RANDOM("h2-gqa4"), "delta-net{form=wy,chunk=16}"},
        {RANDOM("h3-head256"), "select-layout{layout=native}"}, {RANDOM("moe-e16-k4"), "specialise{prefill=64,rows=1}"},
        {TINY("tiny-dense-q4_k_m"), "delta-net{form=wy}"},     {TINY("tiny-moe-q8_0"), "delta-net{form=scan}"}};
    static const char *const classes[] = {"decode", "small", "prefill"};
    for (size_t i = 0; i < HD_COUNT(models); i++) {
        IrModule *module = compiled(models[i].path, models[i].set);
        for (size_t c = 0; c < HD_COUNT(classes); c++) {
            const IrGraph *graph = ir_graph_find(module, classes[c]);
            IrBinding bound;
            assert_true(ir_graph_bound(graph, &bound));
            check_stages(graph);
            int64_t most = check_places(graph, &bound);
            print_message("%s @%s: arena of %lld bytes for %lld at once\n", models[i].path, classes[c],
                          (long long)graph->arena_bytes, (long long)most);
            assert_true(graph->arena_bytes <= most + most / 4);   // values begin at cache lines, and gaps are few
        }
        check_stages(ir_graph_find(module, "load"));
        ir_module_free(module);
    }
}

// ---- what the interpreter does not look at ---------------------------------------------------------------------

static const char *kind_of(const IrOp *op) { return op->attr[IR_ATTR_KIND].name; }

static const IrOp *member_of(const IrGraph *graph, const IrOp *group, IrOpKind kind) {
    IR_FOR_OPS(graph, group->region, ref)
        if (ir_op(graph, ref)->kind == kind) return ir_op(graph, ref);
    return NULL;
}

// A dispatch plan is made of the ids that choose the experts, for as many experts as the matrix has.
static uint32_t check_plans(const IrGraph *graph) {
    uint32_t planned = 0;
    IR_FOR_OPS(graph, 0, ref) {
        const IrOp *op = ir_op(graph, ref), *product = member_of(graph, op, IR_OP_grouped_linear);
        if (!product) continue;
        assert_int_equal(product->operand_count, strcmp(graph->name, "decode") ? 4 : 3);   // one token gathers its experts
        if (product->operand_count == 3) continue;
        IrValue ids = ir_value(graph, product->operands[2])->index, plan = ir_value(graph, product->operands[3])->index;
        const IrOp *maker = ir_op(graph, ir_value(graph, op->operands[plan])->op);
        const IrOp *moe_plan = member_of(graph, maker, IR_OP_moe_plan);
        assert_string_equal(kind_of(maker), "moe_plan");
        assert_int_equal(maker->operands[0], op->operands[ids]);
        assert_int_equal(moe_plan->attr[IR_ATTR_EXPERTS].i, ir_value(graph, product->operands[1])->type.dims[0]);
        planned++;
    }
    return planned;
}

// Every packed matrix of a step is made by @load, from the same matrix of the file.
static uint32_t check_packed(const IrModule *module, const IrGraph *graph) {
    const IrGraph *load = ir_graph_find(module, "load");
    uint32_t packed = 0;
    IR_FOR_OPS(graph, 0, ref)
        for (uint32_t i = 0; i < ir_op(graph, ref)->operand_count; i++) {
            const IrValueData *weight = ir_value(graph, ir_op(graph, ref)->operands[i]);
            bool made = false;
            if (weight->kind != IR_VALUE_WEIGHT || weight->type.layout == IR_LAYOUT_NATIVE) continue;
            for (size_t r = 0; r < load->results.len && !made; r++) {
                const IrValueData *result = ir_value(load, load->results.data[r].value);
                const IrValueData *source = ir_value(load, ir_op(load, result->op)->operands[0]);
                made = !strcmp(load->results.data[r].name, weight->name) && ir_type_eq(&result->type, &weight->type) &&
                       !strcmp(source->name, weight->name) && source->type.layout == IR_LAYOUT_NATIVE;
            }
            if (!made) fail_msg("@%s: nobody packs %s", graph->name, weight->name);
            packed++;
        }
    return packed;
}

static void test_plans_packs_and_bounds(void **state) {
    (void)state;
    IrModule *module = compiled(RANDOM("moe-e16-k4"), "specialise{small=8,prefill=100,rows=20,slots=3}");
    for (int plan = 0; plan < PLANS; plan++) {
        const IrGraph *graph = ir_graph_find(module, short_calls[plan].graph);
        assert_int_equal(check_plans(graph), strcmp(graph->name, "decode") ? 2 * 4 : 0);
        assert_true(check_packed(module, graph) >= 4 * 9);
    }
    assert_string_equal(ir_module_key(module, "bounds.decode"), "1 1 1 1");
    assert_string_equal(ir_module_key(module, "bounds.small"), "8 3 1 8");
    assert_string_equal(ir_module_key(module, "bounds.prefill"), "100 3 1 20");
    ir_module_free(module);
    module = compiled(TINY("tiny-dense-q4_k_m"), "select-layout{layout=native}");
    assert_int_equal(check_packed(module, ir_graph_find(module, "decode")), 0);
    assert_int_equal(ir_graph_find(module, "load")->results.len, 0);
    ir_module_free(module);
}

// ---- how many --------------------------------------------------------------------------------------------------

// Groups and stages of one token's step: what the layers need now, so that a fusion that is lost is noticed. Groups of
//   every model            embedding 1; wanted rows, last norm with its quantisation, head 3
//   delta-net layer        norm, projections with gates, convolution with heads, delta rule, gated norm, quantisation, output: 7
//   attention layer        norm, projections, heads of q, k and v (one stage), attention with gate, quantisation, output: 8 in
//                          6 stages
//   dense network          norm, gate and up, quantisation, down: 4
//   mixture of experts     norm, router with shared gate, shared gate and up (same stage), top k, shared quantisation (same
//                          stage), gate and up, quantisation, down, sum over ranks, shared down with all sums: 10 in 8 stages
// Without quantised weights there are no quantisations; router, shared gate and the shared network's projections are one.
typedef struct Need { uint32_t groups, stages; } Need;
static const Need ends = {4, 4};
static const Need delta_layer = {7, 7}, attention_layer = {8, 6}, dense_network = {4, 4}, experts = {10, 8};
static const Need float_delta_layer = {6, 6}, float_attention_layer = {7, 5}, float_dense_network = {3, 3},
                  float_experts = {7, 7};

static Need count_groups(const IrGraph *graph) {
    Need have = {0};
    IR_FOR_OPS(graph, 0, ref) {
        have.groups++;
        have.stages = HD_MAX(have.stages, (uint32_t)ir_op(graph, ref)->stage + 1);
    }
    return have;
}

static void check_need(const char *path, uint32_t deltas, Need delta, uint32_t attentions, Need attention, Need network) {
    IrModule *module = compiled(path, "delta-net{form=scan}");
    Need have = count_groups(ir_graph_find(module, "decode")), most = ends;
    most.groups += deltas * delta.groups + attentions * attention.groups + (deltas + attentions) * network.groups;
    most.stages += deltas * delta.stages + attentions * attention.stages + (deltas + attentions) * network.stages;
    print_message("%s: %u groups in %u stages, at most %u in %u\n", path, have.groups, have.stages, most.groups, most.stages);
    assert_in_range(have.groups, 1, most.groups);
    assert_in_range(have.stages, 1, most.stages);
    ir_module_free(module);
}

static void test_groups_and_stages(void **state) {
    (void)state;
    check_need(TINY("tiny-dense-q4_k_m"), 6, delta_layer, 2, attention_layer, dense_network);
    check_need(TINY("tiny-dense-q8_0"), 6, delta_layer, 2, attention_layer, dense_network);
    check_need(TINY("tiny-moe-q4_k_m"), 3, delta_layer, 1, attention_layer, experts);
    check_need(TINY("tiny-moe-q8_0"), 3, delta_layer, 1, attention_layer, experts);
    check_need(RANDOM("h1-mha-tied"), 3, float_delta_layer, 1, float_attention_layer, float_dense_network);
    check_need(RANDOM("moe-e16-k4"), 3, float_delta_layer, 1, float_attention_layer, float_experts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_texts),       cmocka_unit_test(test_parts_of_pipelines),
        cmocka_unit_test(test_pipeline_is_kept),  cmocka_unit_test(test_passes_run_twice),
        cmocka_unit_test(test_stages_and_places), cmocka_unit_test(test_groups_and_stages),
        cmocka_unit_test(test_plans_packs_and_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
