/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock (Linux Documentation/userspace-api/landlock.rst): rulesets with all that this kernel can
 * refuse, and leave for what is still needed. Knows nothing of who is closed in. */
#ifndef SANDBOX_LANDLOCK_H
#define SANDBOX_LANDLOCK_H

#include <stdint.h>

/* Each version of Landlock's interface knows more; newer than the headers this builds with. */
#define LANDLOCK_FS_REMOVE_FILE	 (UINT64_C(1) << 5)
#define LANDLOCK_FS_READ_FILE	 (UINT64_C(1) << 2)
#define LANDLOCK_FS_IOCTL_DEV	 (UINT64_C(1) << 15) /* version 5 */
#define LANDLOCK_FS_RESOLVE_UNIX (UINT64_C(1) << 16) /* version 9 */

/* Its version, at least 1; below: not there, or not switched on (lsm=). */
long landlock_version(void);

/* A ruleset that refuses everything. A descriptor; -ENOTSUP: no Landlock here. */
int landlock_ruleset(void);

/* Leaves @access, of which those rights count that this kernel has, to what is at or below @fd, an
 * O_PATH descriptor. 0 or -errno. */
int landlock_allow(int ruleset, int fd, uint64_t access);

/* For the calling thread and those that it starts. It needs no_new_privs. 0 or -errno. */
int landlock_enter(int ruleset);

#endif
