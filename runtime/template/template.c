// SPDX-License-Identifier: Apache-2.0
// The public functions: where templates come from, what they are given, and a run from begin to end.
#include "runtime/template/internal.h"

#include "runtime/gguf.h"
#include "runtime/template.h"

#include <stdlib.h>
#include <string.h>

static const char chatml[] = "{%- for message in messages %}\n"
                             "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n"
                             "{%- endfor %}\n"
                             "{%- if add_generation_prompt %}\n"
                             "    {{- '<|im_start|>assistant\\n' }}\n"
                             "{%- endif %}\n";

// ---- parsing -------------------------------------------------------------------------------------------------

// Line ends become \n, and one at the end is dropped, as Jinja does it.
static HdStr plain_lines(HdArena *arena, HdStr text) {
    char *plain = hd_arena_strndup(arena, text.data, text.len);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\n' && i && text.data[i - 1] == '\r') continue;
        plain[len++] = text.data[i] == '\r' ? '\n' : text.data[i];
    }
    if (len && plain[len - 1] == '\n') len--;
    return (HdStr){plain, len};
}

static HdStatus *check_source(const char *name, HdStr text) {
    uint32_t line = 1;
    if (text.len > TPL_MAX_SOURCE)
        return hd_error(HD_LIMIT, "%s: %zu bytes are too long for a template, at most %d", name, text.len, TPL_MAX_SOURCE);
    for (size_t at = 0, used; at < text.len; at += used) {
        int32_t code = hd_utf8_decode(text.data + at, text.len - at, &used);
        if (code < 0) return tpl_fail_at(name, line, HD_BAD_DATA, "ill-formed UTF-8");
        line += code == '\n';
    }
    return NULL;
}

static HdStatus *parse(HeddleTemplate *chat_template) {
    TplTokens tokens = {0};
    HdStr plain = plain_lines(&chat_template->arena, chat_template->source);
    HdStatus *status = tpl_lex(chat_template->name, plain, &chat_template->arena, &tokens);
    if (!status) status = tpl_parse(chat_template->name, &chat_template->arena, tokens.data, &chat_template->body);
    hd_vec_free(&tokens);
    return status;
}

HeddleStatus *heddle_template_parse(const char *name, const char *text, size_t len, HeddleTemplate **out_template) {
    HD_TRY(check_source(name, (HdStr){text, len}));
    HeddleTemplate *chat_template = hd_xcalloc(1, sizeof *chat_template);
    chat_template->name = hd_arena_strndup(&chat_template->arena, name, strlen(name));
    chat_template->source = (HdStr){hd_arena_strndup(&chat_template->arena, text, len), len};
    HdStatus *status = parse(chat_template);
    if (status) heddle_template_free(chat_template);
    else *out_template = chat_template;
    return status;
}

void heddle_template_free(HeddleTemplate *chat_template) {
    if (!chat_template) return;
    heddle_template_free(chat_template->with_tools);
    hd_arena_free(&chat_template->arena);
    free(chat_template);
}

const char *heddle_template_text(const HeddleTemplate *chat_template, size_t *out_len) {
    *out_len = chat_template->source.len;
    return chat_template->source.data;
}

// ---- from a model --------------------------------------------------------------------------------------------

static HdStatus *parse_key(const GgufFile *file, const char *key, HeddleTemplate **out_template) {
    HdStr text;
    if (!gguf_find_key(file, key))
        return hd_error(HD_NOT_FOUND, "%s: no %s in this file; give --chat-template FILE or chatml", gguf_path(file), key);
    HD_TRY(gguf_get_string(file, key, &text));
    return hd_annotate(heddle_template_parse("chat template", text.data, text.len, out_template), "%s", gguf_path(file));
}

static HdStatus *parse_file(const char *path, HeddleTemplate **out_template) {
    HdBuf text = {0};
    HdStatus *status = hd_read_file(path, &text);
    if (!status) status = heddle_template_parse(path, text.data ? text.data : "", text.len, out_template);
    hd_buf_free(&text);
    return status;
}

static HdStatus *open_template(const GgufFile *file, const char *which, HeddleTemplate **out_template) {
    static const char own[] = "tokenizer.chat_template", tool_use[] = "tokenizer.chat_template.tool_use";
    if (which && !strcmp(which, "chatml")) return heddle_template_parse("chatml", chatml, sizeof chatml - 1, out_template);
    if (which) return parse_file(which, out_template);
    HeddleTemplate *chat_template;
    HD_TRY(parse_key(file, own, &chat_template));
    HdStatus *status = gguf_find_key(file, tool_use) ? parse_key(file, tool_use, &chat_template->with_tools) : NULL;
    if (status) heddle_template_free(chat_template);
    else *out_template = chat_template;
    return status;
}

