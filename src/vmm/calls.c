/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of a device's back end that do not leave the kernel: with irqchip kernel KVM has an
 * interrupt follow the back end's signal (routes.c), and no thread of ours is woken. Each queue has a
 * route, which is the message that the guest has chosen for the queue's vector. While the vector is
 * masked, or MSI-X is off, a call comes to us as it does elsewhere, and is pending.
 */
#include <stdlib.h>

#include "devices/vhost/vhost.h"
#include "vmm/vm.h"

struct call {
	struct msix_message message;
	bool routed, on;
};

struct vm_calls {
	struct catnap_vm *vm;
	const struct vhost *vhost;
	unsigned int slot, count;
	struct call calls[VHOST_QUEUES_MAX]; /* under the lock of the device's MSI-X */
};

_Static_assert(VM_VIRTIO_MAX <= 32, "a bit for each device");
_Static_assert(VM_ROUTES >= VM_EVENTS + VM_VIRTIO_MAX * VHOST_QUEUES_MAX, "each has its own");

static unsigned int route_of(const struct vm_calls *c, unsigned int queue)
{
	return VM_EVENTS + c->slot * VHOST_QUEUES_MAX + queue;
}

static void set(struct vm_calls *c, unsigned int queue, bool on)
{
	struct call *call = &c->calls[queue];

	if (call->on != on &&
	    routes_follow(c->vm, route_of(c, queue), vhost_call_fd(c->vhost, queue), on) == 0)
		call->on = on;
}

/* Takes note of what a queue's interrupt is now, see virtio_pci_watch_queues(). */
static void follow(void *ctx, unsigned int queue, const struct msix_message *m)
{
	struct vm_calls *c = ctx;
	struct call *call;

	if (queue >= c->count)
		return;
	call = &c->calls[queue];
	if (m && (!call->routed || call->message.address != m->address ||
		  call->message.data != m->data)) {
		set(c, queue, false);
		call->routed = routes_put(c->vm, route_of(c, queue), m) == 0;
		call->message = *m;
	}
	set(c, queue, m && call->routed);
}

struct vm_calls *vm_calls_begin(struct catnap_vm *vm, struct virtio_device *dev)
{
	const struct vhost *v = dev->external ? vhost_of(dev) : NULL;
	struct vm_calls *c;

	if (!v || vm->host.irqchip_user || vm->cfg.transport != CATNAP_TRANSPORT_PCI ||
	    !vhost_may_bypass(v))
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL; /* it does without */
	c->vm = vm;
	c->vhost = v;
	c->count = vhost_queue_count(v);
	while (vm->call_slots >> c->slot & 1)
		c->slot++;
	vm->call_slots |= UINT32_C(1) << c->slot;
	virtio_pci_watch_queues(dev->transport, follow, c);
	return c;
}

void vm_calls_end(struct vm_calls *c)
{
	if (!c)
		return;
	for (unsigned int i = 0; i < c->count; i++) {
		set(c, i, false);
		routes_drop(c->vm, route_of(c, i));
	}
	c->vm->call_slots &= ~(UINT32_C(1) << c->slot);
	free(c);
}
