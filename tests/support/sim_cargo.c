/* SPDX-License-Identifier: MIT */
#include "support/sim_cargo.h"

/* Memory of the test itself must not fail when the router's does. */
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);

/* ---- descriptors ---- */

#define FD_FIRST 1000

struct fake_fd {
    unsigned n_open; /* so many have it open */
    struct descriptor_info info;
    uint8_t *data;
};

static struct fake_fd *fds;
static size_t n_fds, n_fds_max, n_fds_open;

static struct fake_fd *fd_get(int fd)
{
    assert_true(fd >= FD_FIRST && (size_t) (fd - FD_FIRST) < n_fds);
    return &fds[fd - FD_FIRST];
}

int sim_fd_new(uint64_t bytes, bool immutable)
{
    if (n_fds == n_fds_max) {
        n_fds_max = n_fds_max ? 2 * n_fds_max : 256;
        fds = __real_realloc(fds, n_fds_max * sizeof(*fds));
    }
    fds[n_fds] = (struct fake_fd){.n_open = 1,
                                  .info = {bytes > 0, immutable, bytes},
                                  .data = bytes > 0 ? __real_calloc(1, bytes) : NULL};
    n_fds_open++;
    return FD_FIRST + (int) n_fds++;
}

uint8_t *sim_fd_data(int fd)
{
    return fd_get(fd)->data;
}

unsigned sim_fds_open(void)
{
    return (unsigned) n_fds_open;
}

void sim_fds_end(void)
{
    assert_int_equal(n_fds_open, 0);
    for (size_t i = 0; i < n_fds; i++) {
        free(fds[i].data);
    }
    free(fds);
    fds = NULL;
    n_fds = n_fds_max = 0;
}

static void fd_close(int fd)
{
    assert_true(fd_get(fd)->n_open > 0);
    fd_get(fd)->n_open--;
    n_fds_open--;
}

void sim_fd_dup(int fd)
{
    assert_true(fd_get(fd)->n_open > 0);
    fd_get(fd)->n_open++;
    n_fds_open++;
}

void sim_fd_close(int fd)
{
    fd_close(fd);
}

static int fd_inspect(int fd, struct descriptor_info *ret)
{
    assert_true(fd_get(fd)->n_open > 0);
    *ret = fd_get(fd)->info;
    return 0;
}

static bool fd_read(int fd, uint64_t offset, void *dst, size_t bytes)
{
    const struct fake_fd *f = fd_get(fd);

    assert_true(f->n_open > 0 && f->info.is_buffer);
    assert_true(offset <= f->info.bytes && bytes <= f->info.bytes - offset);
    memcpy(dst, f->data + offset, bytes);
    return true;
}

const struct descriptor_ops sim_descriptor_ops = {fd_inspect, fd_read};

/* ---- to the router ---- */

struct parcel *sim_parcel(const int *which, unsigned n, bool truncated)
{
    struct parcel *p = __real_malloc(sizeof(*p) + n * sizeof(int));

    *p = (struct parcel){.refs = 1, .n = (uint8_t) n, .truncated = truncated, .close = fd_close};
    for (unsigned i = 0; i < n; i++) {
        p->fds[i] = which[i];
    }
    return p;
}

struct parcel *sim_parcel_of(unsigned n)
{
    int which[PARCEL_FDS_MAX];

    for (unsigned i = 0; i < n; i++) {
        which[i] = sim_fd_new(0, false);
    }
    return sim_parcel(which, n, false);
}

void sim_send_parcel(struct sim *s, struct sim_client *c, enum verb verb, const void *message,
                     const void *body, size_t body_bytes, unsigned n, struct parcel *parcel)
{
    if (parcel) {
        router_add_parcel(s->router, c->peer, parcel, &s->now);
    }
    s->n_fds = n;
    sim_send(s, c, verb, message, body, body_bytes);
    s->n_fds = 0;
    router_settle_parcels(c->peer);
}

