/* SPDX-License-Identifier: Apache-2.0 */
/* The public face of the halter (catnap/poll.h), on its own allocation and its own clock. */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "fork_mark.h"
#include "poll/halter.h"
#include "relaxed.h"
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

/* Returns whether it is a copy of the parent's, whose ring both would use. */
static bool in_child(const struct catnap_halter *h)
{
	return h->mark && !*h->mark;
}

/* The size of struct catnap_halter_config in its first version. */
#define CONFIG_SIZE_1 (offsetof(struct catnap_halter_config, ctx) + sizeof(void *))

int catnap_halter_create(const struct catnap_halter_config *given, struct catnap_halter **halter)
{
	struct catnap_halter_config cfg;
	uint32_t *mark = NULL;
	struct catnap_halter *h;
	struct clock clock;
	int ret;

	if (!halter)
		return -EINVAL;
	catnap_halter_config_init(&cfg);
	ret = sized_in(&cfg, sizeof(cfg), given, CONFIG_SIZE_1);
	if (ret < 0)
		return ret;
	h = aligned_alloc(_Alignof(struct catnap_halter), sizeof(*h));
	if (h)
		mark = fork_mark_alloc(sizeof(*mark));
	if (!mark) {
		free(h);
		return -ENOMEM;
	}
	clock_init(&clock, 0);
	ret = halter_init(h, &cfg, &(struct halter_env){.clock = &clock}, NULL);
	if (ret < 0) {
		fork_mark_free(mark, sizeof(*mark));
		free(h);
		return ret;
	}
	*mark = 1;
	h->mark = mark;
	*halter = h;
	return 0;
}

void catnap_halter_destroy(struct catnap_halter **halter)
{
	if (!*halter)
		return;
	halter_fini(*halter);
	fork_mark_free((*halter)->mark, sizeof(*(*halter)->mark));
	free(*halter);
	*halter = NULL;
}

void catnap_halter_wake(struct catnap_halter *halter, uint32_t bits)
{
	if (in_child(halter))
		return;
	halter_wake(halter, bits & CATNAP_WORK_USER);
}

uint32_t catnap_halter_take(struct catnap_halter *halter)
{
	if (in_child(halter))
		return 0;
	/* The engine's own bits stay for halter_halt() and halter_reap(). */
	return wake_take_some(&halter->wake, CATNAP_WORK_USER);
}

int catnap_halter_halt(struct catnap_halter *halter, uint64_t deadline_ns, int *cause)
{
	int why = CATNAP_CAUSE_OTHER, ret;

	if (in_child(halter))
		return -EPERM;
	if (halter->loop.running)
		return -EDEADLK;
	/* The deadline is kept on CLOCK_MONOTONIC, which may be slewed against the TSC: look
	 * again. */
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
	if (in_child(halter))
		return false;
	/* Changed sources are no work of the caller's. An error shows in the next halt. */
	if (halter_sync(halter) < 0)
		return false;
	return halter_enter(halter);
}

void catnap_halter_leave(struct catnap_halter *halter)
{
	if (in_child(halter))
		return;
	halter_leave(halter);
}

int catnap_halter_add_eventfd(struct catnap_halter *halter, int fd)
{
	if (in_child(halter))
		return -EPERM;
	return halter_add_source(halter, fd, POLLIN, NULL);
}

int catnap_halter_del_eventfd(struct catnap_halter *halter, int fd)
{
	if (in_child(halter))
		return -EPERM;
	return halter_del_source(halter, fd, NULL);
}

int catnap_halter_reap(struct catnap_halter *halter)
{
	if (in_child(halter))
		return -EPERM;
	if (halter->loop.running)
		return -EDEADLK;
	return halter_reap(halter);
}

int catnap_halter_set_halt_poll(struct catnap_halter *halter, const struct catnap_halt_poll *params)
{
	int ret;

	if (in_child(halter))
		return -EPERM;
	ret = catnap_halt_poll_check(params);
	if (ret == 0)
		policy_set(&halter->policy, params);
	return ret;
}

void catnap_halter_set_poll_allowed(struct catnap_halter *halter, bool allowed)
{
	if (!in_child(halter))
		relaxed_store(&halter->poll_allowed, allowed);
}

int catnap_halter_get_stats(struct catnap_halter *halter, struct catnap_halt_stats *stats)
{
	if (in_child(halter))
		return -EPERM;
	return halter_get_stats(halter, stats);
}

int catnap_halter_get_policy_stats(struct catnap_halter *halter, struct catnap_policy_stats *stats)
{
	if (in_child(halter))
		return -EPERM;
	return halter_get_policy_stats(halter, stats);
}

void catnap_source_init_sized(struct catnap_source *source, size_t size)
{
	const struct catnap_source defaults = {.fd = -1, .events = POLLIN};

	sized_init(source, size, &defaults, sizeof(defaults));
}

void(catnap_source_init)(struct catnap_source *source)
{
	catnap_source_init_sized(source, sizeof(*source));
}

/* The size of struct catnap_source in its first version. */
#define SOURCE_SIZE_1 (offsetof(struct catnap_source, ctx) + sizeof(void *))
#define SOURCE_EVENTS ((uint32_t)(POLLIN | POLLOUT | POLLPRI | EPOLLRDHUP))

/* Copies the caller's struct to *@source, and checks it. Returns 0 or -EINVAL. */
static int take_source(struct catnap_source *source, const struct catnap_source *given)
{
	int ret;

	catnap_source_init(source);
	ret = sized_in(source, sizeof(*source), given, SOURCE_SIZE_1);
	if (ret < 0)
		return ret;
	if (source->events & ~SOURCE_EVENTS || source->flags & ~CATNAP_SOURCE_EDGE ||
	    !source->ready)
		return -EINVAL;
	return 0;
}

int catnap_halter_add_source(struct catnap_halter *halter, const struct catnap_source *given)
{
	struct catnap_source source;
	int ret;

	if (in_child(halter))
		return -EPERM;
	ret = take_source(&source, given);
	if (ret < 0)
		return ret;
	if (in_child(halter))
		return -EPERM;
	ret = loop_add(&halter->loop, &halter->ring, &source);
	if (ret <= 0)
		return ret;
	halter_wake(halter, HALTER_WORK_SOURCES);
	return 0;
}

int catnap_halter_mod_source(struct catnap_halter *halter, const struct catnap_source *given)
{
	struct catnap_source source;
	int ret;

	if (in_child(halter))
		return -EPERM;
	ret = take_source(&source, given);
	if (ret == 0 && in_child(halter))
		return -EPERM;
	return ret < 0 ? ret : loop_mod(&halter->loop, &source);
}

int catnap_halter_del_source(struct catnap_halter *halter, int fd)
{
	if (in_child(halter))
		return -EPERM;
	if (in_child(halter))
		return -EPERM;
	return loop_del(&halter->loop, fd);
}
