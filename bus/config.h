/* SPDX-License-Identifier: MIT */
#pragma once
/* Configuration files: docs/configuration.md. libconfig reads them, this says what they mean to the
 * options, and where something is wrong. */

#include "options_table.h"

#define CONFIG_FILE_BYTES_MAX (1024u * 1024u)
#define CONFIG_FILES_MAX 256u

/* Reads the file of the options (o->config), or the default one if it is there, and those of its
 * folder. Errors are in the report, and what has none is in force; -ENOMEM. */
int config_load(struct options *o, const struct option_table *t, struct report *report);
/* One text; name is what it is called in errors. As above. */
int config_load_text(struct options *o, const struct option_table *t, const char *name,
                     const char *text, size_t len, struct report *report);
