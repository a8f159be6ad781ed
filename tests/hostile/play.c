/* SPDX-License-Identifier: MIT */
/* What happens, in its order: quiet, attack, quiet again; and what must hold then. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "hostile/measure.h"

#define PATIENCE_NS (UINT64_C(180) * 1000000000)
#define TURN_MS 5
#define SETTLE_MS 300 /* an attack comes to its full strength, a pace to its rate */
#define KEPT_LEAST 0.8
#define KEPT_LEAST_LENIENT 0.5
#define TURN_TIMES_LENIENT 8u
#define PART_OFFERED 3.0 /* of what goes alone */
#define PART_LEAST 10u   /* of the bounds of the kinds: with less nothing is measured */
#define TRIES 3u

static void pause_for(int ms)
{
    (void) poll(NULL, 0, ms);
}

static bool wait_for(struct stage *s, _Atomic uint32_t *n, unsigned wanted, const char *what)
{
    uint64_t until_ns = now_ns() + PATIENCE_NS;

    while (*n < wanted) {
        if (now_ns() > until_ns) {
            wrong(s, "%s: %u of %u", what, (unsigned) *n, wanted);
            return false;
        }
        pause_for(TURN_MS);
    }
    return true;
}

/* Nothing of the victims is under way, and nothing of others is left. */
static bool rest(struct stage *s, struct probe *p, const struct probe *base, uint64_t *ret_ns)
{
    uint64_t begin_ns = now_ns();

    s->board->tempo = TEMPO_REST;
    do {
        pause_for(TURN_MS);
        if (now_ns() > begin_ns + PATIENCE_NS) {
            (void) probe_is_at_base(p, base, true);
            wrong(s, "the router has kept something");
            return false;
        }
        if (probe_look(s, p) == 0) {
            wrong(s, "the administrator cannot look any more");
            return false;
        }
    } while (!probe_is_at_base(p, base, false));
    *ret_ns = now_ns() - begin_ns;
    return true;
}

static unsigned processes_of(unsigned which)
{
    unsigned n = 0;

    for (unsigned i = 0; i < n_attack_kinds; i++) {
        n += which & 1u << i ? attack_kinds[i].n_processes : 0;
    }
    return n;
}

static bool play_round(struct stage *s, struct probe *p, const struct probe *base, struct trial *t)
{
    struct measured *before = &t->before[t->n_rounds], *during = &t->during[t->n_rounds];
    uint64_t released_ns = 0;

    s->board->tempo = t->tempo;
    pause_for(SETTLE_MS);
    measure(s, p, before);
    s->board->n_attacking = 0;
    if (!party_start(s, PARTY_ATTACKER, attacks_run, &t->which) ||
        !wait_for(s, &s->board->n_attacking, processes_of(t->which), "attackers do not start")) {
        return false;
    }
    pause_for(SETTLE_MS);
    measure(s, p, during);
    t->n_rounds++;
    party_kill(s, PARTY_ATTACKER);
    if (!party_lives(s, PARTY_ROUTER)) {
        wrong(s, "%s: the router has ended", t->name);
        return false;
    }
    if (!rest(s, p, base, &released_ns)) {
        return false;
    }
    t->released_ns = released_ns > t->released_ns ? released_ns : t->released_ns;
    return true;
}

/* ---- what must hold ---- */

static void judge_losses(struct stage *s, const struct trial *t, const struct measured *m)
{
    for (unsigned i = 0; i < n_victim_kinds; i++) {
        const struct measured_pair *p = &m->pairs[i];

        if (p->lost || p->missing || p->refused || p->foreign || p->broken) {
            wrong(s, "%s: %s: %llu lost, %llu missing, %llu refused, %llu foreign, %llu broken",
                  t->name, victim_kinds[i].name, (unsigned long long) p->lost,
                  (unsigned long long) p->missing, (unsigned long long) p->refused,
                  (unsigned long long) p->foreign, (unsigned long long) p->broken);
        }
    }
}

