/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pressure: is the processor's time short for the control group that this process is in, or for one
 * that is named? There are two signs, and either stops polling for a while.
 *
 *   - The group, or one above it, is being throttled: nr_throttled of cpu.stat grows (cgroup v1
 *     and v2).
 *   - Its tasks wait for processors: the kernel's pressure stall information counts the time in
 *     which "some" do (cpu.pressure of the group, or /proc/pressure/cpu).
 *
 * The files are opened once, before a sandbox closes. Each may be missing. The owners that poll
 * read them, by pread(2), but ten times a second at most for all that share this struct. In between
 * a poll loop reads one word. A trigger on the file would need a privilege, a thread of the
 * kernel's and a wait at the end, and would tell later than the total stall time does.
 *
 * Any thread, but for open and close. Times are in ticks of the clock.
 */
#ifndef POLL_PRESSURE_H
#define POLL_PRESSURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "errors.h"
#include "poll/clock.h"
#include "relaxed.h"

#define PRESSURE_GROUPS 4 /* the nearest ones that count throttling */

enum pressure_sign { PRESSURE_NONE, PRESSURE_THROTTLED, PRESSURE_STALLED };

struct pressure {
	/* Before this nothing is read, and polls are fine. It is the word that poll loops read. */
	_Atomic uint64_t calm_until;
	_Atomic uint64_t until; /* no polls before this */
	_Atomic uint32_t sign;	/* the reason for that */
	_Atomic bool busy;	/* a thread reads the files; what follows is its own */
	uint64_t throttled;	/* nr_throttled of all groups, as last read */
	uint64_t stalled_us;	/* the total of "some" */
	uint64_t read_at;	/* when they were read last; 0: not yet */
	/* Constant once opened. */
	uint64_t every, pause;
	int throttle_fds[PRESSURE_GROUPS];
	unsigned int groups;
	int stall_fd;	 /* -1: none */
	bool stall_host; /* it is the whole host's */
	bool borrowed;	 /* the descriptors are somebody else's */
};

/* Opens what there is of the files; to find none is no error. @root: "", but the tests have files
 * of their own there. */
void pressure_open(struct pressure *p, const struct clock *clock, const char *root);
/*
 * Opens those of one control group, whose folder is @folder, and cpu.stat of those above it.
 * Errors, with a sentence that begins with "cgroup":
 *   -ENOENT, ...  of stat(2); neither file is there, or neither counts
 *   -ENAMETOOLONG
 */
int pressure_open_group(struct pressure *p, const struct clock *clock, const char *folder,
			struct error *err);
/*
 * Reads the two descriptors, of which one may be -1: cpu.pressure and cpu.stat. They stay the
 * caller's, open until pressure_close(). Errors:
 *   -EINVAL  one is not such a file, with a sentence that begins with pressure_fd or throttle_fd
 */
int pressure_borrow(struct pressure *p, const struct clock *clock, int stall_fd, int throttle_fd,
		    struct error *err);
void pressure_close(struct pressure *p);

/* Does the part of pressure_ask() that reads the files, or need not. */
enum pressure_sign pressure_ask_slow(struct pressure *p, const struct clock *clock, uint64_t now);

/* Returns the sign for which the processor is to be left to others, or PRESSURE_NONE. */
static inline enum pressure_sign pressure_ask(struct pressure *p, const struct clock *clock,
					      uint64_t now)
{
	if (__builtin_expect(now < relaxed_load(&p->calm_until), 1))
		return PRESSURE_NONE;
	return pressure_ask_slow(p, clock, now);
}

#endif
