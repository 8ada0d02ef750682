// SPDX-License-Identifier: Apache-2.0
// The workbench: diffs against a plain longest common subsequence, names that stay, and what is counted.
#include "tests/support/random_graph.h"
#include "tests/unit/pass_fixture.h"
#include "passes/workbench/workbench.h"

// ---- diffs -----------------------------------------------------------------------------------------------------

enum { LINES_MAX = 60 };

typedef struct Text { uint32_t count, line[LINES_MAX]; } Text;   // a line is a number

static HdBuf text_of(const Text *text) {
    HdBuf buf = {0};
    hd_buf_bytes(&buf, "", 0);
    for (uint32_t i = 0; i < text->count; i++) hd_buf_printf(&buf, "line %u\n", text->line[i]);
    return buf;
}

static Text random_text(uint64_t *state, uint32_t kinds) {
    Text text = {.count = (uint32_t)(rg_next(state) % LINES_MAX)};
    for (uint32_t i = 0; i < text.count; i++) text.line[i] = (uint32_t)(rg_next(state) % kinds);
    return text;
}

// Some lines taken out, some put in.
static Text changed_text(const Text *from, uint64_t *state, uint32_t kinds) {
    Text text = {0};
    for (uint32_t i = 0; i < from->count && text.count + 2 < LINES_MAX; i++) {
        if (rg_next(state) % 8) text.line[text.count++] = from->line[i];
        if (rg_next(state) % 8 == 0) text.line[text.count++] = (uint32_t)(rg_next(state) % kinds);
    }
    return text;
}

static uint32_t common_length(const Text *a, const Text *b) {
    uint32_t table[LINES_MAX + 1][LINES_MAX + 1] = {{0}};
    for (uint32_t i = 0; i < a->count; i++)
        for (uint32_t k = 0; k < b->count; k++)
            table[i + 1][k + 1] = a->line[i] == b->line[k] ? table[i][k] + 1 : HD_MAX(table[i][k + 1], table[i + 1][k]);
    return table[a->count][b->count];
}

// Applies the diff to `a` by its line numbers; returns how many lines it takes out, and fails where it does not fit.
static uint32_t apply(const char *diff, const Text *a, Text *out) {
    uint32_t at = 0, removed = 0;
    out->count = 0;
    for (const char *line = diff; *line; line = strchr(line, '\n') + 1) {
        unsigned first, count, value;
        if (!strncmp(line, "---", 3) || !strncmp(line, "+++", 3)) continue;
        if (sscanf(line, "@@ -%u,%u", &first, &count) == 2) {
            uint32_t begin = count ? first - 1 : first;
            while (at < begin) out->line[out->count++] = a->line[at++];
            continue;
        }
        assert_int_equal(sscanf(line + 1, "line %u", &value), 1);
        if (line[0] != '+') assert_int_equal(a->line[at], value);
        if (line[0] != '-') out->line[out->count++] = value;
        at += line[0] != '+';
        removed += line[0] == '-';
    }
    while (at < a->count) out->line[out->count++] = a->line[at++];
    return removed;
}

static void diffs_apply(void **state) {
    uint64_t random = 7;
    uint32_t taken = 0, least = 0;
    (void)state;
    for (int i = 0; i < 3000; i++) {
        uint32_t kinds = i % 3 ? 1000000 : 12;   // lines that occur once, and lines that come again
        Text a = random_text(&random, kinds), b = i % 2 ? changed_text(&a, &random, kinds) : random_text(&random, kinds), have;
        HdBuf before = text_of(&a), after = text_of(&b), diff = {0};
        wb_diff((HdStr){before.data, before.len}, (HdStr){after.data, after.len}, "a", "b", &diff);
        uint32_t removed = apply(diff.data ? diff.data : "", &a, &have);
        assert_int_equal(have.count, b.count);
        assert_memory_equal(have.line, b.line, b.count * sizeof b.line[0]);
        if (i % 3 && i % 2) taken += removed, least += a.count - common_length(&a, &b);
        hd_buf_free(&before);
        hd_buf_free(&after);
        hd_buf_free(&diff);
    }
    assert_int_equal(taken, least);   // no shorter one exists where lines occur once
}

