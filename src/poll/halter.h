/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The halter: one owner waits, anybody wakes. This is the wake protocol itself; the public face is
 * catnap/poll.h, the model that checks it is tests/model/wake.pml, the story is
 * docs/wake-protocol.md.
 *
 * The two words, and who may do what:
 *
 *   pending  work bits. Wakers: fetch_or (seq_cst). Owner: exchange with 0, before it reads what
 * the bits announce. state    where the owner is. Owner: any exchange (seq_cst). Wakers: only GUEST
 * -> KICKED and SLEEPING -> VMM, by compare-and-swap; the winner owes the owner one kick or one
 * futex wake.
 *
 * With a group (group.h) the poller also makes SLEEPING -> WATCHED and WATCHED -> SLEEPING of the
 * others, and wakes them in a waker's place: WATCHED -> VMM.
 *
 * Pairing (Dekker): a waker publishes pending and then reads state; the owner publishes state and
 * then reads pending. Both publications are locked instructions, so at least one of the two sees
 * the other. The two words share one cache line: a waker that takes the line for pending has state
 * with it, and a polling owner reads this line only.
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
#include "poll/policy.h"
#include "poll/pressure.h"
#include "poll/price.h"
#include "poll/ring.h"
#include "poll/stats.h"
#include "poll/trace.h"

enum halter_state {
	HALTER_VMM,	 /* awake, will look at its work before it leaves */
	HALTER_GUEST,	 /* in the guest: needs a kick */
	HALTER_KICKED,	 /* in the guest, the kick is under way */
	HALTER_POLLING,	 /* looks at its work all the time */
	HALTER_SLEEPING, /* on the futex or in the ring: needs a wake */
	HALTER_WATCHED,	 /* so, too, but the poller of its group looks at its work, and wakes it */
};

/* Work bits that belong to the engine; the rest is CATNAP_WORK_USER. */
#define HALTER_WORK_SOURCES (UINT32_C(1) << 31) /* the list of eventfds has changed */
#define HALTER_WORK_TASKS   (UINT32_C(1) << 30) /* tasks were posted */

/*
 * Something to be run on the owner's thread; part of the poster's structure, which must outlive its
 * run. Zeroed but for run before it is first posted.
 */
struct halter_task {
	void (*run)(struct halter_task *task);
	struct halter_task *next; /* the halter's, while it is posted */
	_Atomic bool posted;
};

struct catnap_halter {
	/* The line that wakers and the owner share. */
	_Alignas(64) _Atomic uint32_t state;
	_Atomic uint32_t pending;
	/* Posted and not yet run, the latest first. Pushed by anybody, taken as a whole by the
	 * owner after HALTER_WORK_TASKS. */
	struct halter_task *_Atomic tasks;
	/* The owner sleeps in its ring and IORING_OP_FUTEX_WAIT is not there: wake by this eventfd.
	 * Written by the owner before it publishes SLEEPING; -1: wake by futex. */
	_Atomic int wake_fd;
	/* Wakers count what a wake has cost; relaxed, on a line that they hold anyway. */
	_Atomic uint64_t kicks_sent;
	_Atomic uint64_t kicks_saved;
	_Atomic uint64_t futex_wakes;
	/* When the last wake that has ended a sleep was sent, in ticks; relaxed, a hint: the owner
	 * believes it if it lies within the sleep. */
	_Atomic uint64_t wake_sent;
	/* How long a waker's system call took; of the last wake, or the one before. */
	_Atomic uint64_t wake_took;

	/* Constant after creation. */
	_Alignas(64) struct clock clock;
	void (*kick)(void *ctx);
	void (*on_eventfd)(void *ctx, int fd);
	void *ctx;
	/* The poll has failed, a sleep follows; owner. NULL: nothing to do then. Set after
	 * halter_init(). */
	void (*before_sleep)(void *ctx);
	uint32_t flags;

	/* Until when the owner would poll (ticks; 0: it would not), for the poller of its group to
	 * read while it sleeps; relaxed, a hint. */
	_Atomic uint64_t poll_end;
	/* NULL: none. Set by group_add(). */
	struct halter_group *group;

	/* Set by anybody, read by the owner when a halt begins. */
	_Atomic uint32_t poll_allowed;
	struct catnap_policy policy;

	/* The owner's. stats: see stats.h for who may read. */
	struct ring ring;
	struct halt_stats stats;
	struct halt_trace *trace; /* NULL: off */
	struct {
		struct catnap_halt halt;
		uint64_t arrival_ns;
		bool ipi;
		bool due;
	} lesson;		      /* what the policy has not learned yet; see halter.c */
	bool shares;		      /* this halt shares a poller */
	bool draining;		      /* nothing is to be begun; see halter_drain() */
	int error;		      /* of the ring, from a look; reported when the halt ends */
	struct price price;	      /* what a sleep costs here */
	struct contention contention; /* do others want the processor? */
	struct budget own_budget;
	struct budget *budget; /* for failed polls; shared by a VM's. Set after halter_init(). */
	/* Is the processor's time short? Shared by a VM's. NULL: nobody asks. Set after
	 * halter_init(). */
	struct pressure *pressure;
	uint64_t wake_lead; /* ticks by which a timed sleep ends early; see halter.c */
};

