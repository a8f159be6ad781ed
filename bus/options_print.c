/* SPDX-License-Identifier: MIT */
/* Options for people, and as a file that says the same again. */
#include <inttypes.h>
#include <string.h>
#include "base/macros.h"
#include "records.h"

/* ---- --help ---- */

/* Whatever a user can have a quota of. */
#define QUOTA_NAME(slot, ...) #slot "= "
#define QUOTA_NAMES USER_SLOTS(QUOTA_NAME)

static void print_option(FILE *out, const struct option_def *d)
{
    char value[OPTION_VALUE_BYTES] = "";

    (void) fprintf(out, "  --%s%s%s\n        %s", d->name, d->arg ? " " : "", d->arg ? d->arg : "",
                   d->help);
    if (d->format) {
        d->format(options_defaults(), d, value, sizeof(value));
    }
    (void) fprintf(out, *value ? " (default %s)\n" : "\n", value);
}

void options_help(const struct option_table *t, FILE *out)
{
    const char *group = "";

    (void) fputs("Usage: bus-router [OPTION]...\n"
                 "       bus-router [OPTION]... --explain user=U verb=V topic=T\n"
                 "Routes messages between the programs of this host that connect to it.\n",
                 out);
    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        if (strcmp(group, t->defs[i].group) != 0) {
            group = t->defs[i].group;
            (void) fprintf(out, "\n%s:\n", group);
        }
        print_option(out, &t->defs[i]);
    }
    (void) fputs(
        "\nLISTENER is [NAME=]ADDRESS [mode=OCTAL] [owner=USER] [group=GROUP]. ADDRESS is "
        "seqpacket:PATH or\n"
        "stream:PATH; PATH alone is seqpacket. A PATH that begins with @ is an abstract name. "
        "Without\n"
        "--listen it is $BUS_ADDRESS, else $XDG_RUNTIME_DIR/bus-router/bus.sock, else\n"
        "/run/bus-router/bus.sock for root and /tmp/bus-router-UID/bus.sock for others. Missing\n"
        "directories are created with mode 0700. PATH.lock beside a socket keeps a second router "
        "away;\n"
        "PATH.sessions beside the first one says who will come back if this router is gone. "
        "Sockets "
        "that a\n"
        "service manager gives ($LISTEN_FDS) are listened at, too.\n"
        "TIME is in milliseconds, or a number with ms or s. BYTES may end in K, M or G.\n"
        "\nRULE is allow or deny, verbs with commas, and any of user=, group=, listener=, label=, "
        "topic=:\n"
        "'allow publish,subscribe user=alice topic=home/%u/#'. Verbs are publish subscribe request "
        "serve\n"
        "monitor retain block descriptors all. QUOTA is user= and any of\n" QUOTA_NAMES "\n"
        "'user=alice bytes=1G connections=100'.\n"
        "\nWithout --config, /etc/bus-router/bus-router.conf is read if it is there, by others "
        "than root\n"
        "$XDG_CONFIG_HOME/bus-router/bus-router.conf (else below ~/.config).\n"
        "\nSIGTERM and SIGINT stop the router when its clients have read what was on its way, a "
        "second one\n"
        "at once. SIGHUP reads the configuration again. SIGUSR2 replaces the router by the program "
        "that is\n"
        "now where it was started from, with the same arguments; its clients notice nothing. Exit "
        "codes:\n"
        "0 stopped, or all is well, 1 could not start or failed, 2 wrong usage, 3 denied "
        "(--explain).\n",
        out);
}

/* ---- --print-config ---- */

static void put_quoted(FILE *out, struct text t)
{
    (void) fputc('"', out);
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char) t.data[i];

        if (c < 0x20 || c == 0x7F) {
            (void) fprintf(out, "\\x%02x", c);
        } else {
            (void) fprintf(out, c == '"' || c == '\\' ? "\\%c" : "%c", c);
        }
    }
    (void) fputc('"', out);
}

