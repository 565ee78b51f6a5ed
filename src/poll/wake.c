/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls of the wake protocol; see wake.h. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "poll/wake.h"

void wake_init(struct wake *w, const struct clock *clock, void (*kick)(void *ctx), void *ctx)
{
	memset(w, 0, sizeof(*w));
	w->clock = *clock;
	w->kick = kick;
	w->ctx = ctx;
	atomic_init(&w->state, WAKE_VMM);
	atomic_init(&w->wake_fd, -1);
}

/* Wakes all waiters: one of an earlier sleep may still be queued in the ring beside the one of this
 * sleep. */
static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void write_eventfd(int fd)
{
	int saved = errno; /* this may run in a signal handler */
	ssize_t n = write(fd, &(uint64_t){1}, sizeof(uint64_t));

	(void)n; /* EAGAIN: the counter is full, so the poll has fired already */
	errno = saved;
}

bool wake_from(struct wake *w, uint32_t from)
{
	uint64_t sent;
	int fd;

	if (!atomic_compare_exchange_strong(&w->state, &from, WAKE_VMM))
		return false;
	sent = clock_now(&w->clock);
	relaxed_store(&w->wake_sent, sent);
	/* Of the sleep that was just ended: before the exchange it might be an earlier one's. If
	 * the owner has moved on since, it is awake already. */
	fd = relaxed_load(&w->wake_fd);
	if (fd >= 0)
		write_eventfd(fd);
	else
		futex_wake(&w->state);
	relaxed_store(&w->wake_took, clock_now(&w->clock) - sent);
	return true;
}

void wake_slow(struct wake *w, uint32_t state)
{
	if (state == WAKE_GUEST) {
		if (!atomic_compare_exchange_strong(&w->state, &state, WAKE_KICKED))
			return; /* left by itself, or somebody else kicks */
		atomic_fetch_add_explicit(&w->kicks_sent, 1, memory_order_relaxed);
		w->kick(w->ctx);
	} else if (wake_from(w, state)) {
		atomic_fetch_add_explicit(&w->futex_wakes, 1, memory_order_relaxed);
	}
}

int wake_wait(struct wake *w, uint32_t state, const struct timespec *deadline)
{
	long ret = syscall(SYS_futex, &w->state, FUTEX_WAIT_BITSET_PRIVATE, state, deadline, NULL,
			   FUTEX_BITSET_MATCH_ANY);

	return ret == 0 ? 0 : -errno;
}
