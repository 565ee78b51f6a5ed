/* SPDX-License-Identifier: Apache-2.0 */
/* The poll engine alone, with no VM in sight: one thread waits, another one brings numbers. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include <catnap/poll.h>

#define WORK_NUMBER (UINT32_C(1) << 4)
#define WORK_END    (UINT32_C(1) << 5)

static struct catnap_halter *halter;
static int number; /* published by WORK_NUMBER */

static void *sender(void *arg)
{
	for (int i = 1; i <= 1000; i++) {
		__atomic_store_n(&number, i, __ATOMIC_RELAXED);
		catnap_halter_wake(halter, WORK_NUMBER);
		usleep(100);
	}
	catnap_halter_wake(halter, WORK_END);
	return NULL;
}

int main(void)
{
	struct catnap_halter_config cfg;
	struct catnap_halt_stats stats = {.size = sizeof(stats)};
	pthread_t thread;
	uint32_t work = 0;

	catnap_halter_config_init(&cfg);
	if (catnap_halter_create(&cfg, &halter) < 0)
		return 1;
	if (pthread_create(&thread, NULL, sender, NULL) != 0)
		return 1;
	while (!(work & WORK_END)) {
		if (catnap_halter_halt(halter, CATNAP_NO_DEADLINE, NULL) < 0)
			return 1;
		work = catnap_halter_take(halter);
	}
	pthread_join(thread, NULL);
	catnap_halter_get_stats(halter, &stats);
	printf("last number %d; %llu halts, of which %llu did not sleep\n", number,
	       (unsigned long long)stats.halt_exits,
	       (unsigned long long)stats.halt_successful_poll);
	catnap_halter_destroy(&halter);
	return number == 1000 ? 0 : 1;
}
