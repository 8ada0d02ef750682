// SPDX-License-Identifier: Apache-2.0
// Malformed text: a hundred of each kind give one clear line each; random bytes never crash the parser, and whatever it
// accepts prints and reads back.
#include "tests/unit/ir_broken.h"

#define NONE ((size_t)-1)

// ---- editing -------------------------------------------------------------------------------------------------

static void replace(Broken *b, size_t at, size_t len, const char *with) {
    HdBuf out = {0};
    hd_buf_bytes(&out, b->text.data, at);
    hd_buf_str(&out, with);
    hd_buf_str(&out, b->text.data + at + len);
    hd_buf_free(&b->text);
    b->text = out;
}

static void insert(Broken *b, size_t at, const char *text) { replace(b, at, 0, text); }

// Where a random occurrence of `what` starts.
static size_t find(Broken *b, const char *what) {
    size_t found = NONE;
    uint32_t count = 0;
    for (const char *at = b->text.data; (at = strstr(at, what)); at++)
        if (rg_below(&b->g, ++count) == 0) found = (size_t)(at - b->text.data);
    return found;
}

// Where one of several words occurs; *out_word is the one.
static size_t find_any(Broken *b, const char *const *words, size_t count, const char **out_word) {
    size_t start = rg_below(&b->g, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        *out_word = words[(start + i) % count];
        size_t at = find(b, *out_word);
        if (at != NONE) return at;
    }
    return NONE;
}

static size_t token_len(const Broken *b, size_t at) { return 1 + strcspn(b->text.data + at + 1, " ,:)}\n"); }
static size_t line_start(const Broken *b, size_t at) {
    while (at && b->text.data[at - 1] != '\n') at--;
    return at;
}
static size_t line_end(const Broken *b, size_t at) { return at + strcspn(b->text.data + at, "\n"); }

static const char *copy_of(Broken *b, size_t at, size_t len) { return ir_intern(b->module, (HdStr){b->text.data + at, len}); }

// Operations with a first operand that may be exchanged, and the place of that operand.
static size_t find_operand(Broken *b, const char **out_op) {
    static const char *const ops[] = {"= silu ",    "= linear ",   "= rms_norm ", "= softmax ",
                                      "= sigmoid ", "= softplus ", "= l2_norm "};
    const char *word;
    size_t at = find_any(b, ops, HD_COUNT(ops), &word);
    if (at == NONE) return NONE;
    *out_op = ir_intern(b->module, (HdStr){word + 2, strlen(word) - 3});
    return at + strlen(word);
}

static bool exchange_operand(Broken *b, const char *with) {
    const char *op;
    size_t at = find_operand(b, &op);
    if (at == NONE) return false;
    replace(b, at, token_len(b, at), with);
    return NEEDLE(b, "%s", op), true;
}

// ---- values --------------------------------------------------------------------------------------------------

static bool undefined_value(Broken *b) { return exchange_operand(b, "%missing") && NEEDLE(b, "%%missing") > 0; }

static bool used_before_definition(Broken *b) {
    size_t at = find(b, "return logits = ") + strlen("return logits = ");
    const char *last = copy_of(b, at, token_len(b, at));
    return exchange_operand(b, last) && NEEDLE(b, "%s is not defined before its use", last) > 0;
}

static bool wrong_operand_type(Broken *b) { return exchange_operand(b, "%tokens"); }
static bool ordinary_use_of_state(Broken *b) {
    return find(b, "%s0 = ") != NONE && exchange_operand(b, "%s0") && NEEDLE(b, "state") > 0;
}

static bool operand_too_many(Broken *b) {
    const char *op;
    size_t at = find_operand(b, &op);
    if (at == NONE) return false;
    insert(b, at, "%tokens, %rows, %tokens, ");
    return NEEDLE(b, "%s: %c operands", op, strcmp(op, "linear") == 0 || strcmp(op, "rms_norm") == 0 ? '5' : '4'), true;
}

static bool operand_too_few(Broken *b) {
    size_t at = find(b, "= rms_norm ");
    if (at == NONE) return false;
    at += strlen("= rms_norm ");
    size_t first = token_len(b, at);
    replace(b, at + first, 2 + token_len(b, at + first + 2), "");
    return NEEDLE(b, "rms_norm: 1 operands"), true;
}

