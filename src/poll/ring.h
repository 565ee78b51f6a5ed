/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner's io_uring. Sources are file descriptors that are armed in it as multishot polls.
 * Requests are reads and writes of the owner's own (disk I/O and the like). A halt sleeps in it
 * while anything may complete there.
 *
 * The owner makes it when it first needs it, since completions are delivered to the thread that
 * submits. It has default flags: with them a completion also ends KVM_RUN.
 *
 * Two errors pass by themselves. Kernels before 5.19 take no submissions while completions wait for
 * room in the queue (-EBUSY), and any kernel may be short of memory (-EAGAIN). Requests that could
 * not be submitted stay queued. The owner reaps, and with that they are tried again.
 *
 * Where io_uring is not to be had, the same functions do without (ring_plain.c): sources and sleep
 * are epoll(7) and poll(2), and there are no requests.
 *
 * Functions are the owner's alone where they do not say "any thread". The list of wanted sources
 * has a lock; the owner brings the ring in line with it in ring_sync().
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
 * Deals with a source that has become ready, in place of the halter's on_eventfd. It is part of the
 * caller's structure, which outlives the ring, or the removal of the source as the owner sees it.
 * ready() is called on the owner's thread, in ring_reap(), with poll(2)'s events. Polls are
 * multishot and so by edge: ready() reads (or writes) until EAGAIN, or comes back by itself.
 */
struct ring_handler {
	void (*ready)(struct ring_handler *handler, uint32_t events);
};

/* One source. Under the lock, but for what is the owner's. */
struct ring_source {
	int fd;
	uint32_t events;	      /* POLLIN, ... */
	struct ring_handler *handler; /* NULL: fired() is told */
	uint32_t wanted;	      /* 1 add, 0 remove: then the place is free */
	bool armed;		      /* a poll request is in the ring; the owner writes it */
	bool stale;	       /* the request in the ring is that of a source deleted since */
	uint32_t serial;       /* owner: which arming; stale completions are told apart by it */
	int armed_fd;	       /* plain, owner: fd may be that of a new source already */
	uint64_t registration; /* plain, owner: which one */
};

/*
 * A request, part of the caller's structure, which stays until done() has run. done() is called
 * once for each request, on the owner's thread, in ring_reap(); @res is as in io_uring_enter(2). A
 * request must end by itself, for a pause or an end of the owner waits for it. A wait that may take
 * for ever, such as one for a packet, is a source's.
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
	uint32_t polls;	    /* of sources: requests that have not completed for the last time */
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

/* IORING_OP_FUTEX_WAIT, of Linux 6.7: newer than the headers that this builds with. */
#define RING_OP_FUTEX_WAIT 51

/* Sets *@r up: no ring is made so far. @no_futex: sleep on an eventfd in any case. @no_uring: do
 * without io_uring in any case. Returns 0 or a negative errno value. */
int ring_init(struct ring *r, bool no_futex, bool no_uring);
void ring_fini(struct ring *r);
/*
 * Makes the ring before the owner begins, for a process that will have several threads. @plain: the
 * one without io_uring. Otherwise it is one with io_uring, or there is none. Without this call the
 * ring is made when it is needed, whichever can be had. Any thread. Returns 0, also if there is one
 * already, or a negative errno value.
 */
int ring_prepare(struct ring *r, bool plain);
/* Takes back what ring_prepare() made: then there is none. Any thread, before the owner begins. */
void ring_unprepare(struct ring *r);
/* Gives @r what ring_prepare() made for @from. Neither has sources so far. Any thread, before
 * either owner begins. */
void ring_move(struct ring *r, struct ring *from);

/*
 * Adds @fd as a source, for @events (POLLIN, ...). @handler deals with it; NULL: fired() of
 * ring_reap() does. One @fd may be a source several times, with different handlers. The owner must
 * then be told to ring_sync(). Any thread.
 * Errors:
 *   -EBADF   @fd is no open descriptor
 *   -EEXIST  it is a source with that handler already
 *   -ENOSPC  there are RING_SOURCES sources
 */
int ring_add_source(struct ring *r, int fd, uint32_t events, struct ring_handler *handler);
/*
 * Removes the source that @fd is with @handler. The owner must then be told to ring_sync(). Any
 * thread.
 * Errors:
 *   -ENOENT  it is none
 */
int ring_del_source(struct ring *r, int fd, const struct ring_handler *handler);
/* Puts @new_fd in the place of @fd, which is a source with @handler. The owner must then
 * ring_sync(). Any thread. */
