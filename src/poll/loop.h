/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sources of a halter that is an event loop: catnap_halter_add_source(). They are in an epoll
 * instance, which is itself one source of the owner's ring, by edge. So a poll looks at memory
 * alone, however many sources there are, and what level and edge mean is epoll(7)'s to say. Once
 * the ring says that something is ready, the owner asks epoll what it is, once for each halt.
 *
 * The ring tells an edge: something has happened. A source by level may be ready with nothing
 * happening. So after one was told, the next look asks epoll again (`due`).
 *
 * epoll knows a source by its number and its file. If the number is closed while the file lives on,
 * nobody can remove it: epoll would tell it for ever. Such a source is an orphan. Its events have a
 * serial number that is no source's, and then the sources move to a new epoll instance.
 *
 * Functions are the owner's alone where they do not say "any thread".
 */
#ifndef POLL_LOOP_H
#define POLL_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include <catnap/poll.h>
#include "poll/ring.h"

struct loop_source {
	void (*ready)(void *ctx, int fd, uint32_t events);
	void *ctx;
	uint32_t events; /* of epoll, with EPOLLET */
	uint32_t serial; /* which one of this number; 0: none */
};

struct loop {
	struct ring_handler handler; /* first; the epoll instance's in the ring */
	pthread_mutex_t lock;

	/* Under the lock. epoll_fd: -1 before the first source. The owner changes it after that,
	 * and so reads it without the lock once it is told. */
	int epoll_fd;
	struct loop_source *sources; /* by descriptor */
	uint32_t size, count;	     /* of sources: room, and how many there are */
	uint32_t serial;	     /* the last one given */
	uint32_t orphans;	     /* at most that many */

	/* The owner's. */
	bool due;     /* epoll is to be asked */
	bool running; /* a callback runs */
	int rung;     /* how often the ring has told since loop_take_rung() */
	uint32_t room;
	struct epoll_event *events;
};

/* Sets *@l up, with no source. Any thread. Returns 0 or a negative errno value. */
int loop_init(struct loop *l);
/* Frees what *@l has. The ring is gone, or is about to be. */
void loop_fini(struct loop *l);

/*
 * Does catnap_halter_add_source() in @r, the owner's ring. The struct was checked. Any thread.
 * Returns 1 if the owner must be told to ring_sync(), 0 if not, or a negative errno value.
 */
int loop_add(struct loop *l, struct ring *r, const struct catnap_source *source);
/* Does catnap_halter_mod_source(), likewise. Any thread. Returns 0 or a negative errno value. */
int loop_mod(struct loop *l, const struct catnap_source *source);
/* Does catnap_halter_del_source(). Any thread. Returns 0 or -ENOENT. */
int loop_del(struct loop *l, int fd);

/* Returns how many of the sources that ring_reap() has counted were the epoll instance. */
static inline int loop_take_rung(struct loop *l)
{
	int rung = l->rung;

	l->rung = 0;
	return rung;
}

/*
 * Runs the callbacks of the sources that are ready, each once, if epoll is to be asked. Returns how
 * many there were, or a negative errno value:
 *   -ENOMEM  no memory for the events
 *   others   those of epoll_create1(2), and of ring_sync(), when the sources have to move
 */
int loop_run(struct loop *l, struct ring *r);

#endif
