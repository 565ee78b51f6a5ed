/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sources armed in the owner's io_uring, and sleeping there. See io_uring_enter(2), futex2.
 *
 * A futex request that a completion has overtaken stays armed: the next sleep in the ring needs no
 * new one, since the kernel compares the word only when the request is submitted, and a wake of the
 * next sleep completes the old request just as well. (A plain futex sleep in between is why wakers
 * wake all.)
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "poll/ring.h"

/* As RING_OP_FUTEX_WAIT. */
#define RING_FUTEX2_U32	     0x02u
#define RING_FUTEX2_PRIVATE  128u
#define RING_FUTEX_MATCH_ANY 0xffffffffu
#define RING_ENTRIES	     64
#define RING_CQ_ENTRIES	     256
#define LET_GO_WAITS	     10 /* of 100 ms */

/* user_data: what completed, and of which arming; a request's is its address, whose first byte is 0
 * in any user space. */
enum ring_tag { TAG_REQUEST, TAG_SOURCE, TAG_FUTEX, TAG_WAKE, TAG_CANCEL };

static uint64_t tag(enum ring_tag what, uint32_t serial, uint32_t index)
{
	return (uint64_t)what << 56 | (uint64_t)(serial & 0xffffffu) << 32 | index;
}

int ring_init(struct ring *r, bool no_futex, bool no_uring)
{
	memset(r, 0, sizeof(*r));
	r->no_futex = no_futex;
	r->no_uring = no_uring;
	r->wake_fd = r->epoll_fd = -1;
	for (int i = 0; i < RING_SOURCES; i++)
		r->sources[i].fd = -1;
	return -pthread_mutex_init(&r->lock, NULL);
}

void ring_unprepare(struct ring *r)
{
	if (r->plain) {
		ring_plain_fini(r);
		return;
	}
	if (r->made)
		io_uring_queue_exit(&r->uring);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	r->made = false;
	r->wake_fd = -1;
}

void ring_move(struct ring *r, struct ring *from)
{
	r->uring = from->uring;
	r->made = from->made;
	r->futex_ok = from->futex_ok;
	r->wake_fd = from->wake_fd;
	from->made = false;
	from->wake_fd = -1;
}

void ring_fini(struct ring *r)
{
	ring_unprepare(r);
	pthread_mutex_destroy(&r->lock);
}

static struct ring_source *find_wanted(struct ring *r, int fd, const struct ring_handler *handler)
{
	for (int i = 0; i < RING_SOURCES; i++)
		if (r->sources[i].fd == fd && r->sources[i].wanted &&
		    r->sources[i].handler == handler)
			return &r->sources[i];
	return NULL;
}

int ring_add_source(struct ring *r, int fd, uint32_t events, struct ring_handler *handler)
{
	int ret = -ENOSPC;

	if (fd < 0 || fcntl(fd, F_GETFD) < 0)
		return -EBADF;
	pthread_mutex_lock(&r->lock);
	if (find_wanted(r, fd, handler)) {
		ret = -EEXIST;
	} else {
		/* A deleted source's place may be taken before the owner has seen that it was
		 * deleted. */
		for (int i = 0; i < RING_SOURCES && ret; i++) {
			struct ring_source *s = &r->sources[i];

			if (s->wanted)
				continue;
			s->fd = fd;
			s->events = events;
			s->handler = handler;
			s->wanted = 1;
			ret = 0;
		}
	}
	pthread_mutex_unlock(&r->lock);
	return ret;
}

int ring_add(struct ring *r, int fd)
{
	return ring_add_source(r, fd, POLLIN, NULL);
}

int ring_del_source(struct ring *r, int fd, const struct ring_handler *handler)
{
	struct ring_source *s;
	int ret = -ENOENT;

	pthread_mutex_lock(&r->lock);
	s = find_wanted(r, fd, handler);
	if (s) {
		s->wanted = 0;
		s->stale = s->armed;
		ret = 0;
	}
	pthread_mutex_unlock(&r->lock);
	return ret;
}

void ring_replace_source(struct ring *r, int fd, const struct ring_handler *handler, int new_fd)
{
	struct ring_source *s;

	pthread_mutex_lock(&r->lock);
	s = find_wanted(r, fd, handler);
	if (s) {
		s->fd = new_fd;
		s->stale = s->armed;
	}
	pthread_mutex_unlock(&r->lock);
}

