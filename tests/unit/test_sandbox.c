/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox, from inside: each kind of thread may do what it has to, and dies of the rest. Every
 * case is a process of its own; it ends by exit(2), which is the only end that all filters allow.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/escapes.h"
#include "sandbox/filter.h"

#define FINE 42
#define PAGE 4096

static bool have(uint32_t what)
{
	return catnap_sandbox_available() & what;
}

/* Sanitizers call what no thread here has a use for: then no filter is put to the test. */
static bool filters(void)
{
#ifdef SANITIZED
	return false;
#else
	return have(CATNAP_SANDBOX_HAS_SECCOMP);
#endif
}

_Noreturn static void end(int status)
{
	for (;;)
		syscall(SYS_exit, status);
}

/* In a child: a condition that does not hold ends it, with its line (modulo 256 and not FINE). */
#define NEED(condition)                                                   \
	do {                                                              \
		if (!(condition))                                         \
			end(__LINE__ % 200 == FINE ? 1 : __LINE__ % 200); \
	} while (0)

/* Runs @fn in a child; returns its wait status. */
static int in_child(void (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		/* Being killed is expected: no core files. */
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
		fn(arg);
		end(FINE);
	}
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	return status;
}

#define assert_fine(status)                                                             \
	do {                                                                            \
		if ((status) != FINE << 8)                                              \
			fail_msg("%s: wait status 0x%x", __func__, (unsigned)(status)); \
	} while (0)

static void install(enum sandbox_thread thread, uint32_t features, enum catnap_sandbox_mode mode)
{
	static struct sandbox_filter f;

	sandbox_filter_make(&f, thread, features, mode, getpid());
	NEED(sandbox_filter_install(&f) == 0);
}

/* -- system calls ----------------------------------------------------------------------------- */

/* One call; whether it succeeds does not matter, but whether it comes back. */
struct call {
	const char *name;
	long nr;
	long args[4];
	unsigned int threads;	      /* who may: bits of enum sandbox_thread */
	enum sandbox_feature feature; /* without which they may not */
};

#define V     (1u << SANDBOX_VCPU)
#define IO    (1u << SANDBOX_IO)
#define M     (1u << SANDBOX_MAIN)
#define K     (1u << SANDBOX_KEEPER)
#define ALL   (V | IO | M)
#define BAD   (-1) /* a descriptor that is none */
#define MAP   (MAP_PRIVATE | MAP_ANONYMOUS)
#define PAIR  (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
#define IMAGE (O_RDWR | O_CLOEXEC | O_NOCTTY)

static char text[] = "/dev/null", word[64];

#define AT(p) ((long)(p))