static bool operands_without_end(Broken *b) {
    const char *op;
    size_t at = find_operand(b, &op);
    for (int i = 0; at != NONE && i < 40; i++) insert(b, at, "%tokens, ");
    return at != NONE && NEEDLE(b, "more than 32 operands") > 0;
}

static bool name_twice(Broken *b) {
    const char *name = rg_chance(&b->g, 50) ? "%tokens" : "%0";
    const char *op;
    size_t at = find_operand(b, &op);
    if (at == NONE) return false;
    size_t start = line_start(b, at) + 4;
    replace(b, start, token_len(b, start), name);
    return NEEDLE(b, "%s is defined twice", name), true;
}

static bool result_twice(Broken *b) {
    size_t at = find(b, "return logits = ");
    insert(b, at + strlen("return "), "logits = %0, ");
    return NEEDLE(b, "logits"), true;
}

static bool results_of_wrong_count(Broken *b) {
    const char *op;
    size_t at = find_operand(b, &op);
    if (at == NONE) return false;
    insert(b, line_start(b, at) + 4, "%one, ");
    size_t type = (size_t)(strstr(b->text.data + line_start(b, at), " : ") - b->text.data);
    insert(b, type + 3, "f32[T], ");
    return NEEDLE(b, "%s gives 1 results, not 2", op), true;
}

// ---- types ---------------------------------------------------------------------------------------------------

static bool unknown_dtype(Broken *b) {
    size_t at = find(b, "f32[");
    replace(b, at, 3, rg_chance(&b->g, 50) ? "f33" : "q4_z");
    return NEEDLE(b, "unknown data type"), true;
}

static bool unknown_layout(Broken *b) {
    insert(b, find(b, "]\n") + 1, ":r99");
    return NEEDLE(b, "r99"), true;
}

static bool layout_of_no_matrix(Broken *b) {
    insert(b, find(b, "i32[T]\n") + 6, ":r16");
    return NEEDLE(b, "layout r16"), true;
}

static bool rank_five(Broken *b) {
    insert(b, find(b, "32[") + 3, rg_chance(&b->g, 50) ? "1, 2, 3, 4, " : "T, T, T, T, T, ");
    return NEEDLE(b, "more than 4 dimensions"), true;
}

static bool unknown_dimension(Broken *b) {
    size_t at = find(b, "32[T");
    replace(b, at + 3, 1, rg_chance(&b->g, 50) ? "Q" : "tokens");
    return NEEDLE(b, "unknown dimension"), true;
}

static bool dimension_of_wrong_size(Broken *b) {
    static const char *const sizes[] = {"0", "99999999999999999999", "1099511627777", "-3", "3x", "0x10"};
    size_t at = find(b, "32[T");
    replace(b, at + 3, 1, sizes[rg_below(&b->g, HD_COUNT(sizes))]);
    return NEEDLE(b, "dimension"), true;
}

static bool wrong_result_type(Broken *b) {
    const char *op;
    size_t at = find_operand(b, &op);
    if (at == NONE) return false;
    size_t type = (size_t)(strstr(b->text.data + at, " : ") - b->text.data);
    insert(b, type + strcspn(b->text.data + type, "]"), rg_chance(&b->g, 50) ? "1" : "7");
    return NEEDLE(b, "%s: result 0", op), true;
}

static bool broken_block(Broken *b) {
    static const char *const types[] = {"q4_0[", "q8_0[", "q6_k[", "iq4_xs[", "mxfp4[", "nvfp4[", "q2_k["};
    const char *type;
    size_t at = find_any(b, types, HD_COUNT(types), &type);
    if (at == NONE) return false;
    insert(b, at + strcspn(b->text.data + at, "]"), "1");
    return NEEDLE(b, "last dimension of %.*s must be a multiple", (int)strlen(type) - 1, type), true;
}

static bool bad_dim_expression(Broken *b) {
    static const char *const bad[] = {"3*Q",
                                      "ceil(T)",
                                      "ceil(T/0)",
                                      "T*2",
                                      "",
                                      "2**T",
                                      "ceil(3/T)",
                                      "T +",
                                      "99999999999999999999",
                                      "ceil(T/2) + ceil(T/3) + ceil(T/5)",
                                      "4",
                                      "T",
                                      "-",
                                      "1099511627776*T + T*1",
                                      "ceil(ceil(T/2)/3)"};
    char line[100];
    snprintf(line, sizeof line, "    dim Z = %s\n", bad[rg_below(&b->g, HD_COUNT(bad))]);
    insert(b, find(b, "    %tokens"), line);
    return NEEDLE(b, "case.hir:"), true;
}

