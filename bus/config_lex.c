/* SPDX-License-Identifier: MIT */
#include "config_lex.h"
#include <string.h>

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '*';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool begins(const char *text, size_t len, size_t at, const char *with)
{
    size_t n = strlen(with);

    return len - at >= n && memcmp(text + at, with, n) == 0;
}

/* Behind blanks and comments; at an open comment, at its beginning. */
static size_t skip_blanks(const char *text, size_t len, size_t at)
{
    for (;;) {
        while (at < len && strchr(" \t\n\r\f\v", text[at]) && text[at]) {
            at++;
        }
        if (begins(text, len, at, "/*")) {
            const char *end = memmem(text + at + 2, len - at - 2, "*/", 2);

            if (!end) {
                return at;
            }
            at = (size_t) (end - text) + 2;
        } else if (at < len && (text[at] == '#' || begins(text, len, at, "//"))) {
            const char *end = memchr(text + at, '\n', len - at);

            at = end ? (size_t) (end - text) : len;
        } else {
            return at;
        }
    }
}

/* 0: not closed */
static size_t string_length(const char *text, size_t len, size_t at)
{
    for (size_t i = at + 1; i < len; i++) {
        if (text[i] == '"') {
            return i + 1 - at;
        }
        i += text[i] == '\\';
    }
    return 0;
}

struct token token_next(const char *text, size_t len, size_t at)
{
    struct token t = {.kind = TOKEN_END};
    char c;

    t.at = at = skip_blanks(text, len, at);
    if (at >= len) {
        return t;
    }
    c = text[at++];
    if (c == '"') {
        t.len = string_length(text, len, t.at);
        t.kind = t.len > 0 ? TOKEN_STRING : TOKEN_BAD;
        t.len = t.len > 0 ? t.len : len - t.at;
        return t;
    }
    if (is_letter(c)) {
        t.kind = TOKEN_NAME;
        while (at < len &&
               (is_letter(text[at]) || is_digit(text[at]) || text[at] == '-' || text[at] == '_')) {
            at++;
        }
    } else if (is_digit(c) || c == '+' || c == '-' || c == '.') {
        t.kind = TOKEN_NUMBER; /* with a unit that should have been in quotes, too */
        while (at < len && (is_letter(text[at]) || is_digit(text[at]) || text[at] == '.' ||
                            text[at] == '+' || text[at] == '-')) {
            at++;
        }
    } else if (c && strchr("=:;,()[]{}", c)) {
        t.kind = TOKEN_SIGN;
    } else {
        t.kind = TOKEN_BAD;
        at = c == '/' ? len : at; /* an open comment */
        while (at < len && (unsigned char) c >= 0x80 && (unsigned char) text[at] >= 0x80) {
            at++; /* a word in other letters */
        }
    }
    t.len = at - t.at;
    return t;
}

struct place place_move(struct place p, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\n') {
            p.line++;
            p.column = 1;
        } else {
            p.column += ((unsigned char) text[i] & 0xC0) != 0x80; /* not inside of a character */
        }
    }
    return p;
}

/* ---- expected ---- */

#define DEPTH_MAX 64

/* What surrounds a place: open brackets, and the token before it. */
struct surroundings {
    char open[DEPTH_MAX];
    size_t depth;
    enum token_kind before;
    char sign; /* of before */
};

static struct surroundings surroundings_of(const char *text, size_t len, size_t at)
{
    struct surroundings s = {.before = TOKEN_SIGN, .sign = ';'};

    for (struct token t = token_next(text, len, 0); t.kind != TOKEN_END && t.at < at;
         t = token_next(text, len, t.at + t.len)) {
        s.before = t.kind;
        s.sign = t.kind == TOKEN_SIGN ? text[t.at] : '\0';
        if (s.sign && strchr("([{", s.sign) && s.depth < DEPTH_MAX) {
            s.open[s.depth++] = s.sign;
        } else if (s.sign && strchr(")]}", s.sign) && s.depth > 0) {
            s.depth--;
        }
    }
    return s;
}

static bool is_any_of(char sign, const char *signs)
{
    return sign && strchr(signs, sign);
}

const char *config_expected(const char *text, size_t len, size_t at)
{
    const struct surroundings s = surroundings_of(text, len, at);
    char open = s.depth > 0 ? s.open[s.depth - 1] : '\0';

    if (is_any_of(s.sign, "=:")) {
        return "a value: a number, a \"text\" (units need quotes: \"5s\"), true, false, or ( [ {";
    }
    if (open == '(') {
        return is_any_of(s.sign, "(,") ? "a value, or { for a group" : ", or )";
    }
    if (open == '[') {
        return is_any_of(s.sign, "[,") ? "a number or a \"text\"" : ", or ]";
    }
    if (s.before == TOKEN_NAME) {
        return "= behind the name, or quotes around a text";
    }
    if (open == '{') {
        return is_any_of(s.sign, "{;,") ? "NAME = VALUE; or }" : "; or }";
    }
    return is_any_of(s.sign, ";,") ? "NAME = VALUE;" : "; or the end of the file";
}
