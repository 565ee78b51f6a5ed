/* SPDX-License-Identifier: Apache-2.0 */
/* Reckons what a sleep is worth in ns of polling, by its price and by the bias; docs/policy.md. */
#ifndef POLL_WORTH_H
#define POLL_WORTH_H

#include <stdint.h>

/* The price of a sleep, as far as it is known. */
struct sleep_price {
	uint32_t given_ns; /* by the user; 0: what is measured counts */
	uint32_t late_ns;  /* measured: how late it makes the sleeper; 0: not known */
	uint32_t cpu_ns;   /* measured: the processor time that it takes; 0: not known */
};

/* Returns the processor time of a sleep: the way into it and back, and the waker's system call.
 * Until that has been measured it is taken to be half of the lateness. */
static inline uint64_t sleep_cpu(const struct sleep_price *p)
{
	return p->cpu_ns ? p->cpu_ns : p->late_ns / 2;
}

/* Returns what a sleep is worth, at least 1. @bias: enum catnap_bias. */
uint32_t sleep_worth(const struct sleep_price *p, uint32_t bias);

#endif
