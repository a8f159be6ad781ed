/* SPDX-License-Identifier: MIT */
/* Clients of the relay whose bodies stay in memory: a publisher fills a buffer that subscribers
 * have mapped and sends a token, each subscriber checks the buffer where it is and gives the token
 * back, and when all have done so the publisher uses the buffer again. No router in the middle can
 * do better. With bodies that are copied a publisher fills memory of its own and copies that. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "common.h"
#include "harness.h"
#include "parties.h"
#include "pool.h"
#include "relay.h"

static int say_failed(const char *what)
{
    tool_error("cannot %s the relay: %s", what, strerror(errno));
    return -1;
}

/* Waits for some: as many as have come, their number or -1. All write and read whole ones, so that
 * none is torn apart. */
static int receive_tokens(struct party *p, struct token *tokens)
{
    ssize_t n = recv(p->socket, tokens, POOL_TOTAL_MAX * sizeof(*tokens), 0);

    if (n <= 0 || (size_t) n % sizeof(*tokens) != 0) {
        return say_failed("read from");
    }
    return (int) ((size_t) n / sizeof(*tokens));
}

/* ---- publishers ---- */

struct lender {
    struct party *party;
    unsigned n_borrowers; /* of each buffer */
    unsigned n;
    unsigned char *buffers[POOL_BUFFERS_MAX];
    unsigned n_lent_to[POOL_BUFFERS_MAX];
    uint64_t numbers[POOL_BUFFERS_MAX]; /* of the messages in them */
    unsigned free[POOL_BUFFERS_MAX];    /* last in, first out: that one is in the caches */
    unsigned n_free;
    struct token out[POOL_BUFFERS_MAX]; /* not sent yet */
    unsigned n_out;
    unsigned char *own; /* filled instead of a buffer, and copied; NULL: buffers are filled */
};

static int lender_init(struct lender *l, struct party *p)
{
    const struct spec *spec = p->spec;

    *l = (struct lender){.party = p, .n = p->net->pool->n};
    l->n_borrowers = p->net->n - p->net->n_sources;
    for (l->n_free = 0; l->n_free < l->n; l->n_free++) {
        l->free[l->n_free] = l->n_free;
    }
    if (!spec->in_place) {
        l->own = malloc(spec->bytes);
        if (!l->own) {
            tool_error("out of memory");
            return -1;
        }
        memset(l->own, 0, spec->bytes); /* its pages come now */
    }
    return pool_own(p->net->pool, p->index, l->buffers);
}

static int lender_send(struct lender *l)
{
    size_t n = l->n_out;

    l->n_out = 0;
    if (n > 0 && send_all(l->party->socket, l->out, n * sizeof(l->out[0])) < 0) {
        return say_failed("write to");
    }
    return 0;
}

/* Waits for tokens that come back. 0 or -1. */
static int lender_collect(struct lender *l)
{
    struct token tokens[POOL_TOTAL_MAX];
    int n = receive_tokens(l->party, tokens);

    for (int i = 0; i < n; i++) {
        unsigned buffer = tokens[i].buffer;

        if (buffer >= l->n || l->n_lent_to[buffer] == 0 || l->numbers[buffer] != tokens[i].number) {
            tool_error("publisher %u: a token came back that it had not sent", l->party->index);
            return -1;
        }
        if (--l->n_lent_to[buffer] == 0) {
            l->free[l->n_free++] = buffer;
        }
    }
    return n < 0 ? -1 : 0;
}

/* Waits until there are so many free buffers. 0 or -1. */
static int lender_wait(struct lender *l, unsigned n_free)
{
    int r = l->n_free < n_free ? lender_send(l) : 0;

    while (r == 0 && l->n_free < n_free) {
        r = lender_collect(l);
    }
    return r;
}

/* Where the next body is to be written, or NULL. */
static unsigned char *lender_body(struct lender *l)
{
    if (l->own) {
        return l->own;
    }
    return lender_wait(l, 1) < 0 ? NULL : l->buffers[l->free[l->n_free - 1]];
}

static int lender_publish(struct lender *l, uint64_t number)
{
    size_t bytes = l->party->spec->bytes;
    unsigned buffer;

    if (lender_wait(l, 1) < 0) {
        return -1;
    }
    buffer = l->free[--l->n_free];
    if (l->own) {
        memcpy(l->buffers[buffer], l->own, bytes);
    }
    l->n_lent_to[buffer] = l->n_borrowers;
    l->numbers[buffer] = number;
    l->out[l->n_out++] =
        (struct token){.source = l->party->index, .buffer = buffer, .number = number};
    return l->n_out >= l->party->net->pool->batch ? lender_send(l) : 0;
}

/* A publisher that ended before it had everything back would leave the relay with tokens for
 * nobody. 0 or -1. */
static int lender_close(struct lender *l)
{
    int r = lender_wait(l, l->n);

    free(l->own);
    return r;
}