bool sim_register(struct sim *s, struct sim_client *c, unsigned number, uint64_t slot_bytes,
                  bool immutable)
{
    const struct counters *k = router_counters(s->router);
    uint64_t before = k->buffers_now;
    struct sim_buffer *b = &c->buffers[number - 1];
    struct wire_buffer m = {number, slot_bytes * SIM_SLOTS, 0};
    int fd = sim_fd_new(m.bytes, immutable);

    sim_send_parcel(s, c, VERB_BUFFER, &m, NULL, 0, 1, sim_parcel(&fd, 1, false));
    if (k->buffers_now != before + 1) {
        return false;
    }
    *b = (struct sim_buffer){.fd = fd, .slot_bytes = slot_bytes};
    return true;
}

void sim_unregister(struct sim *s, struct sim_client *c, unsigned number)
{
    struct wire_unbuffer m = {number};

    sim_read(s, c, 10000); /* what it has returned, it has returned of this one */
    if (c->peer && c->buffers[number - 1].fd) {
        sim_send(s, c, VERB_UNBUFFER, &m, NULL, 0);
        c->buffers[number - 1].fd = 0;
    }
}

static void lease_check(const struct sim_lease *l)
{
    const uint8_t *body = sim_fd_data(l->fd) + l->offset;

    if (l->bytes >= sizeof(l->number)) {
        assert_memory_equal(body, &l->number, sizeof(l->number));
        assert_int_equal(body[l->bytes - 1], l->last);
    }
}

void sim_release(struct sim *s, struct sim_client *c, uint32_t lease, uint32_t flags)
{
    struct wire_release m = {lease, flags};
    struct sim_lease *l = &c->leases[lease];

    assert_int_not_equal(l->fd, 0);
    lease_check(l);
    if (flags & RELEASE_FORGET) {
        c->bound[l->buffer] = 0;
    }
    l->fd = 0;
    c->n_leases--;
    sim_send(s, c, VERB_RELEASE, &m, NULL, 0);
}

uint32_t sim_any_lease(const struct sim_client *c)
{
    for (uint32_t i = 1; c->n_leases > 0 && i < SIM_IDS; i++) {
        if (c->leases[i].fd) {
            return i;
        }
    }
    return 0;
}

void sim_release_all(struct sim *s, struct sim_client *c)
{
    for (uint32_t lease; c->peer && (lease = sim_any_lease(c)) != 0;) {
        sim_release(s, c, lease, 0);
    }
}

void sim_pong(struct sim *s, struct sim_client *c)
{
    struct wire_pong m = {c->ping};

    if (c->peer && c->is_pinged) {
        c->is_pinged = false;
        c->n_buffers_flying -= c->n_buffers_pinged;
        c->n_carriers_flying -= c->n_carriers_pinged;
        sim_send(s, c, VERB_PONG, &m, NULL, 0);
    }
}

/* ---- from the router ---- */

void sim_batch_arrived(struct sim_client *c, const struct parcel *parcel)
{
    struct sim_batch *b = &c->batches[c->n_batches++];

    assert_true(c->n_batches <= ARRAY_LEN(c->batches));
    assert_true(parcel->n > 0 && parcel->n <= FRAME_FDS_MAX);
    b->n = parcel->n;
    for (unsigned i = 0; i < parcel->n; i++) {
        assert_true(fd_get(parcel->fds[i])->n_open > 0);
        b->fds[i] = parcel->fds[i];
    }
}

static struct sim_batch batch_claim(struct sim_client *c, const struct frame *f)
{
    struct sim_batch b = c->batches[0];

    assert_true(f->verb == VERB_BUFFER || f->verb == VERB_MESSAGE || f->verb == VERB_CALL ||
                f->verb == VERB_ANSWER);
    assert_true(c->n_batches > 0);
    assert_int_equal(b.n, f->fds);
    c->n_batches--;
    memmove(c->batches, c->batches + 1, c->n_batches * sizeof(b));
    return b;
}

static void on_buffer(struct sim_client *c, const struct wire_buffer *m, const struct frame *f)
{
    struct sim_batch b = batch_claim(c, f);
    const struct fake_fd *fd = fd_get(b.fds[0]);

    assert_true(c->features & FEATURE_BUFFERS);
    assert_int_equal(b.n, 1);
    assert_true(m->id > 0 && m->id < SIM_IDS && m->bytes > 0);
    assert_true(fd->info.is_buffer && m->bytes <= fd->info.bytes);
    assert_int_equal(m->flags & BUFFER_IMMUTABLE, fd->info.immutable);
    c->bound[m->id] = b.fds[0];
    c->n_buffers_flying++;
    assert_true(c->n_buffers_flying <= 16);
}

