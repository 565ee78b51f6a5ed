/* SPDX-License-Identifier: Apache-2.0 */
/* The cost to a thread of this host of reaching another one: no guest is there. */
#ifndef CLI_BENCH_HOST_PRICE_H
#define CLI_BENCH_HOST_PRICE_H

#include "cli/bench/bench.h"

/* Fills @took with @n times, in ticks, of @what: BENCH_PRICE_SIGNAL (a signal to a thread that
 * runs), BENCH_PRICE_FUTEX (the wake of one that sleeps) or BENCH_PRICE_EVENTFD (a write that one
 * waits for). 0 or -1 with run->error. */
int bench_host_price(struct bench_run *run, int what, uint64_t *took, uint32_t n);

#endif
