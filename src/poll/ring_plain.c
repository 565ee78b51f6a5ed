/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same without io_uring, where that is not to be had: sources are in an epoll instance, and the
 * owner sleeps in ppoll(2) on that, woken by an eventfd in it, as in a ring without futexes. There
 * are no requests: ring_get() says so, and its callers make plain system calls. See epoll(7).
 *
 * An epoll instance takes a file once, but a file may be watched several times: so there is one
 * registration for a descriptor, for the events of all its sources. It is told by a serial number:
 * one that outlives its source, because another process has the file open, is nobody's.
 *
 * epoll tells of an event once, and a look may be anywhere: so the event is kept until it is
 * reaped.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "poll/ring.h"

#define WAKE_SERIAL 0
#define REAP_MAX    256

_Static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLPRI == POLLPRI &&
		       EPOLLERR == POLLERR && EPOLLHUP == POLLHUP && EPOLLRDHUP == POLLRDHUP,
	       "a source's events are passed on");

int ring_plain_make(struct ring *r)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = WAKE_SERIAL};
	int ret;

	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (r->epoll_fd < 0)
		return -errno;
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->wake_fd >= 0 && epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, r->wake_fd, &e) == 0) {
		r->plain = r->made = true;
		return 0;
	}
	ret = -errno;
	ring_plain_fini(r);
	return ret;
}

void ring_plain_fini(struct ring *r)
{
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	if (r->epoll_fd >= 0)
		close(r->epoll_fd);
	r->wake_fd = r->epoll_fd = -1;
	r->plain = r->made = false;
}

/* Disarms all of this descriptor. Under the lock. */
static void disarm(struct ring *r, int fd)
{
	/* If it was closed, it is gone by itself, and the number may be another file's. */
	epoll_ctl(r->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	for (int i = 0; i < RING_SOURCES; i++) {
		struct ring_source *s = &r->sources[i];

		if (!s->armed || s->armed_fd != fd)
			continue;
		s->armed = false;
		r->armed--;
	}
}

/* Arms all sources of this descriptor. Returns 0, or -errno for what passes. Under the lock. */
static int arm(struct ring *r, int fd)
{
	struct epoll_event e = {.events = EPOLLET, .data.u64 = ++r->serial};
	int ret;

	for (int i = 0; i < RING_SOURCES; i++)
		if (r->sources[i].wanted && r->sources[i].fd == fd)
			e.events |= r->sources[i].events;
	ret = epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &e);
	if (ret < 0 && errno == EEXIST)
		ret = epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, fd, &e);
	if (ret < 0 && (errno == ENOMEM || errno == ENOSPC))
		return -errno;
	/* Else one that was closed, or cannot be polled, and so never fires. */
	for (int i = 0; i < RING_SOURCES; i++) {
		struct ring_source *s = &r->sources[i];

		if (!s->wanted || s->fd != fd)
			continue;
		r->armed += !s->armed;
		s->armed = true;
		s->armed_fd = fd;
		s->registration = r->serial;
	}
	return 0;
}

void ring_plain_sync(struct ring *r)
{
	int ret = 0;

	pthread_mutex_lock(&r->lock);
	for (int i = 0; i < RING_SOURCES; i++) {
		struct ring_source *s = &r->sources[i];

		if (s->armed && (s->stale || r->held))
			disarm(r, s->armed_fd);
		s->stale = false;
	}
	for (int i = 0; i < RING_SOURCES && ret == 0 && !r->held; i++)
		if (r->sources[i].wanted && !r->sources[i].armed)
			ret = arm(r, r->sources[i].fd);
	pthread_mutex_unlock(&r->lock);
	r->behind = ret < 0;
}

bool ring_plain_ready(struct ring *r)
{
	int n;

	if (r->event_at < r->event_count)
		return true;
	n = epoll_wait(r->epoll_fd, r->events, RING_PLAIN_EVENTS, 0);
	r->event_at = 0;
	r->event_count = n > 0 ? (uint32_t)n : 0;
	return n > 0;
}

/* Tells those of whom @e is. Returns how many. */
static int deliver(struct ring *r, const struct epoll_event *e, void (*fired)(void *ctx, int fd),
		   void *ctx)
{
	int count = 0;

	for (int i = 0; i < RING_SOURCES; i++) {
		struct ring_source *s = &r->sources[i];
		struct ring_handler *handler = NULL;
		bool its;
		int fd = -1;

		if (!s->armed || s->registration != e->data.u64)
			continue;
		/* Each by itself: the one before may have removed it. */
		pthread_mutex_lock(&r->lock);
		its = s->wanted && s->armed && !s->stale &&
		      (e->events & (s->events | EPOLLERR | EPOLLHUP));
		if (its) {
			fd = s->fd;
			handler = s->handler;
		}
		pthread_mutex_unlock(&r->lock);
		if (!its)
			continue;
		count++;
		if (handler)
			handler->ready(handler, e->events);
		else if (fired)
			fired(ctx, fd);
	}
	return count;
}

int ring_plain_reap(struct ring *r, void (*fired)(void *ctx, int fd), void *ctx)
{
	int count = 0;

	/* As many as in a ring: the owner has other work, too. */
	for (int n = 0; n < REAP_MAX && ring_plain_ready(r); n++) {
		struct epoll_event e = r->events[r->event_at++];
		uint64_t value;

		if (e.data.u64 != WAKE_SERIAL)
			count += deliver(r, &e, fired, ctx);
		else if (read(r->wake_fd, &value, sizeof(value)) < 0)
			continue; /* nobody else reads it */
	}
	if (r->behind)
		ring_plain_sync(r);
	return count;
}

int ring_plain_sleep(struct ring *r, const struct timespec *timeout)
{
	struct pollfd p = {.fd = r->epoll_fd, .events = POLLIN};
	int ret;

	if (r->event_at < r->event_count)
		return 0;
	ret = ppoll(&p, 1, timeout, NULL);
	if (ret < 0)
		return -errno;
	return ret ? 0 : -ETIME;
}