/* "; key = "text"" */
static void put_member(FILE *out, const char *key, struct text t)
{
    (void) fprintf(out, " %s = ", key);
    put_quoted(out, t);
    (void) fputc(';', out);
}

static void put_number(FILE *out, const char *key, const char *format, uint32_t n)
{
    char text[16];

    (void) snprintf(text, sizeof(text), *format == 'o' ? "%04" PRIo32 : "%" PRIu32, n);
    put_member(out, key, text_from(text));
}

static void put_comment(FILE *out, struct text place)
{
    (void) fputs("# ", out);
    for (size_t i = 0; i < place.len; i++) {
        (void) fputc((unsigned char) place.data[i] < 0x20 ? '?' : place.data[i], out);
    }
}

static void print_listen(FILE *out, const struct listen_option *l)
{
    char address[ADDRESS_PATH_MAX + 16];

    address_format(&l->address, address, sizeof(address));
    (void) fputs("    {", out);
    put_member(out, "address", text_from(address));
    if (*l->name) {
        put_member(out, "name", text_from(l->name));
    }
    if (l->access.mode != LISTEN_MODE_DEFAULT) {
        put_number(out, "mode", "o", l->access.mode);
    }
    if (l->access.owner != LISTENER_KEEP_ID) {
        put_number(out, "owner", "u", l->access.owner);
    }
    if (l->access.group != LISTENER_KEEP_ID) {
        put_number(out, "group", "u", l->access.group);
    }
    (void) fputs(" }", out);
}

static void print_verbs(FILE *out, const struct policy_rule *rule)
{
    const char *separator = "[";

    (void) fprintf(out, " %s = ", rule->deny ? "deny" : "allow");
    if (rule->verbs == POLICY_ALL) {
        (void) fputs("\"all\";", out);
        return;
    }
    for (uint32_t verb = 1; verb & POLICY_ALL; verb <<= 1) {
        if (rule->verbs & verb) {
            (void) fprintf(out, "%s\"%s\"", separator, policy_verb_name(verb));
            separator = ", ";
        }
    }
    (void) fputs("];", out);
}

static void print_rule(FILE *out, const struct policy_rule *rule)
{
    (void) fputs("    {", out);
    print_verbs(out, rule);
    if (rule->by_uid) {
        put_number(out, "user", "u", rule->uid);
    }
    if (rule->by_gid) {
        put_number(out, "group", "u", rule->gid);
    }
    if (rule->listener.len > 0) {
        put_member(out, "listener", rule->listener);
    }
    if (rule->label.len > 0) {
        put_member(out, "label", rule->label);
    }
    put_member(out, "topic", rule->topic);
    (void) fputs(" }", out);
}

static void print_quota(FILE *out, const struct user_override *q)
{
    char value[OPTION_VALUE_BYTES];

    (void) fputs("    {", out);
    put_number(out, "user", "u", q->uid);
    for (size_t i = 0; i < USER_SLOTS_COUNT; i++) {
        quota_format(q, i, value, sizeof(value));
        if (*value) {
            put_member(out, quota_slot_name(i), text_from(value));
        }
    }
    (void) fputs(" }", out);
}

/* ", # FILE:LINE", the comma if another one follows */
static void end_item(FILE *out, bool is_last, struct text place)
{
    (void) fputs(is_last ? " " : ", ", out);
    put_comment(out, place);
    (void) fputc('\n', out);
}

static void print_quotas(const struct options *o, FILE *out)
{
    if (o->n_quotas > 0) {
        (void) fputs("\nquotas = (\n", out);
        for (size_t i = 0; i < o->n_quotas; i++) {
            print_quota(out, &o->quotas[i]);
            end_item(out, i + 1 == o->n_quotas, o->quotas[i].place);
        }
        (void) fputs(");\n", out);
    } else {
        (void) fputs("\n# quotas: none of single users\n", out);
    }
}