int memory_publisher(struct party *p)
{
    struct lender l;
    struct stint stint;
    uint64_t start_ns;
    bool is_last = false;

    if (lender_init(&l, p) < 0 || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    stint_init(&stint, p->spec, start_ns);
    while (!is_last) {
        unsigned char *body = lender_body(&l);

        if (!body) {
            return 1;
        }
        is_last = stint_next(&stint, p->index, body, p->spec->bytes);
        if (lender_publish(&l, stint.sent - 1) < 0) {
            return 1;
        }
    }
    return lender_close(&l) < 0;
}

int memory_paced_publisher(struct party *p)
{
    double interval_ns = 1e9 / p->spec->rate;
    uint64_t n = p->spec->count;
    struct lender l;
    uint64_t start_ns;

    if (lender_init(&l, p) < 0 || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    for (uint64_t i = 0; i < n; i++) {
        unsigned char *body = lender_body(&l);

        if (!body) {
            return 1;
        }
        pattern_fill(body, p->spec->bytes, pattern_word(p->index, i, i + 1 == n));
        sleep_until(start_ns + (uint64_t) ((double) i * interval_ns));
        if (lender_publish(&l, i) < 0 || lender_send(&l) < 0) {
            return 1;
        }
    }
    return lender_close(&l) < 0;
}

/* ---- subscribers ---- */

/* The buffers of all publishers, by publisher; NULL if they cannot be had. */
static unsigned char **borrow_all(const struct pool *pool)
{
    unsigned char **buffers = calloc((size_t) pool->n_sources * pool->n, sizeof(*buffers));

    for (unsigned i = 0; buffers && i < pool->n_sources; i++) {
        if (pool_borrow(pool, i, buffers + (size_t) i * pool->n) < 0) {
            free(buffers);
            return NULL;
        }
    }
    return buffers;
}

/* As checker_message(). */
static int check_token(struct checker *c, unsigned char *const *buffers, const struct token *token)
{
    const struct pool *pool = c->party->net->pool;

    if (token->source >= pool->n_sources || token->buffer >= pool->n) {
        tool_error("subscriber %u: a token that nobody can have sent", c->party->index);
        return -1;
    }
    return checker_message(c, buffers[token->source * pool->n + token->buffer], c->bytes);
}

/* Checks what tokens stand for and gives them back. As checker_message(). */
static int check_tokens(struct checker *c, unsigned char *const *buffers,
                        const struct token *tokens, size_t n)
{
    size_t given = 0;
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        r = check_token(c, buffers, &tokens[i]);
        if (r >= 0 && (i + 1 - given == c->party->net->pool->batch || i + 1 == n)) {
            if (send_all(c->party->socket, tokens + given, (i + 1 - given) * sizeof(*tokens)) < 0) {
                return say_failed("write to");
            }
            given = i + 1;
        }
    }
    return r;
}

int memory_subscriber(struct party *p)
{
    unsigned char **buffers = borrow_all(p->net->pool);
    struct checker c;
    uint64_t start_ns;
    int r = 0;

    checker_init(&c, p);
    if (!buffers || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    checker_start(&c, start_ns);
    while (r == 0) {
        struct token tokens[POOL_TOTAL_MAX];
        int n = receive_tokens(p, tokens);

        r = n < 0 ? -1 : check_tokens(&c, buffers, tokens, (size_t) n);
    }
    free(buffers);
    return r < 0;
}

/* ---- round trips: one buffer for each direction, because an answer gives the question's back ----
 */

struct player {
    struct party *party;
    unsigned char *mine[POOL_BUFFERS_MAX];
    unsigned char *theirs[POOL_BUFFERS_MAX];
};

static int player_init(struct player *g, struct party *p, unsigned self)
{
    const struct pool *pool = p->net->pool;

    g->party = p;
    return pool_own(pool, self, g->mine) < 0 || pool_borrow(pool, 1 - self, g->theirs) < 0 ? -1 : 0;
}

static int player_send(struct player *g)
{
    struct token token = {0};

    return send_all(g->party->socket, &token, sizeof(token)) < 0 ? say_failed("write to") : 0;
}

static int player_receive(struct player *g)
{
    struct token tokens[POOL_TOTAL_MAX];

    return receive_tokens(g->party, tokens) < 0 ? -1 : 0;
}

/* `body` is g->mine[0] or is copied to it. 0 or -1. */
static int play(struct player *g, const unsigned char *body)
{
    struct party *p = g->party;
    const unsigned char *answer = g->theirs[0];
    uint64_t sent_ns = tool_now_ns();

    if (body != g->mine[0]) {
        memcpy(g->mine[0], body, p->spec->bytes);
    }
    if (player_send(g) < 0 || player_receive(g) < 0) {
        return -1;
    }
    p->samples[p->result->n_samples++] = tool_now_ns() - sent_ns;
    if (pattern_first_word(answer) != pattern_first_word(body) ||
        !pattern_matches(answer, p->spec->bytes)) {
        tool_error("the answer is not what was sent");
        return -1;
    }
    return 0;
}

int memory_pinger(struct party *p)
{
    unsigned char *own = malloc(p->spec->bytes);
    unsigned char *body;
    struct player g;
    struct stint stint;
    uint64_t start_ns;
    bool is_last = false;

    if (!own || player_init(&g, p, 0) < 0 || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    body = p->spec->in_place ? g.mine[0] : own;
    stint_init(&stint, p->spec, start_ns);
    p->result->first_ns = tool_now_ns();
    while (!is_last) {
        is_last = stint_next(&stint, 0, body, p->spec->bytes);
        if (play(&g, body) < 0) {
            return 1;
        }
    }
    p->result->last_ns = tool_now_ns();
    p->result->messages = stint.sent;
    free(own);
    return 0;
}

/* Answers with a copy, also if the questions are written in place: it was not there. */
int memory_ponger(struct party *p)
{
    struct player g;
    uint64_t start_ns;
    bool is_last = false;

    if (player_init(&g, p, 1) < 0 || party_ready(p, &start_ns) < 0) {
        return 1;
    }
    while (!is_last) {
        if (player_receive(&g) < 0) {
            return 1;
        }
        memcpy(g.mine[0], g.theirs[0], p->spec->bytes);
        is_last = pattern_first_word(g.mine[0]) & PATTERN_LAST;
        if (player_send(&g) < 0) {
            return 1;
        }
    }
    return 0;
}
