// SPDX-License-Identifier: Apache-2.0
// heddle chat: a conversation in the terminal. Answers go to stdout; thinking too, dimmed, when that is a terminal, else to stderr.
#include "cli/conversation.h"
#include "cli/line.h"
#include "cli/progress.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFAULT_ANSWER = 4096 };

// ---- how an answer looks -----------------------------------------------------------------------------------------

// blank: nothing but white space of the present part was seen, which is not shown at its beginning.
typedef struct Screen {
    bool hide_thinking, terminal, thinking, begun, blank;
} Screen;

static FILE *place(const Screen *screen, bool thinking) { return thinking && !screen->terminal ? stderr : stdout; }

static void end_part(Screen *screen)
{
    if (screen->begun && screen->thinking && !screen->hide_thinking) fputs(screen->terminal ? "\033[0m\n\n" : "\n", place(screen, true));
}

static void show(void *user, const char *text, size_t len, bool thinking)
{
    Screen *screen = user;
    if (!screen->begun || thinking != screen->thinking) {
        end_part(screen);
        screen->thinking = thinking, screen->begun = screen->blank = true;
        if (thinking && screen->terminal && !screen->hide_thinking) fputs("\033[2m", stdout);
    }
    while (screen->blank && len && strchr(" \n\t\r", *text)) text++, len--;
    if (!len || (thinking && screen->hide_thinking)) return;
    screen->blank = false;
    progress_end();
    fwrite(text, 1, len, place(screen, thinking));
    fflush(place(screen, thinking));
}

static void finish_answer(Screen *screen)
{
    end_part(screen);
    printf("\n");
    fflush(stdout);
}

// ---- the conversation --------------------------------------------------------------------------------------------

typedef struct Chat {
    const CliOptions *options;
    ChatSetup setup;
    const CliModel *model;
    Screen screen;
    GenerateStats last;
    bool over;
} Chat;

static uint32_t used(const Chat *chat)
{
    uint32_t count;
    heddle_slot_tokens(chat->setup.conversation.generator.session, 0, &count);
    return count;
}

static void print_return(const Chat *chat) { fprintf(stderr, "back to %u tokens\n", used(chat)); }

static HdStatus *answer(Chat *chat, const char *text)
{
    const CliOptions *options = chat->options;
    uint64_t limit = options->predict == CLI_UNSET ? DEFAULT_ANSWER : (uint64_t)options->predict;
    chat->screen.begun = false;
    HD_TRY(conversation_turn(&chat->setup.conversation, text, limit, &chat->last));
    progress_end();
    finish_answer(&chat->screen);
    cli_print_stats(options, chat->setup.conversation.generator.session, &chat->last);
    if (chat->last.end == GENERATE_UNREAD) print_return(chat);
    return NULL;
}

static HdStatus *chat_help(Chat *chat, const char *argument)
{
    (void)chat, (void)argument;
#define CHAT_COMMAND(name, argument, help) fprintf(stderr, "  %-16s %s\n", "/" #name " " argument, help);
#include "cli/chat_commands.def"
#undef CHAT_COMMAND
    return NULL;
}

static HdStatus *chat_reset(Chat *chat, const char *argument)
{
    (void)argument;
    char *system = chat->setup.conversation.system ? hd_xstrdup(chat->setup.conversation.system) : NULL;
    HdStatus *status = conversation_reset(&chat->setup.conversation, system);
    free(system);
    return status;
}

static HdStatus *chat_undo(Chat *chat, const char *argument)
{
    (void)argument;
    HD_TRY(conversation_undo(&chat->setup.conversation));
    print_return(chat);
    return NULL;
}

static HdStatus *chat_system(Chat *chat, const char *argument)
{
    return conversation_reset(&chat->setup.conversation, *argument ? argument : NULL);
}

static HdStatus *chat_think(Chat *chat, const char *argument)
{
    return chat_parse_thinking("/think", argument, &chat->setup.conversation.thinking);
}

static HdStatus *chat_stats(Chat *chat, const char *argument)
{
    const HeddleSession *session = chat->setup.conversation.generator.session;
    HeddleMemory memory;
    HeddleCounters counters;
    (void)argument;
    heddle_session_memory(session, &memory);
    heddle_session_counters(session, &counters);
    fprintf(stderr, "context: %u of %u tokens; turns that can be undone: %zu\n", used(chat), heddle_session_context(session),
            chat->setup.conversation.turns.len);
    fprintf(stderr, "processed: %llu tokens in %llu steps; memory: %.1f MiB\n", (unsigned long long)counters.tokens,
            (unsigned long long)counters.steps, (double)memory.total / (1 << 20));
    if (chat->last.generated) cli_print_stats(chat->options, session, &chat->last);
    return NULL;
}

