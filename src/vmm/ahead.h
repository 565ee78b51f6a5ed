/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of a file that are brought into the page cache in one pass: all of them are asked for at
 * once, by an io_uring, so that the disk has many requests to choose from. Where there is no
 * io_uring they are asked for one by one, by posix_fadvise(3).
 */
#ifndef VMM_AHEAD_H
#define VMM_AHEAD_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

/* In bytes of the file. */
struct ahead_range {
	uint64_t at, len;
};

/* A pass that is under way. */
struct ahead {
	struct io_uring ring;
	bool made; /* the ring */
	int fd;
	const struct ahead_range *ranges;
	uint64_t count, next; /* how many there are, and which is asked for next */
	uint64_t asked;	      /* how much of that was asked for */
	unsigned int flying;  /* asked for, and not done */
};

/* Begins a pass over @ranges of @fd, which stay the caller's, and are there until ahead_end(). One
 * thread calls both. A range that cannot be read is passed over. */
void ahead_begin(struct ahead *a, int fd, const struct ahead_range *ranges, uint64_t count);
/* Waits until all ranges have been asked for, and ends the pass. */
void ahead_end(struct ahead *a);

#endif
