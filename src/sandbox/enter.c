/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing in the process before it has threads: root folder, user, privileges, capabilities, and
 * Landlock (Linux Documentation/userspace-api/landlock.rst). Everything that will be needed is open
 * by then.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catnap/sandbox.h>
#include "sandbox/filter.h"
#include "sized.h"

/* Each version of Landlock's interface knows more; newer than the headers this builds with. */
#define FS_ABI_1	((UINT64_C(1) << 13) - 1)
#define FS_REFER	(UINT64_C(1) << 13) /* 2 */
#define FS_TRUNCATE	(UINT64_C(1) << 14) /* 3 */
#define FS_IOCTL_DEV	(UINT64_C(1) << 15) /* 5 */
#define NET_BIND_TCP	(UINT64_C(1) << 0)  /* 4 */
#define NET_CONNECT_TCP (UINT64_C(1) << 1)  /* 4 */
#define SCOPE_ABSTRACT	(UINT64_C(1) << 0)  /* 6 */
#define SCOPE_SIGNAL	(UINT64_C(1) << 1)  /* 6 */

/* struct landlock_ruleset_attr as of version 6; the kernel takes a longer one if the rest is 0. */
struct ruleset {
	uint64_t fs, net, scoped;
};

_Static_assert(sizeof(struct ruleset) == 24, "the kernel's layout");

void catnap_sandbox_config_init_sized(struct catnap_sandbox_config *cfg, size_t size)
{
	static const struct catnap_sandbox_config defaults = {.mode = CATNAP_SANDBOX_ON};

	sized_init(cfg, size, &defaults, sizeof(defaults));
}

void(catnap_sandbox_config_init)(struct catnap_sandbox_config *cfg)
{
	catnap_sandbox_config_init_sized(cfg, sizeof(*cfg));
}

/* Its version, at least 1; below: not there, or not switched on (lsm=). */
static long landlock_version(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

uint32_t catnap_sandbox_available(void)
{
	const uint32_t actions[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_LOG};
	uint32_t have = CATNAP_SANDBOX_HAS_SECCOMP;

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &actions[i]) < 0)
			have = 0;
	return have | (landlock_version() > 0 ? CATNAP_SANDBOX_HAS_LANDLOCK : 0);
}

static int allow_path(int ruleset, const char *path, int flags, uint64_t access)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = access};
	int ret;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC | flags);
	if (rule.parent_fd < 0)
		return -errno;
	ret = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
		      ? -errno
		      : 0;
	close(rule.parent_fd);
	return ret;
}

/* Of @fs, the rights that this kernel knows. */
static int allow_all(int ruleset, const struct catnap_sandbox_config *cfg, uint64_t fs)
{
	/* Where these are limited, a terminal would not tell any more what its reader has left:
	 * which requests may be made at all is the filter's. */
	const uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE | (fs & FS_IOCTL_DEV);
	int ret = 0;

	for (uint32_t i = 0; i < cfg->n_socket_dirs && ret == 0; i++)
		ret = allow_path(ruleset, cfg->socket_dirs[i], O_DIRECTORY,
				 LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_SOCK);
	for (uint32_t i = 0; i < cfg->n_read_files && ret == 0; i++)
		ret = allow_path(ruleset, cfg->read_files[i], 0, read);
	return ret;
}

/* A ruleset with all that this kernel can refuse. A descriptor; -ENOTSUP: no Landlock. */
static int make_ruleset(const struct catnap_sandbox_config *cfg)
{
	long version = landlock_version();
	struct ruleset attr = {.fs = FS_ABI_1};
	int fd, ret;

	if (version < 1)
		return -ENOTSUP;
	if (version >= 2)
		attr.fs |= FS_REFER;
	if (version >= 3)
		attr.fs |= FS_TRUNCATE;
	if (version >= 4)
		attr.net = NET_BIND_TCP | NET_CONNECT_TCP;
	if (version >= 5)
		attr.fs |= FS_IOCTL_DEV;
	if (version >= 6)
		attr.scoped = SCOPE_ABSTRACT | SCOPE_SIGNAL;
	fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (fd < 0)
		return -errno;
	ret = allow_all(fd, cfg, attr.fs);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	return fd;
}

static int change_root(const char *dir)
{
	return chroot(dir) < 0 || chdir("/") < 0 ? -errno : 0;
}

/* All three of each kind, so that none of them leads back. */
static int change_user(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

/*
 * Effective, permitted and inheritable ones, and with them the ambient. The bounding set limits
 * what a program could gain by being started; without new privileges that is nothing already, and
 * taking 41 capabilities out of it one by one would cost 60 us.
 */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

static int fail(struct catnap_sandbox_config *cfg, const char *what, int ret)
{
	cfg->failed = what;
	return ret;
}

static int close_in(struct catnap_sandbox_config *cfg, int ruleset)
{
	int ret;

	if (cfg->chroot_dir) {
		ret = change_root(cfg->chroot_dir);
		if (ret < 0)
			return fail(cfg, "chroot", ret);
	}
	if (cfg->change_user) {
		ret = change_user(cfg->uid, cfg->gid);
		if (ret < 0)
			return fail(cfg, "user", ret);
	}
	if (cfg->mode == CATNAP_SANDBOX_OFF)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(cfg, "no_new_privs", -errno);
	if (cfg->mode != CATNAP_SANDBOX_ON)
		return 0;
	ret = drop_capabilities();
	if (ret < 0)
		return fail(cfg, "capabilities", ret);
	if (ruleset >= 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return fail(cfg, "landlock", -errno);
	return 0;
}

int catnap_sandbox_enter(struct catnap_sandbox_config *cfg)
{
	int ruleset = -1, ret;

	if (cfg->size < sizeof(*cfg))
		return -EINVAL;
	cfg->failed = NULL;
	cfg->missing = 0;
	if (cfg->mode > CATNAP_SANDBOX_ON)
		return fail(cfg, "mode", -EINVAL);
	if (cfg->change_user && (cfg->uid == (uid_t)-1 || cfg->gid == (gid_t)-1))
		return fail(cfg, "user", -EINVAL); /* it would mean: leave it as it is */
	if (cfg->mode != CATNAP_SANDBOX_OFF)
		cfg->missing = CATNAP_SANDBOX_HAS_SECCOMP & ~catnap_sandbox_available();
	if (cfg->mode == CATNAP_SANDBOX_ON) {
		/* Before the root folder changes: the paths are the caller's. */
		ruleset = make_ruleset(cfg);
		if (ruleset == -ENOTSUP)
			cfg->missing |= CATNAP_SANDBOX_HAS_LANDLOCK;
		else if (ruleset < 0)
			return fail(cfg, "landlock", ruleset);
	}
	ret = close_in(cfg, ruleset);
	if (ruleset >= 0)
		close(ruleset);
	return ret;
}
