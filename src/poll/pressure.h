/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is the processor's time short for the control group that this process is in? Two signs: the
 * group, or one above it, is being throttled (nr_throttled of cpu.stat grows; cgroup v1 and v2), or
 * its tasks wait for processors (the share of time that "some" do, by the kernel's pressure stall
 * information: cpu.pressure of the group, or /proc/pressure/cpu). Then polling stops, for a while.
 *
 * The files are opened once, before a sandbox closes; each may be missing. They are read by whoever
 * polls (pread(2) each), but ten times a second at most for all who share this: a poll loop reads
 * one word. Reading the total stall time needs no privilege, no thread of the kernel's and no wait
 * at the end, as a trigger on the file would, and tells sooner.
 *
 * Any thread, but for open and close. Times are in ticks of the clock.
 */
#ifndef POLL_PRESSURE_H
#define POLL_PRESSURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "poll/clock.h"

#define PRESSURE_GROUPS 4 /* the nearest ones that count throttling */

enum pressure_sign { PRESSURE_NONE, PRESSURE_THROTTLED, PRESSURE_STALLED };

struct pressure {
	/* Before this there is nothing to be looked at, and polls are fine. The loop's word. */
	_Atomic uint64_t calm_until;
	_Atomic uint64_t until; /* no polls before this */
	_Atomic uint32_t sign;	/* the reason for that */
	_Atomic bool busy;	/* somebody looks; what follows is theirs */
	uint64_t throttled;	/* nr_throttled of all groups, as last read */
	uint64_t stalled_us;	/* the total of "some" */
	uint64_t looked;	/* when; 0: not yet */
	/* Constant once opened. */
	uint64_t every, pause;
	int throttle_fds[PRESSURE_GROUPS];
	unsigned int groups;
	int stall_fd;	 /* -1: none */
	bool stall_host; /* it is the whole host's */
};

/* Opens what there is; none of it is an error. @root: "" but for the tests, whose files are there.
 */
void pressure_open(struct pressure *p, const struct clock *clock, const char *root);
void pressure_close(struct pressure *p);

/* The rare part of a look. */
enum pressure_sign pressure_closer(struct pressure *p, const struct clock *clock, uint64_t now);

/* Is it time to leave the processor to others? */
static inline enum pressure_sign pressure_look(struct pressure *p, const struct clock *clock,
					       uint64_t now)
{
	if (__builtin_expect(now < atomic_load_explicit(&p->calm_until, memory_order_relaxed), 1))
		return PRESSURE_NONE;
	return pressure_closer(p, clock, now);
}

#endif