static HdStatus *need_file(const char *command, const char *argument)
{
    return *argument ? NULL : hd_error(HD_USAGE, "/%s: a file is missing; write /%s FILE", command, command);
}

static HdStatus *chat_save(Chat *chat, const char *argument)
{
    HD_TRY(need_file("save", argument));
    HD_TRY(conversation_save(&chat->setup.conversation, argument));
    fprintf(stderr, "%s: %u tokens\n", argument, used(chat));
    return NULL;
}

static HdStatus *chat_load(Chat *chat, const char *argument)
{
    HD_TRY(need_file("load", argument));
    HD_TRY(conversation_load(&chat->setup.conversation, argument));
    fprintf(stderr, "%s: %u tokens, none of which is processed again\n", argument, used(chat));
    return NULL;
}

static HdStatus *chat_exit(Chat *chat, const char *argument)
{
    (void)argument;
    chat->over = true;
    return NULL;
}

static HdStatus *command(Chat *chat, const char *line)
{
    size_t name = strcspn(line, " ");
    const char *argument = line + name + strspn(line + name, " ");
#define CHAT_COMMAND(word, arguments, help)                                                                                      \
    if (name == strlen(#word) && !memcmp(line, #word, name)) return chat_##word(chat, argument);
#include "cli/chat_commands.def"
#undef CHAT_COMMAND
    return hd_error(HD_USAGE, "/%.*s: no such command; /help lists them", (int)HD_MIN(name, 40), line);
}

// What is wrong with one line ends neither the conversation nor the program.
static void handle(Chat *chat, const HdBuf *typed)
{
    const char *line = typed->data;
    HdStatus *status = chat_check_text((HdStr){line, typed->len});
    if (!status && !line[strspn(line, " \t")]) return;
    if (!status) status = line[0] == '/' ? command(chat, line + 1) : answer(chat, line);
    progress_end();
    if (status) fprintf(stderr, "heddle: %s\n", hd_status_message(status));
    hd_status_free(status);
}

static void converse(Chat *chat)
{
    while (!chat->over) {
        HdBuf line = {0};
        LineEnd end = line_read("> ", &line);
        if (end == LINE_READ) handle(chat, &line);
        chat->over |= end == LINE_END;
        hd_buf_free(&line);
    }
    if (chat->screen.terminal) printf("\n");
}

static void greet(const Chat *chat)
{
    HdBuf settings = {0};
    cli_print_sampling(&chat->setup.sampling, &settings);
    fprintf(stderr, "%s, context %u, %s\n", chat->options->operand, heddle_session_context(chat->setup.conversation.generator.session),
            settings.data);
    if (chat->screen.terminal) fprintf(stderr, "/help lists commands; Ctrl-C stops an answer, Ctrl-D ends\n");
    hd_buf_free(&settings);
}

static void begin(const CliOptions *options, const CliModel *model, Chat *chat)
{
    chat->options = options, chat->model = model;
    chat->screen = (Screen){.hide_thinking = options->no_show_thinking, .terminal = isatty(STDOUT_FILENO)};
    chat->setup.conversation.generator.emit = show;
    chat->setup.conversation.generator.progress = progress_reading;
    chat->setup.conversation.generator.user = &chat->screen;
    generate_catch_interrupt(false);
}

HdStatus *chat_once(const CliOptions *options, const CliModel *model, const char *text)
{
    Chat chat = {0};
    HdStatus *status = chat_setup(options, model, &chat.setup);
    begin(options, model, &chat);
    chat.screen.terminal = false;        // thinking goes to stderr
    if (!status) cli_log_sampling(options, &chat.setup.sampling);
    if (!status) status = answer(&chat, text);
    chat_setup_free(&chat.setup);
    return status;
}

HdStatus *cmd_chat(CliOptions *options)
{
    CliModel model;
    Chat chat = {0};
    HeddleCompileOptions compile = cli_compile_options(options);
    HD_TRY(cli_load(options, &compile, &model));
    HdStatus *status = chat_setup(options, &model, &chat.setup);
    if (!status) {
        begin(options, &model, &chat);
        greet(&chat);
        converse(&chat);
    }
    chat_setup_free(&chat.setup);
    cli_unload(&model);
    return status;
}
