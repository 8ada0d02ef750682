// SPDX-License-Identifier: Apache-2.0
// Template text to tokens, with Jinja2's rules for white space around tags:
//   {%- -%} {{- -}} {#- -#}   take away all white space on that side;
//   {% and {# at the start of a line take away the blanks before them (lstrip_blocks), unless written {%+;
//   %} and #} take away a newline right behind them (trim_blocks), unless written +%}.
#include "runtime/template/internal.h"

#include <stdlib.h>
#include <string.h>

typedef struct Lexer {
    const char *name;
    HdStr source;
    HdArena *arena;
    TplTokens *tokens;
    size_t at;
    uint32_t line;
    bool line_starts;                    // does the text at this place start a line? (A tag's own newline was taken away.)
    char closers[TPL_MAX_NESTING];       // brackets that are open, by what closes them
    size_t depth;
} Lexer;

static HdStatus *fail(const Lexer *lexer, HdCode code, const char *what) {
    return tpl_fail_at(lexer->name, lexer->line, code, "%s", what);
}

static char peek(const Lexer *lexer, size_t ahead) {
    return lexer->at + ahead < lexer->source.len ? lexer->source.data[lexer->at + ahead] : 0;
}

static bool is_one_of(char c, const char *set) { return c && strchr(set, c); }

static bool starts(const Lexer *lexer, size_t at, const char *text) {
    return at <= lexer->source.len && hd_str_starts((HdStr){lexer->source.data + at, lexer->source.len - at}, text);
}

// Steps forward to `to`, counting lines.
static void move(Lexer *lexer, size_t to) {
    for (; lexer->at < to; lexer->at++) lexer->line += lexer->source.data[lexer->at] == '\n';
}

static size_t skip_space(const Lexer *lexer, size_t at) {
    size_t used;
    while (at < lexer->source.len && tpl_is_space(hd_utf8_decode(lexer->source.data + at, lexer->source.len - at, &used)))
        at += used;
    return at;
}

static TplToken *push(Lexer *lexer, TplTokenKind kind, size_t len) {
    hd_vec_push(lexer->tokens, ((TplToken){.kind = kind, .line = lexer->line, .text = {lexer->source.data + lexer->at, len}}));
    return &lexer->tokens->data[lexer->tokens->len - 1];
}

// ---- text between tags ---------------------------------------------------------------------------------------

static bool is_blank(HdStr text) { return text.len && !tpl_strip(text, NULL, TPL_LEFT).len; }

// The text up to the tag at `end`, without what the tag takes away.
static void lex_data(Lexer *lexer, size_t end, char sign, bool is_print) {
    HdStr text = {lexer->source.data + lexer->at, end - lexer->at};
    const char *newline = text.len ? memrchr(text.data, '\n', text.len) : NULL;
    size_t line = newline ? (size_t)(newline - text.data) + 1 : 0;
    if (sign == '-') text = tpl_strip(text, NULL, TPL_RIGHT);
    else if (sign != '+' && !is_print && (line || lexer->line_starts) && is_blank((HdStr){text.data + line, text.len - line}))
        text.len = line;
    if (text.len) push(lexer, TPL_DATA, text.len);
    move(lexer, end);
}

static char sign_at(const Lexer *lexer, size_t at) {
    char sign = at < lexer->source.len ? lexer->source.data[at] : 0;
    return sign == '-' || sign == '+' ? sign : 0;
}

// The first place from `at` on where a tag begins; the end of the text when there is none.
static size_t find_tag(const Lexer *lexer, size_t at) {
    for (; at + 1 < lexer->source.len; at++)
        if (lexer->source.data[at] == '{' && is_one_of(lexer->source.data[at + 1], "%{#")) return at;
    return lexer->source.len;
}

