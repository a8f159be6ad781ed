/* SPDX-License-Identifier: MIT */
#pragma once
/* The filter of a rule, which may hold names of the subject, and what becomes of it for a subject:
 * docs/protocol.md, section 20. */

#include <bus/types.h>
#include <stdbool.h>
#include <stddef.h>
#include "core/subject.h"

/* NULL, or what is wrong with it, in words. */
const char *template_check(struct text t);
/* Whether a valid one has that letter behind a percent sign. */
bool template_has(struct text t, char letter);
/* Whether anything in it depends on the subject, or is written otherwise than in a filter. */
bool template_is_plain(struct text t);

/* The filter for a subject: writes it, without NUL, and returns its length. What is put in for a
 * percent sign and a letter stands within one level. If that cannot be (it is empty or not known,
 * has
 * "/", a wildcard or control characters, or makes the filter too long), then 0 is returned: the
 * rule is not for this subject; with wild, every level with a percent sign becomes "+" instead.
 * Without wild it is 0, too, if such a level is the first, and would begin with "$". */
size_t template_expand(struct text t, const struct subject *s, bool wild, char dst[BUS_TOPIC_MAX]);
