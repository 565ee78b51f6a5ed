/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls that each kind of thread may make. scripts/make-filters.c reads this list when
 * catnap is built, and people read it. docs/sandbox.md gives the reasons by group. seccomp sees
 * numbers, not what pointers lead to. So no call that takes a path is allowed but to the keeper
 * (keeper.h), which no guest reaches.
 *
 * A line has the system call, the threads that make it, the feature without which none does (0:
 * always), and conditions on arguments, all of which must hold. Several lines for one call are
 * alternatives. Run with --sandbox log to learn what is missing.
 */
#ifndef SANDBOX_ALLOW_H
#define SANDBOX_ALLOW_H

#include <asm/termbits.h>
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "sandbox/filter.h"

#define V   (1u << SANDBOX_VCPU)
#define IO  (1u << SANDBOX_IO)
#define M   (1u << SANDBOX_MAIN)
#define K   (1u << SANDBOX_KEEPER)
#define ALL (V | IO | M)

/* Stands for the process's own number, which is put in at run time. */
#define SANDBOX_PID 0x5eccf117u

#define O_TMPFILE_BIT 020000000 /* of O_TMPFILE, which has O_DIRECTORY's as well */

struct allow {
	int call;
	unsigned int threads;
	enum sandbox_feature feature; /* 0: always */
	struct {
		unsigned int n; /* number of the argument + 1; 0: no condition */
		uint64_t mask, value;
	} args[2];
	int error; /* not 0: it fails with this errno value, and is no offence; of a feature's: while
		    * that is off. 1 to 255 */
};

/* clang-format off */
#define ARG(n, value)	     {(n) + 1, UINT32_MAX, (value)}
#define BITS(n, mask, value) {(n) + 1, (mask), (value)}
#define NOTHING(n)	     {(n) + 1, UINT64_MAX, 0} /* a pointer to nothing */
#define FUTEX(op) \
	{SCMP_SYS(futex), ALL, 0, {BITS(1, ~(uint32_t)(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME), op)}}
#define IOCTL(who, feature, cmd) {SCMP_SYS(ioctl), who, feature, {ARG(1, cmd)}}

