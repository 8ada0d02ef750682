// SPDX-License-Identifier: Apache-2.0
// --verify finds what a defect in a rewrite makes of a graph, and --bisect names the rewrite: defects are seeded one at a time, in every pass that rewrites values.
#include "tests/support/faults.h"
#include "tests/unit/pass_fixture.h"
#include "passes/workbench/workbench.h"

// ---- graphs ----------------------------------------------------------------------------------------------------

// What models have none of: chains of views, scales behind norms, equal operations, operations that nobody reads, views that are copied.
static const char by_hand[] =
    "module \"hand\" { graph @model {\n"
    "%tokens = input tokens : i32[T] %segments = input segments : i32[S, 8]\n"
    "%table = weight \"t\" : f32[40, 64] %w = weight \"w\" : f32[64, 64]\n"
    "%k = state \"k\" kv : f32[C, 2, 32] %v = state \"v\" kv : f32[C, 2, 32]\n"
    "%x = embed %tokens, %table : f32[T, 64]\n"
    "%a = slice %x {axis = 1, begin = 8, end = 56} : f32[T, 48] %b = slice %a {axis = 1, begin = 4, end = 20} : f32[T, 16]\n"
    "%c = slice %a {axis = 1, begin = 8, end = 40} : f32[T, 32] %d = slice %c {axis = 1, begin = 2, end = 18} : f32[T, 16]\n"
    "%e = neg %b : f32[T, 16] %f = exp %d : f32[T, 16] %g = add %e, %f : f32[T, 16]\n"
    "%n = l2_norm %g {eps = 1e-06, scale = 1} : f32[T, 16] %s = scale %n {value = 3} : f32[T, 16]\n"
    "%p = neg %x : f32[T, 64] %q = exp %x : f32[T, 64] %r = exp %x : f32[T, 64] %m = mul %q, %r : f32[T, 64]\n"
    "%unread = silu %p : f32[T, 64] %unread2 = silu %q : f32[T, 64]\n"
    "%h = reshape %m : f32[T, 2, 32] kv_append %h, %k, %segments kv_append %h, %v, %segments\n"
    "%o = attention %h, %k, %v, %segments {scale = 0.5} : f32[T, 2, 32]\n"
    "return s = %s, p = %p, o = %o } }";

static IrModule *open_hand(void) {
    IrModule *module;
    must(ir_parse_module("hand", hd_str(by_hand), &module));
    return module;
}

// Three layers are enough, and four times as fast.
static IrModule *open_model(const char *path) {
    GgufFile *file = open_gguf(path);
    IrModule *module = build(file, NULL);
    gguf_close(file);
    if (strstr(path, "/tiny-")) must(wb_slice_layers(module->graphs.data[0], 0, 3));
    return module;
}

// ---- faults ----------------------------------------------------------------------------------------------------

#define DENSE RANDOM("h2-gqa4")
#define MOE RANDOM("moe-e16-k4")

static const struct { Fault fault; const char *model, *set; } faults[] = {
    {{"off-by-one view", PASS_canonicalize, RULE_canonicalize_view_chain, "model", 2, off_by_one_view}, NULL, NULL},
    {{"factor applied twice", PASS_canonicalize, RULE_canonicalize_fold_scale, "model", 1, scaled_twice}, NULL, NULL},
    {{"unequal operations joined", PASS_cse, RULE_cse_equal, "model", 1, wrong_equal}, NULL, NULL},
    {{"lost write of a state", PASS_dce, RULE_dce_unused, "model", 1, lost_write}, NULL, NULL},
    {{"heads paired wrongly", PASS_delta_net, RULE_delta_net_step, "decode", 3, wrong_pairing}, TINY("tiny-dense-q8_0"), NULL},
    {{"chunks taken for others", PASS_delta_net, RULE_delta_net_wy, "prefill", 2, swapped_chunks}, DENSE, "delta-net{form=wy,chunk=16}"},
    {{"experts of another layer", PASS_moe_dispatch, RULE_moe_dispatch_dispatch, "small", 5, other_experts}, MOE, NULL},
    {{"another activation", PASS_quantise_activations, RULE_quantise_activations_quantise, "decode", 7, other_activation}, TINY("tiny-dense-q8_0"), NULL},
    {{"swapped gate", PASS_merge_projections, RULE_merge_projections_merge, "decode", 4, swapped_gate}, DENSE, NULL},
    {{"another weight", PASS_select_layout, RULE_select_layout_pack, "prefill", 11, other_weight}, TINY("tiny-dense-q8_0"), NULL},
    {{"lost epilogue", PASS_fuse_epilogue, RULE_fuse_epilogue_matmul, "decode", 6, lost_epilogue}, DENSE, NULL},
    {{"dropped operand", PASS_fuse_epilogue, RULE_fuse_epilogue_matmul, "small", 3, dropped_operand}, DENSE, NULL},
    {{"keys taken for values", PASS_fuse_epilogue, RULE_fuse_epilogue_attention, "prefill", 1, swapped_caches}, DENSE, NULL},
    {{"wrong eps", PASS_fuse_norm, RULE_fuse_norm_norm, "decode", 3, wrong_eps}, TINY("tiny-dense-q8_0"), NULL},
    {{"wrong axis of a view", PASS_partition, RULE_partition_single, "small", 1, wrong_view}, NULL, NULL},
};