void ring_replace_source(struct ring *r, int fd, const struct ring_handler *handler, int new_fd);
/* Add and remove a source without a handler, for POLLIN. */
int ring_add(struct ring *r, int fd);
int ring_del(struct ring *r, int fd);
/* Makes the ring if there is none, and arms and disarms sources: those for which there is room, and
 * the others with the next ring_reap(). Returns 0 or a negative errno value. */
int ring_sync(struct ring *r);
/* Holds all sources (none of them fires), or lets them fire again: those that have become ready
 * meanwhile do so at once. Requests go on. Returns 0 or a negative errno value. */
int ring_hold(struct ring *r, bool hold);
/*
 * Consumes completions: calls fired() or the handler of each source that has fired, and done() of
 * each request. Submits what those queue. It takes a limited number of completions; if there are
 * more, ring_ready() tells so. Returns how many sources and requests there were, or a negative
 * errno value.
 */
int ring_reap(struct ring *r, void (*fired)(void *ctx, int fd), void *ctx);

/*
 * Returns an entry for a request. Fill it with an io_uring_prep_*() function and give it to
 * ring_queue() before anything else is done with the ring. Returns NULL, with the reason in *@err:
 *   -EBUSY        there is no room, which passes
 *   -EOPNOTSUPP   the ring was made without io_uring
 *   others        those of io_uring_setup(2): there is no ring to be had
 */
struct io_uring_sqe *ring_get(struct ring *r, int *err);
/* Queues the entry as that of @req. The next ring_flush() submits it, or something before that. */
void ring_queue(struct ring *r, struct io_uring_sqe *sqe, struct ring_req *req);
/* Submits what was queued, by one system call; by none if nothing was. Returns 0 or a negative
 * errno value. It is 0 as well when the kernel is short of something: the next call submits the
 * rest. */
int ring_flush(struct ring *r);
/* Asks the kernel to give up the requests that it has not begun; they complete with -ECANCELED.
 * Linux before 5.19 gives up none. */
void ring_cancel(struct ring *r);
/* Waits until something has completed, for 100 ms at most. Returns 0 or a negative errno value. */
int ring_wait(struct ring *r);
/*
 * Takes the sources' requests out of the ring and waits until the kernel has let go of their files,
 * for a second at most. Without it the kernel does so some time after the ring was closed; until
 * then a TAP is busy, and what was locked is still locked. For the owner's end.
 */
void ring_let_go(struct ring *r);

/* Tells whether anything may complete. Then the owner sleeps here and not on the plain futex. */
static inline bool ring_active(const struct ring *r)
{
	return (r->armed | r->inflight | r->behind) != 0;
}

/* Tells whether there is something to flush. */
static inline bool ring_unflushed(const struct ring *r)
{
	return ring_active(r) && !r->plain && io_uring_sq_ready(&r->uring) != 0;
}

bool ring_plain_ready(struct ring *r);

/* Tells whether anything has completed. Reads memory only; the plain one makes a system call. */
static inline bool ring_ready(struct ring *r)
{
	if (!ring_active(r))
		return false;
	if (__builtin_expect(r->plain, 0))
		return ring_plain_ready(r);
	return io_uring_cq_ready(&r->uring) != 0;
}

/* Arms what a sleep needs and can be armed early. Before SLEEPING is published. Returns 0 or a
 * negative errno value. */
int ring_prepare_sleep(struct ring *r);
/*
 * Sleeps until a completion, a FUTEX_WAKE on @word, or the timeout, in ns from now (UINT64_MAX:
 * none). @word was set to @value before; if it has changed, returns at once.
 * Returns 0 or a negative errno value. It may be 0 as well when the time is over or a signal came,
 * if a request had to be submitted first.
 *   -ETIME   the time is over
 *   -EINTR   a signal came
 *   -EAGAIN  has not slept, since something could not be submitted: reap and try again
 */
int ring_sleep(struct ring *r, _Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns);

/* Returns what to do about a ring that could not be made: " (see ...)", to be put behind the text
 * of the error @ret; "" if there is nothing to say. */
const char *ring_advice(int ret);

/* ring_open.c. Makes an io_uring that takes only those requests that are used, and tries it. The
 * completion queue has @cq_entries. *@probe is the caller's, for io_uring_free_probe(). Returns 0
 * or a negative errno value. */
int ring_open(struct io_uring *uring, unsigned int entries, unsigned int cq_entries,
	      struct io_uring_probe **probe);

/* ring_plain.c: do the same without io_uring, for ring.c. */
int ring_plain_make(struct ring *r);
void ring_plain_fini(struct ring *r);
void ring_plain_sync(struct ring *r);
int ring_plain_reap(struct ring *r, void (*fired)(void *ctx, int fd), void *ctx);
int ring_plain_sleep(struct ring *r, const struct timespec *timeout);

#endif