static const struct allow allow[] = {
	/* Descriptors that are open: serial port, log, trace, statistics, eventfds, devices. */
	{SCMP_SYS(read), ALL, 0, {{0}}},
	{SCMP_SYS(write), ALL, 0, {{0}}},
	{SCMP_SYS(readv), ALL, 0, {{0}}},
	{SCMP_SYS(writev), ALL, 0, {{0}}},
	{SCMP_SYS(pread64), ALL, 0, {{0}}},
	{SCMP_SYS(pwrite64), ALL, 0, {{0}}},
	{SCMP_SYS(poll), ALL, 0, {{0}}},
	{SCMP_SYS(close), ALL, 0, {{0}}},
	{SCMP_SYS(fcntl), ALL, 0, {ARG(1, F_GETFD)}},

	/* Waiting, and being woken. */
	FUTEX(FUTEX_WAIT),
	FUTEX(FUTEX_WAKE),
	FUTEX(FUTEX_WAIT_BITSET),
	{SCMP_SYS(restart_syscall), ALL, 0, {{0}}},
	{SCMP_SYS(sched_yield), ALL, 0, {{0}}},
	{SCMP_SYS(getrusage), V | IO | M, 0, {ARG(0, RUSAGE_THREAD)}}, /* was it preempted while it polled? */
	{SCMP_SYS(sched_getscheduler), V | IO | M, 0, {ARG(0, 0)}}, /* its own: who waits in vain? */
	{SCMP_SYS(clock_gettime), ALL, 0, {{0}}},
	{SCMP_SYS(timer_settime), V, 0, {{0}}},
	{SCMP_SYS(timer_delete), V | M, 0, {{0}}},

	/* Signals: the kick, abort(3), what handlers need. To this process only. */
	{SCMP_SYS(tgkill), ALL, 0, {ARG(0, SANDBOX_PID)}},
	{SCMP_SYS(rt_sigprocmask), ALL, 0, {{0}}},
	{SCMP_SYS(rt_sigreturn), ALL, 0, {{0}}},
	{SCMP_SYS(rt_sigaction), ALL, 0, {ARG(0, SIGBUS)}}, /* a handler that cannot mend it gives up */
	{SCMP_SYS(getpid), ALL, 0, {{0}}},
	{SCMP_SYS(gettid), ALL, 0, {{0}}},

	/* Memory: of malloc(3), of stacks, of a balloon. Nothing that could be executed, no
	 * files. */
	{SCMP_SYS(mmap), ALL, 0, {BITS(2, PROT_EXEC, 0), BITS(3, MAP_ANONYMOUS, MAP_ANONYMOUS)}},
	{SCMP_SYS(mprotect), ALL, 0, {BITS(2, PROT_EXEC, 0)}},
	{SCMP_SYS(munmap), ALL, 0, {{0}}},
	{SCMP_SYS(mremap), ALL, 0, {ARG(3, MREMAP_MAYMOVE)}},
	{SCMP_SYS(brk), ALL, 0, {{0}}},
	{SCMP_SYS(madvise), ALL, 0, {ARG(2, MADV_DONTNEED)}},
	{SCMP_SYS(madvise), ALL, 0, {ARG(2, MADV_FREE)}},
	{SCMP_SYS(madvise), ALL, 0, {ARG(2, MADV_REMOVE)}},
	{SCMP_SYS(madvise), ALL, 0, {ARG(2, MADV_WIPEONFORK)}}, /* catnap_halter_create() */
	/* A reset gives a restored VM other memory, by whichever vCPU sees to it. */
	{SCMP_SYS(madvise), V, 0, {ARG(2, MADV_DONTFORK)}},
	{SCMP_SYS(madvise), V, 0, {ARG(2, MADV_DONTDUMP)}},
	{SCMP_SYS(mbind), V, SANDBOX_RESET, {ARG(5, 0)}}, /* from the nodes that it was to come from */
	{SCMP_SYS(sched_getaffinity), ALL, 0, {{0}}}, /* malloc(3) counts processors */
	/* glibc's malloc(3), before it first returns a thread's memory, would read
	 * vm.overcommit_memory, and does without. So this way of opening fails, as by Landlock; all
	 * others are deadly. */
	{SCMP_SYS(openat), ALL, 0, {ARG(0, (uint32_t)AT_FDCWD), ARG(2, O_RDONLY | O_CLOEXEC)}, EACCES},
	{SCMP_SYS(getrandom), ALL, 0, {{0}}}, /* malloc(3), json-c, virtio-rng */

	/* Ending. */
	{SCMP_SYS(exit), ALL | K, 0, {{0}}},
	{SCMP_SYS(exit_group), M, 0, {{0}}},

	/* KVM: a vCPU runs, and moves its own registers. No memory slots, no new VMs or vCPUs. */
	IOCTL(V, 0, KVM_RUN),
	IOCTL(V, 0, KVM_INTERRUPT),
	IOCTL(V, 0, KVM_NMI),
	IOCTL(V, 0, KVM_SET_GUEST_DEBUG), /* NMIs held back, or not */
	IOCTL(V, 0, KVM_GET_REGS),
	IOCTL(V, 0, KVM_SET_REGS),
	IOCTL(V, 0, KVM_GET_SREGS),
	IOCTL(V, 0, KVM_SET_SREGS),
	IOCTL(V, 0, KVM_GET_MSRS),
	IOCTL(V, 0, KVM_SET_MSRS),
	IOCTL(V, 0, KVM_GET_VCPU_EVENTS),
	IOCTL(V, 0, KVM_SET_VCPU_EVENTS),
	IOCTL(V, 0, KVM_KVMCLOCK_CTRL), /* after a pause */
	IOCTL(V, 0, KVM_GET_DEVICE_ATTR),
	IOCTL(V, 0, KVM_SET_DEVICE_ATTR), /* the TSC's offset */
	IOCTL(V, 0, KVM_TRANSLATE),	  /* the report of a crash */
	IOCTL(ALL, SANDBOX_KERNEL_IRQCHIP, KVM_IRQ_LINE),
	IOCTL(ALL, SANDBOX_KERNEL_IRQCHIP, KVM_SIGNAL_MSI),
	IOCTL(V, SANDBOX_KERNEL_IRQCHIP, KVM_GET_MP_STATE), /* is it halted? (share.c) */
	IOCTL(M, SANDBOX_KERNEL_IRQCHIP, KVM_GET_IRQCHIP), /* is the power button listened to? */
	IOCTL(M, SANDBOX_KERNEL_IRQCHIP, KVM_ENABLE_CAP),  /* catnap_vm_set_halt_poll() */
	{SCMP_SYS(timerfd_settime), M, SANDBOX_KERNEL_IRQCHIP, {{0}}}, /* catnap_vm_learn_poll_limit() */

	/* A reset: what a vCPU has beyond registers, as it was. */
	IOCTL(V, SANDBOX_RESET, KVM_SET_FPU),
	IOCTL(V, SANDBOX_RESET, KVM_SET_XSAVE),
	IOCTL(V, SANDBOX_RESET, KVM_SET_XCRS),
	IOCTL(V, SANDBOX_RESET, KVM_SET_DEBUGREGS),
	IOCTL(V, SANDBOX_RESET, KVM_SET_LAPIC),
	IOCTL(V, SANDBOX_RESET, KVM_SET_MP_STATE),
	IOCTL(V, SANDBOX_RESET, KVM_SET_IRQCHIP),

	/* Doorbells of vhost devices: where a BAR has moved to. */
	IOCTL(V, SANDBOX_VHOST, KVM_IOEVENTFD),
	/* Their calls: which message each is, and whether it may be sent. */
	IOCTL(V | IO, SANDBOX_VHOST, KVM_IRQFD),
	IOCTL(V, SANDBOX_VHOST, KVM_SET_GSI_ROUTING),

	/* Memory that another process has served: nobody waits for a page of a VM that ends. */
	IOCTL(ALL, SANDBOX_UFFD, UFFDIO_UNREGISTER),

	/* Devices. */
	{SCMP_SYS(io_uring_enter), V | IO, SANDBOX_RING, {{0}}},
	{SCMP_SYS(ppoll), IO, SANDBOX_POLL, {{0}}},
	{SCMP_SYS(epoll_wait), IO, SANDBOX_EPOLL, {{0}}},
	{SCMP_SYS(epoll_ctl), IO, SANDBOX_EPOLL, {{0}}},
	{SCMP_SYS(preadv), V | IO, SANDBOX_FILES, {{0}}},
	{SCMP_SYS(pwritev), V | IO, SANDBOX_FILES, {{0}}},
	{SCMP_SYS(preadv2), V | IO, SANDBOX_FILES, {{0}}},
	{SCMP_SYS(pwritev2), V | IO, SANDBOX_FILES, {{0}}},
	{SCMP_SYS(fsync), V | IO, SANDBOX_FILES, {{0}}},
	{SCMP_SYS(fdatasync), V | IO, SANDBOX_FILES, {{0}}},
	{SCMP_SYS(fallocate), V | IO, SANDBOX_FILES, {{0}}},
	{SCMP_SYS(sync_file_range), V | IO, SANDBOX_FILES, {{0}}},
	{SCMP_SYS(timerfd_settime), V | IO, SANDBOX_TIMER, {{0}}},
	IOCTL(ALL, SANDBOX_TAP, TUNSETOFFLOAD),
	IOCTL(V | IO, SANDBOX_TAP, TUNSETQUEUE),
	/* Sockets that are open: none is made, none is connected, nothing is sent to an address. */
	{SCMP_SYS(accept4), ALL, SANDBOX_SOCKETS, {{0}}},
	{SCMP_SYS(recvfrom), ALL, SANDBOX_SOCKETS, {{0}}},
	{SCMP_SYS(recvmsg), ALL, SANDBOX_SOCKETS, {{0}}},
	{SCMP_SYS(sendto), V | IO, SANDBOX_SOCKETS, {NOTHING(4)}}, /* main: below */
	{SCMP_SYS(sendmsg), ALL, SANDBOX_SOCKETS, {{0}}},
	{SCMP_SYS(shutdown), ALL, SANDBOX_SOCKETS, {{0}}},
	{SCMP_SYS(getsockopt), ALL, SANDBOX_SOCKETS, {{0}}},
	{SCMP_SYS(epoll_wait), V, SANDBOX_SOCKETS, {{0}}},
	{SCMP_SYS(epoll_ctl), V, SANDBOX_SOCKETS, {{0}}},

	/* The main thread: the terminal, statistics, and taking the VM apart. */
	IOCTL(M, 0, TCGETS), /* glibc before 2.42, and other libraries */
	IOCTL(M, 0, TCSETS),
	IOCTL(M, 0, TCSETSW),
	IOCTL(M, 0, TCGETS2), /* glibc from 2.42 on */
	IOCTL(M, 0, TCSETS2),
	IOCTL(M, 0, TCSETSW2),
	IOCTL(M, 0, TIOCGPGRP), /* tcgetpgrp(3): in the foreground? */
	IOCTL(M, 0, TIOCGWINSZ),
	{SCMP_SYS(kill), M, 0, {ARG(0, 0), ARG(1, SIGTSTP)}}, /* Ctrl-A z: its own job */
	/* To see whether the reader of a pty has read all. Its other end is opened by Landlock's
	 * leave. */
	IOCTL(M, 0, TIOCGPTPEER),
	IOCTL(M, 0, FIONREAD),
	{SCMP_SYS(clock_nanosleep), M, 0, {{0}}},
	{SCMP_SYS(fcntl), M, 0, {ARG(1, F_GETFL)}},
	{SCMP_SYS(fcntl), ALL, SANDBOX_FILES, {ARG(1, F_OFD_SETLK)}}, /* a disk's lock is given up */
	IOCTL(M, SANDBOX_FILES, BLKGETSIZE64), /* catnap_vm_update_disk() */
	/* catnap_vm_change_disk(), of a descriptor */
	{SCMP_SYS(fcntl), M, SANDBOX_FILES, {ARG(1, F_DUPFD_CLOEXEC)}},
	{SCMP_SYS(fstatfs), M, SANDBOX_FILES, {{0}}},
	{SCMP_SYS(fallocate), M, SANDBOX_FILES, {{0}}}, /* can holes be punched? */
	{SCMP_SYS(fdatasync), M, SANDBOX_FILES, {{0}}},
	IOCTL(M, SANDBOX_FILES, BLKSSZGET),
	IOCTL(M, SANDBOX_FILES, BLKPBSZGET),
	IOCTL(M, SANDBOX_FILES, BLKIOMIN),
	IOCTL(M, SANDBOX_FILES, BLKIOOPT),
	{SCMP_SYS(lseek), M, 0, {{0}}},
	{SCMP_SYS(fstat), M, 0, {{0}}},
	{SCMP_SYS(ftruncate), M, 0, {{0}}}, /* statistics that are written in place */
	/* fstat(2) by glibc up to 2.38 or so; but it would also tell of any path. stdio does
	 * without. */
	{SCMP_SYS(newfstatat), M, SANDBOX_OPEN, {BITS(3, AT_EMPTY_PATH, AT_EMPTY_PATH)}, EACCES},
	/* The keeper, told that the end is an orderly one, and waited for. */
	{SCMP_SYS(sendto), M, 0, {NOTHING(4)}},
	{SCMP_SYS(wait4), ALL, 0, {{0}}}, /* the others: catnap_vm_request_destroy() */
	/* Programs that were made to remove their sockets themselves: filter.c makes it EACCES. */
	{SCMP_SYS(lstat), M, SANDBOX_UNLINK, {{0}}},
	{SCMP_SYS(newfstatat), M, SANDBOX_UNLINK, {ARG(3, AT_SYMLINK_NOFOLLOW)}},
	{SCMP_SYS(unlink), M, SANDBOX_UNLINK, {{0}}},

	/* A control socket's clients, beside what is open. libmicrohttpd tries TCP's options on
	 * each, and leaves that alone once it has heard that there are none. */
	{SCMP_SYS(epoll_wait), M, SANDBOX_CONTROL, {{0}}},
	{SCMP_SYS(epoll_ctl), M, SANDBOX_CONTROL, {{0}}},
	{SCMP_SYS(setsockopt), M, 0, {ARG(1, IPPROTO_TCP)}, ENOPROTOOPT},
	/* Another image for a disk: there is one, it is looked at, opened, measured. None is made.
	 * O_NOCTTY is what blk_image.c opens with, and nothing else. Without the feature the first
	 * step fails, and what a client has asked for is refused. */
	{SCMP_SYS(openat), M, SANDBOX_OPEN,
	 {ARG(0, (uint32_t)AT_FDCWD), BITS(2, O_NOCTTY | O_CREAT | O_TMPFILE_BIT | O_PATH, O_NOCTTY)}},
	{SCMP_SYS(newfstatat), M, SANDBOX_OPEN, {ARG(3, 0)}, EACCES},
	{SCMP_SYS(stat), M, SANDBOX_OPEN, {{0}}, EACCES}, /* other C libraries */

	/* A disk or an interface that comes while the guest runs: its limit has a timer; a TAP that is
	 * there is looked for, opened, and set up. */
	{SCMP_SYS(timerfd_create), M, SANDBOX_HOTPLUG, {{0}}},
	{SCMP_SYS(openat), M, SANDBOX_HOTPLUG,
	 {ARG(0, (uint32_t)AT_FDCWD), ARG(2, O_RDWR | O_NONBLOCK | O_CLOEXEC)}},
	{SCMP_SYS(socket), M, SANDBOX_HOTPLUG, {ARG(0, AF_UNIX), ARG(1, SOCK_DGRAM | SOCK_CLOEXEC)}},
	IOCTL(M, SANDBOX_HOTPLUG, SIOCGIFINDEX),
	IOCTL(M, SANDBOX_HOTPLUG, TUNSETIFF),
	IOCTL(M, SANDBOX_HOTPLUG, TUNGETIFF),
	IOCTL(M, SANDBOX_HOTPLUG, TUNSETVNETHDRSZ),
	/* A back end that comes: the events that it and KVM are told by, and who looks at them (with
	 * SANDBOX_CONTROL). */
	{SCMP_SYS(epoll_create1), M, SANDBOX_BACKS, {ARG(0, EPOLL_CLOEXEC)}},
	{SCMP_SYS(socketpair), M, SANDBOX_BACKS,
	 {ARG(0, AF_UNIX), ARG(1, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)}},
	{SCMP_SYS(eventfd2), M, SANDBOX_BACKS, {ARG(1, EFD_CLOEXEC | EFD_NONBLOCK)}},
	IOCTL(M, SANDBOX_BACKS, KVM_IOEVENTFD),
	IOCTL(M, SANDBOX_BACKS, KVM_IRQFD),

	/* A snapshot: what KVM has of vCPUs and of the VM is read, not changed; files are made, written,
	 * given their names, and old ones removed, by names in a folder that is open. Where Landlock
	 * has been switched on it says which folder that may be. */
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_REGS),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_SREGS),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_SREGS2),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_MSRS),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_VCPU_EVENTS),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_FPU),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_XSAVE),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_XSAVE2),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_XCRS),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_DEBUGREGS),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_LAPIC),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_MP_STATE),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_DEVICE_ATTR),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_CLOCK),
	IOCTL(M, SANDBOX_SNAPSHOT, KVM_GET_DIRTY_LOG),
	{SCMP_SYS(openat), M, SANDBOX_SNAPSHOT,
	 {ARG(2, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC)}},
	{SCMP_SYS(openat), M, SANDBOX_SNAPSHOT,
	 {ARG(2, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)}},
	{SCMP_SYS(openat), M, SANDBOX_SNAPSHOT, {ARG(2, O_RDONLY | O_DIRECTORY | O_CLOEXEC)}},
	{SCMP_SYS(mkdirat), M, SANDBOX_SNAPSHOT, {{0}}},
	{SCMP_SYS(renameat), M, SANDBOX_SNAPSHOT, {{0}}},
	{SCMP_SYS(unlinkat), M, SANDBOX_SNAPSHOT, {ARG(2, 0)}},
	{SCMP_SYS(unlinkat), M, SANDBOX_SNAPSHOT, {ARG(2, AT_REMOVEDIR)}},
	{SCMP_SYS(fsync), M, SANDBOX_SNAPSHOT, {{0}}},
	{SCMP_SYS(flock), M, SANDBOX_SNAPSHOT, {ARG(1, LOCK_EX | LOCK_NB)}},
	{SCMP_SYS(getdents64), M, SANDBOX_SNAPSHOT, {{0}}},

	/* The keeper: orders and answers, connections, sockets' names, the terminal at the end. */
	{SCMP_SYS(poll), K, 0, {{0}}},
	{SCMP_SYS(restart_syscall), K, 0, {{0}}},
	{SCMP_SYS(recvmsg), K, 0, {{0}}},
	{SCMP_SYS(sendmsg), K, 0, {{0}}},
	{SCMP_SYS(sendto), K, 0, {NOTHING(4)}},
	{SCMP_SYS(close), K, 0, {{0}}},
	{SCMP_SYS(fchdir), K, 0, {{0}}},
	{SCMP_SYS(openat), K, 0, {ARG(2, O_PATH | O_NOFOLLOW | O_CLOEXEC)}}, /* to look at */
	{SCMP_SYS(fstat), K, 0, {{0}}},
	{SCMP_SYS(newfstatat), K, 0, {{0}}},
	{SCMP_SYS(socket), K, 0, {ARG(0, AF_UNIX), ARG(1, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)}},
	{SCMP_SYS(connect), K, 0, {{0}}},
	{SCMP_SYS(unlinkat), K, 0, {ARG(2, 0)}},
	IOCTL(K, 0, TCGETS),
	IOCTL(K, 0, TCSETS),
	IOCTL(K, 0, TCGETS2),
	IOCTL(K, 0, TCSETS2),
	{SCMP_SYS(exit_group), K, 0, {{0}}},
};
/* clang-format on */

#undef ARG
#undef O_TMPFILE_BIT
#undef BITS
#undef NOTHING
#undef FUTEX
#undef IOCTL

#endif
