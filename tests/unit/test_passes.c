// SPDX-License-Identifier: Apache-2.0
// Passes change no value beyond the class that passes.def gives them: models go through pipelines, and the interpreter runs every
// graph before and after every pass, with state carried between calls. The interpreter computes an operation in one way only, so
// a pass that keeps the operations keeps all bits; only quantise-activations and the chunked delta rule may change any.
#include "tests/unit/draft_changes.h"
#include "tests/unit/pass_fixture.h"

// ---- one run of a pipeline -------------------------------------------------------------------------------------

typedef struct Variant {
    const char *what, *target, *passes, *sets[3];
    const CallPlan *calls;       // short_calls when NULL
    double act;                  // NMSE that quantise-activations may cause; 0: it changes nothing
    bool bounded;                // passes of class bounded may change values: delta-net of classes of more than one token, split-attention
    bool ends_only;              // compare only the graphs at the end
} Variant;

typedef struct Watch {
    Subject *subject;
    const Variant *variant;
    Outcome last[PLANS];         // of each step class, before the pass that runs
    double worst_act, worst_bounded;
    uint32_t compared;
    bool (*refuses)(struct Watch *watch, const PassEvent *event);
    PassRule rule;               // for `refuses`
    uint64_t seed;
} Watch;

static const CallPlan *calls_of(const Variant *variant) { return variant->calls ? variant->calls : short_calls; }

static double allowed(const Watch *watch, PassId pass, const char *graph) {
    if (pass == PASS_quantise_activations) return watch->variant->act;
    if (pass_info(pass)->numerics != IR_NUMERICS_BOUNDED || !watch->variant->bounded) return 0;
    return pass == PASS_delta_net && !strcmp(graph, "decode") ? 0 : ir_op_bound(IR_OP_delta_chunk_scan);
}

static void compare_graph(Watch *watch, PassId pass, const IrGraph *graph, int plan) {
    char what[200];
    Outcome now = subject_run(watch->subject, graph, &calls_of(watch->variant)[plan]);
    snprintf(what, sizeof what, "%s, %s: %s on @%s (calls of @%s)", watch->subject->name, watch->variant->what,
             pass_info(pass)->name, graph->name, calls_of(watch->variant)[plan].graph);
    double error = expect_outcome(&now, &watch->last[plan], allowed(watch, pass, graph->name), what);
    double *worst = pass == PASS_quantise_activations ? &watch->worst_act : &watch->worst_bounded;
    *worst = HD_MAX(*worst, error);
    watch->last[plan] = now;
    watch->compared++;
}

// @model has to do for the calls of every class.
static HdStatus *after_pass(void *user, const PassStep *step, const IrGraph *graph) {
    Watch *watch = user;
    for (int plan = 0; plan < PLANS && !watch->variant->ends_only; plan++)
        if (!strcmp(graph->name, "model") || !strcmp(graph->name, calls_of(watch->variant)[plan].graph))
            compare_graph(watch, step->pass, graph, plan);
    return NULL;
}

static bool on_event(void *user, const PassEvent *event) {
    Watch *watch = user;
    return !(event->fired && watch->refuses && watch->refuses(watch, event));
}

// The pipeline over the subject's graph; `watch` has the variant, and who refuses what.
static HdStatus *run_pipeline(Watch *watch, IrModule **out_module, PassCtx *out_counts) {
    const Variant *variant = watch->variant;
    IrModule *module = *out_module = subject_build(watch->subject);
    IrTarget target = target_named(variant->target ? variant->target : "cpu:x86-64-v2");
    PassConfig config = {.target = &target,
                         .passes = variant->passes,
                         .sets = variant->sets,
                         .event = on_event,
                         .after = after_pass,
                         .user = watch};
    while (config.set_count < HD_COUNT(variant->sets) && variant->sets[config.set_count]) config.set_count++;
    for (int plan = 0; plan < PLANS; plan++)
        watch->last[plan] = subject_run(watch->subject, model_graph(module), &calls_of(variant)[plan]);
    HdStatus *status = pass_run(module, &config, out_counts);
    if (out_counts) out_counts->config = NULL, out_counts->target = NULL;   // they end here
    return status;
}

