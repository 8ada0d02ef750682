// SPDX-License-Identifier: Apache-2.0
// Chat templates: the conversations that Jinja2 rendered with the official template of Qwen3.5, templates from GGUF files, what
// messages say, and the limits. What single constructs render is compared with Jinja2 by tests/template/*.py.
#include "runtime/base/base.h"
#include "runtime/gguf.h"
#include "runtime/template.h"
#include "runtime/template/internal.h"
#include "tests/unit/temporary.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void must(HeddleStatus *status) {
    if (status) fail_msg("%s", heddle_status_message(status));
}

static HeddleTemplate *parsed(const char *text) {
    HeddleTemplate *chat_template;
    must(heddle_template_parse("chat template", text, strlen(text), &chat_template));
    return chat_template;
}

static HeddleTemplate *official(void) {
    HdBuf text = {0};
    HeddleTemplate *chat_template;
    must(hd_read_file(TEST_DATA "/templates/qwen3.5.jinja", &text));
    must(heddle_template_parse("chat template", text.data, text.len, &chat_template));
    hd_buf_free(&text);
    return chat_template;
}

static void expect_text(const HeddleTemplate *chat_template, const char *json, const char *expected) {
    char *text;
    size_t len;
    must(heddle_template_render_json(chat_template, json, strlen(json), &text, &len));
    assert_string_equal(text, expected);
    assert_int_equal(len, strlen(expected));
    free(text);
}

static void expect_status(HeddleStatus *status, HeddleCode code, const char *message) {
    assert_string_equal(heddle_status_message(status), message);
    assert_int_equal(heddle_status_code(status), code);
    heddle_status_free(status);
}

static const char hello[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}";

// Whether it is the parser or the run that fails.
static HeddleStatus *outcome(const char *text, const char *json) {
    HeddleTemplate *chat_template;
    char *rendered;
    size_t len;
    HD_TRY(heddle_template_parse("chat template", text, strlen(text), &chat_template));
    HeddleStatus *status = heddle_template_render_json(chat_template, json, strlen(json), &rendered, &len);
    if (!status) free(rendered);
    heddle_template_free(chat_template);
    return status;
}

static void expect_error(const char *text, HeddleCode code, const char *message) {
    expect_status(outcome(text, hello), code, message);
}

// ---- goldens -------------------------------------------------------------------------------------------------

static void check_golden(const HeddleTemplate *chat_template, HdStr line, size_t number) {
    HdArena arena = {0};
    TplValue request;
    char *text;
    size_t len;
    must(tpl_json_read(&arena, line, &request));
    const TplValue *expected = tpl_dict_named(request.dict, HD_STR("rendered"));
    assert_non_null(expected);
    must(heddle_template_render_json(chat_template, line.data, line.len, &text, &len));
    if (!hd_str_eq((HdStr){text, len}, expected->text))
        fail_msg("line %zu: rendered\n%s\nexpected\n%.*s", number, text, (int)expected->text.len, expected->text.data);
    free(text);
    hd_arena_free(&arena);
}

static void test_golden(void **state) {
    (void)state;
    HdBuf lines = {0};
    size_t count = 0;
    HeddleTemplate *chat_template = official();
    must(hd_read_file(TEST_DATA "/chat-template.jsonl", &lines));
    for (char *line = strtok(lines.data, "\n"); line; line = strtok(NULL, "\n"))
        check_golden(chat_template, hd_str(line), ++count);
    assert_int_equal(count, 12);
    hd_buf_free(&lines);
    heddle_template_free(chat_template);
}

// The same conversation without JSON.
static void test_chat(void **state) {
    (void)state;
    HeddleTemplate *chat_template = official();
    const HeddleMessage messages[] = {{"system", " Be brief. ", NULL}, {"user", "a\xFF", NULL}, {"assistant", "b", "why"}};
    HeddleChat chat = {.messages = messages, .count = 3, .add_generation_prompt = true};
    static const char start[] = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\na\xEF\xBF\xBD<|im_end|>\n"
                                "<|im_start|>assistant\n<think>\nwhy\n</think>\n\nb<|im_end|>\n";
    static const char *const ends[] = {"<|im_start|>assistant\n<think>\n", "<|im_start|>assistant\n<think>\n",
                                       "<|im_start|>assistant\n<think>\n\n</think>\n\n"};
    for (int thinking = HEDDLE_THINKING_DEFAULT; thinking <= HEDDLE_THINKING_OFF; thinking++) {
        char *text, expected[400];
        size_t len;
        chat.thinking = (HeddleThinking)thinking;
        must(heddle_template_render(chat_template, &chat, &text, &len));
        snprintf(expected, sizeof expected, "%s%s", start, ends[thinking]);
        assert_string_equal(text, expected);
        free(text);
    }
    chat.tools = "[{\"name\": 1}";
    char *text;
    size_t len;
    expect_status(heddle_template_render(chat_template, &chat, &text, &len), HEDDLE_BAD_DATA,
                  "tools: JSON, byte 13: expected , or ]");
    chat.tools = "[{\"name\": \"f\"}]";
    must(heddle_template_render(chat_template, &chat, &text, &len));
    assert_non_null(strstr(text, "<tools>\n{\"name\": \"f\"}\n</tools>"));
    free(text);
    heddle_template_free(chat_template);
}

