/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI devices that come and go while the guest runs.
 *
 * One comes as before the start, but that others look meanwhile: it is made, and then shown, by one
 * word for its slot and one for each BAR. Then the guest is told.
 *
 * One goes in four steps. The guest is asked, and goes on with it for as long as it likes. It lets
 * go (_EJ0), on any vCPU, and sees it no more. Then all threads are called together, as for a reset,
 * since any of them may be amid an access to it: while they stand, with nothing in flight, it is
 * reset and taken off the bus, and calls find it no more either. Calls that have it already may be
 * left; when the last has given it back it is destroyed (device.c).
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>

#include "devices/vhost/vhost.h"
#include "vmm/irq.h"
#include "vmm/vm.h"

/* -- the guest lets go ------------------------------------------------------------------------ */

static void set_line(void *ctx, bool level)
{
	irq_set_pin(ctx, PCI_HOTPLUG_GSI, level);
}

/* Takes what a guest lets go of, if it was asked to: the rest stays, and is the host's. */
static void eject(void *ctx, uint32_t slots)
{
	struct catnap_vm *vm = ctx;
	bool some = false;

	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < vm->virtio_count; i++) {
		struct vm_virtio *v = vm->virtio[i];

		if (!v || !v->asked || v->off || !(slots >> v->slot & 1))
			continue;
		v->leaving = some = true;
		pci_bus_hide(&vm->pci, v->slot);
	}
	vm->leaving = vm->leaving || some;
	pthread_mutex_unlock(&vm->lock);
	if (some)
		vm_call_together(vm);
}

/* Returns what a status code of _OST says (ACPI 6.5, 6.3.5); NULL: no refusal. */
static const char *refusal(uint32_t status)
{
	switch (status) {
	case 0x00: /* done */
	case 0x84: /* under way */
		return NULL;
	case 0x80:
		return "it lets go of no device";
	case 0x81:
		return "a program uses it";
	case 0x82:
		return "it is busy";
	case 0x83:
		return "another device that depends on it is busy";
	default:
		return "it could not let go of it";
	}
}

/* Takes a refusal, if the guest was asked: then the request is over. */
static void answered(void *ctx, unsigned int slot, uint32_t status)
{
	struct catnap_event e = history_event(CATNAP_EVENT_DEVICE_KEPT);
	const char *why = refusal(status);
	struct catnap_vm *vm = ctx;

	if (!why)
		return;
	e.code = (int32_t)status;
	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < vm->virtio_count; i++) {
		struct vm_virtio *v = vm->virtio[i];

		if (!v || !v->asked || v->leaving || v->off || v->slot != slot)
			continue;
		v->asked = false;
		e.device = v->number;
		e.value = v->nth;
		snprintf(e.text, sizeof(e.text), "%s: the guest keeps it: %s", v->dev->name, why);
		history_add(&vm->history, &e);
	}
	pthread_mutex_unlock(&vm->lock);
}

void hotplug_take_back(struct catnap_vm *vm, struct vm_virtio *v)
{
	pthread_mutex_lock(&vm->lock);
	if (!v->off && !v->leaving) {
		v->leaving = vm->leaving = true;
		pci_bus_hide(&vm->pci, v->slot);
	}
	pthread_mutex_unlock(&vm->lock);
	vm_call_together(vm);
}

/* Returns one that leaves, which no call finds from now on; NULL: none does. */
static struct vm_virtio *next_to_leave(struct catnap_vm *vm, bool reset)
{
	struct vm_virtio *found = NULL;

	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < vm->virtio_count && !found; i++) {
		struct vm_virtio *v = vm->virtio[i];

		if (v && !v->off && (v->leaving || (v->asked && reset)))
			found = v;
	}
	if (found)
		found->off = true;
	pthread_mutex_unlock(&vm->lock);
	return found;
}

void hotplug_let_go(struct catnap_vm *vm, bool reset)
{
	struct vm_virtio *v;

	if (!vm->cfg.hotplug)
		return;
	while ((v = next_to_leave(vm, reset))) {
		pci_detach(vm, v);
		vm_detach_limits(v->dev);
		if (v->dev->external)
			vhost_detach(vhost_of(v->dev));
		pci_hotplug_gone(&vm->hotplug, v->slot);
		vm_put(v);
	}
	if (reset)
		pci_hotplug_reset(&vm->hotplug);
}

/* -- making ----------------------------------------------------------------------------------- */

int hotplug_add(struct catnap_vm *vm, struct error *err)
{
	int ret;

	if (!vm->cfg.hotplug)
		return 0;
	vm->hotplug.set_line = set_line;
	vm->hotplug.eject = eject;
	vm->hotplug.answered = answered;
	vm->hotplug.ctx = vm;
	ret = pci_hotplug_add(&vm->hotplug, &vm->pio);
	if (ret < 0)
		return error_fail(err, ret, "debug_exit_port: 0x%x belongs to PCI hotplug",
				  (unsigned int)vm->cfg.debug_exit_port);
	return 0;
}

