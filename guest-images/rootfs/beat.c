// SPDX-License-Identifier: Apache-2.0
/*
 * A thread on each CPU that wakes now and then. Where an emulated processor halts although it has
 * something to do (docs/lab.md), it goes on then, and not only when something else happens.
 *
 *     beat=0     seconds; 0: none
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

static void *thread(void *cpu)
{
	const unsigned int seconds = (unsigned int)option_number("beat", 0);

	pin((int)(intptr_t)cpu);
	for (;;)
		sleep(seconds);
	return NULL;
}

void beat(void)
{
	int cpus[MAX_CPUS], n = option_number("beat", 0) > 0 ? online_cpus(cpus) : 0;
	pthread_t t;

	for (int i = 0; i < n; i++) {
		int ret = pthread_create(&t, NULL, thread, (void *)(intptr_t)cpus[i]);

		if (ret)
			complain("a thread: %s", strerror(ret));
	}
}
