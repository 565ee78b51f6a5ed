/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM's own halts, with irqchip kernel: its limit for polling (KVM_CAP_HALT_POLL), which policy
 * adaptive learns from its statistics (poll/limit.h), and HLT that does not leave the guest
 * (KVM_CAP_X86_DISABLE_EXITS).
 *
 * Nothing here has a thread. A timer becomes readable when there is something to be learned, and
 * whoever owns the loop in which that is seen calls catnap_vm_learn_poll_limit().
 */
#ifndef VMM_KERNEL_POLL_H
#define VMM_KERNEL_POLL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "errors.h"
#include "poll/limit.h"

struct catnap_vm;

struct kernel_poll {
	pthread_mutex_t lock;	/* for all that follows but timer_fd */
	int timer_fd;		/* timerfd(2); -1: nothing can be learned */
	struct limit_rule rule; /* the module's parameters; constant */
	bool learns;		/* policy adaptive */
	uint32_t limit_ns;	/* the limit that KVM was last told */
	uint64_t looks, changes;
	struct catnap_poll_limit limit;
};

void kernel_poll_init(struct kernel_poll *k);
/* Sets HLT's exits, and the configuration's limit, before the vCPUs are made, with irqchip kernel.
 * Returns 0 or -errno with a sentence. */
int kernel_poll_prepare(struct catnap_vm *vm, struct error *err);
/* Sees whether a limit can be learned, once the vCPUs are made. */
int kernel_poll_make(struct catnap_vm *vm, struct error *err);
/* Does what catnap_vm_set_halt_poll() says for irqchip kernel. */
int kernel_poll_set(struct catnap_vm *vm, const struct catnap_halt_poll *params);
void kernel_poll_fini(struct kernel_poll *k);

#endif
