/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Doorbells that do not leave the kernel (KVM_IOEVENTFD): the guest's write signals the back end, and
 * the guest goes on at once. They are where the device's registers are, and follow a BAR that the
 * guest moves. Where KVM does not take one, since two devices are at one place, say, the write is an
 * exit and comes to the device, which signals the back end itself.
 */
#include <sys/ioctl.h>

#include "devices/vhost/vhost.h"
#include "devices/virtio/mmio.h"
#include "vmm/vm.h"

#define BELLS 64u /* a bit each */
_Static_assert(VHOST_QUEUES_MAX <= BELLS, "all that back ends have");

#define MMIO_NOTIFY 0x50u /* virtio 1.2, 4.2.2: QueueNotify, a queue's number */

static bool set(const struct vm_bells *b, unsigned int i, uint32_t flags)
{
	struct kvm_ioeventfd io = {.fd = b->fds[i], .flags = flags};

	if (b->vm->cfg.transport == CATNAP_TRANSPORT_MMIO) {
		io.addr = b->base + MMIO_NOTIFY;
		io.len = 4;
		io.datamatch = i;
		io.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
	} else { /* of any length, and with any value */
		io.addr = b->base + VIRTIO_PCI_NOTIFY + i * VIRTIO_PCI_DOORBELL;
	}
	return ioctl(b->vm->kvm.vm_fd, KVM_IOEVENTFD, &io) == 0;
}

void vm_bells_init(struct vm_bells *b, struct catnap_vm *vm, struct virtio_device *dev)
{
	*b = (struct vm_bells){.vm = vm, .base = VM_BELLS_OFF};
	if (dev->external) {
		b->fds = vhost_kick_fds(vhost_of(dev));
		/* One more may be the control queue, whose doorbell may be an exit. */
		b->count = dev->queue_count < BELLS ? dev->queue_count : BELLS;
	}
}

void vm_bells_move(struct vm_bells *b, uint64_t base)
{
	if (!b->fds || base == b->base)
		return;
	for (unsigned int i = 0; i < b->count; i++)
		if (b->up >> i & 1)
			set(b, i, KVM_IOEVENTFD_FLAG_DEASSIGN);
	b->up = 0;
	b->base = base;
	for (unsigned int i = 0; i < b->count && base != VM_BELLS_OFF; i++)
		if (set(b, i, 0))
			b->up |= UINT64_C(1) << i;
}
