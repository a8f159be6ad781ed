/* SPDX-License-Identifier: MIT */
#pragma once
/* What attackers have in common: raw connections, with frames as they like them. None of them ever
 * ends by itself: they are killed. */

#include <bus/bus.h>
#include "base/address.h"
#include "base/arena.h"
#include "hostile/stage.h"
#include "wire/messages.h"

#define ATTACK_OUT_BYTES (160u * 1024u)
/* What one packet takes. */
#define ATTACK_PACKET_BYTES (60u * 1024u)
#define ATTACK_FDS_MAX 64u

enum { LINK_SEQPACKET, LINK_STREAM };
/* What others must not have may be asked for as far as it is allowed. */
#define NARROW BUS_SUB_NARROW

struct attacker {
    struct attack_board *board;
    unsigned process;    /* of the same attack */
    unsigned victim_uid; /* whose topics it is after */
    struct dice dice;
    struct arena arena;
    struct address addresses[2];
    size_t len;
    uint8_t out[ATTACK_OUT_BYTES];
};

/* Connected, or -1: the router takes nobody, and it has waited a little. */
int line_open(struct attacker *a, int link);
/* The same with HELLO. */
int line_greet(struct attacker *a, int link);
void line_close(struct attacker *a, int *fd);
/* Appends a frame, whose body are bytes of nothing in particular, to what will be said. */
void put(struct attacker *a, enum verb verb, const void *m, size_t body_bytes);
/* The same, and the prefix says that descriptors come along. */
void put_fds(struct attacker *a, enum verb verb, const void *m, unsigned fds);
/* Says it; on seqpacket it is a packet. False if the connection has ended, or takes nothing for a
 * while: then nothing is left to say, and the frame may be cut. */
bool say(struct attacker *a, int fd);
/* The same with descriptors: so many copies of fd_sent. */
bool say_fds(struct attacker *a, int fd, int fd_sent, unsigned n);
/* Throws away what has come. False at its end. */
bool swallow(struct attacker *a, int fd);
/* Waits a little, so that one who cannot do anything is no spinner. */
void breathe(void);
/* A topic of its own, of this length, of as many levels as that gives; number makes it unique. */
struct text own_topic(char buf[256], size_t bytes, unsigned number);
/* home/UID/..., of its own or of the victims; public if the rest begins so. */
struct text topic_of(char buf[256], unsigned uid, const char *rest);

/* ---- the attacks ---- */

void attack_connections(struct attacker *a);
void attack_half_frames(struct attacker *a);
void attack_deaf(struct attacker *a);
void attack_descriptors(struct attacker *a);
void attack_subscriptions(struct attacker *a);
void attack_topics(struct attacker *a);
void attack_requests(struct attacker *a);
void attack_flood(struct attacker *a);
void attack_refused(struct attacker *a);
