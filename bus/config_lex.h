/* SPDX-License-Identifier: MIT */
#pragma once
/* Words of a configuration file, to find out where something stands: libconfig knows lines only.
 * What is right and what it means is libconfig's to say. */

#include <stdbool.h>
#include <stddef.h>

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,   /* or true, false */
    TOKEN_STRING, /* with its quotes */
    TOKEN_NUMBER,
    TOKEN_SIGN, /* one of = : ; , ( ) [ ] { } */
    TOKEN_BAD,  /* nothing that there is; an open quote and an open comment go up to the end */
};

struct token {
    enum token_kind kind;
    size_t at, len;
};

/* The first token at or behind that place. */
struct token token_next(const char *text, size_t len, size_t at);

struct place {
    unsigned line, column; /* from 1; columns count characters */
};

/* So many bytes further, which are these. */
struct place place_move(struct place p, const char *text, size_t bytes);

/* What could stand where the token does that begins there, in words. */
const char *config_expected(const char *text, size_t len, size_t at);
