// SPDX-License-Identifier: Apache-2.0
#include "cli/line.h"
#include "cli/generate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HEDDLE_LIBEDIT
#include <histedit.h>

static EditLine *editor;
static History *history_of_lines;
static const char *prompt_text = "";

static char *give_prompt(EditLine *el)
{
    (void)el;
    return (char *)(uintptr_t)prompt_text;
}

static void forget_editor(void)
{
    el_end(editor);
    history_end(history_of_lines);
}

static void make_editor(void)
{
    HistEvent event;
    editor = el_init("heddle", stdin, stdout, stderr);
    history_of_lines = history_init();
    if (!editor || !history_of_lines) return;
    history(history_of_lines, &event, H_SETSIZE, 1000);
    history(history_of_lines, &event, H_SETUNIQUE, 1);
    el_set(editor, EL_PROMPT, give_prompt);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_HIST, history, history_of_lines);
    el_set(editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    atexit(forget_editor);                                 // puts the terminal back
}

static LineEnd read_edited(const char *prompt, HdBuf *out_line)
{
    int count = 0;
    HistEvent event;
    prompt_text = prompt;
    errno = 0;
    const char *line = el_gets(editor, &count);
    if (generate_interrupted()) {
        el_reset(editor);
        printf("\n");
        return LINE_INTERRUPTED;
    }
    if (!line || count <= 0) return LINE_END;
    size_t len = strcspn(line, "\n");
    if (len) history(history_of_lines, &event, H_ENTER, line);
    hd_buf_bytes(out_line, line, len);
    return LINE_READ;
}
#endif

static LineEnd read_plain(HdBuf *out_line)
{
    char *line = NULL;
    size_t cap = 0;
    errno = 0;
    ssize_t len = getline(&line, &cap, stdin);
    if (len > 0) hd_buf_bytes(out_line, line, (size_t)len - (line[len - 1] == '\n'));
    free(line);
    if (len > 0) return LINE_READ;
    if (errno != EINTR || !generate_interrupted()) return LINE_END;
    clearerr(stdin);
    return LINE_INTERRUPTED;
}

LineEnd line_read(const char *prompt, HdBuf *out_line)
{
    hd_buf_bytes(out_line, "", 0);
    (void)generate_interrupted(); // one that came when the answer had just ended means nothing any more
    bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
#ifdef HEDDLE_LIBEDIT
    static bool tried;
    if (terminal && !tried) make_editor();
    tried = true;
    if (terminal && editor && history_of_lines) return read_edited(prompt, out_line);
#endif
    if (terminal) fputs(prompt, stdout), fflush(stdout);
    return read_plain(out_line);
}