// Behind a closing mark such as %} at `at`, sign included, with what it takes away. 0: there is none here.
static size_t after_close(const Lexer *lexer, size_t at, const char *close, bool trims, bool plus) {
    char sign = sign_at(lexer, at);
    if (!starts(lexer, at + (sign != 0), close) || (sign == '+' && !plus)) return 0;
    at += (sign != 0) + strlen(close);
    if (sign == '-') return skip_space(lexer, at);
    return at + (trims && !sign && starts(lexer, at, "\n"));
}

static void close_tag(Lexer *lexer, size_t end) {
    move(lexer, end);
    lexer->line_starts = lexer->source.data[end - 1] == '\n';
}

// ---- comments and raw blocks ---------------------------------------------------------------------------------

static HdStatus *lex_comment(Lexer *lexer) {
    for (size_t at = lexer->at; at < lexer->source.len; at++) {
        size_t end = after_close(lexer, at, "#}", true, true);
        if (end) return close_tag(lexer, end), NULL;
    }
    return fail(lexer, HD_BAD_DATA, "a comment does not end");
}

// Behind "{%- word -%}" at `at`. 0: there is no such tag here.
static size_t after_word_tag(const Lexer *lexer, size_t at, const char *word, bool trims, bool plus) {
    if (!starts(lexer, at, "{%")) return 0;
    at = skip_space(lexer, at + 2 + (sign_at(lexer, at + 2) != 0));
    if (!starts(lexer, at, word)) return 0;
    return after_close(lexer, skip_space(lexer, at + strlen(word)), "%}", trims, plus);
}

// Between {% raw %} and {% endraw %} everything is text.
static HdStatus *lex_raw(Lexer *lexer, size_t after) {
    uint32_t line = lexer->line;
    close_tag(lexer, after);
    for (size_t at = lexer->at; at < lexer->source.len; at++) {
        size_t end = after_word_tag(lexer, at, "endraw", true, true);
        if (!end) continue;
        lex_data(lexer, at, sign_at(lexer, at + 2), false);
        return close_tag(lexer, end), NULL;
    }
    return tpl_fail_at(lexer->name, line, HD_BAD_DATA, "a raw block does not end");
}

// ---- literals ------------------------------------------------------------------------------------------------

static HdStatus *lex_code(Lexer *lexer, HdStr text, size_t *at, size_t digits, HdBuf *out) {
    int64_t code = 0;
    for (size_t i = 0; i < digits; i++) {
        static const char hex[] = "0123456789abcdef0123456789ABCDEF";
        const char *found = *at < text.len && text.data[*at] ? strchr(hex, text.data[*at]) : NULL;
        if (!found) return fail(lexer, HD_BAD_DATA, "an escape in a string lacks digits");
        code = code << 4 | ((found - hex) & 15);
        ++*at;
    }
    if (code > 0x10FFFF || code >> 11 == 0xD800 >> 11)
        return fail(lexer, HD_UNSUPPORTED, "an escape in a string is no code point");
    return hd_buf_utf8(out, (int32_t)code), NULL;
}

// Up to three octal digits.
static void lex_octal(HdStr text, size_t *at, HdBuf *out) {
    int32_t code = 0;
    for (size_t end = *at + 3; *at < end && *at < text.len && text.data[*at] >= '0' && text.data[*at] <= '7'; ++*at)
        code = code * 8 + (text.data[*at] - '0');
    hd_buf_utf8(out, code);
}

