/* SPDX-License-Identifier: MIT */
#pragma once
/* The live table on a terminal: drawing and keys. Knows the model, not the connection. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "safe.h"
#include "top_model.h"

enum top_panes { PANES_BOTH, PANES_TOPICS, PANES_CLIENTS, PANES_GROUPS, PANES_QUOTAS };

struct top_screen {
    struct top_model *model; /* not owned */
    const char *title;       /* not owned */
    double interval_s;
    enum safe_charset charset;
    bool colour;
    bool paused;
    bool help;
    enum top_panes panes;
    enum top_table_id active;
    struct {
        size_t first_row, first_column;
        size_t rows_shown; /* at the last drawing: a page */
    } scroll[TOP_TABLES];
};

enum screen_verdict { SCREEN_GO_ON, SCREEN_QUIT };

/** Take the terminal; 0, or -ENOTTY if its type is not known or it has no cursor. */
int screen_open(struct top_screen *s);
void screen_close(void);

void screen_draw(struct top_screen *s);

/** Handle the keys that have been pressed, and draw again if needed. */
enum screen_verdict screen_keys(struct top_screen *s);
