/* SPDX-License-Identifier: MIT */
#include "wire/frame.h"

const char *verb_name(uint8_t verb)
{
    switch (verb) {
#define X(name, number, pb, member, body)                                                          \
    case number:                                                                                   \
        return #name;
        VERB_LIST(X)
#undef X
    }
    return "?";
}
