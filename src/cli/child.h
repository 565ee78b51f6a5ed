/* SPDX-License-Identifier: Apache-2.0 */
/* Children that a command starts and does not leave behind. */
#ifndef CLI_CHILD_H
#define CLI_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Has this process, a child of @parent, be sent @number when the thread ends that made it: its
 * parent's main thread has to be that, or one that lives as long. Holds beyond execve(2). Makes
 * async-signal-safe calls only. False: the parent has ended already. */
bool child_ends_with(pid_t parent, int number);

/* Returns all that comes from @fd, ended by a NUL, for the caller to free; NULL: no memory, or more
 * than @most bytes. @wait: waits for more, and returns false to end with what there is; NULL:
 * reading waits. */
char *child_output(int fd, size_t most, bool (*wait)(void *ctx), void *ctx);

#endif
