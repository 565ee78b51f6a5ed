/* SPDX-License-Identifier: Apache-2.0 */
/* PCI, see pci.h. Firmware has placed the BARs, or the VMM has, or else nobody, and then we do. */
#include "pci.h"
#include "x86.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc

#define COMMAND	       0x04
#define COMMAND_MEMORY 0x0002
#define COMMAND_MASTER 0x0004
#define STATUS_CAPS    0x00100000 /* in the dword at COMMAND */
#define BAR0	       0x10
#define BAR_IO	       1u
#define BAR_TYPE       6u
#define BAR_64	       4u
#define CAP_LIST       0x34
#define MSIX_ENABLE    0x80000000u /* in the capability's first dword */
#define MSIX_MASK_ALL  0x40000000u
#define MSI_ADDRESS    0xfee00000u

static uint64_t ecam_base, next_bar;

void pci_init(uint64_t ecam, uint64_t window)
{
	ecam_base = ecam;
	next_bar = window;
}

static volatile uint32_t *ecam(const struct pci_dev *dev, uint32_t offset)
{
	return (volatile uint32_t *)(uintptr_t)(ecam_base + (dev->devfn << 12) + offset);
}

static void select(const struct pci_dev *dev, uint32_t offset)
{
	outl(CONFIG_ADDRESS, 0x80000000u | dev->devfn << 8 | offset);
}

uint32_t pci_read32(const struct pci_dev *dev, uint32_t offset)
{
	if (ecam_base)
		return *ecam(dev, offset);
	select(dev, offset);
	return inl(CONFIG_DATA);
}

void pci_write32(const struct pci_dev *dev, uint32_t offset, uint32_t value)
{
	if (ecam_base) {
		*ecam(dev, offset) = value;
		return;
	}
	select(dev, offset);
	outl(CONFIG_DATA, value);
}

uint8_t pci_read8(const struct pci_dev *dev, uint32_t offset)
{
	return (uint8_t)(pci_read32(dev, offset & ~3u) >> (offset & 3) * 8);
}

/* Sizes the memory BAR @i and places it if it is at 0. Returns how many registers it takes. */
static uint32_t place_bar(struct pci_dev *dev, uint32_t i)
{
	uint32_t at = BAR0 + i * 4, low = pci_read32(dev, at), high = 0;
	uint32_t wide = (low & BAR_TYPE) == BAR_64;
	uint64_t size;

	if (low & BAR_IO)
		return 1;
	if (wide)
		high = pci_read32(dev, at + 4);
	pci_write32(dev, at, UINT32_MAX);
	size = -(pci_read32(dev, at) & ~15u) & UINT32_MAX; /* none here is 4 GiB or more */
	pci_write32(dev, at, low);
	dev->bar[i] = (uint64_t)high << 32 | (low & ~15u);
	if (size && !dev->bar[i]) {
		next_bar = (next_bar + size - 1) & -size;
		dev->bar[i] = next_bar;
		next_bar += size;
		pci_write32(dev, at, (uint32_t)dev->bar[i]);
		if (wide)
			pci_write32(dev, at + 4, (uint32_t)(dev->bar[i] >> 32));
	}
	return wide ? 2 : 1;
}

int pci_find(uint32_t vendor, uint32_t device, uint32_t or_device, struct pci_dev *dev)
{
	uint32_t slot, i;

	for (slot = 0; slot < 32; slot++) {
		uint32_t ids;

		dev->devfn = slot << 3;
		ids = pci_read32(dev, 0);
		if ((ids & 0xffff) != vendor || (ids >> 16 != device && ids >> 16 != or_device))
			continue;
		for (i = 0; i < 6; i++)
			dev->bar[i] = 0;
		for (i = 0; i < 6;)
			i += place_bar(dev, i);
		pci_write32(dev, COMMAND,
			    (pci_read32(dev, COMMAND) & 0xffff) | COMMAND_MEMORY | COMMAND_MASTER);
		return 1;
	}
	return 0;
}

uint32_t pci_cap(const struct pci_dev *dev, uint32_t id, uint32_t from)
{
	uint32_t at, n;

	if (!(pci_read32(dev, COMMAND) & STATUS_CAPS))
		return 0;
	at = pci_read8(dev, from ? from + 1 : CAP_LIST) & ~3u;
	for (n = 0; at && n < 48; n++) {
		if (pci_read8(dev, at) == id)
			return at;
		at = pci_read8(dev, at + 1) & ~3u;
	}
	return 0;
}

int pci_msix(const struct pci_dev *dev, uint32_t index, uint32_t apic_id, uint32_t vector)
{
	uint32_t cap = pci_cap(dev, PCI_CAP_MSIX, 0), table;
	volatile uint32_t *entry;

	if (!cap)
		return 0;
	table = pci_read32(dev, cap + 4);
	if (!dev->bar[table & 7])
		return 0;
	entry = (volatile uint32_t *)(uintptr_t)(dev->bar[table & 7] + (table & ~7u) + index * 16);
	entry[0] = MSI_ADDRESS | apic_id << 12;
	entry[1] = 0;
	entry[2] = vector;
	entry[3] = 0; /* not masked */
	pci_write32(dev, cap, (pci_read32(dev, cap) & ~MSIX_MASK_ALL) | MSIX_ENABLE);
	return 1;
}