static const struct call calls[] = {
	{"read", SYS_read, {BAD}, ALL, 0},
	{"write", SYS_write, {BAD}, ALL, 0},
	{"poll", SYS_poll, {0, 0, 0}, ALL | K, 0},
	{"futex wake", SYS_futex, {AT(word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1}, ALL, 0},
	{"futex wait", SYS_futex, {AT(word), FUTEX_WAIT, 1}, ALL, 0},
	{"futex requeue", SYS_futex, {AT(word), FUTEX_CMP_REQUEUE_PI, 1}, 0, 0},
	{"futex lock_pi", SYS_futex, {AT(word), FUTEX_LOCK_PI_PRIVATE, 1}, 0, 0},
	{"anonymous memory", SYS_mmap, {0, PAGE, PROT_READ | PROT_WRITE, MAP}, ALL, 0},
	{"executable memory", SYS_mmap, {0, PAGE, PROT_READ | PROT_EXEC, MAP}, 0, 0},
	{"mapping a file", SYS_mmap, {0, PAGE, PROT_READ, MAP_SHARED}, 0, 0},
	{"mprotect", SYS_mprotect, {0, PAGE, PROT_READ}, ALL, 0},
	{"mprotect exec", SYS_mprotect, {0, PAGE, PROT_READ | PROT_EXEC}, 0, 0},
	{"mremap", SYS_mremap, {0, PAGE, PAGE, MREMAP_MAYMOVE}, ALL, 0},
	{"mremap to an address", SYS_mremap, {0, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED}, 0, 0},
	{"madvise dontneed", SYS_madvise, {0, 0, MADV_DONTNEED}, ALL, 0},
	{"madvise wipe on fork", SYS_madvise, {0, 0, MADV_WIPEONFORK}, ALL, 0},
	{"madvise mergeable", SYS_madvise, {0, 0, MADV_MERGEABLE}, 0, 0},
	{"pkey_mprotect", SYS_pkey_mprotect, {0, PAGE, PROT_EXEC, -1}, 0, 0},
	{"memfd", SYS_memfd_create, {AT(text), 0}, 0, 0},
	{"open", SYS_open, {AT(text), O_RDONLY}, 0, 0},
	{"openat", SYS_openat, {AT_FDCWD, AT(text), O_RDONLY}, 0, 0},
	{"openat2", SYS_openat2, {AT_FDCWD, AT(text), AT(word), 24}, 0, 0},
	{"open to write", SYS_openat, {AT_FDCWD, AT(text), O_RDWR | O_CLOEXEC}, 0, 0},
	{"creat", SYS_creat, {AT(text), 0}, 0, 0},
	{"unlink", SYS_unlink, {AT("/nowhere/none")}, M, SANDBOX_UNLINK},
	{"unlinkat", SYS_unlinkat, {BAD, AT("none"), 0}, M | K, SANDBOX_SNAPSHOT},
	{"mkdirat", SYS_mkdirat, {BAD, AT("none"), 0700}, M, SANDBOX_SNAPSHOT},
	{"renameat", SYS_renameat, {BAD, AT("none"), BAD, AT("some")}, M, SANDBOX_SNAPSHOT},
	{"flock", SYS_flock, {BAD, LOCK_EX | LOCK_NB}, M, SANDBOX_SNAPSHOT},
	{"flock that waits", SYS_flock, {BAD, LOCK_EX}, 0, 0},
	{"getdents64", SYS_getdents64, {BAD, 0, 0}, M, SANDBOX_SNAPSHOT},
	{"madvise of what no child has", SYS_madvise, {0, 0, MADV_DONTFORK}, V, 0},
	{"madvise of what no core dump has", SYS_madvise, {0, 0, MADV_DONTDUMP}, V, 0},
	{"rmdir by unlinkat", SYS_unlinkat, {BAD, AT("none"), AT_REMOVEDIR}, M, SANDBOX_SNAPSHOT},
	{"rename", SYS_rename, {AT("/nowhere/none"), AT("/nowhere/some")}, 0, 0},
	{"stat", SYS_stat, {AT(text), AT(word)}, M, 0}, /* see opens_an_image() */
	{"statat", SYS_newfstatat, {AT_FDCWD, AT("none"), AT(word), 0}, M | K, 0},
	{"opening an image", SYS_openat, {AT_FDCWD, AT(text), IMAGE}, M, SANDBOX_OPEN},
	{"directly", SYS_openat, {AT_FDCWD, AT(text), IMAGE | O_DIRECT}, M, SANDBOX_OPEN},
	{"to be read", SYS_openat, {AT_FDCWD, AT(text), O_NOCTTY | O_CLOEXEC}, M, SANDBOX_OPEN},
	{"making an image", SYS_openat, {AT_FDCWD, AT("/nowhere/none"), IMAGE | O_CREAT, 0}, 0, 0},
	{"making one without a name", SYS_openat, {AT_FDCWD, AT("."), IMAGE | O_TMPFILE, 0}, 0, 0},
	{"opening in a folder", SYS_openat, {BAD, AT("none"), IMAGE}, 0, 0},
	{"a copy of a descriptor", SYS_fcntl, {BAD, F_DUPFD_CLOEXEC, 0}, M, SANDBOX_FILES},
	{"a copy that is inherited", SYS_fcntl, {BAD, F_DUPFD, 0}, 0, 0},
	{"flags of a descriptor", SYS_fcntl, {BAD, F_SETFL, 0}, 0, 0},
	{"a timer", SYS_timerfd_create, {CLOCK_MONOTONIC, -1}, M, SANDBOX_HOTPLUG},
	{"opening a TAP",
	 SYS_openat,
	 {AT_FDCWD, AT(text), O_RDWR | O_NONBLOCK | O_CLOEXEC},
	 M,
	 SANDBOX_HOTPLUG},
	{"making a TAP last", SYS_ioctl, {BAD, TUNSETPERSIST}, 0, 0},
	{"an interface's number", SYS_ioctl, {BAD, SIOCGIFINDEX}, M, SANDBOX_HOTPLUG},
	{"an interface's flags", SYS_ioctl, {BAD, SIOCSIFFLAGS}, 0, 0},
	{"a disk's block", SYS_ioctl, {BAD, BLKSSZGET}, M, SANDBOX_FILES},
	{"a disk's contents", SYS_ioctl, {BAD, BLKDISCARD}, 0, 0},
	{"of a file system", SYS_fstatfs, {BAD, AT(word)}, M, SANDBOX_FILES},
	{"statx", SYS_statx, {AT_FDCWD, AT("none"), 0, 0}, 0, 0},
	{"access", SYS_access, {AT("none"), 0}, 0, 0},
	{"readlink", SYS_readlink, {AT("none"), AT(word), 1}, 0, 0},
	{"to look at", SYS_openat, {BAD, AT("none"), O_PATH | O_NOFOLLOW | O_CLOEXEC}, K, 0},
	{"lstat",
	 SYS_newfstatat,
	 {AT_FDCWD, AT("none"), AT(word), AT_SYMLINK_NOFOLLOW},
	 M | K,
	 SANDBOX_UNLINK},
	{"clock_nanosleep", SYS_clock_nanosleep, {CLOCK_MONOTONIC, 0, AT(word), 0}, M, 0},
	{"TIOCGPTPEER", SYS_ioctl, {BAD, TIOCGPTPEER, 0}, M, 0},
	{"fstat", SYS_fstat, {BAD, AT(word)}, M | K, 0},
	{"execve", SYS_execve, {AT("/none"), 0, 0}, 0, 0},
	{"fork", SYS_fork, {0}, 0, 0},
	{"wait4", SYS_wait4, {INT_MAX, 0, 0, 0}, ALL, 0},
	{"clone", SYS_clone, {0}, 0, 0},
	{"clone3", SYS_clone3, {AT(word), 64}, 0, 0},
	{"ptrace", SYS_ptrace, {0}, 0, 0},
	{"process_vm_readv", SYS_process_vm_readv, {1, AT(word), 0, AT(word)}, 0, 0},
	{"kill", SYS_kill, {INT_MAX, 0}, 0, 0},
	{"tgkill of another", SYS_tgkill, {1, 1, 0}, 0, 0},
	{"sigaction", SYS_rt_sigaction, {SIGSYS, 0, 0, 8}, 0, 0},
	{"sigaction of SIGBUS", SYS_rt_sigaction, {SIGBUS, 0, 0, 8}, ALL, 0},
	{"prctl", SYS_prctl, {PR_GET_DUMPABLE}, 0, 0},
	{"seccomp", SYS_seccomp, {0}, 0, 0},
	{"bpf", SYS_bpf, {-1}, 0, 0},
	{"setuid", SYS_setuid, {0}, 0, 0},
	{"capset", SYS_capset, {0, 0}, 0, 0},
	{"chroot", SYS_chroot, {AT("/none")}, 0, 0},
	{"mount", SYS_mount, {0, 0, 0, 0}, 0, 0},
	{"unshare", SYS_unshare, {0}, 0, 0},
	{"setns", SYS_setns, {BAD, 0}, 0, 0},
	{"io_uring_setup", SYS_io_uring_setup, {1, AT(word)}, 0, 0},
	{"io_uring_register", SYS_io_uring_register, {BAD, 0, 0, 0}, 0, 0},
	{"io_uring_enter", SYS_io_uring_enter, {BAD, 0, 0, 0}, V | IO, SANDBOX_RING},
	{"fallocate", SYS_fallocate, {BAD, 0, 0, 0}, V | IO | M, SANDBOX_FILES},
	{"sync_file_range", SYS_sync_file_range, {BAD, 0, 0, 0}, V | IO, SANDBOX_FILES},
	{"fdatasync", SYS_fdatasync, {BAD}, V | IO | M, SANDBOX_FILES},
	{"a file's lock", SYS_fcntl, {BAD, F_OFD_SETLK, 0}, ALL, SANDBOX_FILES},
	{"a disk's size", SYS_ioctl, {BAD, BLKGETSIZE64}, M, SANDBOX_FILES},
	{"unix socket",
	 SYS_socket,
	 {AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, -1},
	 K,
	 0},
	{"unix datagrams", SYS_socket, {AF_UNIX, SOCK_DGRAM, 0}, 0, 0},
	{"socketpair", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, AT(word)}, 0, 0},
	{"inet socket", SYS_socket, {AF_INET, SOCK_STREAM, 0}, 0, 0},
	{"connect", SYS_connect, {BAD, 0, 0}, K, 0},
	{"listen", SYS_listen, {BAD, 1}, 0, 0},
	{"bind", SYS_bind, {BAD, 0, 0}, 0, 0},
	{"accept4", SYS_accept4, {BAD, 0, 0, 0}, ALL, SANDBOX_SOCKETS},
	/* The I/O thread's and the vCPUs' are features of others. */
	{"epoll_pwait", SYS_epoll_pwait, {BAD, AT(word), 1, 0}, 0, 0},
	{"making an epoll", SYS_epoll_create1, {0}, 0, 0},
	{"making one that closes", SYS_epoll_create1, {EPOLL_CLOEXEC}, M, SANDBOX_BACKS},
	{"an event", SYS_eventfd2, {0, EFD_CLOEXEC | EFD_NONBLOCK}, M, SANDBOX_BACKS},
	{"a pair that does not wait", SYS_socketpair, {AF_UNIX, PAIR, 0, 1}, M, SANDBOX_BACKS},
	{"an event that is inherited", SYS_eventfd2, {0, EFD_NONBLOCK}, 0, 0},
	{"TCP's options", SYS_setsockopt, {BAD, IPPROTO_TCP, 1, AT(word)}, M, 0},
	{"a socket's options", SYS_setsockopt, {BAD, SOL_SOCKET, SO_PASSCRED, AT(word)}, 0, 0},
	{"KVM_RUN", SYS_ioctl, {BAD, KVM_RUN, 0}, V, 0},
	{"KVM_SET_MSRS", SYS_ioctl, {BAD, KVM_SET_MSRS, 0}, V, 0},
	{"KVM_IRQ_LINE", SYS_ioctl, {BAD, KVM_IRQ_LINE, 0}, ALL, SANDBOX_KERNEL_IRQCHIP},
	{"KVM_GET_IRQCHIP", SYS_ioctl, {BAD, (long)KVM_GET_IRQCHIP, 0}, M, SANDBOX_KERNEL_IRQCHIP},
	{"KVM_CREATE_VM", SYS_ioctl, {BAD, KVM_CREATE_VM, 0}, 0, 0},
	{"memory slot", SYS_ioctl, {BAD, KVM_SET_USER_MEMORY_REGION, 0}, 0, 0},
	{"TUNSETOFFLOAD", SYS_ioctl, {BAD, TUNSETOFFLOAD, 0}, ALL, SANDBOX_TAP},
	{"TUNSETIFF", SYS_ioctl, {BAD, TUNSETIFF, 0}, M, SANDBOX_HOTPLUG},
	/* As glibc up to 2.41 and from 2.42 on calls them. */
	{"TCGETS", SYS_ioctl, {BAD, TCGETS, 0}, M | K, 0},
	{"TCSETS", SYS_ioctl, {BAD, TCSETS, 0}, M | K, 0},
	{"TCSETSW", SYS_ioctl, {BAD, TCSETSW, 0}, M, 0},
	{"TCGETS2", SYS_ioctl, {BAD, 0x802c542a, 0}, M | K, 0},
	{"TCSETS2", SYS_ioctl, {BAD, 0x402c542b, 0}, M | K, 0},
	{"TCSETSW2", SYS_ioctl, {BAD, 0x402c542c, 0}, M, 0},
	{"TIOCGPGRP", SYS_ioctl, {BAD, TIOCGPGRP, 0}, M, 0},
	{"TIOCSTI", SYS_ioctl, {BAD, TIOCSTI, 0}, 0, 0},
	/* The other ways into the kernel: x32's numbers. */
	{"x32 read", 0x40000000 + SYS_read, {BAD}, 0, 0},
	{"x32 ioctl", 0x40000000 + 514, {BAD, KVM_RUN, 0}, 0, 0},
};

