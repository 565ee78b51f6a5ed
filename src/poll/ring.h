/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner's io_uring: eventfds are armed in it as multishot polls, requests of the owner's (disk
 * reads and the like) are submitted to it, and a halt sleeps in it while anything may complete.
 * Made when it is first needed, by the owner's thread (completions are delivered to the thread that
 * submits). Set up with default flags: a completion then also ends KVM_RUN.
 *
 * Kernels before 5.19 take no submissions (-EBUSY) while completions wait for room in the queue;
 * and any kernel may be short of memory (-EAGAIN). Both pass: what could not be submitted stays
 * queued, the owner reaps, and with that it is tried again.
 *
 * Where io_uring is not to be had, the same functions do without (ring_plain.c): sources and sleep
 * are epoll(7) and poll(2), and there are no requests.
 *
 * Owner only, except ring_add() and ring_del(), which change the list of wanted sources under the
 * lock; the owner brings the ring in line with it in ring_sync().
 */
#ifndef POLL_RING_H
#define POLL_RING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <liburing.h>
#include <sys/epoll.h>

#define RING_SOURCES	  64
#define RING_PLAIN_EVENTS 16

/*
 * Who deals with a file descriptor that has become ready, in place of the halter's on_eventfd; part
 * of the caller's structure, which outlives the ring or its removal as seen by the owner. ready()
 * is called on the owner's thread, in ring_reap(), with poll(2)'s events. The polls are multishot,
 * so by edge: whoever is told reads (or writes) until EAGAIN, or comes back by itself.
 */
struct ring_watch {
	void (*ready)(struct ring_watch *watch, uint32_t events);
};

/* Under the lock, but for serial. */
struct ring_source {
	int fd;
	uint32_t events;	  /* POLLIN, ... */
	struct ring_watch *watch; /* NULL: fired() is told */
	uint32_t wanted;	  /* 1 add, 0 remove: then the place is free */
	bool armed;		  /* a poll request is in the ring; the owner writes it */
	bool stale;		  /* the request in the ring is that of a source deleted since */
	uint32_t serial;	  /* owner: which arming; stale completions are told apart by it */
	int armed_fd;		  /* plain, owner: fd may be that of a new source already */
	uint64_t registration;	  /* plain, owner: which one */
};

/*
 * A request of the owner's own, part of the caller's structure, which stays until done() has run:
 * on the owner's thread, in ring_reap(), once for each request. @res as in io_uring_enter(2). It
 * must be one that ends by itself: who pauses or ends the owner waits for it. (What may take for
 * ever, such as a packet, is waited for as a source.)
 */
struct ring_req {
	void (*done)(struct ring_req *req, int res);
};

struct ring {
	pthread_mutex_t lock;
	struct ring_source sources[RING_SOURCES];
	struct io_uring uring;
	bool made;
	bool no_futex;	    /* use the eventfd fallback in any case; constant */
	bool futex_ok;	    /* IORING_OP_FUTEX_WAIT works here */
	bool futex_armed;   /* a futex request is in the ring */
	bool wake_armed;    /* the wake eventfd's poll is in the ring */
	bool held;	    /* no source is armed for now */
	bool behind;	    /* there was no room to arm or disarm all sources; tried again */
	int wake_fd;	    /* -1 unless futex_ok is false */
	uint32_t armed;	    /* sources armed */
	uint32_t inflight;  /* requests submitted, or queued to be, and not done */
	uint64_t completed; /* requests done since the ring was made */
	bool plain;	    /* made, and no io_uring */
	bool no_uring;	    /* to be made so; constant */
	int why;	    /* plain: -errno of io_uring_setup(), 0 if it was not asked */

	/* ring_plain.c's. */
	int epoll_fd;
	uint64_t serial;
	uint32_t event_at, event_count; /* those that were told and not reaped */
	struct epoll_event events[RING_PLAIN_EVENTS];
};

/* Linux 6.7; newer than the headers this builds with. */
#define RING_OP_FUTEX_WAIT 51

int ring_init(struct ring *r, bool no_futex, bool no_uring);
void ring_fini(struct ring *r);
/*
 * Any thread, before the owner begins: makes the ring for a process that will have several threads.
 * @plain: the one without io_uring; else there is none if io_uring is not to be had. 0, as well if
 * there is one already, or -errno. Without this it is made when it is needed, whichever can be had.
 */
