/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues that share a rate limit (rate.h), and wait their turn.
 *
 * A thread asks throttle_pass() before it pops a queue. If the limit does not allow it, the queue
 * is put at the end of the list of those that wait, and the thread goes on with other things: no
 * thread waits. A timerfd in the ring of the device's home fires when the limit allows something
 * again. Then the first of the list gets its task posted, to the halter that it has named. So
 * queues take turns. A queue whose thread was late, so that another queue has used up the limit, is
 * the next.
 *
 * The limits may be changed at any time, by any thread. That thread leaves them where whoever asks
 * next takes them, and has the home look, so that queues that wait go on by what holds now. It
 * never holds the lock that queues are passed under. So no vCPU waits for a thread of the caller's
 * that has lost its processor.
 *
 * Locks: the throttle's own, a leaf; a queue's lock may be held around all of these but
 * throttle_change(). That has a lock of its own, which others only try to take.
 */
#ifndef DEVICES_VIRTIO_THROTTLE_H
#define DEVICES_VIRTIO_THROTTLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/rate.h"
#include "poll/halter.h"

/* One queue's place. Zeroed but for task, which is run when its turn has come. */
struct throttle_place {
	struct halter_task *task;
	/* Under the throttle's lock. */
	struct catnap_halter *halter; /* where the task is posted */
	struct throttle_place *next;
	bool waiting;
	bool turn; /* has its turn: it need not stand behind others */
	bool used; /* and has begun something in it */
};

#define THROTTLE_ON	 1u /* there is a limit */
#define THROTTLE_CHANGED 2u /* there are others, which nobody has taken so far */

struct throttle {
	/* THROTTLE_*. Written under change_lock; 0: no queue has to ask, nor waits. */
	_Atomic uint32_t state;
	bool made;
	int timer_fd;		    /* constant */
	struct catnap_halter *home; /* constant once attached */
	struct ring_handler handler;
	struct halter_task look; /* posted to home: there are other limits */

	pthread_mutex_t change_lock; /* of next, and of attaching */
	struct rate_limits next;
	bool timed; /* the timer is a source of home */

	pthread_mutex_t lock; /* of all that follows; change_lock is only tried within */
	struct rate rate;
	struct throttle_place *first, **last;
	uint64_t since_ns; /* when somebody began to wait; while first is not NULL */
	uint64_t waits, waited_ns;
};

/* Sets the throttle up. With no limit in @limits no queue waits. Returns 0, or -errno of
 * timerfd_create() and pthread_mutex_init(). */
int throttle_init(struct throttle *t, const struct rate_limits *limits);
/* Takes it apart. Its home's thread has ended, or it is not attached. Nothing on zeroed memory, and
 * if throttle_init() has failed. */
void throttle_fini(struct throttle *t);
/* Makes @home the one whose ring has the timer, while there is a limit. Once, before the first
 * pass. Returns 0 or -ENOSPC. */
int throttle_attach(struct throttle *t, struct catnap_halter *home);
/* Takes back throttle_attach(), before the home's thread has started. */
void throttle_detach(struct throttle *t);
/*
 * Changes the limits, as rate_change(): they hold for all requests that begin after the call, and
 * queues that wait look again. *@before, unless @before is NULL, is what held so far. Any thread, no
 * lock of a queue's held. Returns 0 or -ENOSPC: the home's ring has no place for the timer, and
 * nothing has changed.
 */
int throttle_change(struct throttle *t, const struct rate_limits *limits,
		    struct rate_limits *before);

/* Returns whether queues have to ask throttle_pass(). */
static inline bool throttle_on(const struct throttle *t)
{
	return atomic_load_explicit(&t->state, memory_order_acquire);
}
/* Returns whether a request of this queue may begin. If not, the queue's task will be posted to
 * @halter (NULL: the home), and until then further calls return false as well. */
bool throttle_pass(struct throttle *t, struct throttle_place *p, struct catnap_halter *halter);
/* Charges a request that has begun, with its size. */
void throttle_charge(struct throttle *t, uint64_t ops, uint64_t bytes);
/* Notes that the queue has no request to begin: its turn is over. */
void throttle_rest(struct throttle *t, struct throttle_place *p);
/* Drops all waits. The limit that was used up stays used up. */
void throttle_reset(struct throttle *t);
/* Writes the limits and what is left of them, in an open section. Nothing uses it meanwhile. */
void throttle_save(struct throttle *t, struct state_writer *w);
/* Takes limits and levels that rate_load() has read, before the home's thread has started. Returns 0
 * or -ENOSPC: the home's ring has no place for the timer. */
int throttle_load(struct throttle *t, const struct rate *rate);
/* Stores how often a queue had to wait, and for how long some queue has waited in all. Any
 * thread. */
void throttle_get(struct throttle *t, uint64_t *waits, uint64_t *ns);

#endif