static void print_lists(const struct options *o, FILE *out)
{
    if (o->n_listens > 0) {
        (void) fputs("\nlisten = (\n", out);
        for (size_t i = 0; i < o->n_listens; i++) {
            print_listen(out, &o->listens[i]);
            (void) fputs(i + 1 < o->n_listens ? ",\n" : "\n", out);
        }
        (void) fputs(");\n", out);
    } else {
        (void) fputs("\n# listen: not said, so it is the default address of the environment\n",
                     out);
    }
    if (o->n_rules > 0) {
        (void) fputs("\nrules = (\n", out);
        for (size_t i = 0; i < o->n_rules; i++) {
            print_rule(out, &o->rules[i]);
            end_item(out, i + 1 == o->n_rules, o->rules[i].place);
        }
        (void) fputs(");\n", out);
    } else {
        (void) fputs("\n# rules: none; only the router's own user and root have access\n", out);
    }
}

static void print_value(const struct options *o, const struct option_table *t, size_t i, FILE *out)
{
    const struct option_def *d = &t->defs[i];
    char value[OPTION_VALUE_BYTES] = "", name[OPTION_NAME_BYTES];
    bool is_number;

    if (!d->format) {
        return;
    }
    d->format(o, d, value, sizeof(value));
    if (!*value) {
        return;
    }
    is_number = d->format == format_number && strspn(value, "0123456789") == strlen(value) &&
                strlen(value) < 10; /* more would need a suffix to be read */
    option_setting_name(d, name);
    (void) fprintf(out, "%s = %s%s%s;", name, is_number ? "" : "\"", value, is_number ? "" : "\"");
    if (o->places[i]) {
        (void) fputc(' ', out);
        put_comment(out, text_from(o->places[i]));
    }
    (void) fputc('\n', out);
}

void options_print(const struct options *o, FILE *out)
{
    const char *group = "";
    struct option_table t;

    option_table_init(&t);
    for (size_t i = 0; i < o->n_files; i++) {
        put_comment(out, text_from(o->files[i]));
        (void) fputc('\n', out);
    }
    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        if (t.defs[i].format && strcmp(group, t.defs[i].group) != 0) {
            group = t.defs[i].group;
            (void) fprintf(out, "\n# %s\n", group);
        }
        print_value(o, &t, i, out);
    }
    print_lists(o, out);
    print_quotas(o, out);
}

/* ---- what cannot change ---- */

static bool listens_differ(const struct options *a, const struct options *b)
{
    if (a->is_default_listen || b->is_default_listen) {
        return a->is_default_listen != b->is_default_listen;
    }
    for (size_t i = 0; i < a->n_listens && a->n_listens == b->n_listens; i++) {
        const struct listen_option *x = &a->listens[i], *y = &b->listens[i];

        if (x->address.type != y->address.type || x->address.abstract != y->address.abstract ||
            strcmp(x->address.path, y->address.path) != 0 || strcmp(x->name, y->name) != 0 ||
            x->access.mode != y->access.mode || x->access.owner != y->access.owner ||
            x->access.group != y->access.group) {
            return true;
        }
    }
    return a->n_listens != b->n_listens;
}

static bool differs(const struct options *a, const struct options *b, const struct option_def *d)
{
    char x[OPTION_VALUE_BYTES] = "", y[OPTION_VALUE_BYTES] = "";

    if (d->list) {
        return listens_differ(a, b); /* the only one that is fixed */
    }
    d->format(a, d, x, sizeof(x));
    d->format(b, d, y, sizeof(y));
    return strcmp(x, y) != 0;
}

void options_pending(const struct options *running, const struct options *fresh, char *buf,
                     size_t bytes)
{
    struct option_table t;
    char name[OPTION_NAME_BYTES];
    size_t len = 0;

    option_table_init(&t);
    *buf = '\0';
    for (size_t i = 0; i < OPTIONS_COUNT && len < bytes; i++) {
        if ((t.defs[i].traits & OPTION_FIXED) && differs(running, fresh, &t.defs[i])) {
            option_setting_name(&t.defs[i], name);
            len += (size_t) snprintf(buf + len, bytes - len, "%s%s", len > 0 ? " " : "", name);
        }
    }
}
