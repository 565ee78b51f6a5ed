/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the memcached in a Linux guest, for workload linux: gets, and every tenth request a set,
 * of values that it knows, each request when it is due (offered.h). Every answer is held against
 * what was set. The main thread's, which does nothing else meanwhile.
 */
#ifndef CLI_BENCH_MEMCACHED_H
#define CLI_BENCH_MEMCACHED_H

#include "cli/bench/offered.h"

#define BENCH_MEMCACHED_CONNECTIONS 8

struct bench_memcached {
	struct bench_run *run;
	struct bench_memcached_connection *connections;
	uint32_t n;	   /* of them, open */
	uint32_t unsaid;   /* requests that were not answered yet */
	uint64_t heard_ns; /* when there was an answer last, as now_ns() */
	uint64_t random;
};

/* Connects to the guest, for @requests, and sets all values. 0 or -1 with run->error;
 * bench_memcached_close() is needed in either case. */
int bench_memcached_open(struct bench_memcached *m, struct bench_run *run, uint32_t requests);
/* Offers the load, and waits until all is answered. Adds each latency to @round. 0 or -1 with
 * run->error. */
int bench_memcached_ask(struct bench_memcached *m, struct bench_offered *o,
			struct bench_series *round);
void bench_memcached_close(struct bench_memcached *m);

#endif
