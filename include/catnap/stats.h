/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/stats.h - statistics of vCPUs, devices and the I/O thread.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_STATS_H
#define CATNAP_STATS_H

#include <stdint.h>

#include <catnap/config.h>
#include <catnap/net.h>
#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/** Statistics of one vCPU. */
struct catnap_vcpu_stats {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_vcpu_stats) */
	uint32_t vcpu;
	uint64_t exits; /**< returns of KVM_RUN */
	uint64_t exits_io, exits_mmio, exits_msr, exits_hlt, exits_window, exits_signal;
	uint64_t injected;    /**< interrupts injected */
	uint64_t pv_eoi;      /**< end-of-interrupts that cost no exit */
	uint64_t timer_armed; /**< times a kernel timer was set for the APIC timer */
	uint64_t unclaimed;   /**< accesses that no device answered */
	uint64_t cpu_ns;      /**< processor time of the vCPU's thread */
	uint64_t tsc_offset;  /**< guest TSC minus host TSC */
	/** Halts that were polled for though the guest had switched polling off (poll_after_guest).
	 * They are part of halt.halt_attempted_poll. */
	uint64_t after_guest_attempted;
	uint64_t after_guest_successful; /**< of those, the ones that did not sleep */
	/** Halts of a guest that polls by itself, at which others wanted the processor, or the
	 * control group's time was short: it polls all the same, for it cannot see that. */
	uint64_t after_guest_contended;
	uint64_t reserved[8];
	/** irqchip kernel: KVM's own figures, where it tells them. halt.size is what is filled of
	 * it, up to the caller's size. */
	struct catnap_halt_stats halt;
};

/** Reads the statistics of a vCPU. -EINVAL: no such vCPU, or size. Any time between create and
 * destroy. */
CATNAP_API int catnap_vm_get_stats(struct catnap_vm *vm, uint32_t vcpu,
				   struct catnap_vcpu_stats *stats);

/**
 * Copies what the halt polling of a vCPU, or of the I/O thread (CATNAP_IO_THREAD_VCPU), has
 * learned; see catnap_policy_get_stats(). Any thread, any time between create and destroy.
 * Errors:
 *   -EINVAL   no such vCPU, or size
 *   -ENOENT   no I/O thread
 *   -ENOTSUP  irqchip kernel: KVM does not tell
 */
CATNAP_API int catnap_vm_get_policy_stats(struct catnap_vm *vm, uint32_t vcpu,
					  struct catnap_policy_stats *stats);

/** The traffic of one pair of queues of a network interface since the start. */
struct catnap_net_queue_stats {
	uint64_t rx_packets; /**< that the guest has received */
	uint64_t rx_bytes;   /**< of these */
	uint64_t
		rx_dropped; /**< lost, since they did not fit in the buffers that its driver gave */
	uint64_t rx_unwanted; /**< passed over: for no address that its driver has asked for */
	uint64_t rx_starved;  /**< times that reading stopped for want of buffers of its driver */
	uint64_t tx_packets;  /**< that the guest has sent */
	uint64_t tx_bytes;    /**< of these */
	uint64_t tx_dropped;  /**< malformed, or refused by the interface */
	uint64_t tx_blocked;  /**< times that sending stopped since the interface was full */
};

/** Statistics of one virtio device. */
struct catnap_device_stats {
	uint32_t size;	     /**< set by the caller to sizeof(struct catnap_device_stats) */
	uint32_t type;	     /**< virtio's number: 1 network, 2 block, 4 entropy, ... */
	char name[64];	     /**< "disk root.img" */
	uint64_t requests;   /**< that the guest has made */
	uint64_t errors;     /**< of them, those that ended with an error */
	uint64_t read_bytes; /**< from the device, by the guest */
	uint64_t written_bytes;
	uint64_t faults; /**< acts of its driver that no driver may do */
	uint32_t inflight;
	uint32_t status;	/**< the virtio status register */
	uint64_t limit_waits;	/**< how often a queue had to wait for the rate limit */
	uint64_t limit_wait_ns; /**< for how long some queue did */
	uint32_t net_queues;	/**< how many there are; 0: no network interface */
	/** Set by the caller to sizeof(struct catnap_net_queue_stats): an entry of net_queue is
	 * written up to that, if all of it has room. 0: none is. */
	uint32_t net_queue_size;
	uint64_t reserved[4];
	struct catnap_net_queue_stats net_queue[CATNAP_MAX_NET_QUEUES]; /**< last; may grow */
};

/**
 * Reads the statistics of the device number @device, in the order in which they were added. Any
 * time between create and destroy.
 * Errors:
 *   -ENOENT  there are not so many
 *   -ENODEV  it was removed, and there are others behind it
 *   -EINVAL  size
 */
CATNAP_API int catnap_vm_get_device_stats(struct catnap_vm *vm, uint32_t device,
					  struct catnap_device_stats *stats);

/** Statistics of the I/O thread. */
struct catnap_io_stats {
	uint32_t size; /**< set by the caller to sizeof(struct catnap_io_stats) */
	uint32_t unused;
	uint64_t cpu_ns; /**< processor time of the thread */
	uint64_t reserved[4];
	struct catnap_halt_stats halt; /**< halt.size is what is filled of it */
};

/** Reads the statistics of the I/O thread. -ENOENT: there is none. -EINVAL: size. Any time between
 * create and destroy. */
CATNAP_API int catnap_vm_get_io_stats(struct catnap_vm *vm, struct catnap_io_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
