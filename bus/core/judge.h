/* SPDX-License-Identifier: MIT */
#pragma once
/* What peers may, asked by the verbs, and judged anew when the rules change. docs/protocol.md,
 * section 20. */

#include "core/state.h"

/* ---- asking ---- */

/* NULL if the peer may do that with a topic. Otherwise it is noted as refused, and why is returned:
 * valid until the next refusal. */
const char *peer_denied(struct peer *p, uint32_t verb, struct text topic);
/* The same for a topic that is not the one of the frame: the text names it. */
const char *peer_denied_beside(struct peer *p, uint32_t verb, struct text topic);
/* The same for all topics of a filter. With ret_narrowed, it is enough that it may with some: then
 * the reason is written there, and it is NULL otherwise. */
const char *peer_denied_filter(struct peer *p, uint32_t verb, struct text filter,
                               const char **ret_narrowed);
/* Without a note. */
bool peer_may(const struct peer *p, uint32_t verb, struct text topic);
/* All that is under $bus, and all that is not. */
const char *peer_denied_all(struct peer *p, uint32_t verb);
/* A subscription whose client wants to have what it may get, of a topic that matches. */
bool sub_may_get(const struct topic *t, const struct sub *s);
/* What its client needs for it. */
const char *subscribe_denied(struct peer *p, const struct wire_subscribe *m,
                             const char **ret_narrowed);

/* The right that a subscription with such flags needs. */
uint32_t sub_right(uint32_t flags);
/* Whether it can hold publishers up: a server has no queue. */
bool sub_is_blocking(uint32_t flags, uint32_t policy);
/* What a monitor may not watch, as peer_denied(); the tap is that of the peer, or to be. */
const char *tap_denied(struct peer *p, const struct tap *tap);
/* Notes that somebody was refused, or (is_lost) has lost it. Returns why, as peer_denied(). */
const char *denial_note(struct router *r, const struct sender *s, uint32_t verb, struct text topic,
                        const struct access_verdict *v, bool is_lost);
/* Adds the verb and the topic to that text, if these are not those of the frame. */
const char *denial_name(struct router *r, uint32_t verb, struct text topic);

/* ---- who it is ---- */

/* Whom that access is for, with the name of that sender. */
struct subject subject_of(const struct access *a, const struct sender *s);

/* The access of a new peer, whose name is not known yet. False if out of memory. */
bool access_begin(struct peer *p, const struct subject *s);
/* The name is known now. False if out of memory. */
bool access_greet(struct peer *p);
void access_end(struct peer *p);

/* ---- rejudge.c ---- */

struct judgement;

/* Whatever can fail: the accesses of all that are there under a policy. NULL if out of memory. */
struct judgement *judge_prepare(struct router *r, struct policy *policy);
/* Puts it into force: what is not allowed any more ends, and its client is told. */
void judge_commit(struct router *r, struct judgement *j);
/* Or does not. */
void judge_cancel(struct router *r, struct judgement *j);

/* Asserts that all of a peer is allowed; for tests. */
void peer_rights_check(const struct peer *p);
