/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catnap/vm_poll.h - the halt polling of a VM, and the limit of KVM's own.
 *
 * catnap/catnap.h includes this, and says what holds for all calls on a VM.
 */
#ifndef CATNAP_VM_POLL_H
#define CATNAP_VM_POLL_H

#include <stdint.h>

#include <catnap/poll.h>

#ifdef __cplusplus
extern "C" {
#endif

struct catnap_vm;

/**
 * Changes halt polling of one vCPU, or of all (@vcpu -1), while it runs. -EINVAL. With irqchip
 * kernel KVM has one setting for all: max_ns (policy off: 0). With policy adaptive that is learned,
 * see catnap_vm_learn_poll_limit(); until then it is CATNAP_KERNEL_MAX_NS at most. Then also
 * -ENOTSUP, without KVM_CAP_HALT_POLL, and -errno of ioctl(2).
 */
CATNAP_API int catnap_vm_set_halt_poll(struct catnap_vm *vm, int32_t vcpu,
				       const struct catnap_halt_poll *params);

/**
 * Fills @params with the halt polling that was asked for of vCPU @vcpu: at the start, or by the
 * last catnap_vm_set_halt_poll(). Set size before. It does not show what a guest that polls by
 * itself makes of it (poll_after_guest). With irqchip kernel it is the same for every vCPU. Any
 * thread, any time between create and destroy.
 * Errors:
 *   -EINVAL  no such vCPU, or size
 */
CATNAP_API int catnap_vm_get_halt_poll(struct catnap_vm *vm, uint32_t vcpu,
				       struct catnap_halt_poll *params);

/**
 * Returns a file descriptor that becomes readable, see poll(2), when catnap_vm_learn_poll_limit()
 * is due: with irqchip kernel and policy adaptive each 10 to 250 ms while the VM is there, else
 * never. It stays the VM's, who alone reads it. Any thread.
 * Errors:
 *   -ENOTSUP  irqchip user; guest_hlt; KVM has no KVM_CAP_HALT_POLL, or no histograms of halts in
 *             its binary statistics, Linux 5.15
 */
CATNAP_API int catnap_vm_get_poll_limit_fd(struct catnap_vm *vm);
/**
 * Learns, with irqchip kernel and policy adaptive: sees in KVM's statistics how long the halts of
 * all vCPUs were, and sets the limit of KVM's own polling for this VM to what costs least, by the
 * price, the bias and the cpu_max of halt_poll, max_ns at most (catnap/poll.h, "A limit for
 * somebody else's polling"). The price is what was given, or 50 us: with irqchip kernel nobody
 * measures it. A call that is not due does no harm, and one that is late only learns later. With
 * another policy it does nothing. It takes a system call for each vCPU, and one to set a limit. Any
 * thread, any callback; with a sandbox the thread of catnap_vm_sandbox_thread() only. Errors: as
 * catnap_vm_get_poll_limit_fd(), and -errno of ioctl(2).
 */
CATNAP_API int catnap_vm_learn_poll_limit(struct catnap_vm *vm);

/** KVM's limit for polling. */
struct catnap_poll_limit_stats {
	uint32_t size;	      /**< set by the caller to sizeof(struct catnap_poll_limit_stats) */
	uint32_t limit_ns;    /**< as it is in force */
	uint32_t learned;     /**< 1: by catnap_vm_learn_poll_limit(); 0: as halt_poll has it */
	uint32_t worth_ns;    /**< the worth of a sleep, in ns of polling */
	uint64_t looks;	      /**< at KVM's statistics */
	uint64_t changes;     /**< how often the limit was set to another one for that */
	uint64_t interval_ns; /**< how long after the last look the next one is due */
};

/** Fills *@stats. Any thread. Errors: as catnap_vm_get_poll_limit_fd(), and -EINVAL (size). */
CATNAP_API int catnap_vm_get_poll_limit_stats(struct catnap_vm *vm,
					      struct catnap_poll_limit_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
