/* SPDX-License-Identifier: MIT */
#include "faults/check.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLD_MAX 20u

/* A publish, by its number. */
struct sent {
    uint64_t t_ns, confirmed_ns; /* 0: not */
    uint32_t n, nk, matched;
    uint8_t topic, class, status;
    bool is_sent, is_dead, is_unknown; /* the link broke before it was confirmed */
    uint8_t n_first;                   /* deliveries as a job that said that they were the first */
    int n_acked;
};

/* A request, by its n. */
struct asked {
    bool is_begun, is_to_all, is_answered;
    uint8_t n_ended, n_called;
};

/* A connection. */
struct life {
    bool is_closed;
    bool is_done; /* it has come to its end, and waited for what is reliable */
    struct sent *sent;
    uint32_t n_sent, n_sent_max;
    uint32_t *number[N_CLASSES]; /* by n */
    uint32_t n_number[N_CLASSES], n_number_max[N_CLASSES];
    struct asked *asked;
    uint32_t n_asked, n_asked_max;
    /* for the subscription that is being looked at */
    uint64_t looked_at, part;
    uint32_t last;
};

struct lives {
    struct life *at; /* by number - 1 */
    uint32_t n;
};

struct check {
    struct records *const *records;
    unsigned n_records;
    struct lives lives[CLIENTS_MAX];
    struct tally *tally;
    unsigned n_wrong;
    uint64_t n_looked_at, n_parts;
    uint64_t group_lost;
};

__attribute__((format(printf, 2, 3))) static void wrong(struct check *k, const char *format, ...)
{
    va_list args;

    if (k->n_wrong++ < TOLD_MAX) {
        va_start(args, format);
        (void) fputs("bus-faults: WRONG: ", stderr);
        (void) vfprintf(stderr, format, args);
        (void) fputc('\n', stderr);
        va_end(args);
    }
}

/* Makes list[n] exist, zeroed. */
static void *reach(void *list, uint32_t *n, uint32_t *n_max, uint32_t want, size_t size)
{
    if (want >= *n_max) {
        uint32_t n_new = want * 2 + 64;

        list = realloc(list, n_new * size);
        if (!list) {
            (void) fputs("bus-faults: out of memory\n", stderr);
            exit(1);
        }
        memset((char *) list + *n_max * size, 0, (n_new - *n_max) * size);
        *n_max = n_new;
    }
    *n = want + 1 > *n ? want + 1 : *n;
    return list;
}

static struct life *life_of(struct check *k, uint64_t id)
{
    uint32_t client = (uint32_t) (id >> 32), number = (uint32_t) id;

    if (client >= k->n_records || number == 0 || number > k->lives[client].n) {
        return NULL;
    }
    return &k->lives[client].at[number - 1];
}

/* ---- what was done ---- */

static void load_sent(struct life *l, const struct record *r)
{
    struct sent *s;

    l->sent = reach(l->sent, &l->n_sent, &l->n_sent_max, r->number, sizeof(*l->sent));
    l->number[r->again] = reach(l->number[r->again], &l->n_number[r->again],
                                &l->n_number_max[r->again], r->n, sizeof(uint32_t));
    s = &l->sent[r->number];
    *s = (struct sent){.t_ns = r->t_ns,
                       .n = r->n,
                       .nk = r->nk,
                       .topic = r->topic,
                       .class = r->again,
                       .is_sent = true};
    l->number[r->again][r->n] = r->number;
}

static void load_confirmed(struct check *k, struct life *l, const struct record *r)
{
    struct sent *s = r->number < l->n_sent ? &l->sent[r->number] : NULL;
    uint64_t waited_ns;

    if (!s || !s->is_sent || s->confirmed_ns || s->is_unknown) {
        wrong(k, "a confirmation of publish %u of %llx, which was not sent, or twice", r->number,
              (unsigned long long) r->life);
        return;
    }
    if (r->reason == BUS_STATUS_DISCONNECTED) {
        s->is_unknown = true;
        return;
    }
    s->confirmed_ns = r->t_ns;
    s->status = r->reason;
    s->matched = r->nk;
    k->tally->confirmed++;
    k->tally->refused += r->reason != BUS_STATUS_OK;
    waited_ns = r->t_ns - s->t_ns;
    k->tally->longest_ns = waited_ns > k->tally->longest_ns ? waited_ns : k->tally->longest_ns;
}

static struct asked *load_asked(struct life *l, uint32_t n)
{
    l->asked = reach(l->asked, &l->n_asked, &l->n_asked_max, n, sizeof(*l->asked));
    return &l->asked[n];
}

