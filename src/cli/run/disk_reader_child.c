/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See disk_reader_child.h. The order: what it keeps open, limits, the user, no new privileges,
 * Landlock, seccomp, the program. A host that lacks one of the last three is no place for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/child.h"
#include "cli/run/disk_reader_child.h"

#define NOBODY 65534
#define CPU_S  120
#define MEMORY (UINT64_C(1) << 30)

static void limit(__rlimit_resource_t what, rlim_t most)
{
	const struct rlimit l = {most, most};

	(void)setrlimit(what, &l);
}

static bool keep_open(int out, int said)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	return null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
	       dup2(said, STDERR_FILENO) >= 0 &&
	       syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */) == 0;
}

/* -- the user --------------------------------------------------------------------------------- */

/* Gives up all capabilities, but @keep of them in each set. */
static bool keep_capability(uint32_t keep)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{keep, keep, keep}};

	return syscall(SYS_capset, &head, data) == 0;
}

/* Becomes nobody, if this is root, and keeps the capability to read files: which, says Landlock. One
 * that does not have that stays who it is, without any. */
static bool change_user(void)
{
	const uint32_t reading = 1u << CAP_DAC_READ_SEARCH;
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	bool can_read;

	if (syscall(SYS_capget, &head, data) < 0)
		return false;
	can_read = data[0].permitted & reading;
	if (geteuid() != 0 || !can_read)
		return keep_capability(0);
	return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && setgroups(0, NULL) == 0 &&
	       setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0 &&
	       keep_capability(reading) &&
	       prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_READ_SEARCH, 0, 0) == 0;
}

/* -- Landlock --------------------------------------------------------------------------------- */

/* All that the versions of Landlock can refuse: struct landlock_ruleset_attr as of version 6, which
 * headers may not have. */
struct ruleset {
	uint64_t fs, net, scoped;
};

#define READ_FILE LANDLOCK_ACCESS_FS_READ_FILE
#define EXECUTE	  LANDLOCK_ACCESS_FS_EXECUTE
#define IOCTL_DEV (UINT64_C(1) << 15) /* version 5 */

static int make_ruleset(long version)
{
	static const unsigned int rights[] = {0, 13, 14, 15, 15, 16, 16, 16, 16, 17};
	const long known = version < 9 ? version : 9;
	struct ruleset attr = {.fs = (UINT64_C(1) << rights[known]) - 1,
			       .net = version >= 4 ? 3 : 0,
			       .scoped = version >= 6 ? 3 : 0};

	return (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
}

static bool allow(int ruleset, int fd, uint64_t access)
{
	struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};

	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
}

/* The same for a path, which need not be there. */
static bool allow_path(int ruleset, const char *path, uint64_t access)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	bool done = fd < 0 || allow(ruleset, fd, access);

	if (fd >= 0)
		close(fd);
	return done;
}

static bool restrict_files(const struct disk_reader *r)
{
	static const char *const libraries[] = {"/lib", "/lib64", "/usr/lib", "/usr/lib64",
						"/etc/ld.so.cache"};
	const long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int ruleset = version < 1 ? -1 : make_ruleset(version);
	bool done = ruleset >= 0;

	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]) && done; i++)
		done = allow_path(ruleset, libraries[i], READ_FILE);
	done = done && allow_path(ruleset, r->program, READ_FILE | EXECUTE) &&
	       allow_path(ruleset, "/lib64/ld-linux-x86-64.so.2", READ_FILE | EXECUTE) &&
	       /* The program opens the root folder. seccomp keeps it from listing any. */
	       allow_path(ruleset, "/", LANDLOCK_ACCESS_FS_READ_DIR) &&
	       allow(ruleset, r->image, READ_FILE | (version >= 5 ? IOCTL_DEV : 0)) &&
	       syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
	if (ruleset >= 0)
		close(ruleset);
	return done;
}

/* -- seccomp ---------------------------------------------------------------------------------- */

/* What a program of the C library needs to begin, and to read files. All else fails with EPERM: the
 * program says what it could not do, and nobody has to know each C library's calls. */
static const int calls[] = {
	SYS_read,
	SYS_pread64,
	SYS_readv,
	SYS_write,
	SYS_writev,
	SYS_lseek,
	SYS_close,
	SYS_openat,
	SYS_open,
	SYS_newfstatat,
	SYS_fstat,
	SYS_stat,
	SYS_lstat,
	SYS_statx,
	SYS_access,
	SYS_faccessat,
	SYS_faccessat2,
	SYS_readlink,
	SYS_readlinkat,
	SYS_getcwd,
	SYS_statfs,
	SYS_fstatfs,
	SYS_fadvise64,
	SYS_mmap,
	SYS_mprotect,
	SYS_munmap,
	SYS_mremap,
	SYS_madvise,
	SYS_brk,
	SYS_arch_prctl,
	SYS_set_tid_address,
	SYS_set_robust_list,
	SYS_rseq,
	SYS_futex,
	SYS_getrandom,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_getpid,
	SYS_gettid,
	SYS_getuid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getegid,
	SYS_uname,
	SYS_sysinfo,
	SYS_clock_gettime,
	SYS_gettimeofday,
	SYS_time,
	SYS_execve,
	SYS_exit,
	SYS_exit_group,
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))
#define LOAD(member) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, member))
#define IS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, skip)
#define RETURN(action)	BPF_STMT(BPF_RET | BPF_K, action)

static bool restrict_calls(void)
{
	struct sock_filter insns[CALLS * 2 + 32], *f = insns;
	struct sock_fprog program = {.filter = insns};

	*f++ = (struct sock_filter)LOAD(arch);
	*f++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	*f++ = (struct sock_filter)RETURN(SECCOMP_RET_KILL_PROCESS);
	*f++ = (struct sock_filter)LOAD(nr);
	for (size_t i = 0; i < CALLS; i++) {
		*f++ = (struct sock_filter)IS(calls[i], 1);
		*f++ = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
	}
	/* How long a block device is, and each of its sectors. */
	*f++ = (struct sock_filter)IS(SYS_ioctl, 4);
	*f++ = (struct sock_filter)LOAD(args[1]);
	*f++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)BLKGETSIZE64, 1,
					    0);
	*f++ = (struct sock_filter)IS(BLKSSZGET, 1);
	*f++ = (struct sock_filter)RETURN(SECCOMP_RET_ALLOW);
	*f++ = (struct sock_filter)RETURN(SECCOMP_RET_ERRNO | EPERM);
	program.len = (unsigned short)(f - insns);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* -- all of it -------------------------------------------------------------------------------- */

_Noreturn void disk_reader_child(const struct disk_reader *r, const char *const *argv, int out,
				 int said)
{
	static const char *const environment[] = {"LC_ALL=C", NULL};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	if (!keep_open(out, said) || chdir("/") < 0)
		_exit(DISK_READER_NOT_STARTED);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_FSIZE, 0);
	limit(RLIMIT_CPU, CPU_S);
	limit(RLIMIT_AS, MEMORY);
	if (!change_user())
		_exit(DISK_READER_UNCONFINED);
	/* Another user has no parent any more that it would die with. */
	if (!child_ends_with(r->parent, SIGKILL))
		_exit(DISK_READER_NOT_STARTED);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || !restrict_files(r) || !restrict_calls())
		_exit(DISK_READER_UNCONFINED);
	execve(r->program, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)environment);
	_exit(DISK_READER_NOT_STARTED);
}