static double kept_least(const struct stage *s)
{
    return s->settings.is_lenient ? KEPT_LEAST_LENIENT : KEPT_LEAST;
}

static uint64_t turn_max_us(const struct stage *s, unsigned pair)
{
    return victim_kinds[pair].turn_max_us * (s->settings.is_lenient ? TURN_TIMES_LENIENT : 1u);
}

static bool is_turn_long(const struct stage *s, const struct trial *t, unsigned pair)
{
    return trial_turn_us(t, pair) > turn_max_us(s, pair);
}

static bool is_rate_low(const struct stage *s, const struct trial *t, unsigned pair)
{
    return trial_kept(t, pair) < kept_least(s);
}

static bool looks_bad(const struct stage *s, const struct trial *t)
{
    for (unsigned i = 0; i < n_victim_kinds; i++) {
        if (is_turn_long(s, t, i) || is_rate_low(s, t, i)) {
            return true;
        }
    }
    return false;
}

static void judge(struct stage *s, const struct trial *t)
{
    for (unsigned i = 0; i < t->n_rounds; i++) {
        judge_losses(s, t, &t->during[i]);
        if (t->during[i].rss_bytes > s->settings.rss_max) {
            wrong(s, "%s: %llu bytes of memory", t->name,
                  (unsigned long long) t->during[i].rss_bytes);
        }
    }
    for (unsigned i = 0; i < n_victim_kinds; i++) {
        if (is_turn_long(s, t, i)) {
            wrong(s, "%s: %s waits %llu us of the router's time for its turn", t->name,
                  victim_kinds[i].name, (unsigned long long) trial_turn_us(t, i));
        }
        if (is_rate_low(s, t, i)) {
            wrong(s, "%s: %s keeps %.0f %% of its rate", t->name, victim_kinds[i].name,
                  100 * trial_kept(t, i));
        }
    }
}

static bool play_trial(struct stage *s, struct probe *p, const struct probe *base, struct trial *t)
{
    bool goes_on = true;

    t->best_counts = s->settings.is_lenient;
    while (goes_on && t->n_rounds < s->settings.rounds_max &&
           (t->n_rounds < s->settings.rounds || looks_bad(s, t))) {
        goes_on = play_round(s, p, base, t);
    }
    if (t->n_rounds > 0) {
        report_trial(t);
        if (s->settings.is_wordy || looks_bad(s, t)) {
            report_pairs(t);
        }
        judge(s, t);
    }
    return goes_on;
}

/* ---- all ---- */

/* Not more than a part of what goes alone, and than the kinds' own bounds. */
static void offer(struct stage *s, const struct measured *full)
{
    for (unsigned i = 0; i < n_victim_kinds; i++) {
        double rate = full->pairs[i].rate / PART_OFFERED;

        rate = rate < (double) victim_kinds[i].rate_max ? rate : (double) victim_kinds[i].rate_max;
        s->board->pairs[i].rate = (uint64_t) rate + 1;
    }
}

/* A router that gets half of its time for these victims must be able to serve them, whatever else
 * this machine does: so they want a third, of the time that it gets when it has all hands full.
 * What comes singly costs more than what comes at once, so that is to be tried. */
static void offer_less(struct stage *s, struct probe *p, const struct measured *full)
{
    double can_get = full->cpu / (full->cpu + full->starved + 1e-9);
    struct measured m;

    s->board->tempo = TEMPO_PACED;
    for (unsigned k = 0; k < TRIES; k++) {
        double part;

        pause_for(SETTLE_MS);
        measure(s, p, &m);
        part = can_get / PART_OFFERED / (m.cpu > 0 ? m.cpu : 1);
        if (part >= 1) {
            return;
        }
        for (unsigned i = 0; i < n_victim_kinds; i++) {
            uint64_t least = victim_kinds[i].rate_max / PART_LEAST;
            uint64_t rate = (uint64_t) ((double) s->board->pairs[i].rate * part);

            s->board->pairs[i].rate = rate > least ? rate : least;
        }
    }
}