static void load_ended(struct check *k, struct life *l, const struct record *r)
{
    struct asked *a = load_asked(l, r->n);

    if (!a->is_begun || a->n_ended++ > 0) {
        wrong(k, "request %u of %llx has ended twice, or has not begun", r->n,
              (unsigned long long) r->life);
    }
    a->is_answered = r->reason == BUS_STATUS_OK && !r->again && !a->is_to_all;
    k->tally->ends[r->reason % N_STATUS]++;
}

static void load(struct check *k, const struct record *r)
{
    struct life *l = life_of(k, r->life);

    if (!l) {
        return;
    }
    switch (r->kind) {
    case RECORD_CLOSED:
        l->is_closed = true;
        l->is_done = !r->again;
        break;
    case RECORD_SENT:
        load_sent(l, r);
        k->tally->sent++;
        break;
    case RECORD_UNSENT:
        l->sent[r->number].is_sent = false;
        l->number[r->again][r->n] = 0;
        k->tally->sent--;
        break;
    case RECORD_CONFIRMED:
        load_confirmed(k, l, r);
        break;
    case RECORD_BEGUN:
        *load_asked(l, r->n) = (struct asked){.is_begun = true, .is_to_all = r->again};
        k->tally->requests++;
        break;
    case RECORD_UNBEGUN:
        *load_asked(l, r->n) = (struct asked){0};
        k->tally->requests--;
        break;
    case RECORD_ENDED:
        load_ended(k, l, r);
        break;
    default:
        break;
    }
}

static struct sent *sent_by_n(struct check *k, const struct record *r, unsigned class)
{
    struct life *l = life_of(k, r->life);

    if (!l || r->n >= l->n_number[class] || l->number[class][r->n] == 0) {
        return NULL;
    }
    return &l->sent[l->number[class][r->n]];
}

/* ---- subscriptions ---- */

struct subscription {
    uint64_t asked_ns, ready_ns, drains_ns, over_ns; /* 0: not */
    uint64_t got, lost, gaps;
    uint8_t topic;
};

static unsigned class_of(const struct subscription *s)
{
    return s->topic == TOPIC_RELIABLE ? CLASS_RELIABLE : CLASS_MESSAGE;
}

static bool is_for(const struct subscription *s, const struct sent *m)
{
    return m->is_sent && m->class == class_of(s) &&
           (s->topic == TOPIC_ALL || s->topic == TOPIC_RELIABLE || s->topic == m->topic);
}

/* Whether it was published before that time, in any case. What is reliable may have waited in its
 * publisher; but all of it was, when that has come to its end. */
static bool is_published(const struct life *l, const struct sent *m, uint64_t end_ns)
{
    return m->class == CLASS_RELIABLE ? l->is_done && end_ns == UINT64_MAX
                                      : m->confirmed_ns && m->confirmed_ns < end_ns;
}

/* How many messages it must have got, or been told of, at least and at most. */
static void bounds(struct check *k, const struct subscription *s, uint64_t *least, uint64_t *most)
{
    uint64_t end_ns = s->drains_ns ? s->drains_ns : UINT64_MAX;

    *least = *most = 0;
    for (unsigned i = 0; i < k->n_records; i++) {
        for (uint32_t n = 0; n < k->lives[i].n; n++) {
            const struct life *l = &k->lives[i].at[n];

            for (uint32_t j = 0; j < l->n_sent; j++) {
                const struct sent *m = &l->sent[j];
                bool is_refused = m->confirmed_ns && m->status != BUS_STATUS_OK;

                if (!is_for(s, m) || is_refused) {
                    continue;
                }
                *least += m->t_ns > s->ready_ns && is_published(l, m, end_ns);
                *most +=
                    m->t_ns < s->over_ns && !(m->confirmed_ns && m->confirmed_ns < s->asked_ns);
            }
        }
    }
}

static void subscription_over(struct check *k, unsigned client, struct subscription *s,
                              const struct record *r)
{
    uint64_t least, most, seen = s->got + s->lost;

    s->over_ns = r->t_ns;
    if (r->reason == OVER_LOST || s->ready_ns == 0) {
        k->tally->cut++;
        return;
    }
    bounds(k, s, &least, &most);
    if (seen < least || seen > most) {
        wrong(k,
              "client %u: a subscription got %llu and lost %llu, of at least %llu and at most "
              "%llu messages",
              client, (unsigned long long) s->got, (unsigned long long) s->lost,
              (unsigned long long) least, (unsigned long long) most);
    }
    k->tally->subscriptions++;
    k->tally->uncertain += most - least;
}

