/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of `catnap run` while the VM is made. Its files are read then, and a file system whose
 * server does not answer holds up whoever reads for as long as it likes: no signal handler runs
 * before the read is over. But another thread can end the process, and that ends the read. So one
 * waits for --timeout and for the signals meanwhile.
 */
#ifndef CLI_LOADING_H
#define CLI_LOADING_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/leftovers.h"

struct loading {
	struct leftovers *left; /* to be removed where that ends it */
	uint64_t deadline;	/* as now_ns(); UINT64_MAX: none */
	int signals, done;	/* a signalfd(2), an eventfd(2) */
	pthread_t thread;
	bool on;
	sigset_t before; /* the main thread's blocked signals */
};

/* Lets the process end, from here to loading_end(), at @deadline with RUN_TIMEOUT and a line on
 * standard error, and by a signal as it does at other times. The main thread changes nothing in
 * @left meanwhile. Where no thread can be had, it is as if it were not called. */
void loading_begin(struct loading *l, struct leftovers *left, uint64_t deadline);
void loading_end(struct loading *l);

#endif