int ring_del(struct ring *r, int fd)
{
	return ring_del_source(r, fd, NULL);
}

/* Makes the io_uring. @threads: the process has several, or will when the owner first sleeps. */
static int make_uring(struct ring *r, bool threads)
{
	struct io_uring_probe *probe;
	int ret = ring_open(&r->uring, RING_ENTRIES, RING_CQ_ENTRIES, &probe);

	if (ret < 0)
		return ret;
	/*
	 * In Linux 6.16 and later (seen up to 6.18) a futex request that was armed while the
	 * process had one thread is not found by wakes once it has two: the first pthread_create()
	 * gives the process its own futex hash, and what waits in the common one stays there.
	 */
	r->futex_ok =
		!r->no_futex && threads && io_uring_opcode_supported(probe, RING_OP_FUTEX_WAIT);
	io_uring_free_probe(probe);
	if (!r->futex_ok) {
		r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (r->wake_fd < 0) {
			ret = -errno;
			io_uring_queue_exit(&r->uring);
			return ret;
		}
	}
	r->made = true;
	return 0;
}

static int make(struct ring *r)
{
	if (!r->no_uring) {
		r->why = make_uring(r, !__libc_single_threaded);
		if (r->why == 0)
			return 0;
	}
	return ring_plain_make(r);
}

int ring_prepare(struct ring *r, bool plain)
{
	if (r->made)
		return 0;
	return plain || r->no_uring ? ring_plain_make(r) : make_uring(r, true);
}

/* Returns whether error @ret passes by itself, once completions have been consumed. */
static bool passes(int ret)
{
	return ret == -EINTR || ret == -EAGAIN || ret == -EBUSY;
}

/* Returns a free entry; NULL: the kernel takes none just now. */
static struct io_uring_sqe *get_sqe(struct ring *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);

	if (!sqe) {
		io_uring_submit(&r->uring);
		sqe = io_uring_get_sqe(&r->uring);
	}
	return sqe;
}

static int arm_poll(struct ring *r, int fd, uint32_t events, uint64_t user_data)
{
	struct io_uring_sqe *sqe = get_sqe(r);

	if (!sqe)
		return -EBUSY;
	io_uring_prep_poll_multishot(sqe, fd, events);
	sqe->user_data = user_data;
	return 0;
}

/* Makes the ring's poll of a source what it is to be now. Under the lock. */
static int sync_source(struct ring *r, uint32_t i)
{
	struct ring_source *s = &r->sources[i];
	int ret = 0;

	if (s->stale || r->held) {
		if (s->armed) {
			struct io_uring_sqe *sqe = get_sqe(r);

			if (!sqe)
				return -EBUSY;
			io_uring_prep_poll_remove(sqe, tag(TAG_SOURCE, s->serial, i));
			sqe->user_data = tag(TAG_CANCEL, 0, i);
			s->armed = false;
			r->armed--;
		}
		s->stale = false;
	}
	if (s->wanted && !s->armed && !r->held) {
		/* A new serial: completions of an old arming are nobody's. */
		ret = arm_poll(r, s->fd, s->events, tag(TAG_SOURCE, ++s->serial, i));
		if (ret == 0) {
			s->armed = true;
			r->armed++;
			r->polls++;
		}
	}
	return ret;
}

/* Queues what brings the ring in line with the list of sources, as far as there is room. */
static void sync_sources(struct ring *r)
{
	int ret = 0;

	pthread_mutex_lock(&r->lock);
	for (uint32_t i = 0; i < RING_SOURCES && ret == 0; i++)
		ret = sync_source(r, i);
	pthread_mutex_unlock(&r->lock);
	r->behind = ret < 0;
}

static int submit(struct ring *r)
{
	int ret;

	/* Before Linux 5.19 a file descriptor that was closed meanwhile ends a submission early. */
	do {
		ret = io_uring_submit(&r->uring);
	} while (ret == -EINTR || (ret > 0 && io_uring_sq_ready(&r->uring)));
	return ret < 0 && !passes(ret) ? ret : 0;
}

