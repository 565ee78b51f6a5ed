/* SPDX-License-Identifier: Apache-2.0 */
/* Landlock (Linux Documentation/userspace-api/landlock.rst): rulesets with all that this kernel can
 * refuse, and leave for what is still needed. Knows nothing of who is closed in. */
#ifndef SANDBOX_LANDLOCK_H
#define SANDBOX_LANDLOCK_H

#include <stdint.h>

/* Each version of Landlock's interface knows more; newer than the headers this builds with. */
#define LANDLOCK_FS_WRITE_FILE	 (UINT64_C(1) << 1)
#define LANDLOCK_FS_READ_DIR	 (UINT64_C(1) << 3)
#define LANDLOCK_FS_REMOVE_DIR	 (UINT64_C(1) << 4)
#define LANDLOCK_FS_REMOVE_FILE	 (UINT64_C(1) << 5)
#define LANDLOCK_FS_MAKE_DIR	 (UINT64_C(1) << 7)
#define LANDLOCK_FS_MAKE_REG	 (UINT64_C(1) << 8)
#define LANDLOCK_FS_TRUNCATE	 (UINT64_C(1) << 14) /* version 3 */
#define LANDLOCK_FS_READ_FILE	 (UINT64_C(1) << 2)
#define LANDLOCK_FS_IOCTL_DEV	 (UINT64_C(1) << 15) /* version 5 */
#define LANDLOCK_FS_RESOLVE_UNIX (UINT64_C(1) << 16) /* version 9 */

/* Returns Landlock's version, at least 1; below: not there, or not switched on (lsm=). */
long landlock_version(void);

/* Makes a ruleset that refuses everything. Returns a descriptor, or -ENOTSUP: no Landlock here. */
int landlock_ruleset(void);

/* Leaves @access, of which those rights count that this kernel has, to what is at or below @fd, an
 * O_PATH descriptor. 0 or -errno. */
int landlock_allow(int ruleset, int fd, uint64_t access);

/* Puts @ruleset into force for the calling thread and those that it starts. It needs no_new_privs.
 * Returns 0 or -errno. */
int landlock_enter(int ruleset);

#endif
