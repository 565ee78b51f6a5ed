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
	if (halter_init(home, &cfg, &(struct halter_env){.clock = &clock}, NULL) < 0)
		abort();
}

/* Does the work that has come to it: tasks, and what is in its ring. */
static inline void home_turn(struct catnap_halter *home)
{
	halter_serve(home, halter_take(home));
}

#endif