static void subscription_got(struct check *k, unsigned client, struct subscription *s,
                             const struct record *r)
{
    struct life *l = life_of(k, r->life);
    const struct sent *m = sent_by_n(k, r, class_of(s));
    uint32_t n = s->topic < KINDS_OF_TOPIC ? r->nk : r->n;

    k->tally->delivered++;
    s->got++;
    if (!m || !is_for(s, m) || m->nk != r->nk || m->topic != r->topic) {
        wrong(k, "client %u: got message %u of %llx, which nobody sent to it", client, r->n,
              (unsigned long long) r->life);
        return;
    }
    if (l->looked_at == k->n_looked_at) {
        if (n <= l->last) {
            wrong(k, "client %u: message %u of %llx after %u: twice, or not in order", client, n,
                  (unsigned long long) r->life, l->last);
            return;
        }
        s->gaps += l->part == k->n_parts ? n - l->last - 1 : 0;
    }
    l->looked_at = k->n_looked_at;
    l->part = k->n_parts;
    l->last = n;
    if (s->gaps > s->lost) {
        wrong(k, "client %u: %llu messages are missing before %u of %llx, and %llu were told",
              client, (unsigned long long) s->gaps, n, (unsigned long long) r->life,
              (unsigned long long) s->lost);
        s->gaps = 0;
    }
}

/* It is asked for again. What is reliable comes as if nothing had been; of the rest nobody knows
 * what is missing, but order holds. */
static void subscription_away(struct check *k, struct subscription *s, const struct record *r)
{
    if ((s->topic == TOPIC_RELIABLE) == (r->kind == RECORD_STALLED)) {
        k->tally->cut += s->asked_ns != 0;
        *s = (struct subscription){.asked_ns = r->t_ns, .topic = s->topic};
        k->n_parts++;
    }
}

static void subscriber_check(struct check *k, unsigned client, const struct records *records)
{
    struct subscription s = {0};

    for (uint32_t i = 0; i < records->n; i++) {
        const struct record *r = &records->at[i];

        switch (r->kind) {
        case RECORD_ASKED:
            s = (struct subscription){.asked_ns = r->t_ns, .topic = r->topic};
            k->n_looked_at++;
            k->n_parts++;
            break;
        case RECORD_AWAY:
        case RECORD_STALLED:
            subscription_away(k, &s, r);
            break;
        case RECORD_READY:
            s.ready_ns = s.topic == TOPIC_RELIABLE && s.ready_ns ? s.ready_ns : r->t_ns;
            break;
        case RECORD_DRAINS:
            s.drains_ns = s.drains_ns ? s.drains_ns : r->t_ns;
            break;
        case RECORD_LOST:
            s.lost += r->number;
            k->tally->lost[r->reason % (unsigned) N_REASONS] += r->number;
            break;
        case RECORD_GOT:
            subscription_got(k, client, &s, r);
            break;
        case RECORD_OVER:
            subscription_over(k, client, &s, r);
            break;
        default:
            break;
        }
    }
}

/* ---- the group ---- */

static void job_note(struct check *k, unsigned client, const struct record *r)
{
    struct sent *m = sent_by_n(k, r, CLASS_JOB);

    if (!m) {
        wrong(k, "client %u: got job %u of %llx, which nobody sent", client, r->n,
              (unsigned long long) r->life);
    } else if (r->kind == RECORD_ACKED) {
        m->n_acked++;
    } else if (r->kind == RECORD_UNACKED) {
        m->n_acked--;
    } else if (r->kind == RECORD_DEAD) {
        k->tally->dead++;
        if (m->is_dead) {
            wrong(k, "job %u of %llx was given up twice", r->n, (unsigned long long) r->life);
        }
        m->is_dead = true;
    } else if (r->again) {
        k->tally->redelivered++;
    } else if (m->n_first++ > 0) {
        wrong(k, "client %u: job %u of %llx came again as if it was new", client, r->n,
              (unsigned long long) r->life);
    }
}

static void member_check(struct check *k, unsigned client, const struct records *records)
{
    for (uint32_t i = 0; i < records->n; i++) {
        const struct record *r = &records->at[i];

        if (r->kind == RECORD_GOT || r->kind == RECORD_ACKED || r->kind == RECORD_UNACKED ||
            r->kind == RECORD_DEAD) {
            job_note(k, client, r);
        } else if (r->kind == RECORD_LOST) {
            k->group_lost += r->number;
        }
    }
}

/* Since when the group has been there without a break; UINT64_MAX: it is not. */
static uint64_t group_since_ns(const struct records *anchor)
{
    uint64_t since_ns = UINT64_MAX;

    for (uint32_t i = 0; i < anchor->n; i++) {
        if (anchor->at[i].kind == RECORD_OPENED || anchor->at[i].kind == RECORD_AWAY) {
            since_ns = UINT64_MAX;
        } else if (anchor->at[i].kind == RECORD_READY) {
            since_ns = anchor->at[i].t_ns;
        }
    }
    return since_ns;
}