static bool dim_twice(Broken *b) {
    bool same_name = rg_chance(&b->g, 50);
    insert(b, find(b, "    %tokens"),
           same_name ? "    dim Z = 2*T + 9\n    dim Z = 3*T\n" : "    dim Z = 2*T + 9\n    dim Y = 9 + 2*T\n");
    return NEEDLE(b, same_name ? "dimension Z is defined twice" : "dimension Y"), true;
}

// ---- attributes ----------------------------------------------------------------------------------------------

// Behind the brace of a random attribute list of an operation.
static size_t find_attrs(Broken *b) {
    size_t at = find(b, " {");
    for (int tries = 0; tries < 50; tries++, at = find(b, " {")) {
        size_t start = line_start(b, at);
        bool op =
            strncmp(b->text.data + start, "    %", 5) == 0 && !strstr(copy_of(b, start, line_end(b, at) - start), "= input");
        if (op) return at + 2;
    }
    return NONE;
}

static bool missing_attribute(Broken *b) {
    size_t at = find_attrs(b);
    if (at == NONE) return false;
    NEEDLE(b, "attribute %.*s is missing", (int)strcspn(b->text.data + at, " "), b->text.data + at);
    replace(b, at - 1, 1 + strcspn(b->text.data + at, "}") + 1, "");
    return true;
}

static bool unknown_attribute(Broken *b) {
    size_t at = find_attrs(b);
    if (at == NONE) return false;
    insert(b, at, rg_chance(&b->g, 50) ? "bogus = 1, " : "bogus = word, ");
    return NEEDLE(b, "bogus"), true;
}

static bool foreign_attribute(Broken *b) {
    size_t at = find_attrs(b);
    if (at == NONE) return false;
    insert(b, at, "value = 1, ");
    bool own = strstr(copy_of(b, line_start(b, at), at - line_start(b, at)), "= scale ");
    return !own && NEEDLE(b, "attribute value does not belong here") > 0;
}

static bool attribute_twice(Broken *b) {
    size_t at = find_attrs(b);
    if (at == NONE) return false;
    size_t len = strcspn(b->text.data + at, ",}");
    NEEDLE(b, "attribute %.*s is given twice", (int)strcspn(b->text.data + at, " "), b->text.data + at);
    char again[100];
    snprintf(again, sizeof again, "%s, ", copy_of(b, at, len));
    insert(b, at, again);
    return true;
}

static bool attribute_out_of_range(Broken *b) {
    static const char *const names[] = {
        "{k = ", "{axis = ", "{heads = ", " chunk = ", " begin = ", " end = ", "tile = ", "experts = ", "{to = ", "{layout = "};
    static const char *const values[] = {"0", "7", "odd", "0", "300", "5000", "0", "0", "q4_k", "r17"};
    const char *name;
    size_t at = find_any(b, names, HD_COUNT(names), &name), i = 0;
    if (at == NONE) return false;
    while (names[i] != name) i++;
    at += strlen(name);
    replace(b, at, strcspn(b->text.data + at, ",}"), values[i]);
    return NEEDLE(b, "%s",
                  i == 8   ? "cast"
                  : i == 9 ? "r17"
                           : copy_of(b, at - strlen(name) + (strchr("{ ", *name) != NULL), strcspn(name + 1, " "))),
           true;
}

static bool attribute_of_wrong_kind(Broken *b) {
    size_t at = find_attrs(b);
    if (at == NONE) return false;
    NEEDLE(b, "%.*s", (int)strcspn(b->text.data + at, " ="), b->text.data + at);
    bool word = strncmp(b->text.data + at, "to", 2) == 0 || strncmp(b->text.data + at, "layout", 6) == 0;
    if (word || strncmp(b->text.data + at, "heads", 5) == 0) return false;
    at += strcspn(b->text.data + at, "=") + 2;
    replace(b, at, strcspn(b->text.data + at, ",}"), rg_chance(&b->g, 50) ? "\"text\"" : "word");
    return true;
}

