/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The halter: the poll engine put together. One owner waits for work, which wakers (wake.h), its
 * ring (ring.h) and a deadline bring. A halt polls for as long as the policy says (policy.h), and
 * then sleeps. The public face is catnap/poll.h.
 *
 * "Owner" is the thread that halts. Functions are its alone where they do not say "any thread".
 */
#ifndef POLL_HALTER_H
#define POLL_HALTER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <catnap/poll.h>
#include "poll/budget.h"
#include "poll/clock.h"
#include "poll/contention.h"
#include "poll/group.h"
#include "poll/lead.h"
#include "poll/loop.h"
#include "poll/policy.h"
#include "poll/pressure.h"
#include "poll/price.h"
#include "poll/ring.h"
#include "poll/spin.h"
#include "poll/stats.h"
#include "poll/task.h"
#include "poll/trace.h"
#include "poll/wake.h"
#include "relaxed.h"

/* Work bits that belong to the engine; the rest is CATNAP_WORK_USER. */
#define HALTER_WORK_SOURCES (UINT32_C(1) << 31) /* the list of sources has changed */
#define HALTER_WORK_TASKS   (UINT32_C(1) << 30) /* tasks were posted */
#define HALTER_WORK_ENGINE  (HALTER_WORK_SOURCES | HALTER_WORK_TASKS)

struct catnap_halter {
	struct wake wake; /* first: it is aligned to cache lines */

	/* Constant after creation. */
	struct clock clock; /* as in the wake words, on a line that wakers do not touch */
	void (*on_eventfd)(void *ctx, int fd);
	void *ctx;
	/* As in struct halter_env, which explains them. */
	void (*before_sleep)(void *ctx);
	struct wake_group *group;
	struct budget *budget;
	struct pressure *pressure;
	struct halt_trace *trace; /* the halter's own */
	struct spin spin;	  /* constant */

	uint32_t *mark; /* 0 in a child of fork(2); NULL: it is part of something that has one */

	/* Any thread sets it; the owner reads it when a halt begins. */
	_Atomic uint32_t poll_allowed;
	struct catnap_policy policy;

	/* The owner's. stats: see stats.h for who may read. */
	struct ring ring;
	struct loop loop; /* any thread may change its sources */
	struct halt_stats stats;
	struct {
		struct catnap_halt halt;
		uint64_t arrival_ns;
		bool ipi;
		bool due;
	} lesson; /* of the halt before: the policy learns it with the next */
	/* Others wanted the processor when the last halt began, or during its poll. */
	bool others_wait;
	bool shares;		      /* this halt shares a poller */
	bool draining;		      /* nothing is to be begun; see halter_drain() */
	bool tasks_held;	      /* some are posted, and their bit is not pending */
	int error;		      /* of the ring, from a look; reported when the halt ends */
	struct price price;	      /* the price of a sleep here */
	struct contention contention; /* do others want the processor? */
	struct budget own_budget;
	struct lead lead; /* by which a timed sleep ends early */
};

/* The surroundings of a halter, beside its public configuration. Halters may share them; all that
 * is pointed at outlives the halters. */
struct halter_env {
	const struct clock *clock; /* is copied */
	struct budget *budget;	   /* for polls that fail; NULL: one of its own */
	struct pressure *pressure; /* tells when the processor's time is short; NULL: never */
	struct wake_group *group;  /* of which it becomes a member; NULL: none */
	const struct spin *spin;   /* the turns that this host has; NULL: it is found out */
	/* Called by the owner when its poll has failed and a sleep follows; may be NULL. */
	void (*before_sleep)(void *ctx);
};

/*
 * Makes a halter in place, as catnap_halter_create() does. @trace is where its halts are written;
 * NULL: nowhere. It is the halter's from this call on, also if that fails.
 * Errors:
 *   -EINVAL  the halt-polling parameters (catnap_halt_poll_check())
 *   -ENOSPC  the group is full
 *   -ENOMEM  and whatever else pthread_mutex_init(3) returns
 */
int halter_init(struct catnap_halter *h, const struct catnap_halter_config *cfg,
		const struct halter_env *env, struct halt_trace *trace);
/* Takes a halter apart. No thread uses it any more. */
void halter_fini(struct catnap_halter *h);

/* Do what wake_owner(), wake_take() and wake_pending() of wake.h do, with the halter's own
 * words. */
static inline void halter_wake(struct catnap_halter *h, uint32_t bits)
{
	wake_owner(&h->wake, bits);
}

static inline uint32_t halter_take(struct catnap_halter *h)
{
	return wake_take(&h->wake);
}

static inline bool halter_pending(const struct catnap_halter *h)
{
	return wake_pending(&h->wake);
}

/* Publishes that the owner goes into the guest. Returns false if there is work: it is not to go. */
static inline bool halter_enter(struct catnap_halter *h)
{
	if (!wake_enter(&h->wake))
		return false;
	/* Completions of the ring end KVM_RUN by themselves, but for those that came just before
	 * it. */
	if (__builtin_expect(!ring_ready(&h->ring), 1))
		return true;
	wake_leave(&h->wake);
	return false;
}

