/* SPDX-License-Identifier: MIT */
#pragma once
/* Who would come back if the router was gone, in a file that the next router reads: PATH.sessions
 * beside the first socket that is a file. Why it is so: docs/decisions/032-session-file.md.
 * Whatever goes wrong with the file, the router goes on without it.
 *
 * The file is a header and records, each written with one write() behind the others: a session is
 * in it or is not any more. It counts only in the boot in which it was made, for its processes
 * lived in that, and up to the first record that is not whole. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/address.h"
#include "core/router.h"
#include "core/table.h"

#define ROSTER_BOOT_BYTES 36u
#define ROSTER_HEADER_BYTES 64u
#define ROSTER_RECORD_BYTES 24u

/* ---- the format ---- */

void roster_put_header(uint8_t dst[ROSTER_HEADER_BYTES], const char boot[ROSTER_BOOT_BYTES]);
void roster_put_record(uint8_t dst[ROSTER_RECORD_BYTES], bool is_there,
                       const struct session_id *id);
typedef void (*roster_visit_fn)(void *ctx, bool is_there, const struct session_id *id);
/* Hands over the records in their order, up to the first bad one. Returns how many bytes are good;
 * 0 if it is no such file, or another boot's. */
size_t roster_parse(const uint8_t *data, size_t len, const char boot[ROSTER_BOOT_BYTES],
                    roster_visit_fn visit, void *ctx);

/* ---- the file ---- */

struct returner;

struct roster {
    char path[ADDRESS_PATH_MAX + sizeof(".sessions")]; /* "": there is none, and nothing is noted */
    char boot[ROSTER_BOOT_BYTES];
    struct table by_id;
    struct returner *list; /* of returner.next */
    size_t n_max;
    size_t n_dead; /* records in the file that are not needed any more */
    int fd;        /* -1: the next change writes the whole file */
    bool is_frozen;
    bool has_failed; /* and has said so */
};

/* path: of the socket; NULL for none. seed: a secret, for the table. */
void roster_init(struct roster *r, const char *path, size_t n_max, uint64_t seed);
/* Reads what the last router has left, and tells the router whom to expect until then: those whose
 * processes are there. Returns how many. */
size_t roster_load(struct roster *r, struct router *router, uint64_t until_ns);
/* Of those who are expected some may have died. False if the router holds nothing any more: then
 * nobody is expected, and *ret_missing have not come. */
bool roster_check_expected(struct roster *r, struct router *router, size_t *ret_missing);
/* The router stops: who is there now is to be expected by the next one. */
void roster_freeze(struct roster *r);
void roster_fini(struct roster *r);

/* For router_config; the userdata is the roster. */
extern const struct session_ops roster_ops;