static HdStatus *run_with(const Fault *fault, const char *model, const char *set, WbReport *out_report, IrModule **out_module) {
    PassRun *runs[PASS_COUNT];
    const char *sets[] = {set};
    IrTarget target = target_named("cpu:x86-64-v3");
    static WbOptions options;
    options = (WbOptions){.verify = true, .bisect = true, .weights = wb_random_weights(), .graph = fault->graph};
    for (int pass = 0; pass < PASS_COUNT; pass++) runs[pass] = run_seeded;
    seeded_fault = fault, seeded_at = 0;
    *out_module = model ? open_model(model) : open_hand();
    return wb_run(*out_module, &(PassConfig){.target = &target, .sets = sets, .set_count = set != NULL, .runs = runs}, &options, out_report);
}

static bool find_fault(const Fault *fault, const char *model, const char *set) {
    WbReport report;
    IrModule *module;
    char want[80];
    uint32_t wrong = 0;
    bool good = true;
    must(run_with(fault, model, set, &report, &module));
    if (!seeded_at) fail_msg("%s: nothing was spoilt", fault->name);
    snprintf(want, sizeof want, "rewrite %u of ", seeded_at);
    for (size_t i = 0; i < report.records.len; i++) {
        const WbRecord *record = &report.records.data[i];
        if (!record->verdict.failed) continue;
        const char *culprit = record->culprit ? record->culprit : "none", *rule = pass_rule_info(fault->rule)->name;
        print_message("%-26s %s on @%s: %s %s: NMSE %.3g; %s\n", fault->name, record->step, record->graph, record->wrong, record->verdict.what,
                      record->verdict.error, culprit);
        bool named = !strncmp(culprit, want, strlen(want)) && strstr(culprit, rule) == strchr(culprit, ',') + 2;
        bool there = !strncmp(record->step, pass_name(fault->pass), strlen(pass_name(fault->pass))) && !strcmp(record->graph, fault->graph);
        good = good && named && there;
        wrong++;
    }
    HdStatus *status = wb_verified(&report);
    good = good && wrong == 1 && status;
    hd_status_free(status);
    wb_report_free(&report);
    ir_module_free(module);
    if (!good) print_error("%s: expected %s%s\n", fault->name, want, pass_name(fault->pass));
    return good;
}

static void every_fault_is_named(void **state) {
    uint32_t missed = 0;
    (void)state;
    for (size_t i = 0; i < HD_COUNT(faults); i++) missed += !find_fault(&faults[i].fault, faults[i].model, faults[i].set);
    assert_int_equal(missed, 0);
}

// A graph that the verifier refuses is traced to the rewrite too.
static void invalid_graphs_are_traced(void **state) {
    static const Fault invalid[] = {{"stage of its operand", PASS_schedule, RULE_schedule_stage, "decode", 4, early_stage},
                                    {"chunks of two lengths", PASS_delta_net, RULE_delta_net_wy, "small", 3, other_chunk},
                                    {"stale state read", PASS_fuse_epilogue, RULE_fuse_epilogue_heads, "prefill", 1, stale_state}};
    (void)state;
    for (size_t i = 0; i < HD_COUNT(invalid); i++) {
        WbReport report;
        IrModule *module;
        char want[80], where[80];
        HdStatus *status = run_with(&invalid[i], DENSE, "delta-net{form=wy,chunk=16}", &report, &module);
        snprintf(want, sizeof want, "rewrite %u of ", seeded_at);
        snprintf(where, sizeof where, ": pass %s on @%s: ", pass_name(invalid[i].pass), invalid[i].graph);
        const char *message = hd_status_message(status);
        print_message("%s: %s\n", invalid[i].name, message);
        if (!seeded_at || strncmp(message, want, strlen(want)) != 0 || !strstr(message, where)) fail_msg("expected %s..%s", want, where);
        hd_status_free(status);
        wb_report_free(&report);
        ir_module_free(module);
    }
}

// Without a fault nothing is found, on models whose every pass has something to do, at the bounds and with both forms of the delta rule.
static void right_passes_stay_unsuspected(void **state) {
    static const struct { const char *model, *set, *graph; } runs[] = {
        {NULL, NULL, NULL}, {DENSE, NULL, "small"}, {DENSE, "delta-net{form=wy,chunk=16}", NULL}, {MOE, NULL, NULL}, {TINY("tiny-moe-q4_k_m"), NULL, "decode"}};
    (void)state;
    for (size_t i = 0; i < HD_COUNT(runs); i++) {
        WbReport report;
        IrModule *module;
        Fault none = {"none", PASS_COUNT, RULE_COUNT, runs[i].graph, 0, NULL};
        must(run_with(&none, runs[i].model, runs[i].set, &report, &module));
        must(wb_verified(&report));
        uint64_t compared = 0;
        for (size_t r = 0; r < report.records.len; r++) compared += report.records.data[r].verdict.compared;
        assert_true(compared > 500);
        wb_report_free(&report);
        ir_module_free(module);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_is_named),
        cmocka_unit_test(invalid_graphs_are_traced),
        cmocka_unit_test(right_passes_stay_unsuspected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