int ring_sync(struct ring *r)
{
	if (!r->made) {
		int ret = make(r);

		if (ret < 0)
			return ret;
	}
	if (r->plain) {
		ring_plain_sync(r);
		return 0;
	}
	sync_sources(r);
	return submit(r);
}

int ring_hold(struct ring *r, bool hold)
{
	if (r->held == hold || !r->made)
		return 0;
	r->held = hold;
	return ring_sync(r);
}

struct io_uring_sqe *ring_get(struct ring *r, int *err)
{
	struct io_uring_sqe *sqe;

	if (!r->made) {
		*err = make(r);
		if (*err < 0)
			return NULL;
	}
	if (r->plain) {
		*err = r->why ? r->why : -EOPNOTSUPP;
		return NULL;
	}
	sqe = get_sqe(r);
	if (!sqe)
		*err = -EBUSY;
	return sqe;
}

void ring_queue(struct ring *r, struct io_uring_sqe *sqe, struct ring_req *req)
{
	sqe->user_data = (uint64_t)(uintptr_t)req; /* TAG_REQUEST */
	r->inflight++;
}

int ring_flush(struct ring *r)
{
	int ret;

	if (!ring_unflushed(r))
		return 0;
	ret = io_uring_submit(&r->uring);
	return ret < 0 && !passes(ret) ? ret : 0;
}

void ring_cancel(struct ring *r)
{
	struct io_uring_sqe *sqe = r->made && !r->plain ? get_sqe(r) : NULL;

	if (!sqe)
		return;
	io_uring_prep_nop(sqe);
	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->cancel_flags = IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY;
	sqe->user_data = tag(TAG_CANCEL, 0, 0);
	io_uring_submit(&r->uring);
}

int ring_wait(struct ring *r)
{
	struct __kernel_timespec ts = {.tv_nsec = 100 * 1000 * 1000};
	struct io_uring_cqe *cqe;
	int ret = io_uring_submit_and_wait_timeout(&r->uring, &cqe, 1, &ts, NULL);

	return ret < 0 && ret != -ETIME && !passes(ret) ? ret : 0;
}

static void request_completed(struct ring *r, const struct io_uring_cqe *cqe)
{
	struct ring_req *req = (struct ring_req *)(uintptr_t)cqe->user_data;

	r->inflight--;
	r->completed++;
	req->done(req, cqe->res);
}

static void drain(int fd)
{
	uint64_t n;

	while (read(fd, &n, sizeof(n)) > 0)
		;
}

/* Deals with one completion of a source. Returns true if it fired and is still wanted; *fd and
 * *handler say which. */
static bool source_completed(struct ring *r, const struct io_uring_cqe *cqe, int *fd,
			     struct ring_handler **handler)
{
	uint32_t i = (uint32_t)cqe->user_data;
	struct ring_source *s;
	bool fired = false;

	if (i >= RING_SOURCES)
		return false;
	if (!(cqe->flags & IORING_CQE_F_MORE))
		r->polls--;
	s = &r->sources[i];
	pthread_mutex_lock(&r->lock);
	if (s->armed && cqe->user_data == tag(TAG_SOURCE, s->serial, i)) {
		bool stale = s->stale; /* of the source that was here before */

		if (!(cqe->flags & IORING_CQE_F_MORE)) {
			s->armed = false;
			r->armed--;
			/* The kernel ends a multishot poll when the completion queue overflows. */
			if (s->wanted && cqe->res >= 0 && sync_source(r, i) < 0)
				r->behind = true;
		}
		if (s->wanted && !stale && cqe->res >= 0) {
			*fd = s->fd;
			*handler = s->handler;
			fired = true;
		}
	}
	pthread_mutex_unlock(&r->lock);
	return fired;
}

