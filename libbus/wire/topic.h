/* SPDX-License-Identifier: MIT */
#pragma once
/* The grammar of topics and filters: docs/protocol.md, section 4; MQTT 5.0 section 4.7. Pure
 * functions on bytes. */

#include <stdbool.h>
#include <stddef.h>

/* Well-formed UTF-8 (no overlong forms, no surrogates) without U+0000. */
bool utf8_valid(const char *s, size_t len);
/* The same, and without control characters (U+0001 to U+001F, U+007F to U+009F). */
bool utf8_valid_printable(const char *s, size_t len);

bool topic_valid(const char *s, size_t len);
bool filter_valid(const char *s, size_t len);
/* Whether a valid filter has a wildcard. */
bool filter_has_wildcard(const char *s, size_t len);
/* Whether a valid filter matches a valid topic. */
bool filter_matches(const char *filter, size_t filter_len, const char *topic, size_t topic_len);
/* Whether a topic belongs to the router: "$bus" and what is below it. */
bool topic_is_reserved(const char *s, size_t len);

/* Length of the first level of s. */
size_t topic_level_len(const char *s, size_t len);