// ---- words, strings, the frame -------------------------------------------------------------------------------

static bool unknown_operation(Broken *b) {
    const char *op;
    size_t at = find_operand(b, &op);
    if (at == NONE) return false;
    insert(b, at - 1, rg_chance(&b->g, 50) ? "q" : ".x");
    return NEEDLE(b, "unknown operation '%s", op), true;
}

static bool unterminated_string(Broken *b) {
    size_t at = find(b, "\" : ");
    if (at == NONE) return false;
    replace(b, at, 1, "");
    return NEEDLE(b, "unterminated string"), true;
}

static bool bad_escape(Broken *b) {
    static const char *const bad[] = {"\\q", "\\x1g", "\\xzz", "\\x00", "\\ "};
    size_t at = find(b, "weight \"");
    uint32_t which = rg_below(&b->g, HD_COUNT(bad));
    insert(b, at + 8, bad[which]);
    return NEEDLE(b, "bad escape"), true;
}

static bool truncated(Broken *b) {
    size_t at = rg_below(&b->g, (uint32_t)b->text.len - 2);
    replace(b, at, b->text.len - at, "");
    return NEEDLE(b, "case.hir:"), true;
}

static bool stray_character(Broken *b) {
    static const char *const bad[] = {"$", "&", "!", "?", ";", "~", "'", "<", "|", "\x01", "\xff"};
    const char *c = bad[rg_below(&b->g, HD_COUNT(bad))];
    insert(b, line_start(b, find(b, " : ")), c);
    return NEEDLE(b, "unexpected character"), true;
}

static bool no_return(Broken *b) {
    size_t at = find(b, "    return");
    replace(b, at, line_end(b, at) - at, "");
    return NEEDLE(b, "found '}'"), true;
}

static bool weight_twice(Broken *b) {
    size_t at = find(b, "    %w");
    const char *line = copy_of(b, at, line_end(b, at) + 1 - at);
    char again[300];
    snprintf(again, sizeof again, "    %%again%s", strchr(line + 6, ' '));
    insert(b, at, again);
    return NEEDLE(b, "%.*s", (int)strcspn(strchr(line, '"') + 1, "\""), strchr(line, '"') + 1), true;
}

static bool input_twice(Broken *b) {
    insert(b, find(b, "    %tokens"), "    %again = input tokens : i32[S]\n");
    return NEEDLE(b, "input tokens is declared twice"), true;
}

static bool input_of_wrong_type(Broken *b) {
    size_t at = find(b, "input tokens : ") + strlen("input tokens : ");
    replace(b, at, strlen("i32[T]"), rg_chance(&b->g, 50) ? "f32[T]" : "i32[T, 2]");
    return NEEDLE(b, "%%tokens"), true;
}

static bool graph_twice(Broken *b) {
    size_t at = find(b, "  graph @");
    const char *graph = copy_of(b, at, b->text.len - at - 2);
    insert(b, at, graph);
    return NEEDLE(b, "graph @model is given twice"), true;
}

static bool key_twice(Broken *b) {
    insert(b, find(b, "  graph @"), "  key \"a\" = \"1\"\n  key \"b\" = \"2\"\n  key \"a\" = \"3\"\n");
    return NEEDLE(b, "key \"a\" is given twice"), true;
}

static bool text_behind_the_end(Broken *b) {
    insert(b, b->text.len, rg_chance(&b->g, 50) ? "}\n" : "module \"again\" {\n}\n");
    return NEEDLE(b, "expected the end of the text"), true;
}

static bool negative_stage(Broken *b) {
    static const char *const bad[] = {" stage -1", " stage 99999999999", " layer -2", " stage x", " layer 1 stage 1", " at -64 "};
    const char *op;
    size_t at = find_operand(b, &op);
    if (at == NONE) return false;
    size_t end = line_end(b, at), layer = (size_t)(strstr(b->text.data + at, " layer ") - b->text.data);
    end = layer < end ? layer : end;
    replace(b, end, line_end(b, at) - end, bad[rg_below(&b->g, HD_COUNT(bad))]);
    return NEEDLE(b, "case.hir:"), true;
}

// ---- states --------------------------------------------------------------------------------------------------