// Arguments that are JSON text become what the text describes, where the template cannot take text.
static void test_argument_text(void **state) {
    (void)state;
    static const char request[] =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": "
        "[{\"function\": {\"name\": \"f\", \"arguments\": \"{\\\"a\\\": [1.0]}\"}}]}]}";
    HeddleTemplate *chat_template = official();
    expect_text(
        chat_template, request,
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n<tool_call>\n<function=f>\n<parameter=a>\n"
        "[1.0]\n</parameter>\n</function>\n</tool_call><|im_end|>\n");
    heddle_template_free(chat_template);
    chat_template = parsed("{{ messages[1].tool_calls[0].function.arguments }}");
    expect_text(chat_template, request, "{\"a\": [1.0]}");
    heddle_template_free(chat_template);
    chat_template = parsed("{{ messages[1].tool_calls[0].function.arguments|items|list }}{{ raise_exception('no') }}");
    char *text;
    size_t len;
    expect_status(heddle_template_render_json(chat_template, request, strlen(request), &text, &len), HEDDLE_BAD_DATA,
                  "chat template, line 1: items: expected a mapping, found a value of type str");
    heddle_template_free(chat_template);
}

// ---- templates of models -------------------------------------------------------------------------------------

static HeddleStatus *open_model(const char *own, const char *tool_use, const char *which, HeddleTemplate **out_template) {
    static const HdStr tokens[] = {{"<s>", 3}, {"</s>", 4}};
    GgufWriter *writer = gguf_writer_new("qwen35");
    if (own) gguf_writer_string(writer, "tokenizer.chat_template", hd_str(own));
    if (tool_use) gguf_writer_string(writer, "tokenizer.chat_template.tool_use", hd_str(tool_use));
    gguf_writer_strings(writer, "tokenizer.ggml.tokens", tokens, 2);
    gguf_writer_u32(writer, "tokenizer.ggml.bos_token_id", 0);
    gguf_writer_u32(writer, "tokenizer.ggml.eos_token_id", 1);
    gguf_writer_u32(writer, "tokenizer.ggml.padding_token_id", 7);       // there is no such token
    must(gguf_writer_save(writer, temporary));
    gguf_writer_free(writer);
    HeddleWeights *weights;
    must(heddle_weights_open(temporary, false, &weights));
    HeddleStatus *status = heddle_template_open(weights, which, out_template);
    heddle_weights_close(weights);
    return status;
}

static void test_of_a_model(void **state) {
    (void)state;
    HeddleTemplate *chat_template;
    static const char own[] = "{{ bos_token }}plain{{ eos_token }}{{ pad_token is defined }}{{ tools is none }}",
                      with_tools[] = "{{ bos_token }}tools";
    must(open_model(own, NULL, NULL, &chat_template));
    expect_text(chat_template, hello, "<s>plain</s>FalseTrue");
    expect_text(chat_template, "{\"messages\": [], \"bos_token\": \"B\", \"tools\": [1]}", "Bplain</s>FalseFalse");
    size_t len;
    assert_string_equal(heddle_template_text(chat_template, &len), own);
    assert_int_equal(len, strlen(own));
    heddle_template_free(chat_template);

    must(open_model(own, with_tools, NULL, &chat_template));
    expect_text(chat_template, hello, "<s>plain</s>FalseTrue");
    expect_text(chat_template, "{\"messages\": [], \"tools\": null}", "<s>plain</s>FalseTrue");
    expect_text(chat_template, "{\"messages\": [], \"tools\": [1]}", "<s>tools");
    heddle_template_free(chat_template);

    must(open_model(NULL, NULL, "chatml", &chat_template));
    expect_text(chat_template, "{\"messages\": [{\"role\": \"user\", \"content\": \" x \"}], \"add_generation_prompt\": true}",
                "<|im_start|>user\n x <|im_end|>\n<|im_start|>assistant\n");
    heddle_template_free(chat_template);

    must(open_model(own, NULL, TEST_DATA "/templates/chatml.jinja", &chat_template));
    expect_text(chat_template, hello, "<|im_start|>user\nHello<|im_end|>\n\n");
    heddle_template_free(chat_template);
}

