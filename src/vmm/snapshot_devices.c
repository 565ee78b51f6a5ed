/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices' part of a snapshot: which sections there are, and in which order they are read.
 *
 * A device is restored in three steps, each for all of them before the next begins. First each
 * takes its own state, and does nothing. Interrupt controllers are the first, with pins and
 * messages as they were. Then each says how its interrupt line is, which a controller of ours knows
 * already, and one of KVM's does not. Then they go on: they look at their queues, and tell the
 * driver what has changed. An interrupt that they raise finds everything else in its place.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "vmm/irq.h"
#include "vmm/snapshot_devices.h"
#include "vmm/vm.h"

#define LAPIC_SECTION	STATE_ID('l', 'a', 'p', 'c')
#define IOAPIC_SECTION	STATE_ID('i', 'o', 'a', 'p')
#define SERIAL_SECTION	STATE_ID('c', 'o', 'm', '1')
#define CONTROL_SECTION STATE_ID('c', 't', 'r', 'l')
#define POWER_SECTION	STATE_ID('p', 'o', 'w', 'r')
#define PCI_SECTION	STATE_ID('p', 'c', 'i', 'b')
#define VIRTIO_SECTION	STATE_ID('v', 'd', 'e', 'v')
#define MMIO_SECTION	STATE_ID('v', 'm', 'i', 'o')
#define VPCI_SECTION	STATE_ID('v', 'p', 'c', 'i')

#define GENID_SECTION STATE_ID('v', 'g', 'e', 'n')

#define PCI_VERSION  1
#define MMIO_VERSION 1
#define VPCI_VERSION 1

/* -- saving ----------------------------------------------------------------------------------- */

static int end(struct state_writer *w, struct error *err)
{
	int ret = state_end(w);

	return ret < 0 ? error_errno(err, ret, "the devices' state") : 0;
}

/* Returns the snapshot's moment on CLOCK_MONOTONIC. */
static int64_t instant_ns(const struct catnap_vm *vm)
{
	int64_t now = (int64_t)clock_now(&vm->clock), ns = (int64_t)clock_monotonic_ns();

	if (vm->instant > now)
		return ns + (int64_t)clock_ticks_to_ns(&vm->clock, (uint64_t)(vm->instant - now));
	return ns - (int64_t)clock_ticks_to_ns(&vm->clock, (uint64_t)(now - vm->instant));
}

static int save_irqchip(struct catnap_vm *vm, struct state_writer *w, struct error *err)
{
	int ret = 0;

	if (!vm->host.irqchip_user)
		return 0;
	for (uint32_t i = 0; i < vm->vcpu_count && ret == 0; i++) {
		state_begin(w, LAPIC_SECTION, i, LAPIC_STATE_VERSION);
		lapic_save(&vm->vcpus[i]->lapic, w, (uint64_t)vm->instant);
		ret = end(w, err);
	}
	if (ret < 0)
		return ret;
	state_begin(w, IOAPIC_SECTION, 0, IOAPIC_STATE_VERSION);
	ioapic_save(&vm->ioapic, w);
	return end(w, err);
}

static int save_board(struct catnap_vm *vm, struct state_writer *w, struct error *err)
{
	int ret;

	state_begin(w, SERIAL_SECTION, 0, SERIAL_STATE_VERSION);
	serial_save(&vm->com1, w);
	ret = end(w, err);
	if (ret < 0)
		return ret;
	state_begin(w, CONTROL_SECTION, 0, CONTROL_STATE_VERSION);
	control_save(&vm->control, w);
	ret = end(w, err);
	if (ret < 0)
		return ret;
	state_begin(w, POWER_SECTION, 0, POWER_STATE_VERSION);
	power_save(&vm->power, w, (uint64_t)instant_ns(vm));
	ret = end(w, err);
	if (ret < 0 || !vm->pci_made)
		return ret;
	state_begin(w, PCI_SECTION, 0, PCI_VERSION);
	pci_bus_save(&vm->pci, w);
	ret = end(w, err);
	if (ret < 0 || !vm->cfg.hotplug)
		return ret;
	state_begin(w, HOTPLUG_SECTION, 0, PCI_HOTPLUG_STATE_VERSION);
	pci_hotplug_save(&vm->hotplug, w);
	return end(w, err);
}

static int save_virtio(struct catnap_vm *vm, uint32_t i, struct state_writer *w, struct error *err)
{
	int ret = virtio_save(vm->virtio[i]->dev, i, w, err);

	if (ret < 0)
		return ret;
	if (vm->cfg.transport == CATNAP_TRANSPORT_MMIO) {
		state_begin(w, MMIO_SECTION, i, MMIO_VERSION);
		virtio_mmio_save(&vm->virtio[i]->mmio, w);
	} else {
		state_begin(w, VPCI_SECTION, i, VPCI_VERSION);
		virtio_pci_save(vm->virtio[i]->pci, w);
	}
	return end(w, err);
}

static int save_genid(struct catnap_vm *vm, struct state_writer *w, struct error *err)
{
	state_begin(w, GENID_SECTION, 0, GENID_STATE_VERSION);
	state_put_bool(w, vm->places.firmware);
	genid_save(&vm->genid, w);
	return end(w, err);
}

int vm_save_devices(struct catnap_vm *vm, struct state_writer *w, struct error *err)
{
	int ret = save_irqchip(vm, w, err);

	if (ret == 0)
		ret = save_board(vm, w, err);
	if (ret == 0)
		ret = save_genid(vm, w, err);
	for (uint32_t i = 0; i < vm->virtio_count && ret == 0; i++)
		ret = save_virtio(vm, i, w, err);
	return ret;
}