typedef struct Ends { Outcome of[PLANS]; } Ends;   // what the step graphs give at the end of a pipeline

static Ends ends_of(const Watch *watch, const IrModule *module) {
    Ends ends;
    for (int plan = 0; plan < PLANS; plan++) {
        const char *name = calls_of(watch->variant)[plan].graph;
        const IrGraph *graph = ir_graph_find(module, name);
        if (!graph) fail_msg("%s, %s: no graph @%s", watch->subject->name, watch->variant->what, name);
        ends.of[plan] = subject_run(watch->subject, graph, &calls_of(watch->variant)[plan]);
    }
    return ends;
}

// What @model gives before all passes.
static Ends beginnings_of(Subject *subject, const Variant *variant) {
    Ends ends;
    IrModule *module = subject_build(subject);
    for (int plan = 0; plan < PLANS; plan++) ends.of[plan] = subject_run(subject, model_graph(module), &calls_of(variant)[plan]);
    ir_module_free(module);
    return ends;
}

static void expect_ends(const Watch *watch, const IrModule *module, const Ends *want, double bound) {
    Ends have = ends_of(watch, module);
    for (int plan = 0; plan < PLANS; plan++) {
        char what[300];
        snprintf(what, sizeof what, "%s, %s: @%s at the end", watch->subject->name, watch->variant->what,
                 calls_of(watch->variant)[plan].graph);
        expect_outcome(&have.of[plan], &want->of[plan], bound, what);
    }
}

// The pipeline on a subject, every graph compared after every pass.
static void check_variant(Subject *subject, const Variant *variant) {
    IrModule *module;
    Watch watch = {.subject = subject, .variant = variant};
    must(run_pipeline(&watch, &module, NULL));
    print_message("%s, %s: %u comparisons, quantised NMSE %.3g, bounded %.3g\n", subject->name, variant->what, watch.compared,
                  watch.worst_act, watch.worst_bounded);
    assert_in_range(watch.compared, PLANS * 12, 1000);
    if (variant->act > 0) assert_true(watch.worst_act > 0);   // a bound for nothing hides that the pass does nothing
    if (variant->bounded) assert_true(watch.worst_bounded > 0);
    ir_module_free(module);
}

static void check_model(const char *name, const char *path, const Variant *variants, size_t count) {
    Subject subject = subject_open(name, path);
    for (size_t i = 0; i < count; i++) check_variant(&subject, &variants[i]);
    subject_close(&subject);
}

// The pipeline ends with exactly what is wanted.
static void check_ends(Subject *subject, const Variant *variant, const Ends *want) {
    IrModule *module;
    Watch watch = {.subject = subject, .variant = variant};
    must(run_pipeline(&watch, &module, NULL));
    expect_ends(&watch, module, want, 0);
    ir_module_free(module);
}

static Ends default_ends(Subject *subject, const Variant *variant) {
    IrModule *module;
    Watch watch = {.subject = subject, .variant = variant};
    must(run_pipeline(&watch, &module, NULL));
    Ends ends = ends_of(&watch, module);
    ir_module_free(module);
    return ends;
}

// ---- every pass on every model ---------------------------------------------------------------------------------

static void test_every_pass_on_random_models(void **state) {
    (void)state;
    static const Variant plain[] = {{.what = "default"}, {.what = "native layout", .sets = {"select-layout{layout=native}"}}};
    check_model("h1-mha-tied", RANDOM("h1-mha-tied"), plain, 2);
    check_model("h2-gqa4", RANDOM("h2-gqa4"), plain, 1);
    check_model("h3-head256", RANDOM("h3-head256"), plain, 1);
    check_model("moe-e16-k4", RANDOM("moe-e16-k4"), plain, 2);
}

