// SPDX-License-Identifier: Apache-2.0
// The lexer of the text form: words, numbers, quoted strings, %values, @graphs and single characters. White space and
// comments (// to the end of the line) separate tokens and mean nothing else.
#include "ir/lex.h"

#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' || is_digit(c);
}

static char char_at(const Lexer *lexer, size_t at) { return at < lexer->text.len ? lexer->text.data[at] : '\0'; }

static void skip_space(Lexer *lexer) {
    for (;;) {
        char c = char_at(lexer, lexer->next);
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            lexer->next++;
        } else if (c == '/' && char_at(lexer, lexer->next + 1) == '/') {
            while (lexer->next < lexer->text.len && lexer->text.data[lexer->next] != '\n') lexer->next++;
        } else {
            return;
        }
    }
}

static size_t word_end(const Lexer *lexer, size_t at) {
    while (is_word_char(char_at(lexer, at))) at++;
    return at;
}

// Digits with what a decimal may hold: a sign only behind an e. The number itself is judged by whoever reads it.
static size_t number_end(const Lexer *lexer, size_t at) {
    for (;; at++) {
        char c = char_at(lexer, at), before = at ? lexer->text.data[at - 1] : ' ';
        bool sign = (c == '+' || c == '-') && (before == 'e' || before == 'E');
        if (!is_word_char(c) && !sign) return at;
    }
}

static void lex_string(Lexer *lexer, Token *token) {
    size_t at = lexer->next + 1;
    token->kind = TOKEN_STRING;
    for (char c; (c = char_at(lexer, at)) != '"'; at++) {
        if (at >= lexer->text.len || c == '\n') {
            token->kind = TOKEN_BAD;
            token->problem = "unterminated string";
            break;
        }
        if (c == '\\' && at + 1 < lexer->text.len && lexer->text.data[at + 1] != '\n') at++;
    }
    token->text = (HdStr){lexer->text.data + lexer->next + 1, at - lexer->next - 1};
    lexer->next = at + (token->kind == TOKEN_STRING);
}

static void lex_signed_name(Lexer *lexer, Token *token, TokenKind kind) {
    size_t start = lexer->next + 1;
    lexer->next = word_end(lexer, start);
    token->kind = lexer->next > start ? kind : TOKEN_BAD;
    token->problem = "a name must follow this sign";
    token->text = (HdStr){lexer->text.data + start, lexer->next - start};
}

void lex_advance(Lexer *lexer) {
    skip_space(lexer);
    size_t at = lexer->next;
    char c = char_at(lexer, at);
    Token *token = &lexer->token;
    *token = (Token){.at = at};
    if (at >= lexer->text.len) return;
    if (c == '"') {
        lex_string(lexer, token);
    } else if (c == '%' || c == '@') {
        lex_signed_name(lexer, token, c == '%' ? TOKEN_VALUE : TOKEN_GRAPH);
    } else {
        bool known = c && strchr("{}()[],:=+-*/", c);
        token->kind = is_digit(c) ? TOKEN_NUMBER : is_word_char(c) ? TOKEN_WORD : known ? TOKEN_PUNCT : TOKEN_BAD;
        token->problem = "unexpected character";
        lexer->next = token->kind == TOKEN_NUMBER ? number_end(lexer, at)
                      : token->kind == TOKEN_WORD ? word_end(lexer, at)
                                                  : at + 1;
        token->text = (HdStr){lexer->text.data + at, lexer->next - at};
    }
}

void lex_start(Lexer *lexer, const char *name, HdStr text) {
    *lexer = (Lexer){.name = name, .text = text};
    lex_advance(lexer);
}

// ---- messages ------------------------------------------------------------------------------------------------

HdStatus *lex_locate(const Lexer *lexer, size_t at, HdStatus *status) {
    size_t line = 1, column = 1;
    for (size_t i = 0; status && i < at && i < lexer->text.len; i++) {
        column++;
        if (lexer->text.data[i] == '\n') line++, column = 1;
    }
    return hd_annotate(status, "%s:%zu:%zu", lexer->name, line, column);
}

HdStatus *lex_error(const Lexer *lexer, size_t at, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    HdStatus *status = hd_verror(HD_BAD_DATA, fmt, args);
    va_end(args);
    return lex_locate(lexer, at, status);
}

HdStatus *lex_expected(const Lexer *lexer, const char *what) {
    const Token *token = &lexer->token;
    char found[48] = {0};
    if (token->kind == TOKEN_END) return lex_error(lexer, token->at, "expected %s, found the end of the text", what);
    for (size_t i = 0; i < token->text.len && i < sizeof found - 1; i++)
        found[i] = token->text.data[i] >= ' ' && token->text.data[i] <= '~' ? token->text.data[i] : '?';
    if (token->kind == TOKEN_BAD) return lex_error(lexer, token->at, "%s '%s', expected %s", token->problem, found, what);
    return lex_error(lexer, token->at, "expected %s, found '%s%s'", what,
                     token->kind == TOKEN_VALUE ? "%" : token->kind == TOKEN_GRAPH ? "@" : "", found);
}

// ---- strings -------------------------------------------------------------------------------------------------

static int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The character that the escape at `*at` (behind the backslash) stands for, or -1; moves `*at` to its last character.
static int escape(HdStr text, size_t *at) {
    char c = *at < text.len ? text.data[*at] : '\0';
    if (c == '"' || c == '\\') return c;
    if (c == 'n') return '\n';
    if (c != 'x' || *at + 2 >= text.len) return -1;
    int high = hex_digit(text.data[*at + 1]), low = hex_digit(text.data[*at + 2]);
    *at += 2;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool lex_unquote(HdStr text, HdBuf *out_text) {
    hd_buf_bytes(out_text, "", 0);
    for (size_t i = 0; i < text.len; i++) {
        int c = (unsigned char)text.data[i];
        if (c == '\\') i++, c = escape(text, &i);
        if (c <= 0) return false;
        char byte = (char)c;
        hd_buf_bytes(out_text, &byte, 1);
    }
    return true;
}
