/* SPDX-License-Identifier: MIT */
/* bus-peers: runs the measurements in turn and reports. */

#include <stdlib.h>
#include <string.h>
#include "common.h"
#include "plan.h"
#include "report.h"

/* A row that has failed once is not tried again: its line says why. 0, or -1 if interrupted. */
static int run_row(struct row *row)
{
    struct result result;

    if (row->worst.outcome != OUTCOME_OK) {
        return 0;
    }
    if (measure(&row->spec, &result) < 0) {
        return -1;
    }
    row->worst = result;
    if (result.outcome == OUTCOME_OK) {
        row->per_second[row->n_runs++] = result.per_second;
    }
    return 0;
}

static int run(struct plan *p)
{
    bool has_failed = false;

    for (unsigned i = 0; i < p->runs * p->n_rows; i++) {
        if (run_row(&p->rows[i % p->n_rows]) < 0) {
            tool_error("interrupted");
            return TOOL_FAILURE;
        }
    }
    for (unsigned i = 0; i < p->n_rows; i++) {
        has_failed |= p->rows[i].worst.outcome == OUTCOME_FAILED;
    }
    (p->json ? report_json : report_table)(p);
    return tool_print("") != TOOL_OK || has_failed ? TOOL_FAILURE : TOOL_OK;
}

int main(int argc, char **argv)
{
    struct plan plan;
    int r = plan_parse(&plan, argc, argv);

    if (r < 0) {
        r = tool_catch_signals() ? run(&plan) : TOOL_FAILURE;
    }
    plan_fini(&plan);
    return r;
}
