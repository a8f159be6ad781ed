/* SPDX-License-Identifier: MIT */
#pragma once
/* Subscriptions that the router ends, or takes topics from. */

#include <bus/types.h>

struct sub;

/* It has ended with that code, and why: what waits is lost for that reason. All of it is told. */
void sub_dismiss(struct sub *s, enum bus_loss_reason reason, enum bus_status code, const char *why);
/* One that lost its right. */
void sub_withdraw(struct sub *s, const char *why);
/* The topics of one that its client wants to have narrowed: those that it may not get leave it. */
void sub_narrow(struct sub *s);
