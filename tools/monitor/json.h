/* SPDX-License-Identifier: MIT */
#pragma once
/* Records as JSON lines for programs. */

#include <bus/monitor.h>
#include <stdbool.h>
#include <stdio.h>

/** Write one line; with @no_body the members "body" and "body_base64" are left out. @after_ns is
 * how long after its request it came, or CONVERSATION_UNKNOWN. */
void json_record(FILE *out, const struct bus_record *record, uint64_t after_ns, bool no_body);
void json_loss(FILE *out, const struct bus_loss *loss);

/** Write a JSON string; malformed UTF-8 becomes U+FFFD. */
void json_string(FILE *out, const void *data, size_t n);
void json_base64(FILE *out, const void *data, size_t n);