#define N_CALLS (sizeof(calls) / sizeof(calls[0]))

struct attempt {
	const struct call *call;
	enum sandbox_thread thread;
	uint32_t features;
	enum catnap_sandbox_mode mode;
};

static void attempt(void *arg)
{
	const struct attempt *a = arg;
	const struct call *c = a->call;

	install(a->thread, a->features, a->mode);
	syscall(c->nr, c->args[0], c->args[1], c->args[2], c->args[3], 0, 0);
}

static bool killed(const struct call *c, enum sandbox_thread thread, uint32_t features,
		   enum catnap_sandbox_mode mode)
{
	struct attempt a = {c, thread, features, mode};
	int status = in_child(attempt, &a);

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		return true;
	if (status != FINE << 8)
		fail_msg("%s, thread %d: wait status 0x%x", c->name, (int)thread, (unsigned)status);
	return false;
}

static void each_thread_has_its_list(void **state)
{
	static const char *const names[] = {"vCPU", "I/O", "main", "keeper"};
	uint32_t all = ~UINT32_C(0);

	if (!filters())
		skip();
	for (size_t i = 0; i < N_CALLS; i++) {
		const struct call *c = &calls[i];

		for (enum sandbox_thread t = SANDBOX_VCPU; t < SANDBOX_THREADS; t++) {
			bool may = c->threads & (1u << t);

			/* With all that features can allow, and with all but the one. */
			if (killed(c, t, all, CATNAP_SANDBOX_ON) == may)
				fail_msg("%s on the %s thread is %s", c->name, names[t],
					 may ? "not allowed" : "allowed");
			if (may && c->feature && t != SANDBOX_KEEPER &&
			    !killed(c, t, all & ~SANDBOX_BIT(c->feature), CATNAP_SANDBOX_ON))
				fail_msg("%s on the %s thread is allowed without need", c->name,
					 names[t]);
			if (may && !c->feature && killed(c, t, 0, CATNAP_SANDBOX_ON))
				fail_msg("%s on the %s thread needs a feature", c->name, names[t]);
		}
	}
}

