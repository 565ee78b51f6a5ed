/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which chains of a queue a back end has, seen from beside: both rings are looked at whenever it
 * has called, so that those that are in flight are known when it dies. The guest and the back end
 * write the rings: their entries are compared, and never used as more than numbers below the
 * queue's size.
 *
 * A look may come too late: an entry that was overwritten meanwhile is lost, and then it is not known
 * (exact) until nothing is in flight.
 */
#ifndef DEVICES_VHOST_TRACK_H
#define DEVICES_VHOST_TRACK_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/queue.h"

/* Under the queue's lock. */
struct vhost_track {
	uint16_t avail, used; /* the indices as they were at the last look */
	bool exact;
	int8_t count[VQ_SIZE_MAX]; /* of each head: made available, less given back */
	uint16_t at[VQ_SIZE_MAX];  /* where it was last made available */
};

/* Begins a queue, with nothing in it. */
void vhost_track_begin(struct vhost_track *t);
void vhost_track_look(struct vhost_track *t, const struct virtqueue *q);
/* Looks, and returns whether it is known what is in flight. */
bool vhost_track_known(struct vhost_track *t, const struct virtqueue *q);
/*
 * Puts the chains that are in flight, if they are known, in their order, where the available ring
 * has those that were not given back, so that another back end that begins at the used index finds
 * them. Drivers do not read what they have put there. Returns whether it is known.
 */
bool vhost_track_restore(struct vhost_track *t, struct virtqueue *q);

#endif