static void equal_texts_have_no_diff(void **state) {
    HdBuf diff = {0};
    (void)state;
    wb_diff(hd_str("a\nb\n"), hd_str("a\nb\n"), "a", "b", &diff);
    assert_int_equal(diff.len, 0);
    wb_diff(hd_str(""), hd_str("a\n"), "x", "y", &diff);
    assert_string_equal(diff.data, "--- x\n+++ y\n@@ -0,0 +1,1 @@\n+a\n");
    hd_buf_free(&diff);
}

// ---- names -----------------------------------------------------------------------------------------------------

// What a pass leaves alone is printed as it was: the lines that two prints share are those of operations that it did not touch.
static void names_stay(void **state) {
    IrTarget target = target_named("cpu:x86-64-v3");
    GgufFile *file = open_gguf(RANDOM("h2-gqa4"));
    IrModule *module = build(file, NULL);
    (void)state;
    must(pass_run(module, &(PassConfig){.target = &target, .stop_after = "select-layout"}, NULL));
    IrGraph *graph = ir_graph_find(module, "decode");
    HdBuf plain = graph_text(graph), before = {0}, after = {0};
    IrNames *names = ir_names_new(graph);
    ir_names_graph(names, &before);
    assert_true(same_text(&plain, &before));
    IR_FOR_OPS(graph, 0, ref) {
        IrOp op = *ir_op(graph, ref);
        if (op.kind != IR_OP_silu) continue;
        IrBuild copy = {.kind = IR_OP_neg, .operands = op.operands, .operand_count = 1, .before = ref};
        HdStatus *status;
        assert_true(ir_build(graph, &copy, &status) != 0);
        break;
    }
    ir_names_update(names);
    ir_names_graph(names, &after);
    HdBuf diff = {0};
    wb_diff((HdStr){before.data, before.len}, (HdStr){after.data, after.len}, "a", "b", &diff);
    uint32_t changes = 0;
    for (const char *line = strstr(diff.data, "@@"); *line; line = strchr(line, '\n') + 1) changes += line[0] == '-' || line[0] == '+';
    assert_int_equal(changes, 1);
    ir_names_free(names);
    hd_buf_free(&plain);
    hd_buf_free(&before);
    hd_buf_free(&after);
    hd_buf_free(&diff);
    ir_module_free(module);
    gguf_close(file);
}

// ---- costs -----------------------------------------------------------------------------------------------------

static WbCost cost_of(const char *statements, int64_t tokens) {
    IrModule *module;
    HdBuf text = {0};
    hd_buf_printf(&text, "module \"m\" { graph @model { %%tokens = input tokens : i32[T] %%t = weight \"t\" : f32[9, 8] %s } }", statements);
    must(ir_parse_module("m", (HdStr){text.data, text.len}, &module));
    WbCost cost = wb_graph_cost(module->graphs.data[0], &(IrBinding){{tokens, 1, 16, 1}}, NULL, NULL);
    ir_module_free(module);
    hd_buf_free(&text);
    return cost;
}

#define ROW (8 * 4)
// By hand: f32 rows of 8.
static void costs_are_those_counted_by_hand(void **state) {
    (void)state;
    WbCost chain = cost_of("%x = embed %tokens, %t : f32[T, 8] %a = neg %x : f32[T, 8] %b = neg %a : f32[T, 8] return y = %b", 3);
    assert_true(chain.launches == 3 && chain.flops == 2 * 3 * 8);
    assert_true(chain.arena == 2 * 3 * ROW);                            // one is made while the one before is read
    assert_true(chain.bytes_written == 3 * 3 * ROW && chain.bytes_read == 3 * 4 + 3 * 3 * ROW);
    WbCost view = cost_of("%x = embed %tokens, %t : f32[T, 8] %v = reshape %x : f32[T, 2, 4] %a = neg %x : f32[T, 8] %b = neg %a : f32[T, 8] "
                          "%c = neg %v : f32[T, 2, 4] return y = %b, z = %c", 1);
    assert_true(view.launches == 4);                                    // a view is none
    assert_true(view.arena == 3 * ROW);                                 // and keeps what it shows: x, and two of a, b and c
    WbCost results = cost_of("%x = embed %tokens, %t : f32[T, 8] %a = neg %x : f32[T, 8] %b = neg %a : f32[T, 8] return x = %x, a = %a, b = %b", 1);
    assert_true(results.arena == 3 * ROW);                              // results live to the end
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(diffs_apply),
        cmocka_unit_test(equal_texts_have_no_diff),
        cmocka_unit_test(names_stay),
        cmocka_unit_test(costs_are_those_counted_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
