/* SPDX-License-Identifier: Apache-2.0 */
/* The PCI root bus as a part of the VM: where it is attached, and where its interrupts go. */
#include <errno.h>
#include <stdlib.h>

#include "vmm/irq.h"
#include "vmm/vm.h"

#define DEBUG_EXIT_PORTS 4

static void set_input(void *ctx, unsigned int input, bool level)
{
	irq_set_pin(ctx, input, level);
}

int pci_add(struct catnap_vm *vm, struct error *err)
{
	int port = vm->cfg.debug_exit_port, ret;

	if (vm->cfg.transport != CATNAP_TRANSPORT_PCI)
		return 0;
	if (port > PCI_PORTS_BASE - DEBUG_EXIT_PORTS && port < PCI_PORTS_BASE + PCI_PORTS)
		return error_fail(err, -EEXIST, "debug_exit_port: 0x%x belongs to the PCI bus",
				  (unsigned int)port);
	ret = pci_bus_init(&vm->pci, &vm->pio, &vm->mmio);
	/* x86 Linux does not look for pins in a device tree, and warns of those it cannot find. */
	if (vm->cfg.hw != CATNAP_HW_FDT)
		pci_bus_route_intx(&vm->pci, set_input, vm);
	vm->pci_made = vm->memory.pci = ret == 0;
	return ret;
}

static void bar_moved(void *ctx, uint64_t base)
{
	vm_bells_move(ctx, base == PCI_BAR_OFF ? VM_BELLS_OFF : base);
}

int pci_attach(struct catnap_vm *vm, struct vm_virtio *v, bool late, struct error *err)
{
	struct virtio_pci *t = calloc(1, sizeof(*t));
	struct vm_bells *bells = &v->bells;
	int ret;

	if (!t)
		return -ENOMEM;
	ret = virtio_pci_init(t, v->dev, irq_deliver, vm);
	if (ret == 0) {
		t->function.bars[VIRTIO_PCI_BAR].moved = bells->fds ? bar_moved : NULL;
		t->function.bars[VIRTIO_PCI_BAR].moved_ctx = bells;
		ret = late ? pci_bus_plug_late(&vm->pci, &t->function)
			   : pci_bus_plug(&vm->pci, &t->function);
		if (ret < 0)
			virtio_pci_fini(t);
	}
	if (ret < 0) {
		free(t);
		return error_fail(err, ret, "%s: %s", v->dev->name,
				  ret == -ENOSPC ? "the PCI bus is full"
						 : "no PCI device can be made of it");
	}
	v->pci = t;
	v->slot = (unsigned int)ret;
	return 0;
}

void pci_detach(struct catnap_vm *vm, struct vm_virtio *v)
{
	virtio_pci_reset(v->pci);
	pci_bus_unplug(&vm->pci, v->slot, &v->pci->function);
}

void pci_release(struct vm_virtio *v)
{
	if (v->pci)
		virtio_pci_fini(v->pci);
	free(v->pci);
	v->pci = NULL;
}

void pci_fini(struct catnap_vm *vm)
{
	if (vm->pci_made)
		pci_bus_fini(&vm->pci);
}
