// SPDX-License-Identifier: Apache-2.0
// Chat templates: a conversation to the text that a model continues. A template is text in the part of Jinja that chat templates
// use; the model's own is in its GGUF file (tokenizer.chat_template). What it renders is, byte for byte, what Hugging Face's
// apply_chat_template gives.
//
// A template does not change after it was made: any number of threads may share it. Templates are untrusted input: rendering is
// bounded in steps (about a second), depth (half a MiB of stack), memory and text, and reads nothing but what it is given and the
// clock.
#ifndef HEDDLE_TEMPLATE_H
#define HEDDLE_TEMPLATE_H

#include "heddle.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct HeddleTemplate HeddleTemplate;

// ---- making one ----------------------------------------------------------------------------------------------
// Errors name the template and the line: "chat template, line 12: expected endif, found the end of the template". BAD_DATA is a
// mistake in the template, UNSUPPORTED a construct of Jinja that is not interpreted here, LIMIT too much of something.

// The template `which` says: NULL: the file's own (NOT_FOUND when it has none; one named tool_use is used when tools are given);
// "chatml": ChatML without system prompt, tools or thinking; else the path of a file that holds one. Names of special tokens
// (bos_token, eos_token, pad_token, unk_token) stand for those of `weights`, which need not outlive the template.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_template_open(const HeddleWeights *weights, const char *which,
                                                              HeddleTemplate **out_template);
// From text; `name` stands for it in messages. No special tokens have names.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_template_parse(const char *name, const char *text, size_t len,
                                                               HeddleTemplate **out_template);
HEDDLE_API void heddle_template_free(HeddleTemplate *chat_template);           // NULL is fine
// The template itself, terminated; lives as long as it does.
HEDDLE_API const char *heddle_template_text(const HeddleTemplate *chat_template, size_t *out_len);

// ---- rendering -----------------------------------------------------------------------------------------------
// The result belongs to the caller (free) and is terminated. Errors name the line, and say what a template says when it refuses a
// conversation: "chat template, line 79: No user query found in messages."

typedef struct HeddleMessage {
    const char *role;        // "system", "user", "assistant", "tool"
    const char *content;
    const char *reasoning;   // what the assistant thought before it answered; NULL: nothing is said about it
} HeddleMessage;

typedef enum HeddleThinking { HEDDLE_THINKING_DEFAULT, HEDDLE_THINKING_ON, HEDDLE_THINKING_OFF } HeddleThinking;

typedef struct HeddleChat {
    const HeddleMessage *messages;   // [count]
    size_t count;
    const char *tools;               // a JSON array of function descriptions; NULL: none
    bool add_generation_prompt;      // end with the beginning of the assistant's turn
    HeddleThinking thinking;         // DEFAULT leaves the choice to the template
} HeddleChat;

// Ill-formed UTF-8 is read as U+FFFD.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_template_render(const HeddleTemplate *chat_template, const HeddleChat *chat,
                                                                char **out_text, size_t *out_len);
// The same for everything a template can be given: a JSON object with messages and, where wanted, tools, add_generation_prompt
// (default false), enable_thinking and any other name that the template knows. Where a template fails because the arguments of a
// tool call are JSON text (as OpenAI's API has them), it gets the object that the text describes.
HEDDLE_API HEDDLE_MUST_USE HeddleStatus *heddle_template_render_json(const HeddleTemplate *chat_template, const char *json,
                                                                     size_t len, char **out_text, size_t *out_len);

#ifdef __cplusplus
}
#endif

#endif
