/* SPDX-License-Identifier: MIT */
#pragma once
/* Lines of a descriptor as messages, for bus-pub. */

#include "pub_send.h"

/* Publishes everything up to the end of file: 0, or a negative errno that has been reported (-EINTR
 * after a signal). */
int input_publish(struct sender *sender, int fd, char delimiter);
