/* SPDX-License-Identifier: MIT */
#pragma once
/* Numbers of entries as words: stable names for programs, and short amounts for people. */

#include <bus/inside.h>
#include <stddef.h>
#include <stdint.h>

/** Longest word, with its NUL. */
#define WORD_BYTES 32

/* Each writes a lower-case name such as "drop_oldest", or "unknown_17", to @buffer and returns it.
 */
const char *word_of_policy(uint64_t policy, char buffer[WORD_BYTES]);
const char *word_of_goodbye(uint64_t reason, char buffer[WORD_BYTES]);
const char *word_of_link(uint64_t link, char buffer[WORD_BYTES]);
const char *word_of_state(uint64_t state, char buffer[WORD_BYTES]);
const char *word_of_status(uint64_t status, char buffer[WORD_BYTES]);
const char *word_of_slow(uint64_t slow, char buffer[WORD_BYTES]);

/** Why a client is slow, such as "credit 3.2s sub 2 (120 wait)"; "" if it is not. */
#define SLOW_BYTES 128
const char *word_of_slowness(const struct bus_inside_client *c, char buffer[SLOW_BYTES]);

/** The same in one word: "credit:3.2s", or "-". */
const char *word_of_slowness_short(const struct bus_inside_client *c, char buffer[SLOW_BYTES]);

/** "350ms", "3.2s", "5m10s", "2h5m", "3d4h". */
const char *word_of_ms(uint64_t ms, char buffer[WORD_BYTES]);
/** "2026-11-21 04:28:29", local time. */
const char *word_of_time(uint64_t ns, char buffer[WORD_BYTES]);
