// SPDX-License-Identifier: Apache-2.0
// Tokens of the text form, with positions for messages. Private to parse.c.
#ifndef HEDDLE_IR_LEX_H
#define HEDDLE_IR_LEX_H

#include "ir/ir_internal.h"

typedef enum TokenKind { TOKEN_END, TOKEN_WORD, TOKEN_NUMBER, TOKEN_STRING, TOKEN_VALUE, TOKEN_GRAPH, TOKEN_PUNCT, TOKEN_BAD } TokenKind;

typedef struct Token {
    TokenKind kind;
    size_t at;                 // byte offset of its first character
    HdStr text;                // as written; of a string without its quotes, of %x and @x without the sign
    const char *problem;       // BAD: what is wrong
} Token;

typedef struct Lexer {
    const char *name;          // of the text, for messages
    HdStr text;
    size_t next;
    Token token;               // the current one
} Lexer;

void lex_start(Lexer *lexer, const char *name, HdStr text);   // the first token becomes current
void lex_advance(Lexer *lexer);
// "name:line:column: expected WHAT, found TOKEN", or what is wrong with a bad token.
HD_MUST_USE HdStatus *lex_expected(const Lexer *lexer, const char *what);
HD_MUST_USE HdStatus *lex_error(const Lexer *lexer, size_t at, const char *fmt, ...) HD_PRINTF(3, 4);
HD_MUST_USE HdStatus *lex_locate(const Lexer *lexer, size_t at, HdStatus *status);   // puts the position in front; NULL stays NULL
// The string that a STRING token stands for; false for a bad escape or a NUL.
bool lex_unquote(HdStr text, HdBuf *out_text);

#endif