// The names that Hugging Face's tokenizers give the special tokens whose ids a GGUF file may name.
static const struct { const char *name, *key; } token_names[] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                                                 {"eos_token", "tokenizer.ggml.eos_token_id"},
                                                                 {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                                                 {"pad_token", "tokenizer.ggml.padding_token_id"}};

static HdStatus *name_tokens(const GgufFile *file, HeddleTemplate *chat_template) {
    HdArena arena = {0};
    HdStr *texts = NULL;
    uint64_t count = 0;
    HdStatus *status = NULL;
    if (gguf_find_key(file, "tokenizer.ggml.tokens"))
        status = gguf_get_strings(file, "tokenizer.ggml.tokens", &arena, &texts, &count);
    for (size_t i = 0; i < HD_COUNT(token_names) && !status; i++) {
        uint32_t id = 0;
        if (!gguf_find_key(file, token_names[i].key)) continue;
        status = gguf_get_u32(file, token_names[i].key, &id);
        if (status || id >= count) continue;
        HdBuf store = {0};
        HdStr text = hd_well_formed(texts[id], &store);
        text.data = hd_arena_strndup(&chat_template->arena, text.data, text.len);
        tpl_dict_put(&chat_template->arena, &chat_template->tokens, tpl_string(hd_str(token_names[i].name)), tpl_string(text));
        hd_buf_free(&store);
    }
    hd_arena_free(&arena);
    return status;
}

HeddleStatus *heddle_template_open(const HeddleWeights *weights, const char *which, HeddleTemplate **out_template) {
    const GgufFile *file = heddle_weights_gguf(weights);
    HeddleTemplate *chat_template;
    HD_TRY(open_template(file, which, &chat_template));
    HdStatus *status = name_tokens(file, chat_template);
    if (!status && chat_template->with_tools) status = name_tokens(file, chat_template->with_tools);
    if (status) heddle_template_free(chat_template);
    else *out_template = chat_template;
    return status;
}

// ---- a run ---------------------------------------------------------------------------------------------------

static void put(TplRun *run, TplDict *dict, const char *name, TplValue value) {
    tpl_dict_put(&run->arena, dict, tpl_string(hd_str(name)), value);
}

static bool is_given(const TplDict *variables, const char *name) {
    const TplValue *value = tpl_dict_named(variables, hd_str(name));
    return value && value->kind != TPL_NONE;
}

// Hugging Face always gives these four; special tokens have their names unless a variable has it.
static void complete(TplRun *run, TplDict *variables) {
    const TplDict *tokens = &run->template->tokens;
    static const char *const empty[] = {"tools", "documents"};
    for (size_t i = 0; i < HD_COUNT(empty); i++)
        if (!is_given(variables, empty[i])) put(run, variables, empty[i], tpl_none());
    if (!is_given(variables, "add_generation_prompt")) put(run, variables, "add_generation_prompt", tpl_bool(false));
    for (size_t i = 0; i < tokens->count; i++)
        if (!tpl_dict_get(variables, &tokens->keys[i])) tpl_dict_put(&run->arena, variables, tokens->keys[i], tokens->values[i]);
}

static HdStatus *run_once(TplRun *run, const TplDict *variables) {
    TplScope given = {.names = *variables}, own = {.outer = &given};
    run->out.len = 0;
    hd_buf_bytes(&run->out, "", 0);      // never NULL, whatever is rendered
    run->steps = run->depth = 0;
    run->signal = TPL_GO_ON;
    run->scope = &own;
    return tpl_exec(run, run->template->body);
}

// The arguments of a tool call that are text, as the object that the text describes.
static bool read_arguments(TplRun *run, TplValue *call) {
    TplValue *function = call->kind == TPL_DICT ? tpl_dict_named(call->dict, HD_STR("function")) : NULL;
    if (function && function->kind == TPL_DICT) call = function;
    TplValue *arguments = call->kind == TPL_DICT ? tpl_dict_named(call->dict, HD_STR("arguments")) : NULL, value;
    if (!arguments || arguments->kind != TPL_STRING) return false;
    HdStatus *status = tpl_json_read(&run->arena, arguments->text, &value);
    bool object = !status && value.kind == TPL_DICT;
    if (object) *arguments = value;
    hd_status_free(status);
    return object;
}

