// SPDX-License-Identifier: Apache-2.0
// The files of tests/passes: a graph in text form, the passes to run, what must fire, what must not and why, and the text that
// must come out. The form is described in tests/passes/README.md. Every rule of passes.def fires in one of them, and every
// reason that a rule may give is given in one.
#include "models/models.h"
#include "tests/support/pass_tables.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct Counts { uint32_t fired[RULE_MOST], missed[RULE_MOST][MISSED_MOST]; } Counts;   // as in PassCtx

typedef struct Golden {
    char *path;                          // "canonicalize/identity.hir"
    HdBuf file;
    const char *passes, *target, *error; // of the header; error NULL: the passes must succeed
    HdStr input, expected;               // parts of `file`; expected begins behind the line of EXPECT
    Counts counts;
} Golden;
typedef HD_VEC(Golden) Goldens;

static void must(HdStatus *status)
{
    if (status) fail_msg("%s", hd_status_message(status));
}

// ---- reading ---------------------------------------------------------------------------------------------------

static HdStr next_line(HdStr *text)
{
    const char *end = memchr(text->data, '\n', text->len);
    HdStr line = {text->data, end ? (size_t)(end - text->data) : text->len};
    size_t used = line.len + (end != NULL);
    *text = (HdStr){text->data + used, text->len - used};
    return line;
}

static PassRule find_rule(const Golden *golden, const char *name)
{
    char full[64];
    for (int rule = 0; rule < RULE_COUNT; rule++)
        if (!strcmp(pass_table_name((PassRule)rule, full), name)) return (PassRule)rule;
    fail_msg("%s: there is no rule %s", golden->path, name);
    return RULE_COUNT;
}

static PassMissed find_reason(const Golden *golden, const char *word)
{
    for (int reason = 0; reason < MISSED_COUNT; reason++)
        if (!strcmp(pass_missed_info(reason)->name, word)) return (PassMissed)reason;
    fail_msg("%s: there is no reason %s", golden->path, word);
    return MISSED_COUNT;
}