// The state operand in a line of `op`.
static size_t find_state(Broken *b, const char *op) {
    size_t at = find(b, op);
    return at == NONE ? NONE : (size_t)(strstr(b->text.data + at, "%s") - b->text.data);
}

static bool state_that_is_none(Broken *b) {
    static const char *const ops[] = {"kv_append ", "= conv1d ", "= attention "};
    const char *op;
    if (find_any(b, ops, HD_COUNT(ops), &op) == NONE) return false;
    size_t at = find_state(b, op);
    replace(b, at, token_len(b, at), "%0");
    return NEEDLE(b, "%.*s", (int)strlen(op) - (*op == '=' ? 3 : 1), op + (*op == '=' ? 2 : 0)), true;
}

static bool state_of_wrong_kind(Broken *b) {
    size_t at = find_state(b, "kv_append "), other = find(b, " conv : ");
    if (at == NONE || other == NONE) return false;
    size_t start = line_start(b, other) + 4;
    replace(b, at, token_len(b, at), copy_of(b, start, token_len(b, start)));
    return NEEDLE(b, "kv_append: operand 1 must be a kv state, is conv"), true;
}

static bool state_written_twice(Broken *b) {
    size_t at = find(b, "    kv_append ");
    if (at == NONE) return false;
    insert(b, at, copy_of(b, at, line_end(b, at) + 1 - at));
    return NEEDLE(b, "has been written before"), true;
}

static bool state_read_before_written(Broken *b) {
    size_t at = find(b, "    kv_append ");
    if (at == NONE) return false;
    const char *line = copy_of(b, at, line_end(b, at) + 1 - at);
    replace(b, at, strlen(line), "");
    insert(b, find(b, "    return"), line);
    return NEEDLE(b, "is read before it is written"), true;
}

// ---- regions -------------------------------------------------------------------------------------------------

static bool region_of_other_arity(Broken *b) {
    size_t at = find(b, "= fused ");
    if (at == NONE) return false;
    insert(b, at + 8, "%tokens, ");
    return NEEDLE(b, "its region has"), true;
}

static bool region_argument_of_other_type(Broken *b) {
    size_t at = find(b, "= fused ");
    if (at == NONE) return false;
    replace(b, at + 8, token_len(b, at + 8), "%rows");
    return NEEDLE(b, "argument 0 is not of the type of operand 0"), true;
}

static bool region_uses_body(Broken *b) {
    size_t at = find(b, "\n      %");
    if (at == NONE) return false;
    size_t arg = (size_t)(strstr(b->text.data + at, "%a") - b->text.data);
    if (arg > line_end(b, at + 1)) return false;
    replace(b, arg, token_len(b, arg), "%tokens");
    return NEEDLE(b, "a region cannot use %%tokens"), true;
}

static bool body_uses_region(Broken *b) {
    size_t at = find(b, "\n      %"), use = find(b, "return logits = ") + strlen("return logits = ");
    if (at == NONE) return false;
    const char *name = copy_of(b, at + 7, strcspn(b->text.data + at + 7, " ,"));
    replace(b, use, token_len(b, use), name);
    return NEEDLE(b, "%s belongs to a region", name), true;
}

static bool nested_region(Broken *b) {
    size_t at = find(b, "      yield %");
    if (at == NONE) return false;
    const char *value = copy_of(b, at + 12, token_len(b, at + 12));
    char nested[200];
    snprintf(nested, sizeof nested, "      %%n = fused %s (%%q: f32[T]) {\n yield %%q }\n : f32[T]\n", value);
    insert(b, at, nested);
    return NEEDLE(b, "do not nest"), true;
}

static bool yields_of_other_count(Broken *b) {
    size_t at = find(b, "      yield %");
    if (at == NONE) return false;
    const char *value = copy_of(b, at + 12, token_len(b, at + 12));
    char more[100];
    snprintf(more, sizeof more, "%s, ", value);
    insert(b, at + 12, more);
    return NEEDLE(b, "its region yields"), true;
}

static bool region_without_end(Broken *b) {
    size_t at = find(b, "      yield");
    if (at == NONE) return false;
    replace(b, at, line_end(b, at) - at, "");
    return NEEDLE(b, "case.hir:"), true;
}

