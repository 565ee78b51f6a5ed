/* SPDX-License-Identifier: Apache-2.0 */
/* Sources in an epoll instance that is a source of the ring; see loop.h and epoll(7). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "poll/loop.h"

#define ROOM_MIN 16
#define ROOM_MAX 65536

static void rings(struct ring_handler *handler, uint32_t events)
{
	struct loop *l = (struct loop *)handler;

	l->rung++;
	l->due = true;
}

int loop_init(struct loop *l)
{
	memset(l, 0, sizeof(*l));
	l->handler.ready = rings;
	l->epoll_fd = -1;
	return -pthread_mutex_init(&l->lock, NULL);
}

void loop_fini(struct loop *l)
{
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	free(l->sources);
	free(l->events);
	pthread_mutex_destroy(&l->lock);
}

/* Returns the source that @fd is, or NULL. Under the lock, as all that follows up to loop_add(). */
static struct loop_source *find(const struct loop *l, int fd)
{
	if (fd < 0 || (uint32_t)fd >= l->size || !l->sources[fd].serial)
		return NULL;
	return &l->sources[fd];
}

/* Makes room for @fd. Returns 0 or -ENOMEM. */
static int grow(struct loop *l, int fd)
{
	uint32_t size = l->size ? l->size : ROOM_MIN;
	struct loop_source *sources;

	while (size <= (uint32_t)fd)
		size *= 2;
	if (size == l->size)
		return 0;
	sources = realloc(l->sources, size * sizeof(*sources));
	if (!sources)
		return -ENOMEM;
	memset(sources + l->size, 0, (size - l->size) * sizeof(*sources));
	l->sources = sources;
	l->size = size;
	return 0;
}

/* Makes the epoll instance. Returns 1 if there was none, 0 if there was, or a negative errno
 * value. */
static int open_epoll(struct loop *l, struct ring *r)
{
	int fd, ret;

	if (l->epoll_fd >= 0)
		return 0;
	fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = ring_add_source(r, fd, POLLIN, &l->handler);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	l->epoll_fd = fd;
	return 1;
}

/* Takes back what open_epoll() made. */
static void close_epoll(struct loop *l, struct ring *r)
{
	ring_del_source(r, l->epoll_fd, &l->handler);
	close(l->epoll_fd);
	l->epoll_fd = -1;
}

static struct epoll_event event_of(int fd, const struct loop_source *s)
{
	return (struct epoll_event){.events = s->events,
				    .data.u64 = (uint64_t)s->serial << 32 | (uint32_t)fd};
}

static struct loop_source source_of(const struct catnap_source *given, uint32_t serial)
{
	return (struct loop_source){
		.ready = given->ready,
		.ctx = given->ctx,
		.events = given->events | (given->flags & CATNAP_SOURCE_EDGE ? EPOLLET : 0),
		.serial = serial,
	};
}

/* Puts @fd into the epoll instance as @s. Returns 0 or a negative errno value. */
static int enter(struct loop *l, int fd, const struct loop_source *s)
{
	struct epoll_event e = event_of(fd, s);

	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0) {
		/* Another file had this number, and was closed. It may be open elsewhere. */
		if (find(l, fd))
			l->orphans++;
		return 0;
	}
	if (errno != EEXIST || find(l, fd))
		return -errno;
	/* An orphan's file has come back to its number. */
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, fd, &e) < 0 ? -errno : 0;
}

static int add(struct loop *l, const struct catnap_source *given)
{
	struct loop_source s;
	int ret = grow(l, given->fd);

	if (ret < 0)
		return ret;
	if (++l->serial == 0)
		l->serial = 1;
	s = source_of(given, l->serial);
	ret = enter(l, given->fd, &s);
	if (ret < 0)
		return ret;
	l->count += !find(l, given->fd);
	l->sources[given->fd] = s;
	return 0;
}

int loop_add(struct loop *l, struct ring *r, const struct catnap_source *source)
{
	int made, ret;

	if (source->fd < 0 || fcntl(source->fd, F_GETFD) < 0)
		return -EBADF;
	pthread_mutex_lock(&l->lock);
	ret = made = open_epoll(l, r);
	if (made >= 0)
		ret = add(l, source);
	if (made > 0 && ret < 0)
		close_epoll(l, r);
	pthread_mutex_unlock(&l->lock);
	return ret < 0 ? ret : made;
}

