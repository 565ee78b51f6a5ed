/* SPDX-License-Identifier: Apache-2.0 */
/* See ahead.h. */
#include <errno.h>
#include <fcntl.h>

#include "vmm/ahead.h"

#define ENTRIES 1024u
/* Linux reads no more for one request: the device's read_ahead_kb, by default. */
#define PART (UINT64_C(128) << 10)

/* Finds the next part of the ranges. Returns false if there is none. */
static bool next_part(struct ahead *a, struct ahead_range *part)
{
	const struct ahead_range *r = &a->ranges[a->next];

	if (a->next == a->count)
		return false;
	part->at = r->at + a->asked;
	part->len = r->len - a->asked < PART ? r->len - a->asked : PART;
	a->asked += part->len;
	if (a->asked == r->len) {
		a->asked = 0;
		a->next++;
	}
	return true;
}

/* Fills the ring with what is next, and submits it. */
static int submit(struct ahead *a)
{
	struct ahead_range part;
	int ret;

	while (a->flying < ENTRIES && io_uring_sq_space_left(&a->ring) && next_part(a, &part)) {
		io_uring_prep_fadvise(io_uring_get_sqe(&a->ring), a->fd, part.at, (off_t)part.len,
				      POSIX_FADV_WILLNEED);
		a->flying++;
	}
	ret = io_uring_submit(&a->ring);
	return ret == -EAGAIN || ret == -EBUSY || ret == -EINTR ? 0 : ret;
}

/* Waits for one that is done, and takes all that are. */
static int reap(struct ahead *a)
{
	struct io_uring_cqe *cqe;
	int ret = io_uring_wait_cqe(&a->ring, &cqe);

	if (ret < 0)
		return ret == -EINTR || ret == -EAGAIN ? 0 : ret;
	while (io_uring_peek_cqe(&a->ring, &cqe) == 0) {
		io_uring_cqe_seen(&a->ring, cqe);
		a->flying--;
	}
	return 0;
}

/* Does the rest of the pass without a ring. */
static void one_by_one(struct ahead *a)
{
	struct ahead_range part;

	while (next_part(a, &part))
		posix_fadvise(a->fd, (off_t)part.at, (off_t)part.len, POSIX_FADV_WILLNEED);
}

/* Makes a ring that tells of what is done only when it is asked, if this kernel has such: what else
 * the thread does meanwhile is not interrupted. */
static bool make_ring(struct ahead *a)
{
	return io_uring_queue_init(ENTRIES, &a->ring,
				   IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) == 0 ||
	       io_uring_queue_init(ENTRIES, &a->ring, 0) == 0;
}

void ahead_begin(struct ahead *a, int fd, const struct ahead_range *ranges, uint64_t count)
{
	a->fd = fd;
	a->ranges = ranges;
	a->count = count;
	a->next = a->asked = 0;
	a->flying = 0;
	a->made = count && make_ring(a);
	if (a->made && submit(a) < 0) {
		io_uring_queue_exit(&a->ring);
		a->made = false;
		a->next = a->asked = 0;
	}
	if (!a->made)
		one_by_one(a);
}

void ahead_end(struct ahead *a)
{
	int ret = 0;

	if (!a->made)
		return;
	while ((a->flying || a->next < a->count) && ret >= 0) {
		ret = submit(a);
		if (ret >= 0 && a->flying)
			ret = reap(a);
	}
	io_uring_queue_exit(&a->ring);
	a->made = false;
	one_by_one(a);
}