static bool empty_region(Broken *b) {
    insert(b, find(b, "    return"), "    %e = fused %0 (%q: f32[T, 32]) {\n      yield %q\n    } : f32[T, 32]\n");
    return find(b, "= embed %tokens, %w0 : f32[T, 32]") != NONE && NEEDLE(b, "its region is empty") > 0;
}

static const BrokenKind kinds[] = {
#define KIND(name) {#name, name, false, false}
#define FUSED(name) {#name, name, true, false}
    KIND(undefined_value),
    KIND(used_before_definition),
    KIND(wrong_operand_type),
    KIND(ordinary_use_of_state),
    KIND(operand_too_many),
    KIND(operand_too_few),
    KIND(operands_without_end),
    KIND(name_twice),
    KIND(result_twice),
    KIND(results_of_wrong_count),
    KIND(unknown_dtype),
    KIND(unknown_layout),
    KIND(layout_of_no_matrix),
    KIND(rank_five),
    KIND(unknown_dimension),
    KIND(dimension_of_wrong_size),
    KIND(wrong_result_type),
    KIND(broken_block),
    KIND(bad_dim_expression),
    KIND(dim_twice),
    KIND(missing_attribute),
    KIND(unknown_attribute),
    KIND(foreign_attribute),
    KIND(attribute_twice),
    KIND(attribute_out_of_range),
    KIND(attribute_of_wrong_kind),
    KIND(unknown_operation),
    KIND(unterminated_string),
    KIND(bad_escape),
    KIND(truncated),
    KIND(stray_character),
    KIND(no_return),
    KIND(weight_twice),
    KIND(input_twice),
    KIND(input_of_wrong_type),
    KIND(graph_twice),
    KIND(key_twice),
    KIND(text_behind_the_end),
    KIND(negative_stage),
    KIND(state_that_is_none),
    KIND(state_of_wrong_kind),
    KIND(state_written_twice),
    KIND(state_read_before_written),
    FUSED(region_of_other_arity),
    FUSED(region_argument_of_other_type),
    FUSED(region_uses_body),
    FUSED(body_uses_region),
    FUSED(nested_region),
    FUSED(yields_of_other_count),
    FUSED(region_without_end),
    KIND(empty_region),
#undef KIND
#undef FUSED
};

// Errors of the parser begin with the place; what it accepts is refused by the verifier, which names the graph.
static HdStatus *parse_and_verify(const Broken *b) {
    IrModule *module = NULL;
    HdStatus *status = ir_parse_module("case.hir", (HdStr){b->text.data, b->text.len}, &module);
    const char *start = status ? "case.hir:" : "@model: ";
    for (size_t i = 0; module && i < module->graphs.len && !status; i++) status = ir_verify(module->graphs.data[i]);
    if (status && strncmp(hd_status_message(status), start, strlen(start)) != 0) fail_msg("%s", hd_status_message(status));
    ir_module_free(module);
    return status;
}

static void test_kinds(void **state) {
    (void)state;
    broken_run(kinds, HD_COUNT(kinds), parse_and_verify);
}

// ---- random bytes --------------------------------------------------------------------------------------------

static void mutate(Broken *b) {
    static const char *const pieces[] = {"%0",
                                         "@x",
                                         "\"",
                                         "{",
                                         "}",
                                         "[",
                                         "]",
                                         "(",
                                         ")",
                                         ",",
                                         ":",
                                         "=",
                                         "-",
                                         "//",
                                         "yield",
                                         "fused %0 (",
                                         "return",
                                         "T",
                                         "f32[T]",
                                         " at 0",
                                         "stage 1",
                                         "dim X = ceil(T/3)",
                                         "9999999999999999999",
                                         "\\",
                                         "\n"};
    size_t at = rg_below(&b->g, (uint32_t)b->text.len), len = rg_below(&b->g, 30);
    len = HD_MIN(len, b->text.len - at);
    char byte[2] = {(char)(1 + rg_below(&b->g, 255)), 0};
    switch (rg_below(&b->g, 4)) {
    case 0: replace(b, at, 1, byte); break;
    case 1: replace(b, at, len, ""); break;
    case 2: insert(b, rg_below(&b->g, (uint32_t)b->text.len), copy_of(b, at, len)); break;
    default: insert(b, at, pieces[rg_below(&b->g, HD_COUNT(pieces))]); break;
    }
}

