/* SPDX-License-Identifier: Apache-2.0 */
/* A halter whose owner is the test, for what a device has to do by itself. */
#ifndef TESTS_UNIT_HOME_H
#define TESTS_UNIT_HOME_H

#include <stdlib.h>

#include "poll/halter.h"

static inline void home_init(struct catnap_halter *home)
{
	struct catnap_halter_config cfg;
	struct clock clock;

	clock_init(&clock, 0);
	catnap_halter_config_init(&cfg);
	if (halter_init(home, &cfg, &clock) < 0)
		abort();
}

/* What has come to it is done: tasks, and what is in its ring. */
static inline void home_turn(struct catnap_halter *home)
{
	uint32_t bits = halter_take(home);

	if (bits & HALTER_WORK_TASKS)
		halter_run_tasks(home);
	if (bits & HALTER_WORK_SOURCES)
		atomic_fetch_or(&home->pending, HALTER_WORK_SOURCES);
	halter_reap(home);
}

#endif
