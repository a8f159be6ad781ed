/* SPDX-License-Identifier: MIT */
/* The environment of commands: our own without what looks like a call's, and the call's. Counted
 * first, then written into one piece of memory. */

#include "serve_env.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER_PREFIX "BUS_HEADER_"
#define N_VARIABLES 5u
/* "BUS_SENDER_PID=" and its like, a number, NUL. */
#define NUMBER_VARIABLE_MAX 48u

struct env {
    char **vars;
    size_t n;
    char *text;
    size_t left;
};

/* An application must be able to trust that these are the call's. */
static bool is_ours(const char *variable)
{
    return strncmp(variable, HEADER_PREFIX, strlen(HEADER_PREFIX)) == 0 ||
           strncmp(variable, "BUS_TOPIC=", 10) == 0 || strncmp(variable, "BUS_SENDER_", 11) == 0 ||
           strncmp(variable, "BUS_TIMEOUT_MS=", 15) == 0;
}

static void env_number(struct env *e, const char *name, unsigned value)
{
    int n = snprintf(e->text, e->left, "%s=%u", name, value) + 1;

    e->vars[e->n++] = e->text;
    e->text += n;
    e->left -= (size_t) n;
}

static void env_text(struct env *e, const char *name, const char *value)
{
    int n = snprintf(e->text, e->left, "%s=%s", name, value) + 1;

    e->vars[e->n++] = e->text;
    e->text += n;
    e->left -= (size_t) n;
}

/* Names of variables are letters, digits and underscores: what else is in that of a header becomes
 * an underscore. */
static void env_header(struct env *e, const struct bus_header *h)
{
    char *start = e->text;
    size_t prefix = strlen(HEADER_PREFIX);

    memcpy(e->text, HEADER_PREFIX, prefix);
    e->text += prefix;
    for (const char *p = h->name; *p; p++) {
        if (*p >= 'a' && *p <= 'z') {
            *e->text++ = (char) (*p - 'a' + 'A');
        } else {
            *e->text++ = (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ? *p : '_';
        }
    }
    *e->text++ = '=';
    (void) strcpy(e->text, h->value); /* counted in bytes_of() */
    e->text += strlen(h->value) + 1;
    e->left -= (size_t) (e->text - start);
    e->vars[e->n++] = start;
}

static size_t bytes_of(const struct bus_message *m, size_t n_inherited)
{
    size_t n_headers = bus_message_n_headers(m);
    size_t bytes = (n_inherited + n_headers + N_VARIABLES + 1) * sizeof(char *);

    bytes += N_VARIABLES * NUMBER_VARIABLE_MAX + strlen(bus_message_topic(m)) +
             strlen(bus_message_sender(m)->name);
    for (size_t i = 0; i < n_headers; i++) {
        const struct bus_header *h = bus_message_header_at(m, i);

        bytes += strlen(HEADER_PREFIX) + strlen(h->name) + strlen(h->value) + 2;
    }
    return bytes;
}

/* Of two headers that give the same variable the first one counts, as everywhere. */
static bool is_new(const struct env *e, size_t first)
{
    const char *var = e->vars[e->n - 1];
    size_t name = (size_t) (strchr(var, '=') - var) + 1;

    for (size_t i = first; i + 1 < e->n; i++) {
        if (strncmp(e->vars[i], var, name) == 0) {
            return false;
        }
    }
    return true;
}

static void env_headers(struct env *e, const struct bus_message *m)
{
    size_t first = e->n;

    for (size_t i = 0; i < bus_message_n_headers(m); i++) {
        env_header(e, bus_message_header_at(m, i));
        if (!is_new(e, first)) {
            e->n--;
        }
    }
}

char **serve_env_new(const struct bus_call *call)
{
    const struct bus_message *m = bus_call_message(call);
    const struct bus_peer *sender = bus_message_sender(m);
    size_t n = 0, bytes;
    struct env e = {0};

    while (environ[n]) {
        n++;
    }
    bytes = bytes_of(m, n);
    e.vars = malloc(bytes);
    if (!e.vars) {
        return NULL;
    }
    e.text = (char *) (e.vars + n + bus_message_n_headers(m) + N_VARIABLES + 1);
    e.left = bytes - (size_t) (e.text - (char *) e.vars);
    for (size_t i = 0; i < n; i++) {
        if (!is_ours(environ[i])) {
            e.vars[e.n++] = environ[i];
        }
    }
    env_text(&e, "BUS_TOPIC", bus_message_topic(m));
    env_number(&e, "BUS_SENDER_UID", sender->uid);
    env_number(&e, "BUS_SENDER_PID", sender->pid);
    env_text(&e, "BUS_SENDER_NAME", sender->name);
    env_number(&e, "BUS_TIMEOUT_MS", bus_call_timeout_ms(call));
    env_headers(&e, m);
    e.vars[e.n] = NULL;
    return e.vars;
}