int ring_reap(struct ring *r, void (*fired)(void *ctx, int fd), void *ctx)
{
	struct io_uring_cqe *cqe;
	int count = 0;

	if (!r->made)
		return 0;
	if (r->plain)
		return ring_plain_reap(r, fired, ctx);
	/* No more than that: what handlers do may bring completions about without end, and the
	 * owner has other work to look at. The rest is there for the next look. */
	for (unsigned int n = 0; n < RING_CQ_ENTRIES; n++) {
		struct io_uring_cqe c;
		struct ring_handler *handler = NULL;
		bool source = false;
		int fd = -1;

		if (io_uring_peek_cqe(&r->uring, &cqe) != 0)
			break;
		c = *cqe;
		io_uring_cqe_seen(&r->uring, cqe);
		switch ((enum ring_tag)(c.user_data >> 56)) {
		case TAG_REQUEST:
			request_completed(r, &c);
			count++;
			break;
		case TAG_SOURCE:
			source = source_completed(r, &c, &fd, &handler);
			break;
		case TAG_FUTEX:
			r->futex_armed = false;
			break;
		case TAG_WAKE:
			drain(r->wake_fd);
			if (!(c.flags & IORING_CQE_F_MORE))
				r->wake_armed = false;
			break;
		case TAG_CANCEL:
			break;
		}
		if (source) {
			count++;
			if (handler)
				handler->ready(handler, (uint32_t)c.res);
			else if (fired)
				fired(ctx, fd);
		}
	}
	/* The kernel keeps completions that did not fit the queue. Some of them come, and show. */
	if (!io_uring_cq_ready(&r->uring))
		io_uring_peek_cqe(&r->uring, &cqe);
	if (r->behind)
		sync_sources(r);
	/* Submit the polls that had to be armed again, and the requests that done() has queued. */
	if (io_uring_sq_ready(&r->uring))
		io_uring_submit(&r->uring);
	return count;
}

int ring_prepare_sleep(struct ring *r)
{
	int ret;

	if (r->futex_ok || r->wake_armed || r->plain)
		return 0;
	ret = arm_poll(r, r->wake_fd, POLLIN, tag(TAG_WAKE, 0, 0));
	if (ret < 0)
		return 0; /* nor will the sleep find room */
	r->wake_armed = true;
	/* The sleep submits what stays behind here, or else it does not sleep. */
	return submit(r);
}

void ring_let_go(struct ring *r)
{
	if (r->plain || ring_hold(r, true) < 0)
		return;
	for (int i = 0; i < LET_GO_WAITS && r->polls; i++)
		if (ring_reap(r, NULL, NULL) < 0 || (r->polls && ring_wait(r) < 0))
			break;
	r->held = false;
}

static struct __kernel_timespec *timespec_of(uint64_t ns, struct __kernel_timespec *ts)
{
	if (ns == UINT64_MAX)
		return NULL;
	if (ns > INT64_MAX)
		ns = INT64_MAX;
	ts->tv_sec = (long long)(ns / 1000000000u);
	ts->tv_nsec = (long long)(ns % 1000000000u);
	return ts;
}

static int sleep_plain(struct ring *r, const struct __kernel_timespec *ts)
{
	struct timespec t;

	if (!ts)
		return ring_plain_sleep(r, NULL);
	t = (struct timespec){.tv_sec = ts->tv_sec, .tv_nsec = ts->tv_nsec};
	return ring_plain_sleep(r, &t);
}

int ring_sleep(struct ring *r, _Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
	struct __kernel_timespec ts, *tsp = timespec_of(timeout_ns, &ts);
	struct io_uring_cqe *cqe;
	int ret;

	if (r->plain)
		return sleep_plain(r, tsp);
	if (!r->futex_ok && !r->wake_armed)
		return -EAGAIN;
	if (r->futex_ok && !r->futex_armed) {
		struct io_uring_sqe *sqe = get_sqe(r);

		if (!sqe)
			return -EAGAIN;
		memset(sqe, 0, sizeof(*sqe));
		sqe->opcode = RING_OP_FUTEX_WAIT;
		sqe->fd = RING_FUTEX2_U32 | RING_FUTEX2_PRIVATE;
		sqe->addr = (uint64_t)(uintptr_t)word;
		sqe->addr2 = value;
		sqe->addr3 = RING_FUTEX_MATCH_ANY;
		sqe->user_data = tag(TAG_FUTEX, 0, 0);
		r->futex_armed = true;
	}
	/* Returns at once if anything has completed; what has is consumed by ring_reap(). */
	ret = io_uring_submit_and_wait_timeout(&r->uring, &cqe, 1, tsp, NULL);
	if (ret == -EBUSY)
		return -EAGAIN;
	return ret < 0 ? ret : 0;
}
