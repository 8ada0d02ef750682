// SPDX-License-Identifier: Apache-2.0
// heddle template: conversations, one JSON object per line, to what the model's chat template makes of them; or the template
// itself.
#include "cli/cli.h"
#include "runtime/template.h"

#include <stdlib.h>
#include <string.h>

// {"KEY": "text"} and a newline.
static void print_line(const char *key, const char *text, size_t len)
{
    HdBuf line = {0};
    hd_buf_printf(&line, "{\"%s\": ", key);
    hd_buf_json(&line, (HdStr){text, len}, true); // ASCII: nothing in it is taken for the end of a line
    hd_buf_str(&line, "}\n");
    fwrite(line.data, 1, line.len, stdout);
    hd_buf_free(&line);
}

// An error belongs to its line: the others are rendered all the same.
static void render_line(const HeddleTemplate *chat_template, const char *json, size_t len)
{
    char *text;
    size_t text_len;
    HeddleStatus *status = heddle_template_render_json(chat_template, json, len, &text, &text_len);
    if (status) {
        const char *message = heddle_status_message(status);
        print_line("error", message, strlen(message));
        heddle_status_free(status);
        return;
    }
    print_line("rendered", text, text_len);
    free(text);
}

static HdStatus *render_lines(const HeddleTemplate *chat_template)
{
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t len; (len = getline(&line, &cap, stdin)) > 0;) {
        bool blank = strspn(line, " \t\r\n") == (size_t)len;
        if (!blank) render_line(chat_template, line, (size_t)len);
        fflush(stdout); // whoever writes line by line may wait for the answer
    }
    free(line);
    return ferror(stdin) ? hd_error(HD_IO, "standard input could not be read") : NULL;
}

static void print_template(const HeddleTemplate *chat_template)
{
    size_t len;
    const char *text = heddle_template_text(chat_template, &len);
    fwrite(text, 1, len, stdout);
    if (len && text[len - 1] != '\n') printf("\n");
}

HdStatus *cmd_template(CliOptions *options)
{
    HeddleWeights *weights;
    HeddleTemplate *chat_template;
    HdStatus *status;
    HD_TRY(heddle_weights_open(options->operand, false, &weights));
    status = heddle_template_open(weights, options->chat_template, &chat_template);
    if (!status) {
        if (options->jsonl) status = render_lines(chat_template);
        else print_template(chat_template);
        heddle_template_free(chat_template);
    }
    heddle_weights_close(weights);
    return status;
}
