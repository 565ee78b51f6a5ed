/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing in the process before it has threads: root folder, user, privileges, capabilities, and
 * Landlock (landlock.c). Everything that will be needed is open by then.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catnap/sandbox.h>
#include "sandbox/enter.h"
#include "sandbox/filter.h"
#include "sandbox/landlock.h"
#include "sized.h"

void catnap_sandbox_config_init_sized(struct catnap_sandbox_config *cfg, size_t size)
{
	static const struct catnap_sandbox_config defaults = {.mode = CATNAP_SANDBOX_ON};

	sized_init(cfg, size, &defaults, sizeof(defaults));
}

void(catnap_sandbox_config_init)(struct catnap_sandbox_config *cfg)
{
	catnap_sandbox_config_init_sized(cfg, sizeof(*cfg));
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

static int leave(int ruleset, const char *path, int flags, uint64_t access)
{
	int fd = open(path, O_PATH | O_CLOEXEC | flags), ret;

	if (fd < 0)
		return -errno;
	ret = landlock_allow(ruleset, fd, access);
	close(fd);
	return ret;
}

/* Returns what older callers do not have. */
static uint32_t write_dirs(const struct catnap_sandbox_config *cfg)
{
	return cfg->size < offsetof(struct catnap_sandbox_config, reserved) ? 0 : cfg->n_write_dirs;
}

/* Makes a ruleset that leaves what @cfg names. Returns a descriptor, or -ENOTSUP: no Landlock. */
static int make_ruleset(const struct catnap_sandbox_config *cfg)
{
	/* Where ioctls are limited, a terminal would not tell any more what its reader has left:
	 * which requests may be made at all is the filter's. */
	const uint64_t reading = LANDLOCK_FS_READ_FILE | LANDLOCK_FS_IOCTL_DEV;
	const uint64_t writing = LANDLOCK_FS_READ_FILE | LANDLOCK_FS_WRITE_FILE |
				 LANDLOCK_FS_TRUNCATE | LANDLOCK_FS_READ_DIR |
				 LANDLOCK_FS_MAKE_REG | LANDLOCK_FS_MAKE_DIR |
				 LANDLOCK_FS_REMOVE_DIR | LANDLOCK_FS_REMOVE_FILE;
	int ruleset = landlock_ruleset(), ret = 0;

	for (uint32_t i = 0; i < cfg->n_read_files && ruleset >= 0 && ret == 0; i++)
		ret = leave(ruleset, cfg->read_files[i], 0, reading);
	for (uint32_t i = 0; i < write_dirs(cfg) && ruleset >= 0 && ret == 0; i++)
		ret = leave(ruleset, cfg->write_dirs[i], O_DIRECTORY, writing);
	if (ret < 0)
		close(ruleset);
	return ret < 0 ? ret : ruleset;
}

static int change_root(const char *dir)
{
	return chroot(dir) < 0 || chdir("/") < 0 ? -errno : 0;
}

/* Changes all three ids of each kind, so that none of them leads back. */
static int change_user(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	return 0;
}

/*
 * Drops effective, permitted and inheritable ones, and with them the ambient. The bounding set
 * limits what a program could gain by being started; without new privileges that is nothing
 * already, and taking 41 capabilities out of it one by one would cost 60 us.
 */
int sandbox_drop_capabilities(void)
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
	ret = sandbox_drop_capabilities();
	if (ret < 0)
		return fail(cfg, "capabilities", ret);
	ret = ruleset < 0 ? 0 : landlock_enter(ruleset);
	return ret < 0 ? fail(cfg, "landlock", ret) : 0;
}

int catnap_sandbox_enter(struct catnap_sandbox_config *cfg)
{
	int ruleset = -1, ret;

	if (!cfg || cfg->size < offsetof(struct catnap_sandbox_config, write_dirs))
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