// Bounds: twice what rounding the activations of these few tokens costs, measured by this test.
static void test_every_pass_on_trained_models(void **state) {
    (void)state;
    static const Variant dense[] = {
        {.what = "default", .act = 1.6e-4, .calls = few_calls},
        {.what = "f32 activations", .sets = {"quantise-activations{act=f32}"}, .calls = few_calls}};
    static const Variant moe[] = {{.what = "default", .act = 1.8e-4, .calls = few_calls},
                                  {.what = "znver4", .target = "cpu:znver4", .act = 1.8e-4, .calls = few_calls}};
    static const Variant bf16[] = {{.what = "bf16 without such products", .calls = few_calls},
                                   {.what = "znver4", .target = "cpu:znver4", .act = 6e-5, .calls = few_calls}};
    check_model("tiny-dense-q4_k_m", TINY("tiny-dense-q4_k_m"), dense, 2);
    check_model("tiny-moe-q8_0", TINY("tiny-moe-q8_0"), moe, 2);
    check_model("tiny-dense-bf16", TINY("tiny-dense-bf16"), bf16, 2);
}

static void test_chunked_delta_rule(void **state) {
    (void)state;
    static const Variant chunks[] = {
        {.what = "chunks of 16", .sets = {"delta-net{form=wy,chunk=16}"}, .calls = long_calls, .bounded = true},
        {.what = "chunks of 32", .sets = {"delta-net{chunk=32}", "delta-net{form=wy}"}, .calls = long_calls, .bounded = true},
        {.what = "chunks of 64", .sets = {"delta-net{form=wy}"}, .calls = long_calls, .bounded = true},
    };
    check_model("h1-mha-tied", RANDOM("h1-mha-tied"), chunks, HD_COUNT(chunks));
}

static void test_pipeline_of_gpus(void **state) {
    (void)state;
    static const Variant gpu = {.what = "default for GPUs", .target = "vulkan", .calls = long_calls, .bounded = true};
    check_model("h2-gqa4", RANDOM("h2-gqa4"), &gpu, 1);
}

// ---- files of other writers ------------------------------------------------------------------------------------

// A scale beside every matrix, one for each expert of the stacked ones, as files with 4-bit floats have them; matrices joined.
static void scaled_and_joined(Draft *draft) {
    joined_matrices(draft);
    scaled_matrices(draft);
}

static void check_changed(const char *name, const char *path, const char *what, Change *change) {
    Draft *draft = draft_open(path);
    change(draft);
    Subject subject = subject_of(name, draft_file(draft));
    check_variant(&subject, &(Variant){.what = what});
    subject_close(&subject);
    draft_close(draft);
}

static void test_scaled_and_joined_matrices(void **state) {
    (void)state;
    check_changed("h1-mha-tied", RANDOM("h1-mha-tied"), "scaled", scaled_matrices);
    check_changed("moe-e16-k4", RANDOM("moe-e16-k4"), "scaled", scaled_matrices);
    check_changed("moe-e16-k4", RANDOM("moe-e16-k4"), "scaled and joined", scaled_and_joined);
}

// ---- other pipelines -------------------------------------------------------------------------------------------

// The default list without item `leave`; true when that may be left out.
static bool without_item(const char *list, size_t leave, HdBuf *out_list, const char **out_left) {
    static char name[64];
    *out_list = (HdBuf){0};
    name[0] = 0;
    for (size_t i = 0; *list; i++) {
        int len = (int)strcspn(list, ",");
        if (i == leave) snprintf(name, sizeof name, "%.*s", len, list);
        else hd_buf_printf(out_list, "%s%.*s", out_list->len ? "," : "", len, list);
        list += len + (list[len] == ',');
    }
    *out_left = name;
    return name[0] && !pass_info(pass_named(name))->mandatory;
}

static size_t count_items(const char *list) {
    size_t count = 1;
    for (; *list; list++) count += *list == ',';
    return count;
}

