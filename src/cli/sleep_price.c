/* SPDX-License-Identifier: Apache-2.0 */
/* One thread sleeps in the poll engine, another one wakes it; see sleep_price.h. */
#include <pthread.h>
#include <unistd.h>

#include <catnap/poll.h>
#include "cli/now.h"
#include "cli/sleep_price.h"

#define WAKES	   400
#define GAP_US	   150
#define LONGEST_NS UINT64_C(2000000000) /* on a busy host: then there are fewer */

#define WORK_NEXT (UINT32_C(1) << 1)
#define WORK_END  (UINT32_C(1) << 2)

static void *waker(void *arg)
{
	struct catnap_halter *halter = arg;
	uint64_t end = now_ns() + LONGEST_NS;

	for (int i = 0; i < WAKES && now_ns() < end; i++) {
		usleep(GAP_US);
		catnap_halter_wake(halter, WORK_NEXT);
	}
	catnap_halter_wake(halter, WORK_END);
	return NULL;
}

static void sleep_until_end(struct catnap_halter *halter)
{
	uint32_t work = 0;

	while (!(work & WORK_END) && catnap_halter_halt(halter, CATNAP_NO_DEADLINE, NULL) == 0)
		work = catnap_halter_take(halter);
}

uint32_t sleep_price_measure(void)
{
	struct catnap_halt_stats stats = {.size = sizeof(stats)};
	struct catnap_halter_config cfg;
	struct catnap_halter *halter;
	pthread_t thread;

	catnap_halter_config_init(&cfg);
	cfg.halt_poll.policy = CATNAP_POLICY_OFF;
	if (catnap_halter_create(&cfg, &halter) < 0)
		return 0;
	if (pthread_create(&thread, NULL, waker, halter) == 0) {
		sleep_until_end(halter);
		pthread_join(thread, NULL);
		catnap_halter_get_stats(halter, &stats);
	}
	catnap_halter_destroy(&halter);
	return (uint32_t)stats.price_ns;
}