/* What is returned, nobody holds. */
static void on_returned(struct sim *s, struct sim_client *c, const struct wire_returned *m)
{
    struct sim_buffer *b = &c->buffers[m->buffer - 1];
    uint64_t slot = m->offset / b->slot_bytes;

    assert_true(m->buffer >= 1 && m->buffer <= SIM_BUFFERS && b->fd);
    assert_int_equal(m->offset % b->slot_bytes, 0);
    assert_true(slot < SIM_SLOTS && b->due[slot] > 0);
    b->due[slot]--;
    c->n_returned++;
    for (unsigned i = 0; b->due[slot] == 0 && i < SIM_CLIENTS; i++) {
        const struct sim_client *other = &s->clients[i];

        for (uint32_t k = 1; other->n_leases > 0 && k < SIM_IDS; k++) {
            assert_false(other->leases[k].fd == b->fd && other->leases[k].offset == m->offset);
        }
    }
}

static void on_carrier(struct sim_client *c, uint32_t descriptors, const struct frame *f)
{
    if (f->fds) {
        (void) batch_claim(c, f);
        c->n_carriers_flying++;
        assert_int_equal(f->fds, descriptors);
        assert_int_equal(c->n_carriers_flying, 1);
    }
    assert_true(descriptors <= FRAME_FDS_MAX);
}

void sim_cargo_frame(struct sim *s, struct sim_client *c, const struct frame *f,
                     const union wire_any *m)
{
    switch (f->verb) {
    case VERB_WELCOME:
        c->features &= m->welcome.features;
        break;
    case VERB_BUFFER:
        on_buffer(c, &m->buffer, f);
        break;
    case VERB_UNBUFFER:
        assert_true(m->unbuffer.id < SIM_IDS && c->bound[m->unbuffer.id]);
        c->bound[m->unbuffer.id] = 0;
        break;
    case VERB_RETURNED:
        on_returned(s, c, &m->returned);
        break;
    case VERB_MESSAGE:
        on_carrier(c, m->message.descriptors, f);
        break;
    case VERB_CALL:
        on_carrier(c, m->call.descriptors, f);
        break;
    case VERB_ANSWER:
        on_carrier(c, m->answer.descriptors, f);
        break;
    case VERB_PING:
        assert_false(c->is_pinged);
        c->is_pinged = true;
        c->ping = m->ping.token;
        c->n_buffers_pinged = c->n_buffers_flying;
        c->n_carriers_pinged = c->n_carriers_flying;
        break;
    default:
        assert_int_equal(f->fds, 0);
    }
}

const uint8_t *sim_body(struct sim_client *c, const struct wire_message *m, const struct frame *f,
                        uint64_t *ret_bytes)
{
    struct sim_lease *l = &c->leases[m->lease % SIM_IDS];
    const uint8_t *body;

    if (m->buffer == 0) {
        assert_true(m->lease == 0 && m->offset == 0 && m->bytes == 0);
        *ret_bytes = f->body_bytes;
        return f->body;
    }
    assert_int_equal(f->body_bytes, 0);
    assert_true(m->lease > 0 && m->lease < SIM_IDS && l->fd == 0);
    assert_true(m->buffer < SIM_IDS && c->bound[m->buffer]);
    *l = (struct sim_lease){
        .fd = c->bound[m->buffer], .buffer = m->buffer, .offset = m->offset, .bytes = m->bytes};
    c->n_leases++;
    assert_true(m->offset <= fd_get(l->fd)->info.bytes &&
                m->bytes <= fd_get(l->fd)->info.bytes - m->offset);
    body = sim_fd_data(l->fd) + m->offset;
    if (m->bytes >= sizeof(l->number)) {
        memcpy(&l->number, body, sizeof(l->number));
        l->last = body[m->bytes - 1];
    }
    *ret_bytes = m->bytes;
    return body;
}