// Each pass that may be left out (or only one) is left out in turn. Without quantise-activations no value changes at all.
static uint32_t check_without(Subject *subject, const Variant *base, const char *only) {
    IrTarget target = target_named("cpu:x86-64-v2");
    const char *list = pass_default_pipeline(&target);
    Ends plain = beginnings_of(subject, base), whole = default_ends(subject, base);
    uint32_t left_out = 0;
    for (size_t i = 0; i < count_items(list); i++) {
        HdBuf passes;
        const char *left;
        if (without_item(list, i, &passes, &left) && (!only || !strcmp(left, only))) {
            char what[128];
            snprintf(what, sizeof what, "%s without %s", base->what, left);
            Variant variant = *base;
            variant.what = what, variant.passes = passes.data;
            check_ends(subject, &variant, strcmp(left, "quantise-activations") ? &whole : &plain);
            left_out++;
        }
        hd_buf_free(&passes);
    }
    Variant bare = *base;
    bare.what = "only what is mandatory", bare.passes = "specialise,delta-net,select-layout,partition,schedule,plan-memory";
    check_ends(subject, &bare, &plain);
    return left_out;
}

static void test_pipelines_without_one_pass(void **state) {
    (void)state;
    Subject dense = subject_open("h1-mha-tied", RANDOM("h1-mha-tied")), moe = subject_open("moe-e16-k4", RANDOM("moe-e16-k4")),
            q4 = subject_open("tiny-dense-q4_k_m", TINY("tiny-dense-q4_k_m"));
    const Variant base = {.what = "default", .ends_only = true, .calls = few_calls};
    assert_int_equal(check_without(&dense, &base, NULL), 10);
    assert_int_equal(check_without(&moe, &base, NULL), 10);
    assert_int_equal(check_without(&q4, &base, "quantise-activations"), 1);
    subject_close(&dense);
    subject_close(&moe);
    subject_close(&q4);
}

// Lists in other orders that mean the same.
static void test_other_orders(void **state) {
    (void)state;
    static const char *const lists[] = {
        "dce,cse,canonicalize,default",
        "default,canonicalize,cse,dce",
        "specialise,canonicalize,cse,dce,quantise-activations,moe-dispatch,delta-net,select-layout,merge-projections,fuse-norm,"
        "fuse-epilogue,partition,schedule,plan-memory",
        "specialise,delta-net,moe-dispatch,select-layout,merge-projections,fuse-norm,canonicalize,fuse-epilogue,cse,fuse-norm,"
        "fuse-epilogue,partition,dce,schedule,cse,plan-memory",
    };
    Subject subject = subject_open("moe-e16-k4", RANDOM("moe-e16-k4"));
    Variant variant = {.ends_only = true};
    Ends want = beginnings_of(&subject, &variant);
    for (size_t i = 0; i < HD_COUNT(lists); i++) {
        variant.what = variant.passes = lists[i];
        check_ends(&subject, &variant, &want);
    }
    subject_close(&subject);
}

// ---- refusing --------------------------------------------------------------------------------------------------

// What refusing all firings of a rule that is needed says; other rules may be refused.
static const struct { PassRule rule; const char *says; } needed[] = {
    {RULE_specialise_clone, "was refused"},
    {RULE_delta_net_scan, "all forms of delta_rule"},
    {RULE_partition_single, "a group for "},
    {RULE_schedule_stage, "a stage was refused"},
    {RULE_plan_memory_place, "a place was refused"},
};

static const char *needed_says(PassRule rule) {
    for (size_t i = 0; i < HD_COUNT(needed); i++)
        if (needed[i].rule == rule) return needed[i].says;
    return NULL;
}

static bool this_rule(Watch *watch, const PassEvent *event) { return event->rule == watch->rule; }

// A half of the firings of rules that are not needed, another half for every seed.
static bool one_half(Watch *watch, const PassEvent *event) {
    uint64_t seed = watch->seed++ * 0x9e3779b97f4a7c15u;
    return !needed_says(event->rule) && ((seed ^ seed >> 29) * 0xbf58476d1ce4e5b9u) >> 63;
}

static bool every_second(Watch *watch, const PassEvent *event) { return !needed_says(event->rule) && watch->seed++ & 1; }

static bool quantises(PassRule rule) { return pass_rule_info(rule)->pass == PASS_quantise_activations; }