// What is accepted prints, and the print reads back to itself.
static bool check_any_text(const Broken *b) {
    IrModule *module = NULL, *again = NULL;
    HdBuf first = {0}, second = {0};
    HdStatus *status = ir_parse_module("any.hir", (HdStr){b->text.data, b->text.len}, &module);
    bool accepted = !status;
    if (accepted) {
        for (size_t i = 0; i < module->graphs.len; i++) hd_status_free(ir_verify(module->graphs.data[i]));
        ir_print_module(module, &first);
        status = ir_parse_module("again.hir", (HdStr){first.data, first.len}, &again);
        if (status) fail_msg("%s\n%s", hd_status_message(status), first.data);
        ir_print_module(again, &second);
        assert_string_equal(first.data, second.data);
    } else {
        assert_null(strchr(hd_status_message(status), '\n'));
        assert_int_equal(strncmp(hd_status_message(status), "any.hir:", 8), 0);
    }
    hd_status_free(status);
    ir_module_free(module);
    ir_module_free(again);
    hd_buf_free(&first);
    hd_buf_free(&second);
    return accepted;
}

static void test_random_bytes(void **state) {
    (void)state;
    int accepted = 0;
    for (uint64_t seed = 0; seed < 4000; seed++) {
        Broken b;
        BrokenKind kind = {.fuse = seed % 2, .plan = seed % 3 == 0};
        broken_make(&b, &kind, seed);
        for (uint32_t i = 0, count = 1 + rg_below(&b.g, 3); i < count; i++) mutate(&b);
        accepted += check_any_text(&b);
        broken_free(&b);
    }
    assert_in_range(accepted, 50, 3000);   // both outcomes are exercised
}

static void test_odd_texts(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        " ",
                                        "//",
                                        "module",
                                        "module \"",
                                        "module \"x\"",
                                        "module \"x\" {",
                                        "\xff\xfe",
                                        "module \"x\" { graph",
                                        "module \"x\" { graph @",
                                        "module \"x\" { graph @9 { return } }",
                                        "module \"x\" {} // end\n}"};
    for (size_t i = 0; i < HD_COUNT(texts); i++) {
        IrModule *module = NULL;
        HdStatus *status = ir_parse_module("odd.hir", hd_str(texts[i]), &module);
        assert_non_null(status);
        assert_int_equal(strncmp(hd_status_message(status), "odd.hir:", 8), 0);
        hd_status_free(status);
    }
}

// Bounds and words that a random edit seldom meets.
static void test_limits(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"dim a123456789012345678901234567890123456789012345678901234567890 = 2*T return", "longer than 60 characters"},
        {"arena 5 arena 6 return", "t:1:33: arena is given twice"},
        {"%w = weight \"w\" : f32[T, 8] return y = %w, y = %w", "result y is given twice"},
        {"%1, %2, %3, %4, %5, %6, %7, %8, %9 = silu %x : f32[T]", "more than 8 results"},
        {"%w = weight \"w\" : f32[T] %s = scale %w {value = 1, value = 1, value = 1, value = 1, value = 1, value = 1, value = 1, "
         "value = 1, "
         "value = 1, value = 1, value = 1, value = 1, value = 1, value = 1, value = 1, value = 1, value = 1} : f32[T] return",
         "too many attributes"},
        {"%w = weight \"w\" : f32[T] %f = fused %w (%a: f32[T]) { %g = fused %a (%b: f32[T]) {", "fused operations do not nest"},
        {"%w = weight \"w\" : f32[T] %s = scale %w {value = 1e99x} : f32[T] return", "expected value, found '1e99x'"},
        {"%w = weight \"w\" : f32[T, T, T, T, T] return", "more than 4 dimensions"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) {
        HdBuf text = {0};
        IrModule *module = NULL;
        hd_buf_printf(&text, "module \"m\" { graph @g { %s } }", cases[i][0]);
        HdStatus *status = ir_parse_module("t", (HdStr){text.data, text.len}, &module);
        if (!status || !strstr(hd_status_message(status), cases[i][1]))
            fail_msg("%s: %s", cases[i][1], hd_status_message(status));
        hd_status_free(status);
        hd_buf_free(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kinds), cmocka_unit_test(test_random_bytes),
                                       cmocka_unit_test(test_odd_texts), cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
