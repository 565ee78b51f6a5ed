/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of the halter (catnap/poll.h), on its own allocation and its own clock. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "poll/halter.h"
#include "sized.h"

void catnap_halter_config_init_sized(struct catnap_halter_config *cfg, size_t size)
{
	struct catnap_halter_config defaults;

	memset(&defaults, 0, sizeof(defaults));
	catnap_halt_poll_init(&defaults.halt_poll);
	sized_init(cfg, size, &defaults, sizeof(defaults));
}

void(catnap_halter_config_init)(struct catnap_halter_config *cfg)
{
	catnap_halter_config_init_sized(cfg, sizeof(*cfg));
}

int catnap_halter_create(const struct catnap_halter_config *cfg, struct catnap_halter **halter)
{
	struct catnap_halter *h;
	struct clock clock;
	int ret;

	if (cfg->size < sizeof(*cfg))
		return -EINVAL;
	h = aligned_alloc(_Alignof(struct catnap_halter), sizeof(*h));
	if (!h)
		return -ENOMEM;
	clock_init(&clock, 0);
	ret = halter_init(h, cfg, &clock);
	if (ret < 0) {
		free(h);
		return ret;
	}
	*halter = h;
	return 0;
}

void catnap_halter_destroy(struct catnap_halter **halter)
{
	if (!*halter)
		return;
	halter_fini(*halter);
	free(*halter);
	*halter = NULL;
}

void catnap_halter_wake(struct catnap_halter *halter, uint32_t bits)
{
	halter_wake(halter, bits & CATNAP_WORK_USER);
}

uint32_t catnap_halter_take(struct catnap_halter *halter)
{
	/* The engine's own bits stay for halter_halt() and halter_reap(). */
	if (!(atomic_load_explicit(&halter->pending, memory_order_relaxed) & CATNAP_WORK_USER))
		return 0;
	return atomic_fetch_and(&halter->pending, ~CATNAP_WORK_USER) & CATNAP_WORK_USER;
}

int catnap_halter_halt(struct catnap_halter *halter, uint64_t deadline_ns, int *cause)
{
	int why = CATNAP_CAUSE_OTHER, ret;

	/* The deadline is kept on CLOCK_MONOTONIC, which may be slewed against the TSC: look again.
	 */
	do {
		uint64_t deadline = UINT64_MAX;

		if (deadline_ns != CATNAP_NO_DEADLINE) {
			uint64_t mono = clock_monotonic_ns();
			uint64_t ns = deadline_ns > mono ? deadline_ns - mono : 0;
			deadline = clock_add(clock_now(&halter->clock),
					     clock_ns_to_ticks(&halter->clock, ns));
		}
		ret = halter_halt(halter, deadline, &why);
	} while (ret == 0 && why == CATNAP_CAUSE_TIMER && clock_monotonic_ns() < deadline_ns);
	if (cause)
		*cause = why;
	return ret;
}

bool catnap_halter_enter(struct catnap_halter *halter)
{
	/* Changed sources are no work of the caller's. An error shows in the next halt. */
	if (halter_sync(halter) < 0)
		return false;
	return halter_enter(halter);
}

void catnap_halter_leave(struct catnap_halter *halter)
{
	halter_leave(halter);
}

int catnap_halter_add_eventfd(struct catnap_halter *halter, int fd)
{
	int ret = ring_add(&halter->ring, fd);

	if (ret == 0)
		halter_wake(halter, HALTER_WORK_SOURCES);
	return ret;
}

int catnap_halter_del_eventfd(struct catnap_halter *halter, int fd)
{
	int ret = ring_del(&halter->ring, fd);

	if (ret == 0)
		halter_wake(halter, HALTER_WORK_SOURCES);
	return ret;
}

int catnap_halter_reap(struct catnap_halter *halter)
{
	return halter_reap(halter);
}

int catnap_halter_set_halt_poll(struct catnap_halter *halter, const struct catnap_halt_poll *params)
{
	int ret = catnap_halt_poll_check(params);

	if (ret == 0)
		policy_set(&halter->policy, params);
	return ret;
}

void catnap_halter_set_poll_allowed(struct catnap_halter *halter, bool allowed)
{
	atomic_store_explicit(&halter->poll_allowed, allowed, memory_order_relaxed);
}

int catnap_halter_get_stats(struct catnap_halter *halter, struct catnap_halt_stats *stats)
{
	return halter_get_stats(halter, stats);
}

int catnap_halter_get_policy_stats(struct catnap_halter *halter, struct catnap_policy_stats *stats)
{
	return halter_get_policy_stats(halter, stats);
}
