/* SPDX-License-Identifier: MIT */
/* The router numbers requests in turn: the last bits of a number are a place, and whoever comes by
 * there next takes it over. So what is never heard of again takes no memory. */
#include "conversations.h"

#include <stdlib.h>

bool conversations_init(struct conversations *c)
{
    c->slots = calloc(CONVERSATIONS_MAX, sizeof(*c->slots));
    return c->slots != NULL;
}

void conversations_fini(struct conversations *c)
{
    free(c->slots);
    c->slots = NULL;
}

static uint64_t elapsed_ns(const struct conversation *slot, const struct bus_record *record)
{
    /* the clock of the records may be set back */
    if (slot->call != record->call || record->call == 0 || record->time_ns < slot->time_ns) {
        return CONVERSATION_UNKNOWN;
    }
    return record->time_ns - slot->time_ns;
}

uint64_t conversations_note(struct conversations *c, const struct bus_record *record)
{
    struct conversation *slot = &c->slots[record->call % CONVERSATIONS_MAX];
    uint64_t ns;

    switch (record->kind) {
    case BUS_RECORD_PUBLISH:
        return CONVERSATION_UNKNOWN;
    case BUS_RECORD_REQUEST:
        *slot = (struct conversation){record->call, record->time_ns};
        return CONVERSATION_UNKNOWN;
    case BUS_RECORD_REPLY: /* of several servers others may reply yet */
    case BUS_RECORD_REPLY_MORE:
        return elapsed_ns(slot, record);
    case BUS_RECORD_END:
        ns = elapsed_ns(slot, record);
        if (slot->call == record->call) {
            slot->call = 0;
        }
        return ns;
    }
    return CONVERSATION_UNKNOWN;
}
