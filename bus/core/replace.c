/* SPDX-License-Identifier: MIT */
/* REPLACE: who may take the router's place. Handing over is the process's business.
 * docs/protocol.md, section 19. */
#include "core/image.h"
#include "core/state.h"

static const char *replace_check(const struct peer *p, const struct wire_replace *m,
                                 const struct parcel *parcel, enum bus_status *ret)
{
    const struct router *r = p->router;

    *ret = BUS_STATUS_DENIED;
    if (p->info.uid != 0 && p->info.uid != r->config.owner_uid) {
        return "only the router's own user and root may replace it";
    }
    *ret = BUS_STATUS_UNSUPPORTED;
    if (!r->config.descriptors) {
        return "this router cannot be replaced";
    }
    if (m->version != 1) {
        return "this router hands over with version 1";
    }
    *ret = BUS_STATUS_BAD_DESCRIPTORS;
    if (!parcel || parcel->n != 1) {
        return "one descriptor is needed and did not arrive";
    }
    *ret = BUS_STATUS_UNEXPECTED;
    if (r->is_shutting_down || r->replacement) {
        return r->replacement ? "it is being replaced already" : "the router stops";
    }
    *ret = BUS_STATUS_OK;
    return "";
}

void replace_handle(struct peer *p, const struct wire_replace *m, struct parcel *parcel)
{
    enum bus_status code;
    const char *why = replace_check(p, m, parcel, &code);
    struct wire_status status = {.code = code, .verb = VERB_REPLACE, .text = text_from(why)};

    peer_send_status(p, &status);
    if (code == BUS_STATUS_OK) {
        p->router->replacement = parcel_ref(parcel);
        p->router->replacer = p;
    }
}

struct parcel *router_take_replacement(struct router *r, struct peer **ret_peer)
{
    *ret_peer = r->replacer;
    r->replacer = NULL;
    return TAKE(r->replacement);
}

bool router_is_to_be_replaced(const struct router *r)
{
    return r->replacement && (!r->replacer || r->replacer->out.bytes == 0);
}
