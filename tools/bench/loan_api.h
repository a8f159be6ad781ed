/* SPDX-License-Identifier: MIT */
#pragma once
/* What <bus/bus.h> is going to say about loans. Weak: where libbus has none, they are NULL. This
 * header goes when that one has them; loan_available() too. */

#include <bus/bus.h>

struct bus_loan;

/* A buffer to fill in place. -EAGAIN as bus_topic_publish(). */
__attribute__((weak)) int bus_loan(struct bus_topic *topic, size_t bytes,
                                   struct bus_loan **ret_loan);
__attribute__((weak)) void *bus_loan_data(struct bus_loan *loan);
/* 0: the loan is gone; on failure it stays the caller's. */
__attribute__((weak)) int bus_loan_publish(struct bus_loan *loan, size_t bytes,
                                           const struct bus_publish_opts *opts);
__attribute__((weak)) void bus_loan_cancel(struct bus_loan *loan);
