/* SPDX-License-Identifier: MIT */
#pragma once
/* Records as they come, as text or JSON lines. */

#include "session.h"

/** Show records until the end. Returns the exit code. */
enum exit_code stream_run(struct session *session);
