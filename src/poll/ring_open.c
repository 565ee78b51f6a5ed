/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a ring, and what it may be asked for. A request in a ring is no system call: no seccomp
 * filter sees it, and a thread with a ring could open files and make sockets through it whatever
 * its filter says. So the ring is made disabled, is told for good which requests it takes, and is
 * then enabled. See io_uring_register(2), IORING_REGISTER_RESTRICTIONS, Linux 5.10.
 */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "poll/ring.h"

/* All that is prepared anywhere. A request that is not here completes with -EACCES. */
static const uint8_t allowed[] = {
	/* the ring's own: sources, sleeping, and its timeouts where the kernel has no other way */
	IORING_OP_NOP,
	IORING_OP_POLL_ADD,
	IORING_OP_POLL_REMOVE,
	IORING_OP_TIMEOUT,
	IORING_OP_TIMEOUT_REMOVE,
	IORING_OP_ASYNC_CANCEL,
	RING_OP_FUTEX_WAIT,
	/* disks and the like: what is open already */
	IORING_OP_READ,
	IORING_OP_WRITE,
	IORING_OP_READV,
	IORING_OP_WRITEV,
	IORING_OP_FSYNC,
	IORING_OP_SYNC_FILE_RANGE,
	IORING_OP_FALLOCATE,
};

#define N_ALLOWED (sizeof(allowed) / sizeof(allowed[0]))

/* Registers with the ring: liburing's functions for these two are missing from some of its shared
 * libraries (2.3). */
static int ring_register(struct io_uring *uring, unsigned int what, const void *arg, unsigned int n)
{
	return syscall(SYS_io_uring_register, uring->ring_fd, what, arg, n) < 0 ? -errno : 0;
}

/* Enables a ring that was made disabled, for nothing but these. */
static int limit(struct io_uring *uring, const struct io_uring_probe *probe)
{
	struct io_uring_restriction r[N_ALLOWED + 1] = {{0}};
	unsigned int n = 0;
	int ret;

	for (size_t i = 0; i < N_ALLOWED; i++) {
		/* One that the kernel does not know would spoil them all. */
		if (!io_uring_opcode_supported(probe, allowed[i]))
			continue;
		r[n].opcode = IORING_RESTRICTION_SQE_OP;
		r[n++].sqe_op = allowed[i];
	}
	r[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	r[n++].sqe_flags = IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC |
			   IOSQE_CQE_SKIP_SUCCESS;
	ret = ring_register(uring, IORING_REGISTER_RESTRICTIONS, r, n);
	return ret < 0 ? ret : ring_register(uring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

/* Tries to enter: a filter may refuse io_uring_enter(2) alone, and then a ring is of no use. One
 * that submits nothing tells: no shortage makes it fail, and it leaves nothing in the ring. */
static int try_to_enter(struct io_uring *uring)
{
	return syscall(SYS_io_uring_enter, uring->ring_fd, 0, 0, 0, NULL, 0) < 0 ? -errno : 0;
}

int ring_open(struct io_uring *uring, unsigned int entries, unsigned int cq_entries,
	      struct io_uring_probe **probe)
{
	struct io_uring_params p = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED,
				    .cq_entries = cq_entries};
	int ret = io_uring_queue_init_params(entries, uring, &p);

	if (ret == -EINVAL) { /* before Linux 5.10: without limits */
		p = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE,
					     .cq_entries = cq_entries};
		ret = io_uring_queue_init_params(entries, uring, &p);
	}
	if (ret < 0)
		return ret;
	*probe = io_uring_get_probe_ring(uring);
	ret = *probe ? 0 : -ENOMEM;
	if (ret == 0 && p.flags & IORING_SETUP_R_DISABLED)
		ret = limit(uring, *probe);
	if (ret == 0)
		ret = try_to_enter(uring);
	if (ret < 0) {
		io_uring_free_probe(*probe);
		io_uring_queue_exit(uring);
	}
	return ret;
}

const char *ring_advice(int ret)
{
	switch (ret) {
	case -EPERM:
		return " (see kernel.io_uring_disabled, and a container's seccomp filter)";
	case -ENOSYS:
		return " (see the kernel's CONFIG_IO_URING, and a container's seccomp filter)";
	case -ENOMEM:
		return " (see ulimit -l, the limit of locked memory)";
	default:
		return "";
	}
}
