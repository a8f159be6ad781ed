/* SPDX-License-Identifier: MIT */
/* Each callback may close the connection, or let go of everything that it has, itself included;
 * frames of all kinds are behind it in the same packet. */
#include <bus/request.h>
#include "client/conn.h"
#include "unit/test_client_fake.h"

enum kind {
    KIND_MESSAGE,
    KIND_WORK, /* a message that is to be acknowledged */
    KIND_LOSS,
    KIND_LIVE,
    KIND_SILENCE,
    KIND_CALL,
    KIND_CANCEL,
    KIND_INTEREST,
    KIND_REPLY, /* one of several */
    KINDS
};

struct world {
    struct fake *f;
    struct bus_sub *subs[3]; /* with everything; of a group; a server */
    struct bus_topic *topic;
    struct bus_request *request;
    struct bus_call *call;
    struct bus_message *kept;
    enum kind kind; /* in which something is done */
    bool closes;
    bool done;
    unsigned n_after; /* callbacks afterwards */
    uint32_t number;  /* of deliveries and calls */
};

static void end_everything(struct world *w)
{
    for (unsigned i = 0; i < ARRAY_LEN(w->subs); i++) {
        bus_sub_unref(TAKE(w->subs[i]));
    }
    bus_topic_unref(TAKE(w->topic));
    bus_request_cancel(TAKE(w->request));
    bus_call_drop(TAKE(w->call));
}

static void called(struct world *w, enum kind kind)
{
    w->n_after += w->done;
    if (w->done || kind != w->kind) {
        return;
    }
    w->done = true;
    if (w->closes) {
        bus_close(TAKE(w->f->conn));
    } else {
        end_everything(w);
    }
}

static void on_message(struct bus_sub *sub, const struct bus_message *m, void *userdata)
{
    struct world *w = userdata;
    bool is_work = sub == w->subs[1];

    if (!w->kept) {
        w->kept = bus_message_ref(m);
    }
    called(w, is_work ? KIND_WORK : KIND_MESSAGE);
    assert_memory_equal(bus_message_data(m), "body", 4);
    if (is_work) {
        assert_int_equal(bus_message_ack(m), w->done ? -ENOTCONN : 0);
    }
}

static void on_loss(struct bus_sub *sub, const struct bus_loss *loss, void *userdata)
{
    (void) sub;
    assert_int_equal(loss->count, 1);
    called(userdata, KIND_LOSS);
}

static void on_live(struct bus_sub *sub, uint64_t messages, void *userdata)
{
    (void) sub;
    (void) messages;
    called(userdata, KIND_LIVE);
}

static void on_silence(struct bus_sub *sub, uint64_t since_ms, void *userdata)
{
    (void) sub;
    (void) since_ms;
    called(userdata, KIND_SILENCE);
}

static void on_interest(struct bus_topic *topic, uint32_t n, void *userdata)
{
    (void) topic;
    (void) n;
    called(userdata, KIND_INTEREST);
}

static void on_call(struct bus_call *call, void *userdata)
{
    struct world *w = userdata;

    w->call = call;
    called(w, KIND_CALL);
}

static void on_cancel(struct bus_call *call, enum bus_status reason, void *userdata)
{
    struct world *w = userdata;

    (void) reason;
    assert_ptr_equal(call, w->call);
    called(w, KIND_CANCEL);
    if (!w->done) {
        bus_call_drop(TAKE(w->call));
    }
}

static void on_reply(struct bus_conn *conn, const struct bus_reply *reply, void *userdata)
{
    (void) conn;
    assert_true(reply->more);
    called(userdata, KIND_REPLY);
    assert_memory_equal(bus_message_data(reply->message), "body", 4);
}

/* ---- the router ---- */

