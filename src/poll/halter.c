/* SPDX-License-Identifier: Apache-2.0 */
/* Making a halter, its sources, and what it tells of itself; see halter.h. */
#include <errno.h>
#include <string.h>

#include "poll/halter.h"
#include "relaxed.h"
#include "sized.h"

int halter_add_source(struct catnap_halter *h, int fd, uint32_t events,
		      struct ring_handler *handler)
{
	int ret = ring_add_source(&h->ring, fd, events, handler);

	if (ret == 0)
		halter_wake(h, HALTER_WORK_SOURCES);
	return ret;
}

int halter_del_source(struct catnap_halter *h, int fd, const struct ring_handler *handler)
{
	int ret = ring_del_source(&h->ring, fd, handler);

	if (ret == 0)
		halter_wake(h, HALTER_WORK_SOURCES);
	return ret;
}

static _Thread_local struct catnap_halter *self;

struct catnap_halter *halter_self(void)
{
	return self;
}

void halter_set_self(struct catnap_halter *h)
{
	self = h;
}

/* Does the same, but for @trace. */
static int init(struct catnap_halter *h, const struct catnap_halter_config *cfg,
		const struct halter_env *env)
{
	int ret = catnap_halt_poll_check(&cfg->halt_poll);

	if (ret < 0)
		return ret;
	memset(h, 0, sizeof(*h));
	ret = ring_init(&h->ring, cfg->flags & CATNAP_HALTER_NO_RING_FUTEX,
			cfg->flags & CATNAP_HALTER_NO_RING);
	if (ret < 0)
		return ret;
	ret = loop_init(&h->loop);
	if (ret < 0)
		goto fini_ring;
	wake_init(&h->wake, env->clock, cfg->kick, cfg->ctx);
	if (env->group) {
		ret = group_add(env->group, &h->wake);
		if (ret < 0)
			goto fini_loop;
	}
	h->clock = *env->clock;
	h->spin = env->spin ? *env->spin : spin_find(env->clock->tsc ? env->clock->khz : 0);
	contention_init(&h->contention, env->clock);
	h->on_eventfd = cfg->on_eventfd;
	h->ctx = cfg->ctx;
	h->before_sleep = env->before_sleep;
	h->group = env->group;
	h->budget = env->budget ? env->budget : &h->own_budget;
	h->pressure = env->pressure;
	atomic_init(&h->poll_allowed, 1);
	policy_init(&h->policy, &cfg->halt_poll);
	return 0;

fini_loop:
	loop_fini(&h->loop);
fini_ring:
	ring_fini(&h->ring);
	return ret;
}

int halter_init(struct catnap_halter *h, const struct catnap_halter_config *cfg,
		const struct halter_env *env, struct halt_trace *trace)
{
	int ret = init(h, cfg, env);

	if (ret < 0)
		halt_trace_destroy(&trace);
	else
		h->trace = trace;
	return ret;
}

void halter_fini(struct catnap_halter *h)
{
	ring_fini(&h->ring);
	loop_fini(&h->loop);
	halt_trace_destroy(&h->trace);
}

int halter_get_stats(struct catnap_halter *h, struct catnap_halt_stats *stats)
{
	struct catnap_halt_stats s = {.size = sizeof(s)};

	stats_read(&h->stats, &s);
	s.policy = relaxed_load(&h->policy.params.kind);
	s.kicks_sent = relaxed_load(&h->wake.kicks_sent);
	s.kicks_saved = relaxed_load(&h->wake.kicks_saved);
	s.futex_wakes = relaxed_load(&h->wake.futex_wakes);
	s.window_ns = policy_window(&h->policy);
	s.price_ns = price_measured(&h->price);
	s.poll_allowed = relaxed_load(&h->poll_allowed);
	return sized_out(stats, &s, sizeof(s), offsetof(struct catnap_halt_stats, halt_exits));
}

int halter_get_policy_stats(struct catnap_halter *h, struct catnap_policy_stats *stats)
{
	struct catnap_policy_stats s;

	policy_read_stats(&h->policy, &s);
	s.price_ns = price_measured(&h->price);
	s.cpu_ns = price_cpu(&h->price);
	return policy_copy_stats(&s, stats);
}
