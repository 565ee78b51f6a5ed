/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a process that was killed. What it had in an io_uring the kernel lets go of a while
 * after the process was waited for: a TAP was busy for 2 to 45 ms (Linux 6.18). Who starts the next
 * VM with the same files at once is not to be told that another program has them.
 *
 * Every folder may include this. It needs the C library only.
 */
#ifndef LINGERING_H
#define LINGERING_H

#include <poll.h>
#include <stdbool.h>

#define LINGERING_PAUSE_MS 5
#define LINGERING_PAUSES   50 /* 250 ms */

/* For a loop that opens what is busy: waits a little. Returns false when it is time to give up.
 * @tries: 0 at first. */
static inline bool lingering_wait(unsigned int *tries)
{
	if ((*tries)++ >= LINGERING_PAUSES)
		return false;
	poll(NULL, 0, LINGERING_PAUSE_MS);
	return true;
}

#endif