int loop_mod(struct loop *l, const struct catnap_source *source)
{
	struct epoll_event e;
	struct loop_source *s, changed;
	int ret = -ENOENT;

	pthread_mutex_lock(&l->lock);
	s = find(l, source->fd);
	if (s) {
		changed = source_of(source, s->serial);
		e = event_of(source->fd, &changed);
		ret = epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, source->fd, &e) < 0 ? -errno : 0;
		if (ret == 0)
			*s = changed;
	}
	pthread_mutex_unlock(&l->lock);
	return ret;
}

int loop_del(struct loop *l, int fd)
{
	struct loop_source *s;

	pthread_mutex_lock(&l->lock);
	s = find(l, fd);
	if (s) {
		s->serial = 0;
		l->count--;
		/* If it was closed before, its file may be open elsewhere. */
		if (epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, NULL) < 0)
			l->orphans++;
	}
	pthread_mutex_unlock(&l->lock);
	return s ? 0 : -ENOENT;
}

/*
 * Puts the sources of the epoll instance into @epoll_fd, another one. A source whose number was
 * closed, or is another file now, is left behind: the old instance does not know it by its number
 * any more. Returns 0 or a negative errno value. Under the lock.
 */
static int copy_sources(const struct loop *l, int epoll_fd)
{
	for (uint32_t fd = 0; fd < l->size; fd++) {
		struct epoll_event e;

		if (!l->sources[fd].serial)
			continue;
		e = event_of((int)fd, &l->sources[fd]);
		if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, (int)fd, &e) < 0)
			continue;
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, (int)fd, &e) < 0 && errno != EBADF &&
		    errno != EPERM)
			return -errno;
	}
	return 0;
}

/* Moves the sources to a new epoll instance, which knows no orphans. Returns 0 or a negative errno
 * value; then nothing has changed. */
static int move(struct loop *l, struct ring *r)
{
	int fd = epoll_create1(EPOLL_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	pthread_mutex_lock(&l->lock);
	ret = copy_sources(l, fd);
	if (ret == 0) {
		int old = l->epoll_fd;

		ring_replace_source(r, old, &l->handler, fd);
		l->epoll_fd = fd;
		l->orphans = 0;
		fd = old;
	}
	pthread_mutex_unlock(&l->lock);
	if (ret == 0)
		ret = ring_sync(r);
	close(fd);
	l->due = true;
	return ret;
}

/* Makes room for an event of each source. Returns 0 or -ENOMEM: there is no room at all. */
static int make_room(struct loop *l)
{
	struct epoll_event *events;
	uint32_t want;

	pthread_mutex_lock(&l->lock);
	want = l->count;
	pthread_mutex_unlock(&l->lock);
	if (want > ROOM_MAX)
		want = ROOM_MAX;
	if (l->room && l->room >= want)
		return 0;
	want = want < ROOM_MIN ? ROOM_MIN : want + want / 2;
	events = realloc(l->events, want * sizeof(*events));
	if (!events)
		return l->room ? 0 : -ENOMEM;
	l->events = events;
	l->room = want;
	return 0;
}

/* Runs the callback of the source that @e is of. Returns whether there was one. @orphan is set if
 * it is nobody's. */
static bool tell(struct loop *l, const struct epoll_event *e, bool *orphan)
{
	int fd = (int)(uint32_t)e->data.u64;
	struct loop_source *s, copy = {.serial = 0};
	uint32_t events;

	pthread_mutex_lock(&l->lock);
	s = find(l, fd);
	if (s && s->serial == (uint32_t)(e->data.u64 >> 32))
		copy = *s;
	else if (l->orphans)
		*orphan = true;
	pthread_mutex_unlock(&l->lock);
	events = e->events & (copy.events | EPOLLERR | EPOLLHUP);
	if (!copy.serial || !events)
		return false;
	/* By level it may still be ready, and the ring will not say so. */
	if (!(copy.events & EPOLLET))
		l->due = true;
	copy.ready(copy.ctx, fd, events);
	return true;
}

int loop_run(struct loop *l, struct ring *r)
{
	bool orphan = false;
	int ret, n, told = 0;

	if (!l->due)
		return 0;
	ret = make_room(l);
	if (ret < 0)
		return ret;
	n = epoll_wait(l->epoll_fd, l->events, (int)l->room, 0);
	/* More may be ready than there is room for. */
	l->due = n < 0 || n == (int)l->room;
	l->running = true;
	for (int i = 0; i < n; i++)
		told += tell(l, &l->events[i], &orphan);
	l->running = false;
	if (orphan) {
		ret = move(l, r);
		if (ret < 0)
			return ret;
	}
	return told;
}
