/* SPDX-License-Identifier: Apache-2.0 */
/* Opening KVM. Interface: Linux Documentation/virt/kvm/api.rst. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vcpu/kvm.h"

#define CPUID_ENTRIES 256

int kvm_check(const struct kvm *k, int cap)
{
	int ret;

	for (uint32_t i = 0; i < k->dropped_count; i++)
		if (k->dropped[i] == (uint32_t)cap)
			return 0;
	ret = ioctl(k->vm_fd >= 0 ? k->vm_fd : k->fd, KVM_CHECK_EXTENSION, cap);

	return ret < 0 ? 0 : ret;
}

static int open_device(struct error *err)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), ret;

	if (fd >= 0)
		return fd;
	ret = -errno;
	if (ret == -ENOENT)
		error_set(
			err,
			"/dev/kvm is not there: is the kvm module loaded, and virtualization on?");
	else if (ret == -EACCES)
		error_set(err,
			  "/dev/kvm: permission denied: is this user in the group that owns it? "
			  "catnap check says what to do");
	else
		error_errno(err, ret, "/dev/kvm");
	return ret;
}

/* Duplicates a descriptor that was given: closing is the same then. */
static int dup_device(int given, struct error *err)
{
	int fd = fcntl(given, F_DUPFD_CLOEXEC, 0), ret;

	if (fd >= 0)
		return fd;
	ret = -errno;
	return error_errno(err, ret, "kvm_fd: descriptor %d", given);
}

static int read_cpuid(struct kvm *k, struct error *err)
{
	k->cpuid = calloc(1, sizeof(*k->cpuid) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2));
	if (!k->cpuid)
		return error_fail(err, -ENOMEM, "out of memory");
	k->cpuid->nent = CPUID_ENTRIES;
	if (ioctl(k->fd, KVM_GET_SUPPORTED_CPUID, k->cpuid) < 0) {
		int ret = -errno;

		return error_errno(err, ret, "KVM_GET_SUPPORTED_CPUID");
	}
	return 0;
}

static int read_msr_list(struct kvm *k, struct error *err)
{
	struct kvm_msr_list none = {.nmsrs = 0};
	int ret = 0;

	/* Says how many there are. */
	if (ioctl(k->fd, KVM_GET_MSR_INDEX_LIST, &none) < 0 && errno != E2BIG)
		ret = -errno;
	if (ret == 0) {
		k->msrs = calloc(1, sizeof(*k->msrs) + none.nmsrs * sizeof(k->msrs->indices[0]));
		if (!k->msrs)
			return error_fail(err, -ENOMEM, "out of memory");
		k->msrs->nmsrs = none.nmsrs;
		if (ioctl(k->fd, KVM_GET_MSR_INDEX_LIST, k->msrs) < 0)
			ret = -errno;
	}
	return ret < 0 ? error_errno(err, ret, "KVM_GET_MSR_INDEX_LIST") : 0;
}

/* Returns whether there is no way around capability @cap. */
static bool cannot_drop(uint32_t cap, bool irqchip_user)
{
	switch (cap) {
	case KVM_CAP_IMMEDIATE_EXIT:
	case KVM_CAP_MAX_VCPUS:
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_EXT_CPUID:
	case KVM_CAP_SET_TSS_ADDR:
	case KVM_CAP_SET_IDENTITY_MAP_ADDR:
		return true;
	case KVM_CAP_X86_USER_SPACE_MSR:
	case KVM_CAP_X86_MSR_FILTER:
		return irqchip_user;
	case KVM_CAP_IRQCHIP:
	case KVM_CAP_IRQ_ROUTING:
	case KVM_CAP_SIGNAL_MSI:
	case KVM_CAP_IRQFD:
		return !irqchip_user;
	default:
		return false;
	}
}

int kvm_check_dropped(const struct kvm *k, bool irqchip_user, struct error *err)
{
	for (uint32_t i = 0; i < k->dropped_count; i++)
		if (cannot_drop(k->dropped[i], irqchip_user))
			return error_fail(err, -EINVAL,
					  "kvm_dropped: capability %u: a VM cannot do without it",
					  k->dropped[i]);
	return 0;
}