static void test_of_no_model(void **state) {
    (void)state;
    HeddleTemplate *chat_template;
    char message[400];
    snprintf(message, sizeof message, "%s: no tokenizer.chat_template in this file; give --chat-template FILE or chatml",
             temporary);
    expect_status(open_model(NULL, NULL, NULL, &chat_template), HEDDLE_NOT_FOUND, message);
    snprintf(message, sizeof message, "%s: chat template, line 2: expected endif, found the end of the template", temporary);
    expect_status(open_model("{% if a %}\nb", NULL, NULL, &chat_template), HEDDLE_BAD_DATA, message);
    expect_status(open_model("x", "{% if a %}\nb", NULL, &chat_template), HEDDLE_BAD_DATA, message);
    HeddleStatus *status = open_model("x", NULL, "no such file", &chat_template);
    assert_int_equal(heddle_status_code(status), HEDDLE_NOT_FOUND);
    heddle_status_free(status);
}

// ---- messages ------------------------------------------------------------------------------------------------

static void test_messages(void **state) {
    (void)state;
    static const struct { const char *text; HeddleCode code; const char *message;
    } cases[] = {
        {"a\n\n{{ raise_exception('No\nway') }}", HEDDLE_BAD_DATA, "chat template, line 3: No way"},
        {"{% if messages %}\n{{ messages[0].x.y }}{% endif %}", HEDDLE_BAD_DATA,
         "chat template, line 2: a value of type dict has no attribute 'x'"},
        {"{{ x.y }}", HEDDLE_BAD_DATA, "chat template, line 1: 'x' is undefined"},
        {"\r\n\r{{ x.y }}", HEDDLE_BAD_DATA, "chat template, line 3: 'x' is undefined"},
        {"{#\n\n#}{%- set a = [1,\n2] %}\n{{ 'x' ~ a[0] +\n'y' ~ x.y }}", HEDDLE_BAD_DATA,
         "chat template, line 6: 'x' is undefined"},
        {"{% macro m() %}\n{{ 1 / 0 }}\n{% endmacro %}\n{{ m() }}", HEDDLE_BAD_DATA, "chat template, line 2: division by zero"},
        {"\n{{ 'x' | wordwrap }}", HEDDLE_UNSUPPORTED, "chat template, line 2: the filter 'wordwrap' is not supported"},
        {"\n{{ 'x' is filter }}", HEDDLE_UNSUPPORTED, "chat template, line 2: the test 'filter' is not supported"},
        {"\n{% include 'x' %}", HEDDLE_UNSUPPORTED, "chat template, line 2: the tag 'include' is not supported"},
        {"\n{% for x in [] recursive %}{% endfor %}", HEDDLE_UNSUPPORTED,
         "chat template, line 2: recursive loops are not supported"},
        {"\n{{ f(*x) }}", HEDDLE_UNSUPPORTED,
         "chat template, line 2: arguments from a list or mapping (* or **) are not supported"},
        {"\n{% nonsense %}", HEDDLE_BAD_DATA,
         "chat template, line 2: expected a tag that Jinja knows and that can stand here, found \"nonsense\""},
        {"{% for x in [1] %}\n{% endif %}", HEDDLE_BAD_DATA,
         "chat template, line 2: expected a tag that Jinja knows and that can stand here, found \"endif\""},
        {"{{ 'a\n", HEDDLE_BAD_DATA, "chat template, line 1: a string does not end"},
        {"\n{{ 1 ", HEDDLE_BAD_DATA, "chat template, line 2: a tag does not end"},
        {"\n{# ", HEDDLE_BAD_DATA, "chat template, line 2: a comment does not end"},
        {"\n{% raw %}\n", HEDDLE_BAD_DATA, "chat template, line 2: a raw block does not end"},
        {"{{ (1] }}", HEDDLE_BAD_DATA, "chat template, line 1: unexpected ']'"},
        {"{{ 1 ! }}", HEDDLE_BAD_DATA, "chat template, line 1: unexpected character '!'"},
        {"a\n\xFF", HEDDLE_BAD_DATA, "chat template, line 2: ill-formed UTF-8"},
        {"{{ '\\N{DASH}' }}", HEDDLE_UNSUPPORTED, "chat template, line 1: \\N in a string is not supported"},
        {"{{ messages.append(1) }}", HEDDLE_BAD_DATA,
         "chat template, line 1: a method that changes its object, which templates must not"},
        {"{{ range(3) }}", HEDDLE_UNSUPPORTED, "chat template, line 1: a range cannot be printed"},
        {"{{ 'a' + 1 }}", HEDDLE_BAD_DATA, "chat template, line 1: str + int: no such operation"},
        {"{% set messages.x = 1 %}", HEDDLE_BAD_DATA,
         "chat template, line 1: only a namespace has attributes that can be set, messages is list"},
        {"{{ 'x'.replace('x') }}", HEDDLE_BAD_DATA, "chat template, line 1: replace needs 1 more arguments"},
        {"{{ 'x'|replace(1, 2, 3, 4) }}", HEDDLE_BAD_DATA, "chat template, line 1: replace takes at most 3 arguments"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) expect_error(cases[i].text, cases[i].code, cases[i].message);
}

static void test_requests(void **state) {
    (void)state;
    static const struct { const char *json, *message; } cases[] = {
        {"", "JSON, byte 1: expected a value"},
        {"[]", "expected a JSON object with messages"},
        {"{}", "expected messages: a list of objects with role and content"},
        {"{\"messages\": {}}", "expected messages: a list of objects with role and content"},
        {"{\"messages\": []} x", "JSON, byte 18: expected nothing more"},
        {"{\"messages\": [1, ]}", "JSON, byte 18: expected a value"},
        {"{\"messages\": [\"\\ud800\"]}", "JSON, byte 18: half a surrogate pair"},
        {"{\"messages\": [\"\xC3\"]}", "JSON, byte 16: ill-formed UTF-8"},
    };
    for (size_t i = 0; i < HD_COUNT(cases); i++) expect_status(outcome("x", cases[i].json), HEDDLE_BAD_DATA, cases[i].message);
}

// ---- limits --------------------------------------------------------------------------------------------------

// `count` times `part`, with `before` and `after` around.
static char *repeated(const char *before, const char *part, size_t count, const char *after) {
    HdBuf text = {0};
    hd_buf_str(&text, before);
    for (size_t i = 0; i < count; i++) hd_buf_str(&text, part);
    hd_buf_str(&text, after);
    return text.data;
}

static void expect_limit(char *text, const char *what) {
    HeddleStatus *status = outcome(text, hello);
    if (heddle_status_code(status) != HEDDLE_LIMIT || !strstr(heddle_status_message(status), what))
        fail_msg("%.60s: \"%s\", expected a limit: %s", text, heddle_status_message(status), what);
    heddle_status_free(status);
    free(text);
}

static void test_limits(void **state) {
    (void)state;
    expect_limit(repeated("{% for a in range(99999) %}{% for b in range(99999) %}", "", 0, "{% endfor %}{% endfor %}"), "steps");
    expect_limit(repeated("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "", 0, ""), "levels deep");
    expect_limit(
        repeated("{% set n = namespace(s='x') %}{% for a in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}", "", 0, ""),
        "grew beyond");
    expect_limit(
        repeated("{% set n = namespace(l=[1]) %}{% for a in range(99) %}{% set n.l = n.l + n.l %}{% endfor %}", "", 0, ""),
        "memory");
    expect_limit(
        repeated("{% set n = namespace(l=[1]) %}{% for a in range(99) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l|tojson }}",
                 "", 0, ""),
        "steps");
    expect_limit(
        repeated("{% set n = namespace(l=[1]) %}{% for a in range(9999) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}", "", 0, ""),
        "levels deep");
    expect_limit(repeated("{% set n = namespace() %}{% set n.n = n %}{{ n }}", "", 0, ""), "levels deep");
    expect_limit(repeated("{{ 'x' * 999999999999 }}", "", 0, ""), "grew beyond");
    expect_limit(repeated("{{ ''.center(999999999999) }}", "", 0, ""), "grew beyond");
    expect_limit(repeated("{{ [[[[1]]]]|tojson(indent=99999999) }}", "", 0, ""), "beyond");
    expect_limit(repeated("{{ [1] * 999999999999 }}", "", 0, ""), "memory");
    expect_limit(repeated("{{ range(100001) }}", "", 0, ""), "range");
    expect_limit(repeated("{{ 9223372036854775807 + 1 }}", "", 0, ""), "64 bits");
    expect_limit(repeated("{{ ", "(", 1000, ""), "nested too deeply");
    expect_limit(repeated("{{ ", "not ", 1000, "1 }}"), "nested too deeply");
    expect_limit(repeated("{{ ", "- ", 1000, "1 }}"), "nested too deeply");
    expect_limit(repeated("{{ 1", " if 1 else 1", 1000, " }}"), "nested too deeply");
    expect_limit(repeated("", "{% if 1 %}", 1000, ""), "nested too deeply");
    expect_limit(repeated("{{ x", ".x", 5000, " }}"), "levels deep");
    expect_limit(repeated("", "x", (4 << 20) + 1, ""), "too long");
    char *deep = repeated("{\"messages\": ", "[", 1000, "");
    expect_status(outcome("x", deep), HEDDLE_BAD_DATA, "JSON, byte 214: nested too deeply");
    free(deep);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),     cmocka_unit_test(test_chat),        cmocka_unit_test(test_argument_text),
        cmocka_unit_test(test_of_a_model), cmocka_unit_test(test_of_no_model), cmocka_unit_test(test_messages),
        cmocka_unit_test(test_requests),   cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, make_temporary, remove_temporary);
}
