/* SPDX-License-Identifier: MIT */
/* Any text: an address that is accepted can be written, and read again as the same. */
#include "base/address.h"
#include "base/sock.h"
#include "fuzz/fuzz.h"

static void check_accepted(const struct address *a)
{
    static char text[ADDRESS_PATH_MAX + 32];
    static struct address again;
    struct sock_name name;

    address_format(a, text, sizeof(text));
    CHECK(address_parse(text, &again) == 0);
    CHECK(again.type == (a->type == ADDRESS_ANY ? ADDRESS_SEQPACKET : a->type));
    CHECK(again.abstract == a->abstract && strcmp(again.path, a->path) == 0);
    if (a->abstract || strlen(a->path) < sizeof(name.sun.sun_path)) {
        CHECK(sock_name_init(&name, a) == 0);
        CHECK(name.bytes <= sizeof(name.sun) && name.dir_fd == -1);
        sock_name_fini(&name);
    } else if (sock_name_init(&name, a) == 0) {
        CHECK(name.bytes <= sizeof(name.sun) && name.dir_fd >= 0);
        sock_name_fini(&name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct address a;
    char *text = malloc(len + 1);

    CHECK(text);
    memcpy(text, data, len);
    text[len] = 0;
    if (address_parse(text, &a) == 0) {
        check_accepted(&a);
    }
    free(text);
    return 0;
}
