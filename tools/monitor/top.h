/* SPDX-License-Identifier: MIT */
#pragma once
/* The live table of topics and clients. */

#include "session.h"

/** Show the table until the end: on a terminal with keys, elsewhere as plain text. Returns the exit
 * code. */
enum exit_code top_run(struct session *session);
