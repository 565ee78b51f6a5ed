/* SPDX-License-Identifier: Apache-2.0 */
/* /dev/kvm and what it can do: opened once per VM, then constant. */
#ifndef VCPU_KVM_H
#define VCPU_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

struct kvm {
	int fd;	   /* /dev/kvm */
	int vm_fd; /* -1 until kvm_create_vm() */
	size_t run_size;
	struct kvm_cpuid2 *cpuid; /* what this KVM supports */
	uint32_t tsc_khz;	  /* 0: unknown */
	/* Capabilities; what has no fallback is checked in kvm_open(). */
	bool sync_events; /* KVM_CAP_SYNC_REGS with events: injection without an ioctl */
	bool block_irq;	  /* KVM_GUESTDBG_BLOCKIRQ: injection without an exit; see inject.c */
	bool msr_exits;	  /* KVM_CAP_X86_USER_SPACE_MSR */
	bool msr_filter;
	bool halt_poll; /* KVM_CAP_HALT_POLL */
	bool tsc_control;
	bool stats_fd;
	uint32_t max_vcpus;
};

/* Room for one sentence about what went wrong. */
struct kvm_error {
	char text[256];
};

/* 0 or -errno with a sentence; @k is then as after kvm_close(). */
int kvm_open(struct kvm *k, struct kvm_error *err);
int kvm_create_vm(struct kvm *k, struct kvm_error *err);
void kvm_close(struct kvm *k);
/* The value of KVM_CHECK_EXTENSION, 0 if not there; asks the VM where there is one. */
int kvm_check(const struct kvm *k, int cap);

#endif