int kvm_check_required(const struct kvm *k, const uint32_t *required, uint32_t count,
		       struct error *err)
{
	for (uint32_t i = 0; i < count; i++)
		if (required[i] > INT32_MAX || !kvm_check(k, (int)required[i]))
			return error_fail(err, -ENOTSUP,
					  "kvm_required: capability %u: this KVM does not have it",
					  required[i]);
	return 0;
}

int kvm_open(struct kvm *k, int given, struct error *err)
{
	int ret, version, sync;

	k->vm_fd = -1;
	k->fd = given >= 0 ? dup_device(given, err) : open_device(err);
	if (k->fd < 0)
		return k->fd;
	version = ioctl(k->fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		ret = version < 0 ? -errno : -ENOTSUP;
		error_set(err, "/dev/kvm does not speak KVM's API version %d", KVM_API_VERSION);
		goto fail;
	}
	ret = ioctl(k->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (ret < (int)sizeof(struct kvm_run)) {
		ret = ret < 0 ? -errno : -ENOTSUP;
		error_errno(err, ret, "KVM_GET_VCPU_MMAP_SIZE");
		goto fail;
	}
	k->run_size = (size_t)ret;
	ret = read_cpuid(k, err);
	if (ret == 0)
		ret = read_msr_list(k, err);
	if (ret < 0)
		goto fail;
	if (!kvm_check(k, KVM_CAP_IMMEDIATE_EXIT)) {
		error_set(err, "this KVM lacks KVM_CAP_IMMEDIATE_EXIT (Linux 4.13)");
		ret = -ENOTSUP;
		goto fail;
	}
	sync = kvm_check(k, KVM_CAP_SYNC_REGS);
	k->sync_events = sync & KVM_SYNC_X86_EVENTS;
	k->block_irq = kvm_check(k, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ;
	k->msr_exits = kvm_check(k, KVM_CAP_X86_USER_SPACE_MSR);
	k->msr_filter = kvm_check(k, KVM_CAP_X86_MSR_FILTER);
	k->halt_poll = kvm_check(k, KVM_CAP_HALT_POLL);
	k->guest_hlt = kvm_check(k, KVM_CAP_X86_DISABLE_EXITS) & KVM_X86_DISABLE_EXITS_HLT;
	k->tsc_control = kvm_check(k, KVM_CAP_TSC_CONTROL);
	k->stats_fd = kvm_check(k, KVM_CAP_BINARY_STATS_FD);
	k->max_vcpus = (uint32_t)kvm_check(k, KVM_CAP_MAX_VCPUS);
	return 0;
fail:
	kvm_close(k);
	return ret;
}

int kvm_create_vm(struct kvm *k, struct error *err)
{
	int khz, size;

	do {
		k->vm_fd = ioctl(k->fd, KVM_CREATE_VM, 0);
	} while (k->vm_fd < 0 && errno == EINTR);
	if (k->vm_fd < 0) {
		int ret = -errno;

		return error_errno(err, ret, "KVM_CREATE_VM");
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
	size = kvm_check(k, KVM_CAP_XSAVE2);
	k->xsave2 = size > (int)sizeof(struct kvm_xsave);
	k->xsave_size = k->xsave2 ? (uint32_t)size : (uint32_t)sizeof(struct kvm_xsave);
	k->sregs2 = kvm_check(k, KVM_CAP_SREGS2);
	/* All that follows is asked of the VM: in a fleet that is one descriptor for each. */
	close(k->fd);
	k->fd = -1;
	return 0;
}

void kvm_close(struct kvm *k)
{
	free(k->cpuid);
	k->cpuid = NULL;
	free(k->msrs);
	k->msrs = NULL;
	if (k->vm_fd >= 0)
		close(k->vm_fd);
	if (k->fd >= 0)
		close(k->fd);
	k->fd = k->vm_fd = -1;
}
