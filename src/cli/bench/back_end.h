/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end of a disk in another process, qemu-storage-daemon, at its best: an I/O thread of its
 * own, on a processor that the guest does not have, if there is one.
 */
#ifndef CLI_BENCH_BACK_END_H
#define CLI_BENCH_BACK_END_H

#include <time.h>

#include "cli/bench/child.h"
#include "cli/bench/workload.h"

struct bench_back_end {
	struct bench_child child;
	clockid_t clock; /* its processor time */
	bool reconnect;	 /* who uses it would wait for another one, should it go */
	char folder[64], socket[80];
};

/* Starts one for the file @disk. 0 or -1 with run->error; bench_back_end_stop() is needed after
 * success only. */
int bench_back_end_start(struct bench_run *run, struct bench_back_end *b, const char *disk,
			 bool writable);
/* Takes its socket's name away, once all have connected, so that nothing is left however this process
 * ends. */
void bench_back_end_hide(const struct bench_back_end *b);
void bench_back_end_stop(struct bench_back_end *b);

/* Who has the processor time of an event. */
extern const struct bench_column bench_back_end_columns[];
/* Returns whether there is a back end in any of them. */
bool bench_back_end_among(const struct bench_cell *cells, size_t n);

#endif
