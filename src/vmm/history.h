/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The events of a VM, for catnap_vm_next_event(): the last HISTORY_EVENTS that nobody has taken
 * yet. A guest can cause any number of events, so the oldest make room, and are counted.
 */
#ifndef VMM_HISTORY_H
#define VMM_HISTORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <catnap/catnap.h>

#define HISTORY_EVENTS 64

struct history {
	pthread_mutex_t lock; /* of the default kind, and the last to be taken */
	/* All below is under the lock. */
	int fd; /* eventfd: readable while there is something to take; -1: nobody has asked for it */
	uint64_t number; /* of the newest event */
	bool over;	 /* that it has ended is in it: there is nothing after that */
	unsigned int first, count;
	struct catnap_event lost; /* CATNAP_EVENT_LOST, if its value is not 0 */
	struct catnap_event events[HISTORY_EVENTS];
};

/* Sets *@h up, on zeroed memory. */
void history_init(struct history *h);
void history_fini(struct history *h);
/* Puts an event down: @e but for its size, number and time, which are set here. Any thread, any
 * lock. */
void history_add(struct history *h, const struct catnap_event *e);
/* Makes the descriptor if it is not there, and returns it. -errno of eventfd(2). */
int history_make_fd(struct history *h);
/* Takes the oldest event into @e. Returns false if there is none. */
bool history_take(struct history *h, struct catnap_event *e);

/* Returns an event of no device and no vCPU. */
static inline struct catnap_event history_event(enum catnap_event_type type)
{
	return (struct catnap_event){.type = type, .device = UINT32_MAX, .vcpu = UINT32_MAX};
}

#endif