/* The calls of the main thread, with whatever arguments: what its own loop, a control socket's
 * clients, a terminal, snapshots and the end of a VM lead to. */
/* clang-format off */
static const long mains[] = {
	SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_poll, SYS_close,
	SYS_fcntl, SYS_ioctl, SYS_lseek, SYS_fstat, SYS_ftruncate, SYS_fstatfs, SYS_fsync,
	SYS_fdatasync, SYS_fallocate,
	/* opening and looking, where images and snapshots may be named */
	SYS_openat, SYS_newfstatat, SYS_stat, SYS_lstat, SYS_unlink, SYS_unlinkat, SYS_mkdirat,
	SYS_renameat, SYS_flock, SYS_getdents64,
	/* a TAP that is looked for, and a limit, of devices that come */
	SYS_socket, SYS_timerfd_create,
	/* clients */
	SYS_accept4, SYS_recvfrom, SYS_recvmsg, SYS_sendto, SYS_sendmsg, SYS_shutdown,
	SYS_getsockopt, SYS_setsockopt, SYS_epoll_wait, SYS_epoll_ctl, SYS_epoll_create1, SYS_eventfd2,
	SYS_socketpair,
	/* waiting, signals, clocks */
	SYS_futex, SYS_restart_syscall, SYS_sched_yield, SYS_getrusage, SYS_sched_getscheduler,
	SYS_clock_gettime, SYS_clock_nanosleep, SYS_timer_delete, SYS_timerfd_settime, SYS_tgkill,
	SYS_kill, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigaction, SYS_getpid, SYS_gettid, SYS_wait4,
	/* memory */
	SYS_mmap, SYS_mprotect, SYS_munmap, SYS_mremap, SYS_brk, SYS_madvise,
	SYS_sched_getaffinity, SYS_getrandom,
	SYS_exit, SYS_exit_group,
};
/* clang-format on */

