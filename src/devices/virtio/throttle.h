/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues that share a rate limit (rate.h), and wait their turn.
 *
 * Before a queue is popped it asks throttle_pass(). If that says no, the queue is put at the end of
 * the list of those that wait, and whoever served it goes on with other things: no thread waits. A
 * timerfd, in the ring of the device's home, fires when there is something to be had again, and the
 * first of the list gets its task posted, where it wants to be served. So queues take turns; one
 * whose thread was late, so that another has taken what there was, is the next.
 *
 * Locks: the throttle's own, a leaf; a queue's lock may be held around all of these.
 */
#ifndef DEVICES_VIRTIO_THROTTLE_H
#define DEVICES_VIRTIO_THROTTLE_H

#include <pthread.h>
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

struct throttle {
	bool on; /* constant: there is a limit at all. What is below is only there then. */
	int timer_fd;
	struct catnap_halter *home;
	struct ring_watch watch;

	pthread_mutex_t lock; /* of all that follows */
	struct rate rate;
	struct throttle_place *first, **last;
	uint64_t since_ns; /* when somebody began to wait; while first is not NULL */
	uint64_t waits, waited_ns;
};

/* 0 or -errno of timerfd_create() and pthread_mutex_init(). With no limit in @limits the throttle
 * is off, and nobody ever waits. */
int throttle_init(struct throttle *t, const struct rate_limits *limits);
/* Its home's thread has ended, or it is not attached. */
void throttle_fini(struct throttle *t);
/* Once, before the first pass: whose ring has the timer. -ENOSPC. */
int throttle_attach(struct throttle *t, struct catnap_halter *home);
/* Before the home's thread has started: as if it had not been attached. */
void throttle_detach(struct throttle *t);

/* Whether something may be begun for this queue. False: its task will be posted to @halter (NULL:
 * the home), and until then further calls return false, too. */
bool throttle_pass(struct throttle *t, struct throttle_place *p, struct catnap_halter *halter);
/* It was, and was this much. */
void throttle_charge(struct throttle *t, uint64_t ops, uint64_t bytes);
/* There is nothing to be begun just now. */
void throttle_rest(struct throttle *t, struct throttle_place *p);
/* Nobody waits any more; what was used up stays so. */
void throttle_reset(struct throttle *t);
/* Any thread. How often a queue had to wait, and how long some queue has waited in all. */
void throttle_get(struct throttle *t, uint64_t *waits, uint64_t *ns);

#endif