static void say(struct world *w, enum kind kind)
{
    struct wire_message m = {.subscription = 1, .topic = 1, .sender = 1, .time = 1};
    struct wire_call call = {.subscription = 3, .topic = 1, .sender = 1, .time = 1};
    struct wire_answer answer = {.call = w->number, .sender = 1, .time = 1, .flags = REPLY_MORE};
    struct fake *f = w->f;

    switch (kind) {
    case KIND_WORK:
        m.subscription = 2;
        m.delivery = ++w->number;
        fake_say_body(f, VERB_MESSAGE, &m, "body", 4);
        break;
    case KIND_LOSS:
        fake_say(f, VERB_LOSS, &(struct wire_loss){1, 1, 1, BUS_LOSS_QUEUE_FULL});
        break;
    case KIND_LIVE:
        fake_say(f, VERB_SNAPSHOT_END, &(struct wire_snapshot_end){.subscription = 1});
        break;
    case KIND_SILENCE:
        fake_say(f, VERB_SILENCE, &(struct wire_silence){1, 7});
        break;
    case KIND_CALL:
    case KIND_CANCEL:
        call.call = ++w->number;
        call.timeout_ms = 9;
        fake_say_body(f, VERB_CALL, &call, "body", 4);
        fake_say(f, VERB_CANCEL, &(struct wire_cancel){call.call, BUS_STATUS_TIMEOUT});
        break;
    case KIND_INTEREST:
        fake_say(f, VERB_INTEREST, &(struct wire_interest){1, ++w->number});
        break;
    case KIND_REPLY:
        answer.call = 1;
        fake_say_body(f, VERB_ANSWER, &answer, "body", 4);
        break;
    case KIND_MESSAGE:
    case KINDS:
        fake_say_body(f, VERB_MESSAGE, &m, "body", 4);
        break;
    }
}

static void start(struct world *w)
{
    struct bus_sub_opts all = BUS_SUB_OPTS_INIT, group = BUS_SUB_OPTS_INIT;
    struct bus_serve_opts serve = BUS_SERVE_OPTS_INIT;
    struct bus_topic_opts topic = BUS_TOPIC_OPTS_INIT;
    struct bus_conn *c;

    fake_start(w->f);
    c = w->f->conn;
    all.on_loss = on_loss;
    all.retained = BUS_RETAINED_ALL;
    all.on_live = on_live;
    all.silence_ms = 10;
    all.on_silence = on_silence;
    group.group = "g";
    group.flags = BUS_SUB_ACK;
    serve.on_cancel = on_cancel;
    topic.on_interest = on_interest;
    topic.userdata = w;
    assert_int_equal(bus_subscribe(c, "a/#", &all, on_message, w, &w->subs[0]), 0);
    assert_int_equal(bus_subscribe(c, "a/#", &group, on_message, w, &w->subs[1]), 0);
    assert_int_equal(bus_serve(c, "a/#", &serve, on_call, w, &w->subs[2]), 0);
    assert_int_equal(bus_advertise_with(c, "a/b", &topic, &w->topic), 0);
    assert_int_equal(bus_request(c, "a/b", NULL, 0, NULL, on_reply, w, &w->request), 0);
    for (uint32_t i = 1; i <= ARRAY_LEN(w->subs); i++) {
        fake_say_status(w->f, BUS_STATUS_OK, VERB_SUBSCRIBE, 0, i, 0);
    }
    fake_bind(w->f, 1, "a/b");
    fake_bind_peer(w->f, 1, "peer");
    assert_int_equal(fake_settle(w->f), 0);
}

/* It is the last one that is done before the others come, all of them twice. */
static void end_in(struct fake *f, enum kind kind, bool closes)
{
    struct world w = {.f = f, .kind = kind, .closes = closes};

    start(&w);
    for (unsigned i = 0; i < 2u * KINDS; i++) {
        say(&w, (enum kind)((kind + i) % KINDS));
    }
    fake_send(f);
    if (closes) {
        assert_int_equal(bus_process(f->conn), -ENOTCONN);
    } else {
        assert_int_equal(fake_settle(f), 0);
    }
    assert_true(w.done);
    assert_int_equal(w.n_after, 0);
    if (w.kept) {
        assert_memory_equal(bus_message_data(w.kept), "body", 4);
        bus_message_unref(w.kept);
    }
}

static void end_in_each(bool seqpacket, bool closes)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        struct fake *f = fake_new(seqpacket);

        end_in(f, (enum kind) kind, closes);
        fake_free(f);
    }
}

static void test_closing_in_each_callback(void **state)
{
    (void) state;
    end_in_each(true, true);
    end_in_each(false, true);
}

static void test_ending_everything_in_each_callback(void **state)
{
    (void) state;
    end_in_each(true, false);
    end_in_each(false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closing_in_each_callback),
        cmocka_unit_test(test_ending_everything_in_each_callback),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