/* Returns whether a filter, from instruction @pc on, does anything but kill where a call has number
 * @nr, whatever its arguments are: a branch that depends on them is followed both ways. @known:
 * @loaded is what was loaded last. */
static bool may_pass(const struct sandbox_filter *f, unsigned int pc, uint32_t nr, bool known,
		     uint32_t loaded)
{
	for (; pc < f->len; pc++) {
		const struct sock_filter *i = &f->insns[pc];
		bool yes;

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			known = i->k <= offsetof(struct seccomp_data, arch);
			loaded = i->k == offsetof(struct seccomp_data, nr) ? nr : AUDIT_ARCH_X86_64;
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			loaded &= i->k;
			break;
		case BPF_RET | BPF_K:
			return i->k != SECCOMP_RET_KILL_PROCESS;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			break;
		default:
			assert_int_equal(BPF_CLASS(i->code), BPF_JMP);
			yes = BPF_OP(i->code) == BPF_JEQ   ? loaded == i->k
			      : BPF_OP(i->code) == BPF_JGT ? loaded > i->k
			      : BPF_OP(i->code) == BPF_JGE ? loaded >= i->k
							   : loaded & i->k;
			if (!known && may_pass(f, pc + 1 + i->jf, nr, known, loaded))
				return true;
			pc += !known || yes ? i->jt : i->jf;
		}
	}
	fail_msg("the filter has no end");
	return true;
}

static void main_has_no_other_call(void **state)
{
	static struct sandbox_filter f;

	sandbox_filter_make(&f, SANDBOX_MAIN, ~UINT32_C(0), CATNAP_SANDBOX_ON, getpid());
	for (long nr = 0; nr < 1000; nr++) {
		bool listed = false;

		for (size_t i = 0; i < sizeof(mains) / sizeof(mains[0]); i++)
			listed = listed || mains[i] == nr;
		if (may_pass(&f, 0, (uint32_t)nr, false, 0) != listed)
			fail_msg("system call %ld is %s", nr, listed ? "refused" : "allowed");
	}
}

static void log_mode_refuses_nothing(void **state)
{
	if (!filters())
		skip();
	for (size_t i = 0; i < N_CALLS; i++) {
		/* Those which, if they come through, change what the child is. */
		if (calls[i].nr == SYS_fork || calls[i].nr == SYS_clone ||
		    calls[i].nr == SYS_clone3)
			continue;
		for (enum sandbox_thread t = SANDBOX_VCPU; t < SANDBOX_THREADS; t++)
			assert_false(killed(&calls[i], t, 0, CATNAP_SANDBOX_LOG));
	}
}

/* The fallback of signals and abort(3) of assert(3): to oneself. */
static void kicks_itself(void *arg)
{
	pid_t pid = getpid();

	signal(SIGRTMIN, SIG_IGN);
	install(*(enum sandbox_thread *)arg, 0, CATNAP_SANDBOX_ON);
	NEED(syscall(SYS_tgkill, pid, pid, SIGRTMIN) == 0);
}

static void signals_reach_this_process(void **state)
{
	if (!filters())
		skip();
	for (enum sandbox_thread t = SANDBOX_VCPU; t <= SANDBOX_MAIN; t++)
		assert_fine(in_child(kicks_itself, &t));
}

/* The one way of opening that libc has of its own accord. */
static void libc_opens(void *arg)
{
	install(*(enum sandbox_thread *)arg, 0, CATNAP_SANDBOX_ON);
	NEED(open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
}

/* A control socket's loop, on the main thread only if it has one. */
static void loops(void *arg)
{
	uint32_t features = *(const uint32_t *)arg;
	struct epoll_event e = {.events = EPOLLIN};
	int fd = epoll_create1(0), what = eventfd(1, 0);

	NEED(fd >= 0 && what >= 0);
	install(SANDBOX_MAIN, features, CATNAP_SANDBOX_ON);
	NEED(epoll_ctl(fd, EPOLL_CTL_ADD, what, &e) == 0);
	NEED(epoll_wait(fd, &e, 1, 0) == 1);
}

/* Another image, as the C library at hand opens and measures it; without leave, what it does of its
 * own accord fails. */
static void opens_an_image(void *arg)
{
	bool may = *(const bool *)arg;
	struct stat st;
	int fd;

	install(SANDBOX_MAIN, may ? SANDBOX_BIT(SANDBOX_OPEN) | SANDBOX_BIT(SANDBOX_FILES) : 0,
		CATNAP_SANDBOX_ON);
	if (!may) {
		NEED(syscall(SYS_newfstatat, 0, "", &st, AT_EMPTY_PATH) < 0 && errno == EACCES);
		NEED(stat("/", &st) < 0 && errno == EACCES);
		NEED(syscall(SYS_stat, "/nowhere", &st) < 0 && errno == EACCES);
		return;
	}
	NEED(stat("/dev/null", &st) == 0);
	fd = open("/dev/null", IMAGE);
	NEED(fd >= 0);
	NEED(fstat(fd, &st) == 0 && S_ISCHR(st.st_mode));
	NEED(fcntl(fd, F_DUPFD_CLOEXEC, 0) >= 0);
	NEED(open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
}

static void control_sockets_and_images_are_by_leave(void **state)
{
	uint32_t control = SANDBOX_BIT(SANDBOX_CONTROL), none = 0;
	bool yes = true, no = false;
	int status;

	if (!filters())
		skip();
	assert_fine(in_child(loops, &control));
	status = in_child(loops, &none);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	assert_fine(in_child(opens_an_image, &yes));
	assert_fine(in_child(opens_an_image, &no));
}

static void what_libc_opens_fails(void **state)
{
	if (!filters())
		skip();
	for (enum sandbox_thread t = SANDBOX_VCPU; t <= SANDBOX_MAIN; t++)
		assert_fine(in_child(libc_opens, &t));
}

static void uses_memory(void *arg)
{
	char *p[64];

	install(*(enum sandbox_thread *)arg, 0, CATNAP_SANDBOX_ON);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 64; i++) {
			p[i] = malloc(1000 << (i % 12));
			NEED(p[i]);
			memset(p[i], 1, 1000 << (i % 12));
		}
		p[0] = realloc(p[0], 3 << 20);
		NEED(p[0]);
		p[0] = realloc(p[0], 9 << 20);
		NEED(p[0]);
		for (size_t i = 0; i < 64; i++)
			free(p[i]);
	}
}

