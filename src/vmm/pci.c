/* SPDX-License-Identifier: Apache-2.0 */
/* The PCI root bus as a part of the VM: where it is attached, and where its interrupts go. */
#include <errno.h>
#include <stdio.h>

#include "vmm/vm.h"

#define DEBUG_EXIT_PORTS 4

int pci_add(struct catnap_vm *vm, struct kvm_error *err)
{
	int port = vm->cfg.debug_exit_port, ret;

	if (vm->cfg.transport != CATNAP_TRANSPORT_PCI)
		return 0;
	if (port > PCI_PORTS_BASE - DEBUG_EXIT_PORTS && port < PCI_PORTS_BASE + PCI_PORTS) {
		snprintf(err->text, sizeof(err->text),
			 "debug_exit_port: 0x%x belongs to the PCI bus", (unsigned int)port);
		return -EEXIST;
	}
	ret = pci_bus_init(&vm->pci, &vm->pio, &vm->mmio);
	vm->pci_made = vm->memory.pci = ret == 0;
	return ret;
}

void pci_fini(struct catnap_vm *vm)
{
	if (vm->pci_made)
		pci_bus_fini(&vm->pci);
}

void pci_send_message(void *vm, uint64_t address, uint32_t data)
{
	/* An address that is nobody's: as on a real machine, nothing happens. */
	catnap_vm_signal_msi(vm, address, data);
}
