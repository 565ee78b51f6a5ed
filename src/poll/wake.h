/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wake words: one owner waits, any thread wakes it. This is the wake protocol itself.
 * tests/model/wake.pml is its model, docs/wake-protocol.md explains it.
 *
 *   pending  The work bits. Wakers add theirs by fetch_or (seq_cst). The owner takes all of them
 *            by an exchange with 0, before it reads what they announce.
 *   state    Where the owner is. The owner sets it by exchange (seq_cst). Wakers make two
 *            transitions, by compare-and-swap: GUEST to KICKED and SLEEPING to VMM. The waker that
 *            succeeds owes the owner one kick, or one futex wake.
 *
 * In a group (group.h) the poller makes three more transitions of the others' states: SLEEPING to
 * WATCHED and back, and, in a waker's place, WATCHED to VMM.
 *
 * Pairing (Dekker): a waker publishes pending and then reads state. The owner publishes state and
 * then reads pending. Both publications are locked instructions, so at least one of the two sees
 * the other. The two words share one cache line: a waker that takes the line for pending has state
 * with it, and a polling owner reads this line only.
 */
#ifndef POLL_WAKE_H
#define POLL_WAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "poll/clock.h"
#include "relaxed.h"

struct halter_task;

enum wake_state {
	WAKE_VMM,      /* awake; looks at its work before it goes anywhere */
	WAKE_GUEST,    /* in the guest: needs a kick */
	WAKE_KICKED,   /* in the guest, and a kick is on its way */
	WAKE_POLLING,  /* looks at its work all the time */
	WAKE_SLEEPING, /* on the futex or in the ring: needs a wake */
	WAKE_WATCHED,  /* asleep; the poller of its group watches its work and wakes it */
};

struct wake {
	/* The line that wakers and the owner share. */
	_Alignas(64) _Atomic uint32_t state;
	_Atomic uint32_t pending;
	/* The tasks that are posted (task.h). */
	struct halter_task *_Atomic tasks;
	/* The eventfd that ends the sleep that is published: for a sleep in a ring without
	 * IORING_OP_FUTEX_WAIT. -1: a futex wake ends it. The owner writes it before it publishes
	 * SLEEPING. */
	_Atomic int wake_fd;
	/* Wakers count what a wake has cost; relaxed, on a line that they hold anyway. */
	_Atomic uint64_t kicks_sent;
	_Atomic uint64_t kicks_saved;
	_Atomic uint64_t futex_wakes;
	/* When the last wake that has ended a sleep was sent, in ticks; relaxed, a hint. The owner
	 * believes it if it lies within the sleep. */
	_Atomic uint64_t wake_sent;
	/* How long a waker's system call took, in ticks: that of the last wake, or of the one
	 * before. */
	_Atomic uint64_t wake_took;

	/* Constant after wake_init(). */
	_Alignas(64) struct clock clock;
	void (*kick)(void *ctx);
	void *ctx;

	/* Until when the owner would poll, in ticks; 0: it would not. For the poller of its group,
	 * which reads it while the owner sleeps; relaxed, a hint. */
	_Alignas(64) _Atomic uint64_t poll_end;
};

_Static_assert(offsetof(struct wake, clock) == 64, "one line is shared, the next is constant");

/* Sets @w up: an owner that is awake and has no work. @kick(@ctx) makes it come back from the
 * guest; NULL: it never goes there. */
void wake_init(struct wake *w, const struct clock *clock, void (*kick)(void *ctx), void *ctx);

/* -- wakers ----------------------------------------------------------------------------------- */

/* Ends the owner's sleep, if its state is still @from (SLEEPING or WATCHED). Returns whether it
 * was. Any thread. */
bool wake_from(struct wake *w, uint32_t from);
/* Does the part of wake_owner() that takes a system call. */
void wake_slow(struct wake *w, uint32_t state);

/* Adds @bits to the owner's work and brings it back to that. Any thread, any signal handler. */
static inline void wake_owner(struct wake *w, uint32_t bits)
{
	uint32_t state;

	atomic_fetch_or(&w->pending, bits);
	state = atomic_load(&w->state);
	if (state == WAKE_GUEST || state == WAKE_SLEEPING)
		wake_slow(w, state);
	else
		atomic_fetch_add_explicit(&w->kicks_saved, 1, memory_order_relaxed);
}

/* -- the owner: its work ---------------------------------------------------------------------- */

/* Returns the work bits, which are the caller's from then on. The acquire half orders the reading
 * of what they announce after it. */
static inline uint32_t wake_take(struct wake *w)
{
	if (!relaxed_load(&w->pending))
		return 0;
	return atomic_exchange(&w->pending, 0);
}

/* Returns those of @bits that are pending, and takes no others. */
static inline uint32_t wake_take_some(struct wake *w, uint32_t bits)
{
	if (!(relaxed_load(&w->pending) & bits))
		return 0;
	return atomic_fetch_and(&w->pending, ~bits) & bits;
}

/* Puts bits back that were taken and not dealt with. */
static inline void wake_put_back(struct wake *w, uint32_t bits)
{
	atomic_fetch_or(&w->pending, bits);
}

/* Tells whether there is work. A hint: one relaxed load. */
static inline bool wake_pending(const struct wake *w)
{
	return relaxed_load(&w->pending) != 0;
}

/* -- the owner: the guest --------------------------------------------------------------------- */

/* Leaves the guest. Returns whether a kick was sent, which may still arrive. */
static inline bool wake_leave(struct wake *w)
{
	return atomic_exchange(&w->state, WAKE_VMM) == WAKE_KICKED;
}

/* Publishes that the owner is in the guest from here on. Returns false if there is work: it is not
 * to go then. */
static inline bool wake_enter(struct wake *w)
{
	atomic_exchange(&w->state, WAKE_GUEST);
	if (__builtin_expect(atomic_load(&w->pending) == 0, 1))
		return true;
	wake_leave(w);
	return false;
}

/* -- the owner: polling and sleeping ---------------------------------------------------------- */

/* Sets the state to POLLING or VMM, between which wakers make no difference: in both the owner
 * looks at its work by itself. So no fence. */
static inline void wake_set_awake(struct wake *w, enum wake_state state)
{
	relaxed_store(&w->state, state);
}

/* Says how the sleep that will be published ends: by a write to @fd; -1: by a futex wake. */
static inline void wake_set_fd(struct wake *w, int fd)
{
	relaxed_store(&w->wake_fd, fd);
}

/* Publishes that the owner sleeps (SLEEPING, WATCHED), or that it does so no more (VMM). Before a
 * sleep it must read pending once more after this. */
static inline void wake_publish(struct wake *w, enum wake_state state)
{
	atomic_exchange(&w->state, state);
}

/*
 * Sleeps on the futex as long as the state is @state, until @deadline (on CLOCK_MONOTONIC; NULL:
 * none).
 * Errors:
 *   -EAGAIN     the state was another one
 *   -EINTR      a signal came
 *   -ETIMEDOUT  the deadline has passed
 */
int wake_wait(struct wake *w, uint32_t state, const struct timespec *deadline);

#endif