static void *uses_memory_on_a_thread(void *arg)
{
	uses_memory(arg); /* the first of this thread: an arena of its own */
	return NULL;
}

static void memory_on_both(void *arg)
{
	pthread_t t;

	NEED(pthread_create(&t, NULL, uses_memory_on_a_thread, arg) == 0);
	NEED(pthread_join(t, NULL) == 0); /* its end, too, is allowed */
	uses_memory(arg);
}

static void all_may_allocate(void **state)
{
	if (!filters())
		skip();
	for (enum sandbox_thread t = SANDBOX_VCPU; t < SANDBOX_MAIN; t++)
		assert_fine(in_child(memory_on_both, &t));
}

/* -- code that has got hold of a thread ------------------------------------------------------- */

struct escaping {
	const struct escape *escape;
	enum sandbox_thread thread;
};

/* The features that a VM can switch on, and a program may ask for, but for looking at files and
 * opening them. */
#define CLOSED (~SANDBOX_BIT(SANDBOX_OPEN))

/* With all that `catnap run` may have, and closed in as it does it. */
static void escapes_if_it_can(void *arg)
{
	const struct escaping *e = arg;
	struct catnap_sandbox_config cfg;

	catnap_sandbox_config_init(&cfg);
	NEED(catnap_sandbox_enter(&cfg) == 0);
	install(e->thread, CLOSED, CATNAP_SANDBOX_ON);
	if (e->escape ? escape_works(e->escape) : escape_to_another_vm())
		end(FINE + 1);
}

static void nobody_escapes(void **state)
{
	static const char *const names[] = {"vCPU", "I/O", "main"};
	int n = 0;

	if (!filters())
		skip();
	assert_true(escape_world_make());
	for (size_t i = 0; i <= N_ESCAPES; i++)
		for (enum sandbox_thread t = SANDBOX_VCPU; t <= SANDBOX_MAIN; t++) {
			struct escaping e = {i < N_ESCAPES ? &escapes[i] : NULL, t};
			const char *what = e.escape ? e.escape->name : "another VM";
			int status = in_child(escapes_if_it_can, &e);

			if (status == FINE << 8 ||
			    (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS))
				continue;
			print_error("%s, on the %s thread: wait status 0x%x\n", what, names[t],
				    (unsigned int)status);
			n++;
		}
	assert_int_equal(escape_world_remove(), 0);
	assert_int_equal(n, 0);
}

/* -- entering --------------------------------------------------------------------------------- */

static char dir[] = "/tmp/catnap-test-XXXXXX";

static void path(char *out, const char *name)
{
	snprintf(out, PATH_MAX, "%s/%s", dir, name);
}

static void enters(struct catnap_sandbox_config *cfg)
{
	NEED(catnap_sandbox_enter(cfg) == 0 && !cfg->failed && !cfg->missing);
}

static bool opens(const char *name, int flags)
{
	int fd = open(name, flags, 0600);

	if (fd < 0)
		NEED(errno == EACCES);
	else
		close(fd);
	return fd >= 0;
}

