/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much PCI as it takes to find one modern virtio device on bus 0 and to have its interrupts:
 * configuration space by ECAM or by the ports 0xcf8 and 0xcfc, BARs, MSI-X.
 */
#ifndef PROBE_PCI_H
#define PROBE_PCI_H

#include <stdint.h>

#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX   0x11

struct pci_dev {
	uint32_t devfn;	 /* device << 3 */
	uint64_t bar[6]; /* addresses; 0: none */
};

/* Where to reach configuration space: the ECAM's address, or 0 for the ports; and where BARs that
 * nobody has placed go. */
void pci_init(uint64_t ecam, uint64_t window);
uint32_t pci_read32(const struct pci_dev *dev, uint32_t offset);
void pci_write32(const struct pci_dev *dev, uint32_t offset, uint32_t value);
uint8_t pci_read8(const struct pci_dev *dev, uint32_t offset);
/* The first function with this vendor and one of two device ids, its BARs placed and enabled. 0:
 * none such. */
int pci_find(uint32_t vendor, uint32_t device, uint32_t or_device, struct pci_dev *dev);
/* The next capability with this id after @from (0: the first); 0: none. */
uint32_t pci_cap(const struct pci_dev *dev, uint32_t id, uint32_t from);
/* Entry @index of the MSI-X table brings @vector on processor @apic_id, and MSI-X is on. 0: there
 * is none. */
int pci_msix(const struct pci_dev *dev, uint32_t index, uint32_t apic_id, uint32_t vector);

#endif
