/* SPDX-License-Identifier: Apache-2.0 */
/* /dev/kvm and what it can do: asked once per VM, then constant. */
#ifndef VCPU_KVM_H
#define VCPU_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "errors.h"

struct kvm {
	int fd;	   /* /dev/kvm; -1 again after kvm_create_vm() */
	int vm_fd; /* -1 until kvm_create_vm() */
	size_t run_size;
	struct kvm_cpuid2 *cpuid; /* the leaves that this KVM supports */
	uint32_t tsc_khz;	  /* 0: unknown */
	/* Capabilities; what has no fallback is checked in kvm_open(). */
	bool sync_events; /* KVM_CAP_SYNC_REGS with events: injection without an ioctl */
	bool block_irq;	  /* KVM_GUESTDBG_BLOCKIRQ: injection without an exit; see inject.c */
	bool msr_exits;	  /* KVM_CAP_X86_USER_SPACE_MSR */
	bool msr_filter;
	bool halt_poll; /* KVM_CAP_HALT_POLL */
	bool guest_hlt; /* KVM_X86_DISABLE_EXITS_HLT */
	bool tsc_control;
	bool stats_fd;
	uint32_t max_vcpus;
	bool sregs2, xsave2;	   /* KVM_GET_SREGS2, KVM_GET_XSAVE2; of the VM */
	uint32_t xsave_size;	   /* bytes of an XSAVE area; of the VM */
	struct kvm_msr_list *msrs; /* MSRs that a guest can change */
	/* Capabilities that are not to be used; the caller's. Set before kvm_open(). */
	const uint32_t *dropped;
	uint32_t dropped_count;
};

/* Opens KVM and asks what it can do. @given: a descriptor of /dev/kvm, which stays the caller's;
 * -1: opens it. @k is zeroed, but for dropped. Returns 0, or -errno with a sentence; then @k is as after kvm_close(). */
int kvm_open(struct kvm *k, int given, struct error *err);
int kvm_create_vm(struct kvm *k, struct error *err);
void kvm_close(struct kvm *k);
/* Checks that a VM can do without what is dropped. Before kvm_open(). Returns 0, or -EINVAL with a
 * sentence. */
int kvm_check_dropped(const struct kvm *k, bool irqchip_user, struct error *err);
/* Checks that this KVM has all of @required. Returns 0, or -ENOTSUP with a sentence. */
int kvm_check_required(const struct kvm *k, const uint32_t *required, uint32_t count,
		       struct error *err);
/* Returns the value of KVM_CHECK_EXTENSION for @cap; 0: not there, or dropped. Asks the VM if there
 * is one. */
int kvm_check(const struct kvm *k, int cap);

#endif
