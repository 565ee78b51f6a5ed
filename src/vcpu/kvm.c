/* SPDX-License-Identifier: Apache-2.0 */
/* Opening KVM. Interface: Linux Documentation/virt/kvm/api.rst. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vcpu/kvm.h"

#define CPUID_ENTRIES 256

int kvm_check(const struct kvm *k, int cap)
{
	int ret = ioctl(k->vm_fd >= 0 ? k->vm_fd : k->fd, KVM_CHECK_EXTENSION, cap);

	return ret < 0 ? 0 : ret;
}

static int open_device(struct kvm_error *err)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), ret;

	if (fd >= 0)
		return fd;
	ret = -errno;
	if (ret == -ENOENT)
		snprintf(err->text, sizeof(err->text),
			 "/dev/kvm is not there: is the kvm module loaded, and virtualization on?");
	else if (ret == -EACCES)
		snprintf(err->text, sizeof(err->text),
			 "/dev/kvm: permission denied: is this user in the group that owns it? "
			 "catnap check says what to do");
	else
		snprintf(err->text, sizeof(err->text), "/dev/kvm: %s", strerror(-ret));
	return ret;
}

static int read_cpuid(struct kvm *k, struct kvm_error *err)
{
	k->cpuid = calloc(1, sizeof(*k->cpuid) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));
	if (!k->cpuid) {
		snprintf(err->text, sizeof(err->text), "out of memory");
		return -ENOMEM;
	}
	k->cpuid->nent = CPUID_ENTRIES;
	if (ioctl(k->fd, KVM_GET_SUPPORTED_CPUID, k->cpuid) < 0) {
		int ret = -errno;

		snprintf(err->text, sizeof(err->text), "KVM_GET_SUPPORTED_CPUID: %s",
			 strerror(-ret));
		return ret;
	}
	return 0;
}

int kvm_open(struct kvm *k, struct kvm_error *err)
{
	int ret, version, sync;

	memset(k, 0, sizeof(*k));
	k->vm_fd = -1;
	k->fd = open_device(err);
	if (k->fd < 0)
		return k->fd;
	version = ioctl(k->fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		ret = version < 0 ? -errno : -ENOTSUP;
		snprintf(err->text, sizeof(err->text),
			 "/dev/kvm does not speak KVM's API version %d", KVM_API_VERSION);
		goto fail;
	}
	ret = ioctl(k->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (ret < (int)sizeof(struct kvm_run)) {
		ret = ret < 0 ? -errno : -ENOTSUP;
		snprintf(err->text, sizeof(err->text), "KVM_GET_VCPU_MMAP_SIZE: %s",
			 strerror(-ret));
		goto fail;
	}
	k->run_size = (size_t)ret;
	ret = read_cpuid(k, err);
	if (ret < 0)
		goto fail;
	if (!kvm_check(k, KVM_CAP_IMMEDIATE_EXIT)) {
		snprintf(err->text, sizeof(err->text),
			 "this KVM lacks KVM_CAP_IMMEDIATE_EXIT (Linux 4.13)");
		ret = -ENOTSUP;
		goto fail;
	}
	sync = kvm_check(k, KVM_CAP_SYNC_REGS);
	k->sync_events = sync & KVM_SYNC_X86_EVENTS;
	k->block_irq = kvm_check(k, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ;
	k->msr_exits = kvm_check(k, KVM_CAP_X86_USER_SPACE_MSR);
	k->msr_filter = kvm_check(k, KVM_CAP_X86_MSR_FILTER);
	k->halt_poll = kvm_check(k, KVM_CAP_HALT_POLL);
	k->tsc_control = kvm_check(k, KVM_CAP_TSC_CONTROL);
	k->stats_fd = kvm_check(k, KVM_CAP_BINARY_STATS_FD);
	k->max_vcpus = (uint32_t)kvm_check(k, KVM_CAP_MAX_VCPUS);
	return 0;
fail:
	kvm_close(k);
	return ret;
}

int kvm_create_vm(struct kvm *k, struct kvm_error *err)
{
	int khz;

	do {
		k->vm_fd = ioctl(k->fd, KVM_CREATE_VM, 0);
	} while (k->vm_fd < 0 && errno == EINTR);
	if (k->vm_fd < 0) {
		int ret = -errno;

		snprintf(err->text, sizeof(err->text), "KVM_CREATE_VM: %s", strerror(-ret));
		return ret;
	}
	/* No PMU, which CPUID does not tell of either (Linux 5.18; before, only CPUID says so).
	 * Nothing depends on it, so a failure is none. */
	if (kvm_check(k, KVM_CAP_PMU_CAPABILITY) & KVM_PMU_CAP_DISABLE)
		ioctl(k->vm_fd, KVM_ENABLE_CAP,
		      &(struct kvm_enable_cap){.cap = KVM_CAP_PMU_CAPABILITY,
					       .args = {KVM_PMU_CAP_DISABLE}});
	/* Linux 5.16 tells the default of a VM's TSC frequency. */
	khz = ioctl(k->vm_fd, KVM_GET_TSC_KHZ, 0);
	k->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
	return 0;
}

void kvm_close(struct kvm *k)
{
	free(k->cpuid);
	k->cpuid = NULL;
	if (k->vm_fd >= 0)
		close(k->vm_fd);
	if (k->fd >= 0)
		close(k->fd);
	k->fd = k->vm_fd = -1;
}