/* As catnap_halter_create(), in place, with a clock that the caller has at hand. */
int halter_init(struct catnap_halter *h, const struct catnap_halter_config *cfg,
		const struct clock *clock);
void halter_fini(struct catnap_halter *h);

/* Wakes the owner if its state is still @from (SLEEPING, WATCHED). False: it is not. Any thread. */
bool halter_wake_from(struct catnap_halter *h, uint32_t from);
/* The two costly ends of a wake. */
void halter_wake_slow(struct catnap_halter *h, uint32_t state);

/* Any thread, any signal handler. */
static inline void halter_wake(struct catnap_halter *h, uint32_t bits)
{
	uint32_t state;

	atomic_fetch_or(&h->pending, bits);
	state = atomic_load(&h->state);
	if (state == HALTER_GUEST || state == HALTER_SLEEPING)
		halter_wake_slow(h, state);
	else
		atomic_fetch_add_explicit(&h->kicks_saved, 1, memory_order_relaxed);
}

/* Owner. The acquire half orders the reading of what the bits announce after it. */
static inline uint32_t halter_take(struct catnap_halter *h)
{
	if (!atomic_load_explicit(&h->pending, memory_order_relaxed))
		return 0;
	return atomic_exchange(&h->pending, 0);
}

static inline bool halter_pending(struct catnap_halter *h)
{
	return atomic_load_explicit(&h->pending, memory_order_relaxed) != 0;
}

/* Owner, before the guest. False: there is work. */
static inline bool halter_enter(struct catnap_halter *h)
{
	atomic_exchange(&h->state, HALTER_GUEST);
	/* Completions of the ring end KVM_RUN by themselves, but for those that came just before
	 * it. */
	if (__builtin_expect(atomic_load(&h->pending) == 0 && !ring_ready(&h->ring), 1))
		return true;
	atomic_exchange(&h->state, HALTER_VMM);
	return false;
}

/* Owner, after the guest. True: a kick was sent and may still arrive. */
static inline bool halter_leave(struct catnap_halter *h)
{
	return atomic_exchange(&h->state, HALTER_VMM) == HALTER_KICKED;
}

/*
 * Owner: the halt. Returns when there is work, a completion, or the clock has reached @deadline
 * (ticks, UINT64_MAX: never). *@cause is an enum catnap_wake_cause. 0 or -errno of the ring.
 */
int halter_halt(struct catnap_halter *h, uint64_t deadline, int *cause);

/* Owner: waits for work with no policy, no deadline and no statistics: a vCPU that is not started
 * yet. */
int halter_park(struct catnap_halter *h);

/* Owner: deals with changed sources. 0 or -errno. */
int halter_sync(struct catnap_halter *h);
/* Owner: deals with changed sources, submits requests that were queued, and deals with completions.
 * Returns how many sources fired and requests were done, or -errno. */
int halter_reap(struct catnap_halter *h);
/* Owner: ring_hold(). */
static inline int halter_hold(struct catnap_halter *h, bool hold)
{
	return ring_hold(&h->ring, hold);
}
/* Owner: is there anything for halter_reap() to do with requests and completions? */
static inline bool halter_reapable(struct catnap_halter *h)
{
	return ring_unflushed(&h->ring) || ring_ready(&h->ring);
}
/* Owner: waits until no request is in flight. What their done() would begin is put off meanwhile,
 * by halter_draining(). @cancel: it is the end, so those that have not been begun are given up. 0
 * or -errno. */
int halter_drain(struct catnap_halter *h, bool cancel);
/* Owner: is nothing to be begun now? To be posted as a task, then. */
static inline bool halter_draining(const struct catnap_halter *h)
{
	return h->draining;
}
/* Owner: does somebody want it to come back to its loop, for other reasons than devices'? */
static inline bool halter_called(struct catnap_halter *h)
{
	return atomic_load_explicit(&h->pending, memory_order_relaxed) & CATNAP_WORK_USER;
}

/* Any thread: ring_add_watch() and ring_del_watch() in the owner's ring. A handler that runs just
 * now may still be running when the removal returns. */
int halter_watch(struct catnap_halter *h, int fd, uint32_t events, struct ring_watch *watch);
int halter_unwatch(struct catnap_halter *h, int fd, const struct ring_watch *watch);

/*
 * Any thread: task->run() will be called on the owner's thread, when it next looks at its work.
 * Posting a task again before it has begun to run changes nothing: it runs once, and sees all that
 * was written before each of the posts. A task may post itself.
 */
void halter_post(struct catnap_halter *h, struct halter_task *task);
/* Owner: runs what was posted, in the order in which it was; to be called when HALTER_WORK_TASKS
 * was among the bits that halter_take() gave. */
void halter_run_tasks(struct catnap_halter *h);

/*
 * The halter whose owner the calling thread is, so that devices find the ring of whoever runs them;
 * NULL on a thread that has none. Set once by the thread itself.
 */
struct catnap_halter *halter_self(void);
void halter_set_self(struct catnap_halter *h);

/* Any thread. */
int halter_get_policy_stats(struct catnap_halter *h, struct catnap_policy_stats *stats);
int halter_get_stats(struct catnap_halter *h, struct catnap_halt_stats *stats);

#endif
