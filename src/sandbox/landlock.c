/* SPDX-License-Identifier: Apache-2.0 */
/* See landlock.h. */
#include <errno.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/landlock.h"

#define FS_ABI_1	((UINT64_C(1) << 13) - 1)
#define FS_REFER	(UINT64_C(1) << 13) /* 2 */
#define FS_TRUNCATE	(UINT64_C(1) << 14) /* 3 */
#define NET_BIND_TCP	(UINT64_C(1) << 0)  /* 4 */
#define NET_CONNECT_TCP (UINT64_C(1) << 1)  /* 4 */
#define SCOPE_ABSTRACT	(UINT64_C(1) << 0)  /* 6 */
#define SCOPE_SIGNAL	(UINT64_C(1) << 1)  /* 6 */

/* struct landlock_ruleset_attr as of version 6; the kernel takes a longer one if the rest is 0. */
struct ruleset {
	uint64_t fs, net, scoped;
};

_Static_assert(sizeof(struct ruleset) == 24, "the kernel's layout");
_Static_assert(LANDLOCK_FS_REMOVE_FILE == LANDLOCK_ACCESS_FS_REMOVE_FILE &&
		       LANDLOCK_FS_READ_FILE == LANDLOCK_ACCESS_FS_READ_FILE,
	       "the kernel's numbers");

long landlock_version(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static uint64_t file_rights(long version)
{
	uint64_t fs = FS_ABI_1;

	if (version >= 2)
		fs |= FS_REFER;
	if (version >= 3)
		fs |= FS_TRUNCATE;
	if (version >= 5)
		fs |= LANDLOCK_FS_IOCTL_DEV;
	if (version >= 9)
		fs |= LANDLOCK_FS_RESOLVE_UNIX;
	return fs;
}

int landlock_ruleset(void)
{
	long version = landlock_version();
	struct ruleset attr = {.fs = file_rights(version)};
	int fd;

	if (version < 1)
		return -ENOTSUP;
	if (version >= 4)
		attr.net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (version >= 6)
		attr.scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL;
	fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	return fd < 0 ? -errno : fd;
}

int landlock_allow(int ruleset, int fd, uint64_t access)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = access & file_rights(landlock_version()), .parent_fd = fd};

	if (!rule.allowed_access)
		return 0;
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
		       ? -errno
		       : 0;
}

int landlock_enter(int ruleset)
{
	return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -errno : 0;
}
