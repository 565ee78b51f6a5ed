/* SPDX-License-Identifier: Apache-2.0 */
/* Queues that wait for a rate limit. See throttle.h; timerfd_create(2). */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "devices/virtio/throttle.h"
#include "poll/clock.h"

/* From one's turn to the next one's, so that the first has used it up if it does: longer than a
 * vCPU takes to leave its guest, or to wake up. */
#define TURN_NS 100000

static void set_timer(struct throttle *t, uint64_t at_ns)
{
	struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000u),
					       .tv_nsec = (long)(at_ns % 1000000000u)}};

	/* No error that it could have is left. */
	(void)timerfd_settime(t->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Locked. Sets the timer for the first of the list, in @least ns at least. */
static void set_next(struct throttle *t, uint64_t now, uint64_t least)
{
	uint64_t ns = rate_wait(&t->rate, now);

	set_timer(t, now + (ns > least ? ns : least));
}

/* Locked. */
static void none_waits(struct throttle *t, uint64_t now)
{
	t->waited_ns += now - t->since_ns;
	t->last = &t->first;
}

/* Locked. The first, whose turn it is. */
static struct throttle_place *take_first(struct throttle *t, uint64_t now)
{
	struct throttle_place *p = t->first;

	t->first = p->next;
	if (!t->first)
		none_waits(t, now);
	p->waiting = false;
	p->turn = true;
	p->used = false;
	return p;
}

/* On the home's thread. */
static void timer_fired(struct ring_watch *watch, uint32_t events)
{
	struct throttle *t = (void *)((char *)watch - offsetof(struct throttle, watch));
	struct throttle_place *p = NULL;
	uint64_t now, n;

	while (read(t->timer_fd, &n, sizeof(n)) > 0)
		;
	pthread_mutex_lock(&t->lock);
	now = clock_monotonic_ns();
	if (t->first && rate_wait(&t->rate, now) == 0)
		p = take_first(t, now);
	if (t->first)
		set_next(t, now, p ? TURN_NS : 0);
	/* With the lock held: a reset that comes later finds a task that was posted. */
	if (p)
		halter_post(p->halter ? p->halter : t->home, p->task);
	pthread_mutex_unlock(&t->lock);
}

/* Locked. At the end of the list, or before all others if it has had its turn in vain. */
static void wait_for_turn(struct throttle *t, struct throttle_place *p, uint64_t now)
{
	bool first = p->turn && !p->used;

	if (!t->first) {
		t->since_ns = now;
		set_next(t, now, 0);
	}
	if (first && t->first) {
		p->next = t->first;
		t->first = p;
	} else {
		p->next = NULL;
		*t->last = p;
		t->last = &p->next;
	}
	p->turn = false;
	p->waiting = true;
	if (!first)
		t->waits++;
}

bool throttle_pass(struct throttle *t, struct throttle_place *p, struct catnap_halter *halter)
{
	bool pass = false;
	uint64_t now;

	if (!t->on)
		return true;
	pthread_mutex_lock(&t->lock);
	if (!p->waiting) {
		now = clock_monotonic_ns();
		pass = (!t->first || p->turn) && rate_wait(&t->rate, now) == 0;
		p->halter = halter;
		p->used |= pass;
		if (!pass)
			wait_for_turn(t, p, now);
	}
	pthread_mutex_unlock(&t->lock);
	return pass;
}

void throttle_charge(struct throttle *t, uint64_t ops, uint64_t bytes)
{
	if (!t->on)
		return;
	pthread_mutex_lock(&t->lock);
	rate_charge(&t->rate, ops, bytes);
	pthread_mutex_unlock(&t->lock);
}

void throttle_rest(struct throttle *t, struct throttle_place *p)
{
	if (!t->on)
		return;
	pthread_mutex_lock(&t->lock);
	p->turn = false;
	pthread_mutex_unlock(&t->lock);
}

void throttle_reset(struct throttle *t)
{
	uint64_t now;

	if (!t->on)
		return;
	pthread_mutex_lock(&t->lock);
	now = clock_monotonic_ns();
	while (t->first)
		take_first(t, now)->turn = false;
	pthread_mutex_unlock(&t->lock);
}

void throttle_get(struct throttle *t, uint64_t *waits, uint64_t *ns)
{
	*waits = *ns = 0;
	if (!t->on)
		return;
	pthread_mutex_lock(&t->lock);
	*waits = t->waits;
	*ns = t->waited_ns + (t->first ? clock_monotonic_ns() - t->since_ns : 0);
	pthread_mutex_unlock(&t->lock);
}

int throttle_init(struct throttle *t, const struct rate_limits *limits)
{
	int ret;

	memset(t, 0, sizeof(*t));
	t->timer_fd = -1;
	if (!limits->bw && !limits->ops)
		return 0;
	t->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->timer_fd < 0)
		return -errno;
	ret = pthread_mutex_init(&t->lock, NULL);
	if (ret) {
		close(t->timer_fd);
		return -ret;
	}
	rate_init(&t->rate, limits, clock_monotonic_ns());
	t->last = &t->first;
	t->watch.ready = timer_fired;
	t->on = true;
	return 0;
}

void throttle_fini(struct throttle *t)
{
	if (!t->on)
		return;
	pthread_mutex_destroy(&t->lock);
	close(t->timer_fd);
	t->on = false;
}

int throttle_attach(struct throttle *t, struct catnap_halter *home)
{
	if (!t->on)
		return 0;
	t->home = home;
	return halter_watch(home, t->timer_fd, POLLIN, &t->watch);
}

void throttle_detach(struct throttle *t)
{
	if (t->on && t->home)
		halter_unwatch(t->home, t->timer_fd, &t->watch);
	t->home = NULL;
}