static bool prepare(struct stage *s, struct probe *p, struct probe *base)
{
    struct measured full;

    if (!router_start(s) || !party_start(s, PARTY_VICTIM, victims_run, NULL) ||
        !wait_for(s, &s->board->n_ready, victims_expected(), "victims do not start") ||
        !probe_open(s, p)) {
        return false;
    }
    s->board->tempo = TEMPO_FULL;
    pause_for(SETTLE_MS);
    measure(s, p, &full);
    offer(s, &full);
    offer_less(s, p, &full);
    (void) printf("alone, with %.0f %% of a processor for the router:", 100 * full.cpu);
    for (unsigned i = 0; i < n_victim_kinds; i++) {
        (void) printf(" %s %.0f/s (offered: %llu)", victim_kinds[i].name, full.pairs[i].rate,
                      (unsigned long long) s->board->pairs[i].rate);
    }
    (void) putchar('\n');
    s->board->tempo = TEMPO_REST;
    pause_for(SETTLE_MS);
    if (probe_look(s, p) == 0) {
        wrong(s, "the administrator cannot look");
        return false;
    }
    *base = *p;
    return true;
}

static bool play_all(struct stage *s, struct probe *p, const struct probe *base)
{
    static struct trial t;

    report_head(s);
    for (unsigned i = 0; i < n_attack_kinds; i++) {
        if (!s->settings.only || strcmp(s->settings.only, attack_kinds[i].name) == 0) {
            t = (struct trial){
                .name = attack_kinds[i].name, .which = 1u << i, .tempo = TEMPO_PACED};
            if (!play_trial(s, p, base, &t)) {
                return false;
            }
        }
    }
    if (!s->settings.only || strcmp(s->settings.only, "all") == 0) {
        t = (struct trial){
            .name = "all", .which = (1u << n_attack_kinds) - 1, .tempo = TEMPO_PACED};
        return play_trial(s, p, base, &t);
    }
    return true;
}

/* Lines of the router's log about an event of that user. */
static unsigned log_count(const struct stage *s, const char *event, uid_t uid)
{
    char path[96], line[4096], wanted[32];
    unsigned n = 0;
    FILE *f;

    (void) snprintf(path, sizeof(path), "%s/run/log", s->dir);
    (void) snprintf(wanted, sizeof(wanted), " uid=%u ", (unsigned) uid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f)) {
        n += strstr(line, event) && strstr(line, wanted);
    }
    if (f) {
        (void) fclose(f);
    }
    return n;
}

/* Who reads the log knows who it was, and accuses nobody else of what he must not do. */
static void judge_log(struct stage *s)
{
    static const char *const events[] = {" access.denied ", " quota.exceeded "};

    for (unsigned i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (log_count(s, events[i], s->users[PARTY_ATTACKER].uid) == 0) {
            wrong(s, "the log has no%sof the attacker", events[i]);
        }
    }
    /* as fast as it goes, a victim may well be over its rate */
    if (log_count(s, events[0], s->users[PARTY_VICTIM].uid) > 0) {
        wrong(s, "the log has%sof a victim", events[0]);
    }
}

int play(struct stage *s)
{
    struct probe p = {0}, base;
    bool is_good = stage_open(s) == 0 && prepare(s, &p, &base) && play_all(s, &p, &base);

    party_kill(s, PARTY_VICTIM);
    probe_close(&p);
    is_good = is_good && router_stop(s);
    if (is_good && !s->settings.only) {
        judge_log(s);
    }
    is_good = is_good && s->n_wrong == 0;
    (void) printf("bus-hostile: %s\n", is_good ? "all as it must be" : "WRONG");
    stage_close(s);
    return is_good ? 0 : 1;
}
