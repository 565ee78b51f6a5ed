/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/limit.h - limits of what a device may do.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_LIMIT_H
#define CATNAP_LIMIT_H

#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/** The longest time in which a bucket fills, in ns: 36 years. */
#define CATNAP_MAX_REFILL_NS (UINT64_C(1) << 60)

/**
 * A token bucket, as Firecracker's API has them. It begins full, and fills at size / refill_ns, up
 * to its size. Each operation takes tokens out of it, but first those of the one-time burst, which
 * do not come back. With size or refill_ns 0 there is no limit, and the other members do not count.
 */
struct catnap_bucket {
	/** The time in which it fills from empty, in ns; at most CATNAP_MAX_REFILL_NS. */
	uint64_t refill_ns;
	uint64_t size;		 /**< tokens: bytes, or operations */
	uint64_t one_time_burst; /**< tokens beside those, once */
};

/**
 * How much a device may do. All zeroes: no limit. While a bucket is empty, requests wait in the
 * guest's queue and hold nobody up. A request begins with the first token. One that takes more than
 * there are goes through, however large the bucket is, and those after it wait until what it owes
 * is paid. So in the long run no more than size / refill_ns is done. A guest's reset of the device
 * gives nothing back.
 */
struct catnap_rate_limit {
	struct catnap_bucket bw;  /**< bytes */
	struct catnap_bucket ops; /**< requests, packets */
};

/**
 * Changes the limit of a disk, while the VM runs or not. @disk counts the disks from 0, in the
 * order in which they were added. A bucket of which a number has changed begins anew, full and with
 * its one-time burst; one that is as before goes on with what it has. Requests that begin after the
 * call follow the new limit, and those that wait for the old one look again at once. Any thread,
 * any callback, from the disk's addition to destroy. After an error the limit is as before.
 * Errors:
 *   -ENOENT  no such disk
 *   -EINVAL  @limit is NULL, refill_ns
 *   -ENOSPC  the thread that runs the disk waits for too many things, as a VM with 32 interrupt
 *            events and several limits may
 */
CATNAP_API int catnap_vm_set_disk_limit(struct catnap_vm *vm, uint32_t disk,
					const struct catnap_rate_limit *limit);

/**
 * Changes the limits of a network interface, of what the guest receives (@rx) and of what it sends
 * (@tx); NULL: that one stays. @net counts the interfaces from 0, in the order in which they were
 * added. Otherwise as catnap_vm_set_disk_limit(). After an error both are as before.
 * Errors:
 *   -ENOENT  no such interface
 *   -EINVAL  refill_ns
 *   -ENOSPC  as catnap_vm_set_disk_limit()
 */
CATNAP_API int catnap_vm_set_net_limit(struct catnap_vm *vm, uint32_t net,
				       const struct catnap_rate_limit *rx,
				       const struct catnap_rate_limit *tx);

/**
 * Limits the entropy device (rng in the configuration), in bytes and in buffers that the guest has
 * filled; there is no limit at first. While the VM runs or not, as catnap_vm_set_disk_limit().
 * Errors:
 *   -ENOENT   there is no such device
 *   -EINVAL   @limit is NULL, refill_ns; no_rings
 *   -ENOTSUP  the VM was started with nothing that waits for devices: neither disk nor interface,
 *             nor a limit here
 *   -ENOSPC   as catnap_vm_set_disk_limit()
 */
CATNAP_API int catnap_vm_set_rng_limit(struct catnap_vm *vm, const struct catnap_rate_limit *limit);

#ifdef __cplusplus
}
#endif
#endif