static void tries_files(void *arg)
{
	struct catnap_sandbox_config cfg;
	char before[PATH_MAX], after[PATH_MAX], c;
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd, tcp = socket(AF_INET, SOCK_STREAM, 0);

	path(before, "before");
	path(after, "after");
	fd = open(before, O_RDWR | O_CREAT, 0600);
	NEED(fd >= 0);
	catnap_sandbox_config_init(&cfg);
	enters(&cfg);
	/* Open files are as they were. */
	NEED(write(fd, "x", 1) == 1 && pread(fd, &c, 1, 0) == 1 && c == 'x');
	NEED(ftruncate(fd, 10) == 0);
	NEED(!opens(before, O_RDONLY));
	NEED(!opens(before, O_WRONLY));
	NEED(!opens(after, O_WRONLY | O_CREAT));
	NEED(!opens("/dev/null", O_RDWR));

	NEED(!opens("/", O_RDONLY | O_DIRECTORY));
	NEED(unlink(before) < 0 && errno == EACCES);
	NEED(mkdir(after, 0700) < 0 && errno == EACCES);
	NEED(execl("/bin/true", "true", (char *)NULL) < 0 && errno == EACCES);
	/* Newer kernels: TCP. */
	if (tcp >= 0 && syscall(SYS_landlock_create_ruleset, NULL, 0, 1) >= 4)
		NEED(bind(tcp, (struct sockaddr *)&any, sizeof(any)) < 0 && errno == EACCES);
}

static void nothing_can_be_opened(void **state)
{
	if (!have(CATNAP_SANDBOX_HAS_LANDLOCK))
		skip();
	assert_fine(in_child(tries_files, NULL));
}

/* Naming the folder of a socket gives no leave to anything in it. */
static void tries_to_remove(void *arg)
{
	const char *const dirs[] = {dir};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct catnap_sandbox_config cfg;
	char file[PATH_MAX];

	path(file, "socket");
	memcpy(address.sun_path, file, strlen(file) + 1); /* some 30 bytes */
	NEED(bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof(address)) ==
	     0);
	catnap_sandbox_config_init(&cfg);
	cfg.socket_dirs = dirs;
	cfg.n_socket_dirs = 1;
	enters(&cfg);
	NEED(unlink(file) < 0 && errno == EACCES);
	NEED(!opens(file, O_WRONLY | O_CREAT));
	NEED(!opens(dir, O_RDONLY | O_DIRECTORY));
}

/* Calls that used to be allowed fail, for programs that still try, and tell nothing of the file. */
static void is_told_no(void *arg)
{
	struct stat st;

	install(SANDBOX_MAIN, CLOSED, CATNAP_SANDBOX_ON);
	NEED(unlink("/nowhere/none") < 0 && errno == EACCES);
	NEED(lstat("/nowhere/none", &st) < 0 && errno == EACCES);
	NEED(lstat("/", &st) < 0 && errno == EACCES);
	NEED(syscall(SYS_newfstatat, AT_FDCWD, "/", &st, AT_EMPTY_PATH) < 0 && errno == EACCES);
	NEED(syscall(SYS_newfstatat, AT_FDCWD, "/nowhere", &st, AT_EMPTY_PATH) < 0 &&
	     errno == EACCES);
}

static void main_learns_nothing_of_files(void **state)
{
	if (!filters())
		skip();
	assert_fine(in_child(is_told_no, NULL));
}

/* Of a thread that may use sockets: to one that was not connected before. */
static void sends_to_an_address(void *arg)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/nowhere/none"};

	install(*(enum sandbox_thread *)arg, ~UINT32_C(0), CATNAP_SANDBOX_ON);
	(void)sendto(BAD, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to));
}

static void sends(void *arg)
{
	install(*(enum sandbox_thread *)arg, SANDBOX_BIT(SANDBOX_SOCKETS), CATNAP_SANDBOX_ON);
	(void)send(BAD, "x", 1, MSG_NOSIGNAL);
}

static void nothing_is_sent_to_an_address(void **state)
{
	if (!filters())
		skip();
	for (enum sandbox_thread t = SANDBOX_VCPU; t < SANDBOX_THREADS; t++) {
		int status = in_child(sends_to_an_address, &t);

		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
		assert_fine(in_child(sends, &t));
	}
}

static void reads_one_file(void *arg)
{
	const char *const files[] = {"/dev/null"};
	struct catnap_sandbox_config cfg;

	catnap_sandbox_config_init(&cfg);
	cfg.read_files = files;
	cfg.n_read_files = 1;
	enters(&cfg);
	NEED(opens("/dev/null", O_RDONLY));
	NEED(!opens("/dev/null", O_WRONLY));
	NEED(!opens("/dev/zero", O_RDONLY));
}

static void files_can_be_read_that_were_named(void **state)
{
	if (!have(CATNAP_SANDBOX_HAS_LANDLOCK))
		skip();
	assert_fine(in_child(reads_one_file, NULL));
}

static void nothing_can_be_removed(void **state)
{
	if (!have(CATNAP_SANDBOX_HAS_LANDLOCK))
		skip();
	assert_fine(in_child(tries_to_remove, NULL));
}

static bool no_capabilities(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	NEED(syscall(SYS_capget, &head, data) == 0);
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		if (data[i].effective | data[i].permitted | data[i].inheritable)
			return false;
	return true;
}

static void loses_privileges(void *arg)
{
	struct catnap_sandbox_config cfg;

	catnap_sandbox_config_init(&cfg);
	enters(&cfg);
	NEED(no_capabilities());
	NEED(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	NEED(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_ADMIN, 0, 0) == 0);
}

static void privileges_are_lost(void **state)
{
	if (have(CATNAP_SANDBOX_HAS_LANDLOCK | CATNAP_SANDBOX_HAS_SECCOMP))
		assert_fine(in_child(loses_privileges, NULL));
}

