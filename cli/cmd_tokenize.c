// SPDX-License-Identifier: Apache-2.0
// heddle tokenize: text to token ids and back, as JSON. Control tokens that stand in the text are parsed, as for `heddle run -p`.
#include "cli/cli.h"
#include "runtime/template/value.h"
#include "runtime/tokenizer.h"

#include <stdlib.h>
#include <string.h>

// ---- both directions -------------------------------------------------------------------------------------------

static HdStatus *put_ids(const HeddleTokenizer *tokenizer, HdStr text, HdBuf *out_json)
{
    int32_t *ids;
    uint32_t count;
    HD_TRY(heddle_tokenize(tokenizer, text.data, text.len, true, &ids, &count));
    hd_buf_str(out_json, "[");
    for (uint32_t i = 0; i < count; i++) hd_buf_printf(out_json, "%s%d", i ? ", " : "", ids[i]);
    hd_buf_str(out_json, "]");
    free(ids);
    return NULL;
}

// A JSON array of ids to the bytes of their text.
static HdStatus *put_text(const HeddleTokenizer *tokenizer, const TplValue *ids, HdBuf *out_text)
{
    if (ids->kind != TPL_LIST) return hd_error(HD_BAD_DATA, "expected a JSON array of token ids, such as [1, 2, 3]");
    hd_buf_bytes(out_text, "", 0);
    for (size_t i = 0; i < ids->list->count; i++) {
        const TplValue *id = &ids->list->items[i];
        size_t len;
        if (id->kind != TPL_INT || id->integer < 0 || id->integer >= heddle_token_count(tokenizer))
            return hd_error(HD_BAD_DATA, "element %zu of the ids: expected a whole number from 0 to %u", i,
                            heddle_token_count(tokenizer) - 1);
        const char *bytes = heddle_token_bytes(tokenizer, (int32_t)id->integer, &len);
        hd_buf_bytes(out_text, bytes, len);
    }
    return NULL;
}

// ---- lines of JSON ---------------------------------------------------------------------------------------------

static HdStatus *convert_line(const HeddleTokenizer *tokenizer, HdStr line, bool decode, HdArena *arena, HdBuf *out_json)
{
    TplValue object;
    HdBuf text = {0};
    HD_TRY(tpl_json_read(arena, line, &object));
    const TplValue *value = object.kind == TPL_DICT ? tpl_dict_named(object.dict, hd_str(decode ? "ids" : "text")) : NULL;
    if (!value || (!decode && value->kind != TPL_STRING))
        return hd_error(HD_BAD_DATA, "expected an object with %s", decode ? "\"ids\", an array" : "\"text\", a string");
    hd_buf_printf(out_json, "{\"%s\": ", decode ? "text" : "ids");
    HdStatus *status = decode ? put_text(tokenizer, value, &text) : put_ids(tokenizer, value->text, out_json);
    if (decode && !status) hd_buf_json(out_json, (HdStr){text.data, text.len}, true);
    hd_buf_free(&text);
    return status;
}

// An error belongs to its line: the others are answered all the same.
static void answer_line(const HeddleTokenizer *tokenizer, HdStr line, bool decode)
{
    HdArena arena = {0};
    HdBuf json = {0};
    HdStatus *status = convert_line(tokenizer, line, decode, &arena, &json);
    if (status) {
        json.len = 0;
        hd_buf_str(&json, "{\"error\": ");
        hd_buf_json(&json, hd_str(hd_status_message(status)), true);
        hd_status_free(status);
    }
    hd_buf_str(&json, "}\n");
    fwrite(json.data, 1, json.len, stdout);
    hd_buf_free(&json);
    hd_arena_free(&arena);
}

static HdStatus *answer_lines(const HeddleTokenizer *tokenizer, bool decode)
{
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t len; (len = getline(&line, &cap, stdin)) > 0;) {
        bool blank = strspn(line, " \t\r\n") == (size_t)len;
        if (!blank) answer_line(tokenizer, (HdStr){line, (size_t)len}, decode);
        fflush(stdout); // whoever writes line by line may wait for the answer
    }
    free(line);
    return ferror(stdin) ? hd_error(HD_IO, "standard input could not be read") : NULL;
}

// ---- one text --------------------------------------------------------------------------------------------------

static HdStatus *convert_text(const CliOptions *options, const HeddleTokenizer *tokenizer, HdStr text)
{
    HdArena arena = {0};
    HdBuf out = {0};
    TplValue ids;
    HdStatus *status = options->decode ? hd_annotate(tpl_json_read(&arena, text, &ids), "--decode") : put_ids(tokenizer, text, &out);
    if (options->decode && !status) status = put_text(tokenizer, &ids, &out);
    if (!status) {
        fwrite(out.data, 1, out.len, stdout);
        printf("\n");
    }
    hd_buf_free(&out);
    hd_arena_free(&arena);
    return status;
}

HdStatus *cmd_tokenize(CliOptions *options)
{
    HdBuf text = {0};
    HeddleWeights *weights;
    HeddleTokenizer *tokenizer;
    int given = (options->prompt != NULL) + (options->file != NULL) + options->jsonl;
    if (given != 1)
        return hd_error(HD_USAGE, "heddle tokenize: %s -p TEXT, -f FILE or --jsonl", given ? "give only one of" : "a text is missing; give");
    if (options->prompt) hd_buf_str(&text, options->prompt);
    if (options->file) HD_TRY(cli_read_text(options->file, &text));
    HD_TRY(heddle_weights_open(options->operand, false, &weights));
    HdStatus *status = heddle_tokenizer_create(weights, &tokenizer);
    if (!status) {
        if (options->jsonl) status = answer_lines(tokenizer, options->decode);
        else status = convert_text(options, tokenizer, (HdStr){text.data ? text.data : "", text.len});
        heddle_tokenizer_free(tokenizer);
    }
    heddle_weights_close(weights);
    hd_buf_free(&text);
    return status;
}
