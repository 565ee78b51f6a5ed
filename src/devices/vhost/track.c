/* SPDX-License-Identifier: Apache-2.0 */
/* See track.h. */
#include <string.h>

#include "devices/vhost/track.h"

void vhost_track_begin(struct vhost_track *t)
{
	memset(t, 0, sizeof(*t));
	t->exact = true;
}

static void count(struct vhost_track *t, const struct virtqueue *q, uint32_t head, int by)
{
	if (head >= q->size || t->count[head] == INT8_MAX || t->count[head] == INT8_MIN)
		t->exact = false;
	else
		t->count[head] = (int8_t)(t->count[head] + by);
}

void vhost_track_look(struct vhost_track *t, const struct virtqueue *q)
{
	uint16_t used, avail;

	if (!q->enabled)
		return;
	/* In this order: what was given back was made available before. */
	used = vq_shared_used(q);
	avail = vq_shared_avail(q);
	if ((uint16_t)(used - t->used) > q->size || (uint16_t)(avail - t->avail) > q->size)
		t->exact = false;
	if (used == avail) { /* whatever was not seen is over */
		vhost_track_begin(t);
		t->used = t->avail = used;
		return;
	}
	/* By turns, for a head may have been given back and made available again. */
	while (t->exact && (t->avail != avail || t->used != used)) {
		if (t->used != used)
			count(t, q, vq_shared_used_at(q, t->used++), -1);
		if (t->avail != avail) {
			uint32_t head = vq_shared_avail_at(q, t->avail);

			count(t, q, head, 1);
			if (head < q->size)
				t->at[head] = t->avail;
			t->avail++;
		}
	}
	/* Entries may have been overwritten while they were read. */
	if ((uint16_t)(vq_shared_avail(q) - t->avail) > q->size)
		t->exact = false;
	t->avail = avail;
	t->used = used;
}

bool vhost_track_known(struct vhost_track *t, const struct virtqueue *q)
{
	uint16_t left = 0;

	vhost_track_look(t, q);
	for (uint16_t i = 0; i < q->size; i++) {
		if (t->count[i] != 0 && t->count[i] != 1)
			return false;
		left = (uint16_t)(left + (uint16_t)t->count[i]);
	}
	return t->exact && left == (uint16_t)(t->avail - t->used);
}

bool vhost_track_restore(struct vhost_track *t, struct virtqueue *q)
{
	uint16_t order[VQ_SIZE_MAX], n = 0;

	if (!vhost_track_known(t, q))
		return false;
	/* By where they were made available, the oldest first. */
	for (uint16_t head = 0; head < q->size; head++) {
		uint16_t age = (uint16_t)(t->avail - t->at[head]), i = n;

		if (!t->count[head])
			continue;
		for (; i && (uint16_t)(t->avail - t->at[order[i - 1]]) < age; i--)
			order[i] = order[i - 1];
		order[i] = head;
		n++;
	}
	for (uint16_t i = 0; i < n; i++) {
		uint16_t at = (uint16_t)(t->used + i);

		t->at[order[i]] = at;
		vq_shared_set_avail(q, at, order[i]);
	}
	return true;
}