// "pass.rule 2, pass.rule 1" or, with reasons, "pass.rule reason 2, .."
static void read_counts(Golden *golden, char *list, bool misses)
{
    for (char *save = NULL, *item = strtok_r(list, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
        char rule[64], word[64] = "";
        unsigned count = 0;
        int fields = misses ? sscanf(item, " %63s %63s %u", rule, word, &count) : 1 + sscanf(item, " %63s %u", rule, &count);
        if (fields != 3 || !count) fail_msg("%s: \"%s\" is not RULE %sCOUNT", golden->path, item, misses ? "REASON " : "");
        PassRule id = find_rule(golden, rule);
        uint32_t *to = misses ? &golden->counts.missed[id][find_reason(golden, word)] : &golden->counts.fired[id];
        if (*to) fail_msg("%s: %s %s stands there twice", golden->path, rule, word);
        *to = count;
    }
}

// "// KEY: value"; other comments are for the reader.
static void read_header_line(Golden *golden, char *line)
{
    static const char *const keys[] = {"// PASSES: ", "// TARGET: ", "// ERROR: ", "// FIRES: ", "// MISSES: "};
    for (size_t k = 0; k < HD_COUNT(keys); k++) {
        if (strncmp(line, keys[k], strlen(keys[k])) != 0) continue;
        char *value = line + strlen(keys[k]);
        if (k == 0) golden->passes = hd_xstrdup(value);
        if (k == 1) golden->target = hd_xstrdup(value);
        if (k == 2) golden->error = hd_xstrdup(value);
        if (k >= 3) read_counts(golden, value, k == 4);
    }
}

static Golden read_golden(const char *folder, const char *name)
{
    Golden golden = {0};
    HdBuf path = {0}, full = {0};
    hd_buf_printf(&path, "%s/%s", folder, name);
    hd_buf_printf(&full, "%s/%s", PASS_GOLDENS, path.data);
    golden.path = path.data;
    must(hd_read_file(full.data, &golden.file));
    hd_buf_free(&full);
    HdStr rest = {golden.file.data, golden.file.len};
    while (rest.len && rest.data[0] == '/') {
        HdStr line = next_line(&rest);
        HdBuf copy = {0};
        hd_buf_bytes(&copy, line.data, line.len);
        read_header_line(&golden, copy.data);
        hd_buf_free(&copy);
    }
    golden.input = rest;
    const char *separator = strstr(rest.data, "// EXPECT:\n");
    if (separator) golden.input.len = (size_t)(separator - rest.data);
    if (separator) golden.expected = hd_str(separator + strlen("// EXPECT:\n"));
    if (!golden.passes || !separator == !golden.error)
        fail_msg("%s: a golden has PASSES, and either EXPECT or ERROR", golden.path);
    return golden;
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }
static int is_hir(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 4 && !strcmp(entry->d_name + len - 4, ".hir");
}

static Goldens read_all(void)
{
    Goldens goldens = {0};
    struct dirent **folders, **files;
    int folder_count = scandir(PASS_GOLDENS, &folders, is_visible, alphasort);
    for (int f = 0; f < folder_count; free(folders[f++])) {
        HdBuf path = {0};
        hd_buf_printf(&path, "%s/%s", PASS_GOLDENS, folders[f]->d_name);
        int file_count = folders[f]->d_type == DT_REG ? 0 : scandir(path.data, &files, is_hir, alphasort);
        for (int i = 0; i < file_count; free(files[i++]))
            hd_vec_push(&goldens, read_golden(folders[f]->d_name, files[i]->d_name));
        if (file_count > 0) free(files);
        hd_buf_free(&path);
    }
    if (folder_count > 0) free(folders);
    if (!goldens.len) fail_msg("there are no goldens in %s", PASS_GOLDENS);
    return goldens;
}

static void free_all(Goldens *goldens)
{
    for (size_t i = 0; i < goldens->len; i++) {
        Golden *golden = &goldens->data[i];
        free(golden->path);
        free((void *)(uintptr_t)golden->passes);
        free((void *)(uintptr_t)golden->target);
        free((void *)(uintptr_t)golden->error);
        hd_buf_free(&golden->file);
    }
    hd_vec_free(goldens);
}

// ---- running ---------------------------------------------------------------------------------------------------

typedef struct Watch {
    const char *where;
    bool refuse[RULE_COUNT];
    PassId refused; // the pass whose rule was refused last
    uint32_t undeclared;
} Watch;

static bool on_event(void *user, const PassEvent *event)
{
    Watch *watch = user;
    char name[64];
    if (event->fired && watch->refuse[event->rule]) watch->refused = event->step->pass;
    if (event->fired) return !watch->refuse[event->rule];
    if (pass_table_declares(event->rule, event->reason)) return true;
    print_error("%s: %s gives the reason %s, which is no MISS of passes.def\n", watch->where, pass_table_name(event->rule, name),
                pass_missed_info(event->reason)->name);
    watch->undeclared++;
    return true;
}

typedef struct Outcome {
    HdStatus *status;
    HdBuf before, after; // the module as text, each with the pipeline's key
    uint32_t idle_before, idle_after;
    Counts counts;
} Outcome;

static void outcome_free(Outcome *outcome)
{
    hd_status_free(outcome->status);
    hd_buf_free(&outcome->before);
    hd_buf_free(&outcome->after);
}

static IrModule *parse(const char *path, HdStr text)
{
    IrModule *module;
    HdStatus *status = ir_parse_module(path, text, &module);
    if (status) fail_msg("%s", hd_status_message(status));
    return module;
}

// How many operations compute what nobody reads.
static uint32_t count_idle(const IrModule *module)
{
    uint32_t idle = 0;
    for (size_t i = 0; i < module->graphs.len; i++) {
        const IrGraph *graph = module->graphs.data[i];
        IR_FOR_OPS(graph, 0, ref)
        {
            const IrOp *op = ir_op(graph, ref);
            uint32_t uses = 0;
            for (uint32_t r = 0; r < op->result_count; r++) uses += ir_use_count(graph, op->results[r]);
            idle += !uses && ir_op_effect(graph, op) == IR_EFFECT_PURE;
        }
    }
    return idle;
}

static Outcome run(const Golden *golden, HdStr text, Watch *watch)
{
    Outcome outcome = {0};
    IrTarget target;
    PassCtx counts;
    must(ir_target_parse(golden->target ? golden->target : "cpu:x86-64-v3", &target));
    IrModule *module = parse(golden->path, text), *untouched = parse(golden->path, text);
    PassConfig config = {.target = &target, .passes = golden->passes, .event = on_event, .user = watch};
    watch->where = golden->path;
    outcome.status = pass_run(module, &config, &counts);
    memcpy(outcome.counts.fired, counts.fired, sizeof counts.fired);
    memcpy(outcome.counts.missed, counts.missed, sizeof counts.missed);
    ir_module_set_key(untouched, "pipeline", ir_module_key(module, "pipeline"));
    outcome.idle_before = count_idle(untouched);
    outcome.idle_after = count_idle(module);
    ir_print_module(untouched, &outcome.before);
    ir_print_module(module, &outcome.after);
    ir_module_free(module);
    ir_module_free(untouched);
    return outcome;
}

static HdStr view_of(const HdBuf *text) { return (HdStr){text->data, text->len}; }

// ---- comparing -------------------------------------------------------------------------------------------------

static void print_lines(const char *sign, HdStr text)
{
    while (text.len) {
        HdStr line = next_line(&text);
        print_error("%s%.*s\n", sign, (int)line.len, line.data);
    }
}

// The lines that differ between a common beginning and a common end.
static void print_difference(HdStr want, HdStr have)
{
    HdStr w = want, h = have, want_rest = want, have_rest = have;
    unsigned line = 1;
    for (; w.len && h.len && hd_str_eq(next_line(&w), next_line(&h)); line++) want_rest = w, have_rest = h;
    while (want_rest.len && have_rest.len) {
        size_t i = want_rest.len - 1, k = have_rest.len - 1;
        while (i && want_rest.data[i - 1] != '\n') i--;
        while (k && have_rest.data[k - 1] != '\n') k--;
        if (!hd_str_eq((HdStr){want_rest.data + i, want_rest.len - i}, (HdStr){have_rest.data + k, have_rest.len - k})) break;
        want_rest.len = i, have_rest.len = k;
    }
    print_error("  from line %u of the expected text on, expected (-) and found (+):\n", line);
    print_lines("  -", want_rest);
    print_lines("  +", have_rest);
}

// Says every count that differs, as the header would have to be written.
static bool same_counts(const Golden *golden, const Counts *have)
{
    bool same = true;
    char name[64];
    for (int rule = 0; rule < RULE_COUNT; rule++) {
        for (int reason = 0; reason <= MISSED_COUNT; reason++) { // the last stands for firing
            bool fired = reason == MISSED_COUNT;
            uint32_t want = fired ? golden->counts.fired[rule] : golden->counts.missed[rule][reason];
            uint32_t found = fired ? have->fired[rule] : have->missed[rule][reason];
            if (want == found) continue;
            const char *key = fired ? "FIRES" : "MISSES", *word = fired ? "" : pass_missed_info(reason)->name;
            print_error("%s: // %s: %s%s%s %u, expected %u\n", golden->path, key, pass_table_name((PassRule)rule, name),
                        fired ? "" : " ", word, found, want);
            same = false;
        }
    }
    return same;
}

static void update(const Golden *golden, const HdBuf *text)
{
    HdBuf file = {0}, path = {0};
    hd_buf_printf(&path, "%s/%s", PASS_GOLDENS, golden->path);
    hd_buf_bytes(&file, golden->file.data, (size_t)(golden->expected.data - golden->file.data));
    hd_buf_bytes(&file, text->data, text->len);
    must(hd_write_file(path.data, file.data, file.len));
    print_message("%s: expected text rewritten\n", golden->path);
    hd_buf_free(&file);
    hd_buf_free(&path);
}

static bool same_text(const Golden *golden, const HdBuf *have)
{
    if (hd_str_eq(golden->expected, view_of(have))) return true;
    const char *rewrite = getenv("HEDDLE_UPDATE_GOLDENS");
    if (rewrite && !strcmp(rewrite, "1")) {
        update(golden, have);
        return true;
    }
    print_error("%s: the text differs\n", golden->path);
    print_difference(golden->expected, view_of(have));
    return false;
}

// A result parses to itself, and the same passes change it no more.
static bool is_stable(const Golden *golden, const HdBuf *text)
{
    Watch watch = {0};
    Outcome again = run(golden, view_of(text), &watch);
    bool parses = hd_str_eq(view_of(text), view_of(&again.before)), same = hd_str_eq(view_of(text), view_of(&again.after));
    if (!parses || !same || again.status) {
        const char *what = parses ? "running the passes again changes the graph" : "the text reads back as another";
        print_error("%s: %s %s\n", golden->path, what, hd_status_message(again.status));
        print_difference(view_of(text), parses ? view_of(&again.after) : view_of(&again.before));
    }
    outcome_free(&again);
    return parses && same && !again.status;
}

static bool holds(const Golden *golden)
{
    Watch watch = {0};
    Outcome outcome = run(golden, golden->input, &watch);
    const char *message = hd_status_message(outcome.status);
    bool good = true;
    if (golden->error ? strcmp(golden->error, message) != 0 : *message) {
        print_error("%s: error \"%s\", expected \"%s\"\n", golden->path, message, golden->error ? golden->error : "");
        good = false;
    }
    good = same_counts(golden, &outcome.counts) && good;
    if (!golden->error) good = same_text(golden, &outcome.after) && good;
    if (good && !golden->error) good = is_stable(golden, &outcome.after);
    outcome_free(&outcome);
    return good && !watch.undeclared;
}

// ---- tests -----------------------------------------------------------------------------------------------------

static void goldens_hold(void **state)
{
    (void)state;
    Goldens goldens = read_all();
    size_t wrong = 0;
    for (size_t i = 0; i < goldens.len; i++) wrong += !holds(&goldens.data[i]);
    if (wrong) fail_msg("%zu of %zu goldens differ", wrong, goldens.len);
    free_all(&goldens);
}

static void every_rule_and_reason_has_a_golden(void **state)
{
    (void)state;
    Goldens goldens = read_all();
    Counts sum = {0};
    char name[64];
    bool lacks = false;
    for (size_t i = 0; i < goldens.len; i++) {
        for (int rule = 0; rule < RULE_COUNT; rule++) {
            sum.fired[rule] += goldens.data[i].counts.fired[rule];
            for (int reason = 0; reason < MISSED_COUNT; reason++)
                sum.missed[rule][reason] += goldens.data[i].counts.missed[rule][reason];
        }
    }
    for (int rule = 0; rule < RULE_COUNT; rule++) {
        if (sum.fired[rule]) continue;
        print_error("%s fires in no golden\n", pass_table_name((PassRule)rule, name));
        lacks = true;
    }
    for (size_t i = 0; i < HD_COUNT(pass_table_misses); i++) {
        if (sum.missed[pass_table_misses[i].rule][pass_table_misses[i].reason]) continue;
        print_error("%s gives the reason %s in no golden\n", pass_table_name(pass_table_misses[i].rule, name),
                    pass_missed_info(pass_table_misses[i].reason)->name);
        lacks = true;
    }
    free_all(&goldens);
    assert_false(lacks);
}

// Without the caller's leave a graph stays as it is, or, where it cannot be compiled so, there is one clear error.
static bool refusal_is_clean(const Golden *golden, const Outcome *outcome, const Watch *watch)
{
    const char *message = hd_status_message(outcome->status);
    bool clean = hd_str_eq(view_of(&outcome->before), view_of(&outcome->after));
    if (outcome->status) clean = pass_info(watch->refused)->mandatory && strstr(message, " refused");
    if (clean) return true;
    print_error("%s: \"%s\"\n", golden->path, message);
    print_difference(view_of(&outcome->before), view_of(&outcome->after));
    return false;
}

static uint32_t total_fired(const Counts *counts)
{
    uint32_t total = 0;
    for (int rule = 0; rule < RULE_COUNT; rule++) total += counts->fired[rule];
    return total;
}

// Reasons but for the refusal itself.
static uint32_t count_missed(const Counts *counts, PassRule rule)
{
    uint32_t total = 0;
    for (int reason = 0; reason < MISSED_COUNT; reason++) total += reason == MISSED_refused ? 0 : counts->missed[rule][reason];
    return total;
}

// An operation that one fusion has been refused for is tried for others, so there are more misses.
static bool is_fusion(PassRule rule)
{
    return pass_rule_info(rule)->pass == PASS_fuse_epilogue || pass_rule_info(rule)->pass == PASS_fuse_norm;
}

// Refuses one rule; where others fire in its stead, those are refused as well.
static void refuse(const Golden *golden, PassRule rule)
{
    char name[64];
    Watch watch = {0};
    watch.refuse[rule] = true;
    Outcome outcome = run(golden, golden->input, &watch);
    if (outcome.counts.fired[rule] || !outcome.counts.missed[rule][MISSED_refused])
        fail_msg("%s: %s was refused and fired %u times", golden->path, pass_table_name(rule, name), outcome.counts.fired[rule]);
    if (outcome.idle_after > outcome.idle_before && rule != RULE_dce_unused)
        fail_msg("%s: %s was refused and left something behind", golden->path, pass_table_name(rule, name));
    if (!is_fusion(rule) && count_missed(&outcome.counts, rule) > count_missed(&golden->counts, rule))
        fail_msg("%s: %s was refused and gives other reasons beside that", golden->path, pass_table_name(rule, name));
    if (!outcome.status && total_fired(&outcome.counts)) {
        outcome_free(&outcome);
        memset(watch.refuse, true, sizeof watch.refuse);
        outcome = run(golden, golden->input, &watch);
    }
    if (!refusal_is_clean(golden, &outcome, &watch))
        fail_msg("%s: the graph changes though %s is refused", golden->path, pass_table_name(rule, name));
    outcome_free(&outcome);
}

static void a_refused_rule_changes_nothing(void **state)
{
    (void)state;
    Goldens goldens = read_all();
    for (size_t i = 0; i < goldens.len; i++)
        for (int rule = 0; rule < RULE_COUNT; rule++)
            if (goldens.data[i].counts.fired[rule]) refuse(&goldens.data[i], (PassRule)rule);
    free_all(&goldens);
}

// A value and a state with more readers than any model has: 70 attentions over one cache, 70 sums of one product.
static void many_readers_are_no_limit(void **state)
{
    HdBuf text = {0};
    Watch watch = {0};
    (void)state;
    hd_buf_str(&text, "module \"many\" { graph @model {\n"
                      "%tokens = input tokens : i32[T] %segments = input segments : i32[S, 8]\n"
                      "%table = weight \"t\" : f32[8, 32] %w = weight \"w\" : f32[32, 32]\n"
                      "%k = state \"k\" kv : f32[C, 2, 16] %v = state \"v\" kv : f32[C, 2, 16]\n"
                      "%x = embed %tokens, %table : f32[T, 32]\n%y0 = linear %x, %w : f32[T, 32]\n"
                      "%q = reshape %x : f32[T, 2, 16]\nkv_append %q, %k, %segments\n");
    for (int i = 0; i < 70; i++)
        hd_buf_printf(&text,
                      "%%o%d = attention %%q, %%k, %%v, %%segments {scale = %d} : f32[T, 2, 16]\n"
                      "%%f%d = reshape %%o%d : f32[T, 32]\n%%z%d = add %%y0, %%f%d : f32[T, 32]\n",
                      i, i + 1, i, i, i, i);
    hd_buf_str(&text, "return ");
    for (int i = 0; i < 70; i++) hd_buf_printf(&text, "%sz%d = %%z%d", i ? ", " : "", i, i);
    hd_buf_str(&text, "\n} }\n");
    Golden many = {.path = "many readers", .passes = "default"};
    Outcome outcome = run(&many, view_of(&text), &watch);
    must(outcome.status);
    assert_int_equal(watch.undeclared, 0);
    outcome_free(&outcome);
    hd_buf_free(&text);
}

// The models give only declared reasons, whatever the target and the options.
static void models_give_declared_reasons(void **state)
{
    static const char *const models[] = {TEST_DATA "/models/h2-gqa4.gguf", TEST_DATA "/models/moe-e16-k4.gguf",
                                         MODEL_DATA "/tiny-dense-bf16.gguf", MODEL_DATA "/tiny-moe-q4_k_m.gguf"};
    static const char *const targets[] = {"cpu:x86-64-v2", "cpu:znver4"};
    static const char *const sets[] = {"delta-net{form=wy}", "select-layout{layout=native}", "quantise-activations{act=f32}"};
    Watch watch = {0};
    (void)state;
    for (size_t i = 0; i < HD_COUNT(models) * HD_COUNT(targets) * 2; i++) {
        IrTarget target;
        GgufFile *file;
        IrModule *module;
        watch.where = models[i / 4];
        must(ir_target_parse(targets[i / 2 % 2], &target));
        must(gguf_open(watch.where, NULL, &file));
        must(model_build(file, NULL, &module));
        PassConfig config = {.target = &target, .sets = sets, .event = on_event, .user = &watch};
        config.set_count = i % 2 ? HD_COUNT(sets) : 0;
        must(pass_run(module, &config, NULL));
        ir_module_free(module);
        gguf_close(file);
    }
    assert_int_equal(watch.undeclared, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_hold),
        cmocka_unit_test(every_rule_and_reason_has_a_golden),
        cmocka_unit_test(a_refused_rule_changes_nothing),
        cmocka_unit_test(many_readers_are_no_limit),
        cmocka_unit_test(models_give_declared_reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