int ring_prepare(struct ring *r, bool plain);
/* Any thread, as before: there is none; or what @from has is @r's, both without sources so far. */
void ring_unprepare(struct ring *r);
void ring_move(struct ring *r, struct ring *from);
/* Any thread; 0, -EEXIST, -ENOSPC, -EBADF / -ENOENT. The owner must then be told to ring_sync(). */
int ring_add(struct ring *r, int fd);
int ring_del(struct ring *r, int fd);
/* The same with a handler, for @events. One fd may be watched several times, by different handlers,
 * which also tell those watches apart. */
int ring_add_watch(struct ring *r, int fd, uint32_t events, struct ring_watch *watch);
int ring_del_watch(struct ring *r, int fd, const struct ring_watch *watch);
/* Owner: makes the ring if need be and (dis)arms sources: those for which there is room, the others
 * with the next ring_reap(). 0 or -errno. */
int ring_sync(struct ring *r);
/* Owner: from now on sources do not fire, or do again: those that are ready by then do at once.
 * Requests go on. 0 or -errno. */
int ring_hold(struct ring *r, bool hold);
/* Owner: consumes completions; calls fired() for each source that did, and done() of each request.
 * Returns how many, or -errno. What done() queues is submitted before it returns. Takes a limited
 * number of completions: if there are more, ring_ready() says so. */
int ring_reap(struct ring *r, void (*fired)(void *ctx, int fd), void *ctx);
/*
 * Owner: an entry for a request. Fill it with an io_uring_prep_*() function, and then give it to
 * ring_queue(), before anything else is done with the ring. NULL if there is no ring to be had
 * (@err: -errno of io_uring_setup, or -EOPNOTSUPP) or no room (-EBUSY, which passes).
 */
struct io_uring_sqe *ring_get(struct ring *r, int *err);
/* Owner: @req is that entry's. It is submitted by the next ring_flush(), or before. */
void ring_queue(struct ring *r, struct io_uring_sqe *sqe, struct ring_req *req);
/* Owner: submits what was queued; one system call, none if nothing was. 0 or -errno; 0, too, when
 * the kernel is short of something: what is left is submitted with the next. */
int ring_flush(struct ring *r);
/* Owner: asks the kernel to give up what it has not begun; those complete with -ECANCELED. Before
 * Linux 5.19 it does not. */
void ring_cancel(struct ring *r);
/* Owner: waits until something has completed, 100 ms at most. 0 or -errno. */
int ring_wait(struct ring *r);
/* Owner: anything that may complete? Then sleep here and not on the plain futex. */
static inline bool ring_active(const struct ring *r)
{
	return (r->armed | r->inflight | r->behind) != 0;
}
/* Owner: is there something to flush? */
static inline bool ring_unflushed(const struct ring *r)
{
	return ring_active(r) && !r->plain && io_uring_sq_ready(&r->uring) != 0;
}
bool ring_plain_ready(struct ring *r);
/* Owner: has anything completed? Reads memory only, but for the plain one's system call. */
static inline bool ring_ready(struct ring *r)
{
	if (!ring_active(r))
		return false;
	if (__builtin_expect(r->plain, 0))
		return ring_plain_ready(r);
	return io_uring_cq_ready(&r->uring) != 0;
}
/*
 * Owner: sleeps until a completion, a FUTEX_WAKE on @word, or the timeout (ns from now; UINT64_MAX:
 * none).
 * @word was set to @value before; if it has changed, returns at once. 0, -ETIME, -EINTR, -errno; 0,
 * too, when the time is over or a signal came but a request had to be submitted first. -EAGAIN: has
 * not slept, since something could not be submitted; reap and try again.
 */
int ring_sleep(struct ring *r, _Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns);
/* ring_open.c: makes a ring that takes only those requests that are used, and tries it; the
 * completion queue has @cq_entries. @probe is the caller's, for io_uring_free_probe(). -errno. */
int ring_open(struct io_uring *uring, unsigned int entries, unsigned int cq_entries,
	      struct io_uring_probe **probe);
/* ring_plain.c: the same without io_uring, for ring.c. */
int ring_plain_make(struct ring *r);
void ring_plain_fini(struct ring *r);
void ring_plain_sync(struct ring *r);
int ring_plain_reap(struct ring *r, void (*fired)(void *ctx, int fd), void *ctx);
int ring_plain_sleep(struct ring *r, const struct timespec *timeout);
/* What to do about a ring that could not be made: " (see ...)", to be put behind the text of the
 * error @ret; "" if there is nothing to say. */
const char *ring_advice(int ret);
/* Owner: before publishing SLEEPING, whatever the sleep needs armed and can be armed early. */
int ring_prepare_sleep(struct ring *r);

#endif
