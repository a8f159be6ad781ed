/* SPDX-License-Identifier: MIT */
#pragma once
/* What an administrator wants to know of, as lines of the log. */

#include "core/router.h"

/* For router_config; needs no userdata. */
extern const struct router_events audit_events;
