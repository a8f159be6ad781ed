/* SPDX-License-Identifier: MIT */
#pragma once
/* Alarms of subscriptions: the inside of core/alarm.c. */

#include "core/state.h"

struct alarm {
    struct timer timer;
    struct sub *sub; /* its owner */
    uint64_t period_ns;
    uint64_t last_ns; /* the last message, or SUBSCRIBE */
    bool is_told;     /* and no message has come since */
};

/* For one that is built up again and was just added: the same as it was. The timer is set for then
 * unless it is 0. */
void alarm_restore(struct sub *s, uint64_t last_ns, bool is_told, uint64_t timer_ns);
