// SPDX-License-Identifier: Apache-2.0
// docs/HIR.md: its tables are those of ir/*.def, its examples are graphs that print as they stand there, its words are those of the parser.
#include "ir/target.h"
#include "tests/unit/pass_fixture.h"

#include <stdlib.h>

#define REFERENCE TEST_DATA "/../../docs/HIR.md"

// ---- the tables ------------------------------------------------------------------------------------------------

static void put_range(uint32_t min, uint32_t max, HdBuf *out) {
    if (min == max) hd_buf_printf(out, "%u", min);
    else hd_buf_printf(out, "%u-%u", min, max);
}

static void put_cell(const char *text, HdBuf *out) {
    for (; *text; text++) hd_buf_printf(out, *text == '|' ? "\\|" : "%c", *text);
}

static void operations(HdBuf *out) {
    static const char *const effects[] = {"", "reads", "writes", "updates"}, *const classes[] = {"exact", "ordered", "bounded"};
    static const char *const roles[] = {"", "element-wise", "along the last axis", "view", "product", "special"};
    hd_buf_str(out, "| operation | operands | results | state | numerics | role | attributes | what |\n|---|---|---|---|---|---|---|---|\n");
    for (int kind = 0; kind < IR_OP_COUNT; kind++) {
        const IrOpInfo *info = ir_op_info((IrOpKind)kind);
        hd_buf_printf(out, "| `%s` | ", info->name);
        put_range(info->min_operands, info->max_operands, out);
        if (info->results || kind == IR_OP_kv_append) hd_buf_printf(out, " | %u", info->results);
        else hd_buf_str(out, " | any");
        hd_buf_printf(out, " | %s | %s | %s | ", effects[info->effect], classes[info->numerics], roles[info->role]);
        const char *before = "";
        for (int attr = 0; attr < IR_ATTR_COUNT; attr++) {
            if (!(info->attrs >> attr & 1)) continue;
            hd_buf_printf(out, "%s`%s`", before, ir_attr_info((IrAttrId)attr)->name);
            before = ", ";
        }
        hd_buf_str(out, " | ");
        put_cell(info->doc, out);
        hd_buf_str(out, " |\n");
    }
}

static void attributes(HdBuf *out) {
    static const char *const kinds[] = {"whole number", "float32", "data type", "layout", "word"};
    hd_buf_str(out, "| attribute | value | what |\n|---|---|---|\n");
    for (int attr = 0; attr < IR_ATTR_COUNT; attr++) {
        const IrAttrInfo *info = ir_attr_info((IrAttrId)attr);
        hd_buf_printf(out, "| `%s` | %s | ", info->name, kinds[info->kind]);
        put_cell(info->doc, out);
        hd_buf_str(out, " |\n");
    }
}

static void dtypes(HdBuf *out) {
    hd_buf_str(out, "| type | ggml's id | elements per block | bytes per block |\n|---|---|---|---|\n");
    for (int dtype = 0; dtype < IR_DTYPE_COUNT; dtype++) {
        const IrDtypeInfo *info = ir_dtype_info((IrDtype)dtype);
        hd_buf_printf(out, "| `%s` | ", info->name);
        if (info->ggml >= 0) hd_buf_printf(out, "%d", info->ggml);
        hd_buf_printf(out, " | %u | %u |\n", info->block, info->block_bytes);
    }
}

static void layouts(HdBuf *out) {
    static const struct { const char *name, *doc; } rows[] = {
#define IR_LAYOUT(name, text, doc) {text, doc},
#include "ir/layouts.def"
#undef IR_LAYOUT
    };
    hd_buf_str(out, "| layout | what |\n|---|---|\n");
    for (size_t i = 0; i < HD_COUNT(rows); i++) hd_buf_printf(out, "| `%s` | %s |\n", rows[i].name, rows[i].doc);
}

static void groups(HdBuf *out) {
    static const struct { const char *name, *doc; } rows[] = {
#define IR_GROUP(name, text, doc) {text, doc},
#include "ir/targets.def"
#undef IR_GROUP
    };
    hd_buf_str(out, "| kind | what |\n|---|---|\n");
    for (size_t i = 0; i < HD_COUNT(rows); i++) hd_buf_printf(out, "| `%s` | %s |\n", rows[i].name, rows[i].doc);
}

static const struct { const char *name; void (*make)(HdBuf *); } tables[] = {
    {"operations", operations}, {"attributes", attributes}, {"dtypes", dtypes}, {"layouts", layouts}, {"groups", groups},
};

// The file with its tables made anew; everything else is as it was.
static HdBuf renewed(const HdBuf *have) {
    HdBuf text = {0};
    const char *at = have->data;
    for (size_t i = 0; i < HD_COUNT(tables); i++) {
        char begin[64];
        snprintf(begin, sizeof begin, "<!-- table: %s -->\n", tables[i].name);
        const char *table = strstr(at, begin), *end = table ? strstr(table, "<!-- end -->") : NULL;
        if (!end) fail_msg("docs/HIR.md has no table %s", tables[i].name);
        hd_buf_bytes(&text, at, (size_t)(table + strlen(begin) - at));
        tables[i].make(&text);
        at = end;
    }
    hd_buf_str(&text, at);
    return text;
}

static void tables_are_those_of_the_compiler(void **state) {
    HdBuf have = {0};
    (void)state;
    must(hd_read_file(REFERENCE, &have));
    HdBuf want = renewed(&have);
    const char *renew = getenv("HEDDLE_UPDATE_GOLDENS");
    if (!same_text(&have, &want)) {
        if (!renew || strcmp(renew, "1") != 0)
            fail_msg("the tables of docs/HIR.md are stale: HEDDLE_UPDATE_GOLDENS=1 build/release/tests/test_hir_reference renews them");
        must(hd_write_file(REFERENCE, want.data, want.len));
        print_message("docs/HIR.md renewed\n");
    }
    hd_buf_free(&have);
    hd_buf_free(&want);
}

// ---- the examples ----------------------------------------------------------------------------------------------

static void examples_are_canonical(void **state) {
    HdBuf text = {0};
    uint32_t count = 0;
    (void)state;
    must(hd_read_file(REFERENCE, &text));
    for (const char *at = text.data; (at = strstr(at, "```hir\n"));) {
        IrModule *module;
        at = strchr(at, '\n') + 1;
        HdStr example = {at, (size_t)(strstr(at, "```") - at)};
        must(ir_parse_module("docs/HIR.md", example, &module));
        for (size_t i = 0; i < module->graphs.len; i++) must(ir_verify(module->graphs.data[i]));
        HdBuf printed = module_text(module);
        const char *statements = strstr(at, "module ");
        assert_memory_equal(statements, printed.data, printed.len);
        hd_buf_free(&printed);
        ir_module_free(module);
        count++;
    }
    assert_in_range(count, 1, 100);
    hd_buf_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_those_of_the_compiler),
        cmocka_unit_test(examples_are_canonical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