// All firings of `rule` refused. A rule that changes values leaves, when refused, what @model gives.
static void check_refusal(Subject *subject, const Variant *base, PassRule rule, const Ends *plain, const Ends *whole) {
    char what[160];
    PassCtx counts;
    IrModule *module;
    Variant variant = *base;
    Watch watch = {.subject = subject, .variant = &variant, .refuses = this_rule, .rule = rule};
    snprintf(what, sizeof what, "%s, rule %s refused", base->what, pass_rule_info(rule)->name);
    variant.what = what;
    HdStatus *status = run_pipeline(&watch, &module, &counts);
    assert_int_equal(counts.fired[rule], 0);
    assert_true(counts.missed[rule][MISSED_refused] > 0);
    if (needed_says(rule)) {
        expect_line(status, HD_UNSUPPORTED, needed_says(rule), what);
    } else {
        must(status);
        expect_ends(&watch, module, quantises(rule) || rule == RULE_delta_net_wy ? plain : whole, 0);
    }
    ir_module_free(module);
}

// Each rule that fires, of all passes or of one, is refused in turn. Returns how many.
static uint32_t refuse_each(Subject *subject, const Variant *base, PassId only) {
    PassCtx counts;
    IrModule *module;
    Watch watch = {.subject = subject, .variant = base};
    uint32_t refused = 0;
    Ends plain = beginnings_of(subject, base), whole;
    must(run_pipeline(&watch, &module, &counts));
    whole = ends_of(&watch, module);
    ir_module_free(module);
    for (int rule = 0; rule < RULE_COUNT; rule++) {
        if (!counts.fired[rule] || (only != PASS_COUNT && pass_rule_info(rule)->pass != only)) continue;
        check_refusal(subject, base, (PassRule)rule, &plain, &whole);
        refused++;
    }
    print_message("%s, %s: %u rules refused\n", subject->name, base->what, refused);
    return refused;
}

static void test_refused_rules(void **state) {
    (void)state;
    static const struct { const char *name, *path, *target, *set; PassId only; uint32_t rules; } cases[] = {
        {"h1-mha-tied", RANDOM("h1-mha-tied"), NULL, NULL, PASS_COUNT, 12},
        {"moe-e16-k4", RANDOM("moe-e16-k4"), NULL, NULL, PASS_COUNT, 15},
        {"h1-mha-tied", RANDOM("h1-mha-tied"), NULL, "delta-net{form=wy}", PASS_delta_net, 2},
        {"tiny-dense-q4_k_m", TINY("tiny-dense-q4_k_m"), NULL, NULL, PASS_quantise_activations, 1},
        {"tiny-dense-bf16", TINY("tiny-dense-bf16"), "cpu:znver4", NULL, PASS_quantise_activations, 1},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        Subject subject = subject_open(cases[i].name, cases[i].path);
        Variant base = {
            .what = "default", .target = cases[i].target, .sets = {cases[i].set}, .ends_only = true, .calls = few_calls};
        assert_int_equal(refuse_each(&subject, &base, cases[i].only), cases[i].rules);
        subject_close(&subject);
    }
}

// As a bisection does: a part of the firings is refused.
static void test_firings_refused_in_part(void **state) {
    (void)state;
    Subject subject = subject_open("moe-e16-k4", RANDOM("moe-e16-k4"));
    Variant variant = {.ends_only = true};
    Ends want = beginnings_of(&subject, &variant);
    for (uint64_t seed = 0; seed < 8; seed++) {
        char what[64];
        IrModule *module;
        Watch watch = {.subject = &subject, .variant = &variant, .refuses = one_half, .seed = seed << 32 | seed};
        if (seed < 2) watch.refuses = every_second;
        snprintf(what, sizeof what, "a half of the firings refused, %u", (unsigned)seed);
        variant.what = what;
        must(run_pipeline(&watch, &module, NULL));
        expect_ends(&watch, module, &want, 0);
        ir_module_free(module);
    }
    subject_close(&subject);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pass_on_random_models), cmocka_unit_test(test_every_pass_on_trained_models),
        cmocka_unit_test(test_chunked_delta_rule), cmocka_unit_test(test_pipeline_of_gpus),          cmocka_unit_test(test_scaled_and_joined_matrices),
        cmocka_unit_test(test_pipelines_without_one_pass),  cmocka_unit_test(test_other_orders),
        cmocka_unit_test(test_refused_rules),               cmocka_unit_test(test_firings_refused_in_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