static void changes_user(void *arg)
{
	uint32_t mode = *(uint32_t *)arg;
	struct catnap_sandbox_config cfg;
	uid_t r, e, s;
	gid_t gr, ge, gs;

	catnap_sandbox_config_init(&cfg);
	cfg.mode = mode;
	cfg.chroot_dir = dir;
	cfg.change_user = 1;
	cfg.uid = 12345;
	cfg.gid = 23456;
	NEED(catnap_sandbox_enter(&cfg) == 0);
	NEED(getresuid(&r, &e, &s) == 0 && r == 12345 && e == 12345 && s == 12345);
	NEED(getresgid(&gr, &ge, &gs) == 0 && gr == 23456 && ge == 23456 && gs == 23456);
	NEED(getgroups(0, NULL) == 0);
	NEED(setuid(0) < 0 && setgid(0) < 0 && chroot("/") < 0);
	NEED(no_capabilities());
	NEED(access("/etc", F_OK) < 0 && errno == ENOENT);
	NEED((prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) == (mode != CATNAP_SANDBOX_OFF));
}

static void root_and_user_change_in_every_mode(void **state)
{
	if (geteuid() != 0)
		skip();
	for (uint32_t mode = CATNAP_SANDBOX_OFF; mode <= CATNAP_SANDBOX_ON; mode++)
		assert_fine(in_child(changes_user, &mode));
}

static void only_logs(void *arg)
{
	struct catnap_sandbox_config cfg;
	bool none = no_capabilities();

	catnap_sandbox_config_init(&cfg);
	cfg.mode = CATNAP_SANDBOX_LOG;
	enters(&cfg);
	NEED(opens("/dev/null", O_RDWR));
	NEED(no_capabilities() == none);
}

static void log_mode_leaves_files_and_capabilities(void **state)
{
	if (!have(CATNAP_SANDBOX_HAS_SECCOMP))
		skip();
	assert_fine(in_child(only_logs, NULL));
}

static void what_is_wrong_is_told(void **state)
{
	static const char *const none[] = {"/nowhere/none"};
	struct catnap_sandbox_config cfg;

	catnap_sandbox_config_init(&cfg);
	assert_int_equal(cfg.size, sizeof(cfg));
	assert_int_equal(cfg.mode, CATNAP_SANDBOX_ON);
	cfg.size = offsetof(struct catnap_sandbox_config, write_dirs) - 1; /* the first version's */
	assert_int_equal(catnap_sandbox_enter(&cfg), -EINVAL);
	catnap_sandbox_config_init(&cfg);
	cfg.mode = 3;
	assert_int_equal(catnap_sandbox_enter(&cfg), -EINVAL);
	assert_string_equal(cfg.failed, "mode");
	catnap_sandbox_config_init(&cfg);
	cfg.change_user = 1;
	cfg.uid = (uid_t)-1;
	assert_int_equal(catnap_sandbox_enter(&cfg), -EINVAL);
	assert_string_equal(cfg.failed, "user");
	cfg.uid = 1;
	cfg.gid = (gid_t)-1;
	assert_int_equal(catnap_sandbox_enter(&cfg), -EINVAL);
	catnap_sandbox_config_init(&cfg);
	cfg.chroot_dir = none[0];
	assert_int_equal(catnap_sandbox_enter(&cfg), -ENOENT);
	assert_string_equal(cfg.failed, "chroot");
	if (have(CATNAP_SANDBOX_HAS_LANDLOCK)) {
		catnap_sandbox_config_init(&cfg);
		cfg.read_files = none;
		cfg.n_read_files = 1;
		assert_int_equal(catnap_sandbox_enter(&cfg), -ENOENT);
		assert_string_equal(cfg.failed, "landlock");
	}
	/* And nothing had begun. */
	assert_int_equal(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
}

/* Nothing is made by a name without a folder: who removes this one would see. */
static int make_dir(void **state)
{
	return mkdtemp(dir) && chmod(dir, 0755) == 0 && chdir(dir) == 0 ? 0 : -1;
}

static int remove_dir(void **state)
{
	char file[PATH_MAX];

	path(file, "before");
	unlink(file);
	path(file, "socket");
	unlink(file);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wrong_is_told),
		cmocka_unit_test(each_thread_has_its_list),
		cmocka_unit_test(main_has_no_other_call),
		cmocka_unit_test(log_mode_refuses_nothing),
		cmocka_unit_test(nobody_escapes),
		cmocka_unit_test(signals_reach_this_process),
		cmocka_unit_test(what_libc_opens_fails),
		cmocka_unit_test(control_sockets_and_images_are_by_leave),
		cmocka_unit_test(all_may_allocate),
		cmocka_unit_test(nothing_can_be_opened),
		cmocka_unit_test(files_can_be_read_that_were_named),
		cmocka_unit_test(nothing_can_be_removed),
		cmocka_unit_test(main_learns_nothing_of_files),
		cmocka_unit_test(nothing_is_sent_to_an_address),
		cmocka_unit_test(privileges_are_lost),
		cmocka_unit_test(root_and_user_change_in_every_mode),
		cmocka_unit_test(log_mode_leaves_files_and_capabilities),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
