/* SPDX-License-Identifier: Apache-2.0 */
/* Limits, ids and capabilities of a jail's program (capabilities(7), Transitions of user ids). */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/jail/jail.h"

/* As in Firecracker's jailer, if nothing else is asked for. */
#define NO_FILE 2048

int jail_set_limits(const struct jail *j)
{
	struct jail_limit limits[JAIL_LIMITS + 1];
	size_t n = j->n_limits;
	bool files = false;

	memcpy(limits, j->limits, n * sizeof(limits[0]));
	for (size_t i = 0; i < n; i++)
		files |= limits[i].resource == RLIMIT_NOFILE;
	if (!files) {
		struct rlimit now;

		limits[n] = (struct jail_limit){.resource = RLIMIT_NOFILE, .value = NO_FILE};
		/* One that is lower already stays. */
		if (getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_max < NO_FILE)
			limits[n].value = now.rlim_max;
		n++;
	}
	for (size_t i = 0; i < n; i++) {
		const struct rlimit l = {limits[i].value, limits[i].value};

		if (setrlimit((__rlimit_resource_t)limits[i].resource, &l))
			return jail_fail("--resource-limit: %s=%llu: %s%s",
					 limits[i].resource == RLIMIT_NOFILE ? "no-file" : "fsize",
					 (unsigned long long)limits[i].value, strerror(errno),
					 errno == EPERM
						 ? ": expected no more than the limit of this "
						   "process, or CAP_SYS_RESOURCE"
						 : "");
	}
	return 0;
}

/* Drops all that can be had by execve(2). The permitted set goes with that call. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			return -1;
	if (syscall(SYS_capget, &head, data))
		return -1;
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		data[i].inheritable = 0; /* the ambient ones go with them */
	return (int)syscall(SYS_capset, &head, data);
}

int jail_drop_rights(const struct jail *j)
{
	if (drop_capabilities())
		return jail_fail("capabilities: %s", strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return jail_fail("no new privileges: %s", strerror(errno));
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
		return jail_fail("capabilities: %s", strerror(errno));
	if (setgroups(0, NULL) || setresgid(j->gid, j->gid, j->gid))
		return jail_fail("--gid: %u: %s", j->gid, strerror(errno));
	if (setresuid(j->uid, j->uid, j->uid))
		return jail_fail("--uid: %u: %s", j->uid, strerror(errno));
	return 0;
}

void jail_regain(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, data))
		return;
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		data[i].effective = data[i].permitted;
	syscall(SYS_capset, &head, data);
}
