/* SPDX-License-Identifier: MIT */
/* Alarms of subscriptions that no message has matched for a time. A message only notes when it
 * came; the timer, when it fires, finds out whether that was long ago. */
#include "core/alarm.h"
#include <stdlib.h>
#include "base/units.h"
#include "core/state.h"

static struct alarm **alarm_of(const struct sub *s)
{
    return &s->peer->alarms[sub_id(s) - 1];
}

/* False if it could not be said now. */
static bool alarm_tell(struct router *r, const struct alarm *a)
{
    struct peer *p = a->sub->peer;
    struct wire_silence m = {sub_id(a->sub), (r->now.monotonic_ns - a->last_ns) / NS_PER_MS};

    if (p->out.bytes >= p->output_max || !peer_try_send(p, VERB_SILENCE, &m)) {
        return false;
    }
    r->counters.silences_told++;
    return true;
}

static void alarm_fire(struct router *r, struct timer *t)
{
    struct alarm *a = container_of(t, struct alarm, timer);
    uint64_t due_ns = a->last_ns + a->period_ns;

    if (due_ns <= r->now.monotonic_ns) {
        a->is_told = alarm_tell(r, a);
        due_ns = r->now.monotonic_ns + a->period_ns; /* if not, perhaps then */
    }
    if (!a->is_told) {
        timer_set(&r->timers, t, due_ns, alarm_fire);
    }
}

bool alarm_add(struct sub *s, uint32_t silence_ms)
{
    struct peer *p = s->peer;
    struct router *r = p->router;
    struct alarm *a;

    if (!peer_table_reach(p, (void ***) &p->alarms, &p->n_alarms_max, sub_id(s)) ||
        !charge_add(&p->charge, sizeof(*a))) {
        return false;
    }
    a = calloc(1, sizeof(*a));
    if (!a) {
        charge_release(&p->charge, sizeof(*a));
        return false;
    }
    a->sub = s;
    a->period_ns = silence_ms * NS_PER_MS;
    a->last_ns = r->now.monotonic_ns;
    timer_set(&r->timers, &a->timer, a->last_ns + a->period_ns, alarm_fire);
    *alarm_of(s) = a;
    p->n_alarms++;
    s->flags |= SUB_ALARM;
    return true;
}

void alarm_drop(struct sub *s)
{
    struct peer *p = s->peer;

    if (!(s->flags & SUB_ALARM)) {
        return;
    }
    timer_stop(&p->router->timers, &(*alarm_of(s))->timer);
    free(*alarm_of(s));
    *alarm_of(s) = NULL;
    p->n_alarms--;
    charge_release(&p->charge, sizeof(struct alarm));
    s->flags &= (uint8_t) ~SUB_ALARM;
}

void alarm_note(struct sub *s)
{
    struct router *r = s->peer->router;
    struct alarm *a = *alarm_of(s);

    a->last_ns = r->now.monotonic_ns;
    if (a->is_told) {
        a->is_told = false;
        timer_set(&r->timers, &a->timer, a->last_ns + a->period_ns, alarm_fire);
    }
}

void alarms_fini(struct peer *p)
{
    charge_release(&p->charge, p->n_alarms_max * sizeof(void *));
    free(p->alarms);
    p->alarms = NULL;
    p->n_alarms_max = 0;
}

void alarm_restore(struct sub *s, uint64_t last_ns, bool is_told, uint64_t timer_ns)
{
    struct router *r = s->peer->router;
    struct alarm *a = *alarm_of(s);

    a->last_ns = MIN(last_ns, r->now.monotonic_ns);
    a->is_told = is_told;
    if (is_told) {
        timer_stop(&r->timers, &a->timer);
    } else {
        timer_set(&r->timers, &a->timer, timer_ns, alarm_fire);
    }
}