static bool read_all_arguments(TplRun *run, const TplDict *variables) {
    const TplValue *messages = tpl_dict_named(variables, HD_STR("messages"));
    bool any = false;
    for (size_t i = 0; messages && messages->kind == TPL_LIST && i < messages->list->count; i++) {
        const TplValue *message = &messages->list->items[i];
        const TplValue *calls = message->kind == TPL_DICT ? tpl_dict_named(message->dict, HD_STR("tool_calls")) : NULL;
        for (size_t j = 0; calls && calls->kind == TPL_LIST && j < calls->list->count; j++)
            any |= read_arguments(run, &calls->list->items[j]);
    }
    return any;
}

static HdStatus *run_template(TplRun *run, TplDict *variables) {
    if (run->template->with_tools && is_given(variables, "tools")) run->template = run->template->with_tools;
    complete(run, variables);
    HdStatus *status = run_once(run, variables), *again;
    if (hd_status_code(status) != HD_BAD_DATA || !read_all_arguments(run, variables)) return status;
    again = run_once(run, variables);
    HdStatus *dropped = again ? again : status;
    hd_status_free(dropped);
    return again ? status : NULL;
}

static HdStatus *finish(TplRun *run, HdStatus *status, char **out_text, size_t *out_len) {
    if (status) {
        hd_buf_free(&run->out);
    } else {
        *out_text = run->out.data;
        *out_len = run->out.len;
    }
    hd_arena_free(&run->arena);
    return status;
}

// ---- what a template is given --------------------------------------------------------------------------------

static HdStatus *read_request(TplRun *run, HdStr json, TplDict **out_variables) {
    TplValue request;
    if (json.len > TPL_MAX_JSON) return hd_error(HD_LIMIT, "%zu bytes of JSON, at most %d", json.len, TPL_MAX_JSON);
    HD_TRY(tpl_json_read(&run->arena, json, &request));
    if (request.kind != TPL_DICT) return hd_error(HD_BAD_DATA, "expected a JSON object with messages");
    const TplValue *messages = tpl_dict_named(request.dict, HD_STR("messages"));
    if (!messages || messages->kind != TPL_LIST)
        return hd_error(HD_BAD_DATA, "expected messages: a list of objects with role and content");
    *out_variables = request.dict;
    return NULL;
}

HeddleStatus *heddle_template_render_json(const HeddleTemplate *chat_template, const char *json, size_t len, char **out_text,
                                          size_t *out_len) {
    TplRun run = {.template = chat_template, .line = 1};
    TplDict *variables;
    HdStatus *status = read_request(&run, (HdStr){json, len}, &variables);
    if (!status) status = run_template(&run, variables);
    return finish(&run, status, out_text, out_len);
}

static void put_text(TplRun *run, TplDict *dict, const char *name, const char *text) {
    HdBuf store = {0};
    if (!text) return;
    HdStr given = hd_str(text), sound = hd_well_formed(given, &store);
    if (sound.data != text) sound.data = hd_arena_strndup(&run->arena, sound.data, sound.len);
    put(run, dict, name, tpl_string(sound));
    hd_buf_free(&store);
}

static HdStatus *make_variables(TplRun *run, const HeddleChat *chat, TplDict *variables) {
    TplList *messages = tpl_list_new(&run->arena, 0);
    for (size_t i = 0; i < chat->count; i++) {
        TplDict *message = HD_NEW(&run->arena, TplDict);
        put_text(run, message, "role", chat->messages[i].role);
        put_text(run, message, "content", chat->messages[i].content);
        put_text(run, message, "reasoning_content", chat->messages[i].reasoning);
        tpl_list_push(&run->arena, messages, tpl_dict_value(message));
    }
    put(run, variables, "messages", tpl_list_value(TPL_LIST, messages));
    put(run, variables, "add_generation_prompt", tpl_bool(chat->add_generation_prompt));
    if (chat->thinking) put(run, variables, "enable_thinking", tpl_bool(chat->thinking == HEDDLE_THINKING_ON));
    if (!chat->tools) return NULL;
    TplValue tools;
    HD_TRY(hd_annotate(tpl_json_read(&run->arena, hd_str(chat->tools), &tools), "tools"));
    put(run, variables, "tools", tools);
    return NULL;
}

HeddleStatus *heddle_template_render(const HeddleTemplate *chat_template, const HeddleChat *chat, char **out_text,
                                     size_t *out_len) {
    TplRun run = {.template = chat_template, .line = 1};
    TplDict variables = {0};
    HdStatus *status = make_variables(&run, chat, &variables);
    if (!status) status = run_template(&run, &variables);
    return finish(&run, status, out_text, out_len);
}
