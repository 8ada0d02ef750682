// SPDX-License-Identifier: Apache-2.0
#include "cli/line.h"
#include "cli/generate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HEDDLE_LIBEDIT
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>

static EditLine *editor;
static History *history_of_lines;
static const char *prompt_text = "";
static bool interrupted;

static char *give_prompt(EditLine *el)
{
    (void)el;
    return (char *)(uintptr_t)prompt_text;
}

// A character in UTF-8, whatever the locale. Ctrl-C ends the reading, which libedit's own would sit out once.
static int read_key(EditLine *el, wchar_t *out_key)
{
    char bytes[4];
    size_t used;
    (void)el;
    for (size_t len = 0, want = 1; len < want;) {
        ssize_t got = read(STDIN_FILENO, bytes + len, 1);
        if (got < 0 && errno == EINTR && !(interrupted = generate_interrupted())) continue;
        if (got <= 0) return (int)got;
        if (!len++) want = (uint8_t)bytes[0] >= 0xF0 ? 4 : (uint8_t)bytes[0] >= 0xE0 ? 3 : (uint8_t)bytes[0] >= 0xC0 ? 2 : 1;
        if (len == want) *out_key = (wchar_t)hd_utf8_decode(bytes, len, &used);
    }
    if (*out_key < 0) *out_key = 0xFFFD;
    return 1;
}

// What is typed and shown is UTF-8.
static void set_locale(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8")) setlocale(LC_CTYPE, "C.UTF-8");
}

static void forget_editor(void)
{
    el_end(editor);
    history_end(history_of_lines);
}

static void make_editor(void)
{
    HistEvent event;
    set_locale();
    editor = el_init("heddle", stdin, stdout, stderr);
    history_of_lines = history_init();
    if (!editor || !history_of_lines) return;
    history(history_of_lines, &event, H_SETSIZE, 1000);
    history(history_of_lines, &event, H_SETUNIQUE, 1);
    el_set(editor, EL_PROMPT, give_prompt);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_GETCFN, read_key);
    el_set(editor, EL_HIST, history, history_of_lines);
    el_set(editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    atexit(forget_editor);                                 // puts the terminal back
}

static LineEnd read_edited(const char *prompt, HdBuf *out_line)
{
    int count = 0;
    HistEvent event;
    prompt_text = prompt;
    interrupted = false;
    const char *line = el_gets(editor, &count);
    if (interrupted) {
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

static LineEnd read_line(const char *prompt, HdBuf *out_line)
{
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

LineEnd line_read(const char *prompt, HdBuf *out_line)
{
    hd_buf_bytes(out_line, "", 0);
    (void)generate_interrupted(); // one that came when the answer had just ended means nothing any more
    generate_catch_interrupt(true);
    LineEnd end = read_line(prompt, out_line);
    generate_catch_interrupt(false);
    return end;
}
