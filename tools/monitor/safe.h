/* SPDX-License-Identifier: MIT */
#pragma once
/* Text from other processes, made safe to show.
 * Whoever may publish chooses topics, names, headers and bodies; none of them may move the cursor,
 * change the terminal's mode, reverse the reading direction or pass for a line of the monitor
 * itself. Knows nothing of the bus. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** What may be written as it is. A terminal that is not in UTF-8 reads some bytes of it as control
 * characters. */
enum safe_charset { SAFE_ASCII, SAFE_UTF8 };

/** One character at @s, of which @n > 0 bytes are there: its length, 0 if malformed, -1 if cut off
 * by the end. */
int utf8_next(const unsigned char *s, size_t n, uint32_t *ret_code);

/** Length of the longest prefix that is whole, valid UTF-8. */
size_t utf8_prefix(const void *data, size_t n);

/** Whether a text is valid UTF-8; with @cut an unfinished last character is forgiven. *ret_n is
 * what to show of it. */
bool utf8_valid(const void *data, size_t n, bool cut, size_t *ret_n);

/** Whether a character does something else than appear: controls, direction marks, invisible and
 * reserved ones. */
bool safe_is_hidden(uint32_t code);

/** Whether text is fit to be read as text: no control characters but tab, line feed and carriage
 * return. */
bool safe_is_readable(const void *data, size_t n);

/** Write text on one line, with everything hidden or malformed escaped, and the characters of @also
 * by a backslash. */
void safe_text(FILE *out, const void *data, size_t n, const char *also, enum safe_charset charset);

/** Write a text that stands among others: as it is, or in quotes if it could be mistaken for more
 * than one word. */
void safe_word(FILE *out, const char *text, enum safe_charset charset);

/** As safe_text(), into a new string that the caller frees; NULL if out of memory. */
char *safe_dup(const char *text, enum safe_charset charset);