int hotplug_prepare(struct catnap_vm *vm, struct error *err)
{
	int ret;

	if (!vm->cfg.hotplug)
		return 0;
	ret = vm_use_rings(vm, "hotplug", err);
	if (ret == 0 && !vm->host.irqchip_user) {
		ret = routes_begin(vm);
		if (ret < 0)
			return error_errno(err, ret, "hotplug: KVM_SET_GSI_ROUTING");
	}
	if (ret == 0)
		vm->sandbox_features |= SANDBOX_BIT(SANDBOX_TIMER) | SANDBOX_BIT(SANDBOX_FILES) |
					SANDBOX_BIT(SANDBOX_TAP) | SANDBOX_BIT(SANDBOX_SOCKETS) |
					SANDBOX_BIT(SANDBOX_HOTPLUG);
	/* Without it no back end can come. */
	if (ret == 0 && vm->cfg.memory_shared)
		vm->sandbox_features |= SANDBOX_BIT(SANDBOX_VHOST) | SANDBOX_BIT(SANDBOX_EPOLL) |
					SANDBOX_BIT(SANDBOX_BACKS) | SANDBOX_BIT(SANDBOX_CONTROL);
	return ret;
}

int hotplug_check_saved(struct catnap_vm *vm, struct error *err)
{
	uint32_t next[VIRTIO_ID_PMEM + 1] = {0};

	for (unsigned int i = 0; i < vm->virtio_count && vm->cfg.hotplug; i++) {
		const struct vm_virtio *v = vm->virtio[i];

		if (v && v->off)
			return error_fail(err, -EBUSY, "%s: the guest has just let go of it",
					  v->dev->name);
		if (v && v->asked)
			return error_fail(err, -EBUSY,
					  "%s: the guest has been asked to let go of it",
					  v->dev->name);
		if (!v)
			return error_fail(err, -ENOTSUP,
					  "device %u was removed, and those behind it would have "
					  "other places: expected another one in its place",
					  i);
		if (v->slot != i + 1 ||
		    (v->dev->id <= VIRTIO_ID_PMEM && v->nth != next[v->dev->id]++))
			return error_fail(err, -ENOTSUP,
					  "%s: it came while the VM ran, to a place that it would "
					  "not have after a restore",
					  v->dev->name);
	}
	return 0;
}

/* -- the calls -------------------------------------------------------------------------------- */

/* Asks the guest to let go of @v. Under the lock. */
static int ask(struct catnap_vm *vm, struct vm_virtio *v, struct error *err)
{
	if (!vm->started || vm->ended)
		return error_fail(err, -EINVAL, "%s: the VM does not run", v->dev->name);
	/* Somebody in the guest listens when the interrupt is not masked. */
	if (!irq_pin_enabled(vm, PCI_HOTPLUG_GSI))
		return error_fail(err, -ENXIO,
				  "%s: the guest does not listen to what is asked of its PCI slots",
				  v->dev->name);
	if (v->off)
		return 0; /* the guest has let go of it just now */
	v->asked = true;
	pci_hotplug_ask(&vm->hotplug, v->slot);
	return 0;
}

/* Returns the error of a VM whose devices stay; 0: they go. */
static int check_hotplug(struct catnap_vm *vm, const char *what)
{
	return vm->cfg.hotplug ? 0
			       : vm_fail(vm, -ENOTSUP,
					 "%s: expected a VM that was made with hotplug", what);
}

/* Asks for @v, number @n, which is given back; NULL: there is none. */
static int remove_device(struct catnap_vm *vm, const char *what, struct vm_virtio *v, uint32_t n)
{
	struct error err = {.text = ""};
	int ret;

	if (!v)
		return vm_fail(vm, -ENOENT, "%s: there is none of number %u", what, n);
	pthread_mutex_lock(&vm->lock);
	ret = ask(vm, v, &err);
	pthread_mutex_unlock(&vm->lock);
	vm_put(v);
	return vm_added(vm, what, ret, &err);
}

int catnap_vm_remove_disk(struct catnap_vm *vm, uint32_t disk)
{
	int ret;

	if (vm_in_child(vm, "remove_disk"))
		return -EPERM;
	ret = check_hotplug(vm, "disk");
	return ret < 0 ? ret : remove_device(vm, "disk", vm_get(vm, VIRTIO_ID_BLOCK, disk), disk);
}

int catnap_vm_remove_net(struct catnap_vm *vm, uint32_t net)
{
	int ret;

	if (vm_in_child(vm, "remove_net"))
		return -EPERM;
	ret = check_hotplug(vm, "net");
	return ret < 0 ? ret : remove_device(vm, "net", vm_get(vm, VIRTIO_ID_NET, net), net);
}

int catnap_vm_remove_vhost(struct catnap_vm *vm, uint32_t device)
{
	struct vm_virtio *v;
	int ret;

	if (vm_in_child(vm, "remove_vhost"))
		return -EPERM;
	ret = check_hotplug(vm, "vhost");
	if (ret < 0)
		return ret;
	v = vm_get_device(vm, device);
	if (!v || v->dev->external)
		return remove_device(vm, "vhost", v, device);
	vm_put(v);
	return vm_fail(vm, -EINVAL, "vhost: device %u has no back end of its own", device);
}
