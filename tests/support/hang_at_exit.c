/* SPDX-License-Identifier: MIT */
/* Stands for a library whose destructor waits for something that does not come. */
#include <unistd.h>

__attribute__((destructor)) static void hang(void)
{
    for (;;) {
        (void) pause();
    }
}
