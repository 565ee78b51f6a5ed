/* SPDX-License-Identifier: Apache-2.0 */
/* Queues that wait for a rate limit. See throttle.h; timerfd_create(2). */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "container_of.h"
#include "devices/virtio/throttle.h"
#include "poll/clock.h"
#include "relaxed.h"

/* From one's turn to the next one's, so that the first has used it up if it does: longer than a
 * vCPU takes to leave its guest, or to wake up. */
#define TURN_NS 100000

static void set_timer(struct throttle *t, uint64_t at_ns)
{
	const struct itimerspec spec = {.it_value = clock_timespec(at_ns)};

	/* No error that it could have is left. */
	(void)timerfd_settime(t->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Sets the timer for the first of the list, in @least ns at least. Locked. */
static void set_next(struct throttle *t, uint64_t now, uint64_t least)
{
	uint64_t ns = rate_wait(&t->rate, now);

	set_timer(t, now + (ns > least ? ns : least));
}

/* Takes note that none waits any more. Locked. */
static void none_waits(struct throttle *t, uint64_t now)
{
	t->waited_ns += now - t->since_ns;
	t->last = &t->first;
}

/* Takes the first from the list, whose turn it is. Locked. */
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

/* Lets all go on: there is no limit any more. Locked. */
static void let_all_go(struct throttle *t, uint64_t now)
{
	while (t->first) {
		struct throttle_place *p = take_first(t, now);

		p->turn = false;
		halter_post(p->halter ? p->halter : t->home, p->task);
	}
}

/*
 * Takes limits that have changed. If they are being changed just now, whoever does that has the
 * home look afterwards. Returns whether there is a limit. Locked.
 */
static bool take_limits(struct throttle *t)
{
	uint32_t state = relaxed_load(&t->state);
	uint64_t now;

	if (!(state & THROTTLE_CHANGED) || pthread_mutex_trylock(&t->change_lock) != 0)
		return state & THROTTLE_ON;
	now = clock_monotonic_ns();
	rate_change(&t->rate, &t->next, now);
	state = rate_limits_any(&t->next) ? THROTTLE_ON : 0;
	if (!state)
		let_all_go(t, now);
	else if (t->first)
		set_next(t, now, 0);
	/* A thread that sees that there is no limit finds its queue in no list. */
	atomic_store_explicit(&t->state, state, memory_order_release);
	pthread_mutex_unlock(&t->change_lock);
	return state;
}

static void look(struct halter_task *task)
{
	struct throttle *t = container_of(task, struct throttle, look);

	pthread_mutex_lock(&t->lock);
	take_limits(t);
	pthread_mutex_unlock(&t->lock);
}

/* Lets the first of the list go, if its turn has come. On the home's thread. */
static void timer_fired(struct ring_handler *handler, uint32_t events)
{
	struct throttle *t = container_of(handler, struct throttle, handler);
	struct throttle_place *p = NULL;
	uint64_t now, n;

	while (read(t->timer_fd, &n, sizeof(n)) > 0)
		;
	pthread_mutex_lock(&t->lock);
	take_limits(t);
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

/* Puts @p at the end of the list, or before all others if it has had its turn in vain. Locked. */
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

	if (!throttle_on(t))
		return true;
	pthread_mutex_lock(&t->lock);
	if (!take_limits(t)) {
		pass = true;
	} else if (!p->waiting) {
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
	if (!throttle_on(t))
		return;
	pthread_mutex_lock(&t->lock);
	rate_charge(&t->rate, ops, bytes);
	pthread_mutex_unlock(&t->lock);
}

void throttle_rest(struct throttle *t, struct throttle_place *p)
{
	if (!throttle_on(t))
		return;
	pthread_mutex_lock(&t->lock);
	p->turn = false;
	pthread_mutex_unlock(&t->lock);
}

void throttle_reset(struct throttle *t)
{
	uint64_t now;

	pthread_mutex_lock(&t->lock);
	now = clock_monotonic_ns();
	while (t->first)
		take_first(t, now)->turn = false;
	pthread_mutex_unlock(&t->lock);
}

void throttle_get(struct throttle *t, uint64_t *waits, uint64_t *ns)
{
	pthread_mutex_lock(&t->lock);
	*waits = t->waits;
	*ns = t->waited_ns + (t->first ? clock_monotonic_ns() - t->since_ns : 0);
	pthread_mutex_unlock(&t->lock);
}

int throttle_init(struct throttle *t, const struct rate_limits *limits)
{
	int ret;

	memset(t, 0, sizeof(*t));
	/* In any case: a process that has closed itself in cannot make one later. */
	t->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->timer_fd < 0)
		return -errno;
	ret = pthread_mutex_init(&t->lock, NULL);
	if (ret == 0) {
		ret = pthread_mutex_init(&t->change_lock, NULL);
		if (ret)
			pthread_mutex_destroy(&t->lock);
	}
	if (ret) {
		close(t->timer_fd);
		return -ret;
	}
	rate_init(&t->rate, limits, clock_monotonic_ns());
	t->next = *limits;
	t->last = &t->first;
	t->handler.ready = timer_fired;
	t->look.run = look;
	atomic_init(&t->state, rate_limits_any(limits) ? THROTTLE_ON : 0);
	t->made = true;
	return 0;
}

void throttle_fini(struct throttle *t)
{
	if (!t->made)
		return;
	t->made = false;
	pthread_mutex_destroy(&t->change_lock);
	pthread_mutex_destroy(&t->lock);
	close(t->timer_fd);
}

/* Makes the timer a source, or none. It is one only while there is a limit: an owner whose ring
 * waits for something sleeps in it, and not on a futex alone. change_lock is held. */
static int set_source(struct throttle *t, bool timed)
{
	int ret = 0;

	if (timed == t->timed || !t->home)
		return 0;
	if (timed)
		ret = halter_add_source(t->home, t->timer_fd, POLLIN, &t->handler);
	else
		halter_del_source(t->home, t->timer_fd, &t->handler);
	if (ret == 0)
		t->timed = timed;
	return ret;
}

int throttle_attach(struct throttle *t, struct catnap_halter *home)
{
	int ret;

	pthread_mutex_lock(&t->change_lock);
	t->home = home;
	ret = set_source(t, rate_limits_any(&t->next));
	pthread_mutex_unlock(&t->change_lock);
	return ret;
}

void throttle_detach(struct throttle *t)
{
	pthread_mutex_lock(&t->change_lock);
	set_source(t, false);
	t->home = NULL;
	pthread_mutex_unlock(&t->change_lock);
}

int throttle_change(struct throttle *t, const struct rate_limits *limits,
		    struct rate_limits *before)
{
	int ret;

	pthread_mutex_lock(&t->change_lock);
	ret = set_source(t, rate_limits_any(limits));
	if (before)
		*before = t->next;
	if (ret == 0) {
		t->next = *limits;
		atomic_fetch_or(&t->state, THROTTLE_CHANGED);
	}
	pthread_mutex_unlock(&t->change_lock);
	if (ret == 0 && t->home)
		halter_post(t->home, &t->look);
	return ret;
}

void throttle_save(struct throttle *t, struct state_writer *w)
{
	pthread_mutex_lock(&t->lock);
	take_limits(t);
	rate_save(&t->rate, clock_monotonic_ns(), w);
	pthread_mutex_unlock(&t->lock);
}

int throttle_load(struct throttle *t, const struct rate *rate)
{
	const struct rate_limits limits = {.bw = rate->bw.bucket, .ops = rate->ops.bucket};
	int ret;

	pthread_mutex_lock(&t->change_lock);
	ret = set_source(t, rate_limits_any(&limits));
	if (ret == 0) {
		pthread_mutex_lock(&t->lock);
		t->next = limits;
		t->rate = *rate;
		atomic_store(&t->state, rate_limits_any(&limits) ? THROTTLE_ON : 0);
		pthread_mutex_unlock(&t->lock);
	}
	pthread_mutex_unlock(&t->change_lock);
	return ret;
}