/* Publishes that the owner is back. Returns whether a kick was sent, which may still arrive. */
static inline bool halter_leave(struct catnap_halter *h)
{
	return wake_leave(&h->wake);
}

/*
 * Halts: waits until there is work, something has completed, or the clock has reached @deadline (in
 * ticks; UINT64_MAX: never). *@cause becomes an enum catnap_wake_cause. Returns 0 or a negative
 * errno value of the ring.
 */
int halter_halt(struct catnap_halter *h, uint64_t deadline, int *cause);

/* Waits for work with no policy, no deadline and no statistics, as a vCPU does that is not started
 * yet. Returns as halter_halt(). */
int halter_park(struct catnap_halter *h);

/*
 * Serves the engine's bits among @work, which halter_take() gave: runs the tasks that were posted,
 * and arms and disarms sources that have changed. Then it does what halter_reap() does. The other
 * bits are the owner's to deal with.
 * Returns how many sources fired and requests were done, or a negative errno value of the ring.
 */
int halter_serve(struct catnap_halter *h, uint32_t work);
/* Does the same for what is pending, where the owner is away from the loop that takes its work. The
 * other bits stay pending. */
int halter_serve_pending(struct catnap_halter *h);
/* Deals with sources that have changed. Returns 0 or a negative errno value. */
int halter_sync(struct catnap_halter *h);
/* Deals with sources that have changed, submits the requests that are queued, and deals with what
 * has completed. Returns how many sources fired and requests were done, or a negative errno
 * value. */
int halter_reap(struct catnap_halter *h);

/* Does ring_hold() of the halter's ring. */
static inline int halter_hold(struct catnap_halter *h, bool hold)
{
	return ring_hold(&h->ring, hold);
}

/* Returns whether there are requests to submit, or completions, for halter_reap(). */
static inline bool halter_reapable(struct catnap_halter *h)
{
	return ring_unflushed(&h->ring) || h->loop.due || ring_ready(&h->ring);
}

/* Waits until no request is in flight. Their done() asks halter_draining() and begins nothing new.
 * @cancel: it is the end, so requests that have not been begun are given up, and the sources' files
 * let go. Returns 0 or a negative errno value. */
int halter_drain(struct catnap_halter *h, bool cancel);

/* Returns whether nothing is to be begun now. The caller posts as a task what it would begin. */
static inline bool halter_draining(const struct catnap_halter *h)
{
	return h->draining;
}

/* Returns whether bits of the owner's own are pending, so that it should come back to its loop. */
static inline bool halter_called(struct catnap_halter *h)
{
	return relaxed_load(&h->wake.pending) & CATNAP_WORK_USER;
}

/* Do ring_add_source() and ring_del_source() in the owner's ring, which is told of it. Any thread.
 * A handler that runs just now may still be running when the removal returns. */
int halter_add_source(struct catnap_halter *h, int fd, uint32_t events,
		      struct ring_handler *handler);
int halter_del_source(struct catnap_halter *h, int fd, const struct ring_handler *handler);

/* Posts @task, which runs on the owner's thread when that next serves its work (task.h). Any
 * thread. */
static inline void halter_post(struct catnap_halter *h, struct halter_task *task)
{
	task_post(&h->wake, task, HALTER_WORK_TASKS);
}

/* Runs the tasks that were posted, in that order. */
static inline void halter_run_tasks(struct catnap_halter *h)
{
	h->tasks_held = false;
	task_run_all(&h->wake);
}

/* Puts off the tasks that @work announces. Returns @work without them; halter_take() gives
 * them again. */
static inline uint32_t halter_put_off_tasks(struct catnap_halter *h, uint32_t work)
{
	if (work & HALTER_WORK_TASKS)
		wake_put_back(&h->wake, HALTER_WORK_TASKS);
	return work & ~HALTER_WORK_TASKS;
}

/* Holds the tasks that @work announces: halter_take() gives them after halter_release_tasks(), or
 * once another one is posted. Returns @work without them. */
static inline uint32_t halter_hold_tasks(struct catnap_halter *h, uint32_t work)
{
	h->tasks_held |= (work & HALTER_WORK_TASKS) != 0;
	return work & ~HALTER_WORK_TASKS;
}

/* Lets halter_take() give the tasks that are held. */
static inline void halter_release_tasks(struct catnap_halter *h)
{
	if (!h->tasks_held)
		return;
	h->tasks_held = false;
	wake_put_back(&h->wake, HALTER_WORK_TASKS);
}

/* Returns the halter whose owner the calling thread is, or NULL. So devices find the ring of the
 * thread that runs them. */
struct catnap_halter *halter_self(void);
/* Makes the calling thread the owner of @h for halter_self(); NULL: of none. */
void halter_set_self(struct catnap_halter *h);

/* Read statistics. Any thread. */
int halter_get_policy_stats(struct catnap_halter *h, struct catnap_policy_stats *stats);
int halter_get_stats(struct catnap_halter *h, struct catnap_halt_stats *stats);

#endif
