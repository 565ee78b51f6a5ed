/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp filters of the kinds of thread. They are made when catnap is built (see allow.h); what is
 * left for run time is to switch features on and off in a copy, which takes a microsecond and no
 * library. Knows no VM.
 */
#ifndef SANDBOX_FILTER_H
#define SANDBOX_FILTER_H

#include <linux/filter.h>
#include <stdint.h>
#include <sys/types.h>

#include <catnap/sandbox.h>

/* The keeper is a process of one thread; see keeper.h. */
enum sandbox_thread { SANDBOX_VCPU, SANDBOX_IO, SANDBOX_MAIN, SANDBOX_KEEPER, SANDBOX_THREADS };

/* Features that only some VMs need. Each device names its own (struct catnap_vm,
 * sandbox_features). */
enum sandbox_feature {
	SANDBOX_KERNEL_IRQCHIP = 1, /* ioctls that raise interrupts in KVM's own irqchip */
	SANDBOX_RING = 2,     /* io_uring_enter; the ring is made before the filter is there */
	SANDBOX_FILES = 3,    /* calls of disks beyond reading and writing */
	SANDBOX_TAP = 4,      /* ioctls of a TAP device */
	SANDBOX_SOCKETS = 5,  /* Unix sockets that are open, and who connects to them */
	SANDBOX_UNLINK = 6,   /* to be told that files cannot be removed, and not be ended for it */
	SANDBOX_TIMER = 7,    /* setting timers that are file descriptors: rate limits, vsock */
	SANDBOX_POLL = 8,     /* calls that stand in for a ring where there is none */
	SANDBOX_EPOLL = 9,    /* epoll on the I/O thread: instead of a ring, or for vsock */
	SANDBOX_CONTROL = 10, /* epoll on the main thread: clients of a control socket */
	SANDBOX_OPEN = 11,    /* images that are opened by their path while the guest runs */
	SANDBOX_RESET = 12,   /* ioctls that take vCPUs and KVM's irqchip back to power-on */
	SANDBOX_VHOST = 13,   /* doorbells in KVM, which follow their PCI device */
	SANDBOX_SNAPSHOT = 14, /* snapshots by the main thread, in files that it makes */
	SANDBOX_UFFD = 15,     /* memory that another process serves is let go */
	SANDBOX_HOTPLUG = 16,  /* devices that the main thread makes while the guest runs */
	SANDBOX_BACKS = 17,    /* back ends that the main thread begins with then */
	SANDBOX_FEATURES
};

#define SANDBOX_BIT(feature) (UINT32_C(1) << (feature))
#define SANDBOX_MAX_INSNS    512

/* Plain data; whoever has it may install it any number of times. */
struct sandbox_filter {
	unsigned short len;
	struct sock_filter insns[SANDBOX_MAX_INSNS];
};

/* Makes the filter for @thread of process @pid, with the SANDBOX_BIT()s in @features. @mode is LOG
 * or ON. */
void sandbox_filter_make(struct sandbox_filter *f, enum sandbox_thread thread, uint32_t features,
			 enum catnap_sandbox_mode mode, pid_t pid);

/* Makes @f the calling thread's filter from now on; the thread gets no new privileges. Returns 0,
 * -ENOTSUP (no seccomp), -ENOMEM or -EINVAL. */
int sandbox_filter_install(const struct sandbox_filter *f);

#endif