/* -- loading ---------------------------------------------------------------------------------- */

static int load_irqchip(struct catnap_vm *vm, struct state_reader *r, struct error *err)
{
	struct state_in in;
	int ret = 0;

	if (!vm->host.irqchip_user)
		return 0;
	for (uint32_t i = 0; i < vm->vcpu_count && ret == 0; i++) {
		ret = state_find(r, LAPIC_SECTION, i, LAPIC_STATE_VERSION, &in, err);
		if (ret == 0)
			ret = lapic_load(&vm->vcpus[i]->lapic, &in, vm->instant, err);
	}
	if (ret == 0)
		ret = state_find(r, IOAPIC_SECTION, 0, IOAPIC_STATE_VERSION, &in, err);
	return ret < 0 ? ret : ioapic_load(&vm->ioapic, &in, err);
}

static int load_board(struct catnap_vm *vm, struct state_reader *r, struct error *err)
{
	struct state_in in;
	int ret = state_find(r, SERIAL_SECTION, 0, SERIAL_STATE_VERSION, &in, err);

	if (ret == 0)
		ret = serial_load(&vm->com1, &in, err);
	if (ret == 0)
		ret = state_find(r, CONTROL_SECTION, 0, CONTROL_STATE_VERSION, &in, err);
	if (ret == 0)
		ret = control_load(&vm->control, &in, err);
	if (ret == 0)
		ret = state_find(r, POWER_SECTION, 0, POWER_STATE_VERSION, &in, err);
	if (ret == 0)
		ret = power_load(&vm->power, &in, instant_ns(vm), err);
	if (ret < 0 || !vm->pci_made)
		return ret;
	ret = state_find(r, PCI_SECTION, 0, PCI_VERSION, &in, err);
	if (ret == 0)
		ret = pci_bus_load(&vm->pci, &in, err);
	if (ret < 0 || !vm->cfg.hotplug)
		return ret;
	ret = state_find(r, HOTPLUG_SECTION, 0, PCI_HOTPLUG_STATE_VERSION, &in, err);
	return ret < 0 ? ret : pci_hotplug_load(&vm->hotplug, &in, err);
}

static int load_transport(struct catnap_vm *vm, uint32_t i, struct state_reader *r,
			  struct error *err)
{
	struct state_in in;
	int ret;

	if (vm->cfg.transport == CATNAP_TRANSPORT_MMIO) {
		ret = state_find(r, MMIO_SECTION, i, MMIO_VERSION, &in, err);
		return ret < 0 ? ret : virtio_mmio_load(&vm->virtio[i]->mmio, &in, err);
	}
	ret = state_find(r, VPCI_SECTION, i, VPCI_VERSION, &in, err);
	return ret < 0 ? ret : virtio_pci_load(vm->virtio[i]->pci, &in, err);
}

static int load_virtio(struct catnap_vm *vm, uint32_t i, struct state_reader *r, struct error *err)
{
	struct virtio_device *dev = vm->virtio[i]->dev;
	int ret = virtio_load(dev, i, r, err);

	if (ret == 0)
		ret = load_transport(vm, i, r, err);
	/* A limit that was set while it ran is there from the start now. */
	if (ret == 0 && dev->id == VIRTIO_ID_RNG && dev->throttles[0] &&
	    throttle_on(dev->throttles[0]))
		ret = vm_prepare_rng_limit(vm, err);
	return ret;
}

static int load_genid(struct catnap_vm *vm, struct state_reader *r, struct error *err)
{
	struct state_in in;
	int ret = state_find(r, GENID_SECTION, 0, GENID_STATE_VERSION, &in, err);

	if (ret < 0)
		return ret;
	vm->places.firmware = state_get_bool(&in);
	return genid_load(&vm->genid, &in, err);
}

/* Tells the guest that it is perhaps not the only one any more that goes on from here. */
static void tell_generation(struct catnap_vm *vm)
{
	if (!vm->places.firmware)
		return;
	vm_write_genid(vm);
	/* Nobody else is to be disturbed: KVM's PICs would hear it, too. */
	if (!irq_pin_enabled(vm, GENID_GSI))
		return;
	irq_set_pin(vm, GENID_GSI, true);
	irq_set_pin(vm, GENID_GSI, false);
}

static void drive_lines(struct catnap_vm *vm)
{
	serial_drive(&vm->com1);
	if (vm->cfg.hotplug)
		pci_hotplug_drive(&vm->hotplug);
	for (uint32_t i = 0; i < vm->virtio_count; i++) {
		if (vm->cfg.transport == CATNAP_TRANSPORT_MMIO)
			virtio_mmio_drive(&vm->virtio[i]->mmio);
		else
			pci_function_update_intx(&vm->virtio[i]->pci->function);
	}
}

int vm_load_devices(struct catnap_vm *vm, struct state_reader *r, struct error *err)
{
	uint32_t devices = state_instances(r, VIRTIO_SECTION);
	int ret;

	if (devices != vm->virtio_count)
		return error_fail(err, -EINVAL, "has %u virtio devices, and the VM has %u", devices,
				  vm->virtio_count);
	ret = load_irqchip(vm, r, err);
	if (ret == 0)
		ret = load_board(vm, r, err);
	if (ret == 0)
		ret = load_genid(vm, r, err);
	for (uint32_t i = 0; i < vm->virtio_count && ret == 0; i++)
		ret = load_virtio(vm, i, r, err);
	if (ret < 0)
		return ret;
	drive_lines(vm);
	for (uint32_t i = 0; i < vm->virtio_count && ret == 0; i++)
		ret = virtio_restored(vm->virtio[i]->dev, err);
	if (ret == 0)
		tell_generation(vm);
	return ret;
}