// Behind a backslash.
static HdStatus *lex_escape(Lexer *lexer, HdStr text, size_t *at, HdBuf *out) {
    static const char letters[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
    char letter = text.data[*at];
    const char *found = letter ? strchr(letters, letter) : NULL;
    if (letter >= '0' && letter <= '7') return lex_octal(text, at, out), NULL;
    if (letter == 'N') return fail(lexer, HD_UNSUPPORTED, "\\N in a string is not supported");
    if (letter == 'x' || letter == 'u' || letter == 'U') {
        ++*at;
        return lex_code(lexer, text, at, letter == 'x' ? 2 : letter == 'u' ? 4 : 8, out);
    }
    if (letter == '\n') return ++*at, NULL;                    // the line goes on
    hd_buf_str(out, found ? "" : "\\");                        // an unknown escape stays as it is
    if (found) hd_buf_bytes(out, &values[found - letters], 1), ++*at;
    return NULL;
}

static HdStatus *unescape(Lexer *lexer, HdStr text, HdBuf *out) {
    for (size_t at = 0; at < text.len;) {
        const char *slash = memchr(text.data + at, '\\', text.len - at);
        size_t end = slash ? (size_t)(slash - text.data) : text.len;
        hd_buf_bytes(out, text.data + at, end - at);
        at = end + (slash != NULL);
        if (slash) HD_TRY(lex_escape(lexer, text, &at, out));
    }
    return NULL;
}

static HdStatus *lex_string(Lexer *lexer, char quote) {
    size_t end = lexer->at + 1;
    while (end < lexer->source.len && lexer->source.data[end] != quote) end += lexer->source.data[end] == '\\' ? 2 : 1;
    if (end >= lexer->source.len) return fail(lexer, HD_BAD_DATA, "a string does not end");
    HdStr inside = {lexer->source.data + lexer->at + 1, end - lexer->at - 1};
    HdBuf text = {0};
    HdStatus *status = unescape(lexer, inside, &text);
    if (!status) {
        TplToken *token = push(lexer, TPL_LITERAL, end + 1 - lexer->at);
        token->value = tpl_string((HdStr){hd_arena_strndup(lexer->arena, text.data, text.len), text.len});
        move(lexer, end + 1);
    }
    hd_buf_free(&text);
    return status;
}

static size_t digits_at(const Lexer *lexer, size_t at) {
    size_t end = at;
    for (; end < lexer->source.len; end++) {
        char c = lexer->source.data[end];
        bool between = c == '_' && end > at && end + 1 < lexer->source.len && lexer->source.data[end + 1] >= '0'
                       && lexer->source.data[end + 1] <= '9';
        if (!between && (c < '0' || c > '9')) break;
    }
    return end - at;
}

// Behind a fraction and an exponent; lexer->at + digits when there is neither.
static size_t after_float(const Lexer *lexer, size_t end) {
    size_t fraction = end < lexer->source.len && lexer->source.data[end] == '.' ? digits_at(lexer, end + 1) : 0;
    if (fraction) end += 1 + fraction;
    if (end < lexer->source.len && (lexer->source.data[end] | 0x20) == 'e') {
        size_t sign = sign_at(lexer, end + 1) != 0, exponent = digits_at(lexer, end + 1 + sign);
        if (exponent) end += 1 + sign + exponent;
    }
    return end;
}

static HdStatus *lex_number(Lexer *lexer) {
    size_t whole = lexer->at + digits_at(lexer, lexer->at), end = after_float(lexer, whole);
    if (lexer->at && lexer->source.data[lexer->at - 1] == '.') end = whole;   // x.1.2: two subscripts
    bool letters = end < lexer->source.len && is_one_of(lexer->source.data[end], "xXoObB") && end == lexer->at + 1;
    HdBuf digits = {0};
    for (size_t i = lexer->at; i < end; i++)
        if (lexer->source.data[i] != '_') hd_buf_bytes(&digits, &lexer->source.data[i], 1);
    HdStr text = {digits.data, digits.len};
    TplValue value = tpl_int(0);
    bool padded = end == whole && text.len > 1 && text.data[0] == '0' && strspn(text.data, "0") < text.len, known;
    if (end == whole) known = hd_parse_i64(text, &value.integer);
    else value = tpl_float(0), known = hd_parse_f64(text, &value.real);
    hd_buf_free(&digits);
    if (letters || padded || !known) return fail(lexer, HD_UNSUPPORTED, "a number that is not supported");
    push(lexer, TPL_LITERAL, end - lexer->at)->value = value;
    return move(lexer, end), NULL;
}

// ---- inside of tags ------------------------------------------------------------------------------------------

static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9'); }

static void lex_word(Lexer *lexer) {
    size_t len = 0;
    while (is_word(peek(lexer, len))) len++;
    push(lexer, TPL_WORD, len);
    move(lexer, lexer->at + len);
}

static HdStatus *balance(Lexer *lexer, char c) {
    static const char open[] = "([{", close[] = ")]}";
    const char *opens = strchr(open, c), *closes = strchr(close, c);
    if (opens && lexer->depth == TPL_MAX_NESTING) return fail(lexer, HD_LIMIT, "brackets are nested too deeply");
    if (opens) lexer->closers[lexer->depth++] = close[opens - open];
    if (closes && (!lexer->depth || lexer->closers[--lexer->depth] != c))
        return tpl_fail_at(lexer->name, lexer->line, HD_BAD_DATA, "unexpected '%c'", c);
    return NULL;
}

static HdStatus *lex_operator(Lexer *lexer) {
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    char c = peek(lexer, 0);
    size_t len = 0;
    for (size_t i = 0; i < HD_COUNT(two); i++)
        if (starts(lexer, lexer->at, two[i])) len = 2;
    if (!len && is_one_of(c, "+-*/%~[](){}<>=.:|,;")) len = 1;
    if (!len) return tpl_fail_at(lexer->name, lexer->line, HD_BAD_DATA, "unexpected character '%c'", c < 0 ? '?' : c);
    if (len == 1) HD_TRY(balance(lexer, c));
    push(lexer, TPL_OPERATOR, len);
    return move(lexer, lexer->at + len), NULL;
}

static HdStatus *lex_one(Lexer *lexer) {
    char c = peek(lexer, 0);
    if (c >= '0' && c <= '9') return lex_number(lexer);
    if (is_word(c)) return lex_word(lexer), NULL;
    return c == '\'' || c == '"' ? lex_string(lexer, c) : lex_operator(lexer);
}

// From behind {{ or {% to behind its end, which counts only where no bracket is open.
static HdStatus *lex_tag(Lexer *lexer, bool is_print) {
    const char *close = is_print ? "}}" : "%}";
    uint32_t line = lexer->line;
    lexer->depth = 0;
    for (;;) {
        size_t end = lexer->depth ? 0 : after_close(lexer, lexer->at, close, !is_print, !is_print);
        if (end) {
            push(lexer, TPL_CLOSE, 2);
            return close_tag(lexer, end), NULL;
        }
        size_t next = skip_space(lexer, lexer->at);
        if (next == lexer->source.len) return tpl_fail_at(lexer->name, line, HD_BAD_DATA, "a tag does not end");
        if (next == lexer->at) HD_TRY(lex_one(lexer));
        else move(lexer, next);
    }
}

static HdStatus *lex_next(Lexer *lexer) {
    size_t start = find_tag(lexer, lexer->at);
    bool none = start == lexer->source.len;
    char kind = none ? 0 : lexer->source.data[start + 1], sign = none ? '+' : sign_at(lexer, start + 2);
    lex_data(lexer, start, sign, kind == '{');
    if (none) return NULL;
    size_t raw = after_word_tag(lexer, start, "raw", false, false);
    if (raw) return lex_raw(lexer, raw);
    if (kind != '#') push(lexer, kind == '{' ? TPL_PRINT : TPL_TAG, 2);
    move(lexer, start + 2 + (sign != 0));
    return kind == '#' ? lex_comment(lexer) : lex_tag(lexer, kind == '{');
}

HdStatus *tpl_lex(const char *name, HdStr source, HdArena *arena, TplTokens *out_tokens) {
    Lexer lexer = {.name = name, .source = source, .arena = arena, .tokens = out_tokens, .line = 1, .line_starts = true};
    while (lexer.at < source.len) HD_TRY(lex_next(&lexer));
    push(&lexer, TPL_END, 0);
    return NULL;
}
