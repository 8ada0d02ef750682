// SPDX-License-Identifier: Apache-2.0
// libFuzzer entry: a template and, behind a NUL, the JSON that it is given (a small conversation where there is none). Build with
// -DHEDDLE_FUZZ=ON (clang) and run
//   fuzz_template -max_len=4096 CORPUS
// with a corpus that begins with tests/data/templates and the lines of tests/template/test_snippets.py.
#include "runtime/template.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"\\u00e9 x\"}, "
    "{\"role\": \"assistant\", \"content\": \"<think>\\nt\\n</think>\\n\\na\", \"tool_calls\": [{\"function\": "
    "{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": [1, 2.5, null]}\"}}]}, {\"role\": \"tool\", \"content\": \"r\"}], "
    "\"tools\": [{\"name\": \"f\"}], \"add_generation_prompt\": true, \"s\": \"Hello\", \"n\": 7, \"l\": [3, 1, 2], "
    "\"d\": {\"a\": 1, \"b\": [1]}, \"yes\": true}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    HeddleTemplate *chat_template;
    char *rendered;
    size_t text_len = len ? strnlen((const char *)data, len) : 0, rendered_len;
    bool own = text_len < len;
    const char *json = own ? (const char *)data + text_len + 1 : conversation;
    HeddleStatus *status = heddle_template_parse("fuzz", len ? (const char *)data : "", text_len, &chat_template);
    if (!status) {
        status = heddle_template_render_json(chat_template, json, own ? len - text_len - 1 : sizeof conversation - 1, &rendered,
                                             &rendered_len);
        if (!status) free(rendered);
        heddle_template_free(chat_template);
    }
    heddle_status_free(status);
    return 0;
}