static void jobs_check(struct check *k, uint64_t since_ns)
{
    uint64_t n_missing = 0;

    for (unsigned i = 0; i < k->n_records; i++) {
        for (uint32_t n = 0; n < k->lives[i].n; n++) {
            const struct life *l = &k->lives[i].at[n];

            for (uint32_t j = 0; j < l->n_sent; j++) {
                const struct sent *m = &l->sent[j];

                if (!m->is_sent || m->class != CLASS_JOB || m->t_ns <= since_ns ||
                    !m->confirmed_ns || m->status != BUS_STATUS_OK) {
                    continue;
                }
                k->tally->jobs++;
                n_missing += m->n_acked == 0 && !m->is_dead;
                if (m->matched == 0) {
                    wrong(k, "job %u of client %u matched nothing", m->n, i);
                }
            }
        }
    }
    if (n_missing > k->group_lost) {
        wrong(k, "%llu jobs were neither done nor given up, and %llu were told to be lost",
              (unsigned long long) n_missing, (unsigned long long) k->group_lost);
    }
}

/* ---- requests ---- */

static void server_check(struct check *k, unsigned client, const struct records *records)
{
    for (uint32_t i = 0; i < records->n; i++) {
        const struct record *r = &records->at[i];
        struct life *l = r->kind == RECORD_CALLED ? life_of(k, r->life) : NULL;

        if (r->kind != RECORD_CALLED) {
            continue;
        }
        if (!l || r->n >= l->n_asked || !l->asked[r->n].is_begun) {
            wrong(k, "client %u: call %u of %llx, which nobody made", client, r->n,
                  (unsigned long long) r->life);
        } else if (l->asked[r->n].n_called++ > 0 && !r->again) {
            wrong(k, "request %u of %llx went to two servers", r->n, (unsigned long long) r->life);
        }
    }
}

static void requests_check(struct check *k)
{
    for (unsigned i = 0; i < k->n_records; i++) {
        for (uint32_t n = 0; n < k->lives[i].n; n++) {
            const struct life *l = &k->lives[i].at[n];

            for (uint32_t j = 0; j < l->n_asked; j++) {
                const struct asked *a = &l->asked[j];

                if (a->is_begun && a->n_ended == 0 && l->is_closed) {
                    wrong(k, "request %u of client %u has not ended", j, i);
                }
                if (a->is_answered && a->n_called == 0) {
                    wrong(k, "request %u of client %u was answered by nobody", j, i);
                }
            }
        }
    }
}

/* ---- all ---- */

static void check_load(struct check *k)
{
    for (unsigned i = 0; i < k->n_records; i++) {
        const struct records *r = k->records[i];

        if (r->is_full) {
            wrong(k, "client %u: its records are full", i);
        }
        k->lives[i].n = r->n_lives;
        k->lives[i].at = calloc(r->n_lives + 1, sizeof(struct life));
        for (uint32_t n = 0; k->lives[i].at && n < r->n; n++) {
            load(k, &r->at[n]);
            if (r->at[n].kind == RECORD_WRONG) {
                static const char *const what[] = {"a body", "an answer"};

                wrong(k, "client %u: %s is not what was sent", i, what[r->at[n].reason % 2]);
            }
        }
    }
}

static void check_free(struct check *k)
{
    for (unsigned i = 0; i < k->n_records; i++) {
        for (uint32_t n = 0; n < k->lives[i].n; n++) {
            free(k->lives[i].at[n].sent);
            for (unsigned c = 0; c < N_CLASSES; c++) {
                free(k->lives[i].at[n].number[c]);
            }
            free(k->lives[i].at[n].asked);
        }
        free(k->lives[i].at);
    }
}

unsigned check_round(struct records *const records[CLIENTS_MAX], unsigned n, unsigned anchor,
                     const enum client_kind kinds[CLIENTS_MAX], struct tally *tally)
{
    static void (*const checks[])(struct check *, unsigned, const struct records *) = {
        [CLIENT_SUBSCRIBER] = subscriber_check,
        [CLIENT_RELIABLE_SUBSCRIBER] = subscriber_check,
        [CLIENT_MEMBER] = member_check,
        [CLIENT_SERVER] = server_check,
        [N_CLIENT_KINDS] = NULL,
    };
    struct check k = {.records = records, .n_records = n, .tally = tally};

    check_load(&k);
    for (unsigned i = 0; i < n; i++) {
        if (checks[kinds[i]]) {
            checks[kinds[i]](&k, i, records[i]);
        }
    }
    jobs_check(&k, group_since_ns(records[anchor]));
    requests_check(&k);
    check_free(&k);
    return k.n_wrong;
}
