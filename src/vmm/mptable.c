/* SPDX-License-Identifier: Apache-2.0 */
/* Intel's MultiProcessor Specification 1.4, chapter 4. */
#include <stddef.h>
#include <string.h>

#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "devices/pci/bus.h"
#include "vmm/mptable.h"

enum { ENTRY_PROCESSOR, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_INTERRUPT, ENTRY_LOCAL };

#define REVISION	4 /* 1.4 */
#define APIC_VERSION	0x14
#define PROCESSOR_ON	1
#define PROCESSOR_FIRST 2
#define BUS_PCI		0 /* its bus number */
#define BUS_ISA		1
#define TYPE_INT	0
#define TYPE_NMI	1
#define AS_THE_BUS	0 /* ISA: rising edge; PCI: level */
#define ALL_PROCESSORS	0xff

struct floating {
	char signature[4];
	uint32_t table;
	uint8_t length, revision, checksum, features[5];
} __attribute__((packed));

struct header {
	char signature[4];
	uint16_t length;
	uint8_t revision, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_size, entries;
	uint32_t lapic;
	uint16_t extended_length;
	uint8_t extended_checksum, reserved;
} __attribute__((packed));

struct processor {
	uint8_t type, apic, version, flags;
	uint32_t signature, features, reserved[2];
} __attribute__((packed));

struct bus_entry {
	uint8_t type, id;
	char name[6];
} __attribute__((packed));

struct io_apic {
	uint8_t type, id, version, flags;
	uint32_t address;
} __attribute__((packed));

struct interrupt {
	uint8_t type, kind;
	uint16_t flags;
	uint8_t bus, irq, apic, pin;
} __attribute__((packed));

struct tables {
	struct floating floating;
	struct header header;
	uint8_t entries[];
} __attribute__((packed));

_Static_assert(sizeof(struct floating) == 16, "MP 1.4, 4.1");
_Static_assert(sizeof(struct header) == 44, "MP 1.4, 4.2");
_Static_assert(sizeof(struct processor) == 20, "MP 1.4, 4.3.1");
_Static_assert(sizeof(struct bus_entry) == 8 && sizeof(struct io_apic) == 8 &&
		       sizeof(struct interrupt) == 8,
	       "MP 1.4, 4.3");
_Static_assert(sizeof(struct tables) + 64 * sizeof(struct processor) +
			       (IOAPIC_PINS + PCI_SLOTS + 4) * sizeof(struct interrupt) <
		       MPTABLE_SIZE,
	       "it fits");

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

struct writer {
	struct tables *t;
	uint8_t *at;
};

static void add(struct writer *w, const void *entry, size_t len)
{
	memcpy(w->at, entry, len);
	w->at += len;
	w->t->header.entries++;
}

/* Adds each pin under its own number, but those that are for the PCI bus. */
static void add_isa(struct writer *w, uint8_t ioapic, bool pci)
{
	for (uint8_t i = 0; i < IOAPIC_PINS; i++)
		if (!pci || i < PCI_INTX_FIRST || i >= PCI_INTX_FIRST + PCI_INTX_INPUTS)
			add(w,
			    &(struct interrupt){ENTRY_INTERRUPT, TYPE_INT, AS_THE_BUS, BUS_ISA, i,
						ioapic, i},
			    sizeof(struct interrupt));
}

/* Adds the PCI bus's pins. D.3: a source is a device and one of its four pins, of which the first
 * is used. */
static void add_pci(struct writer *w, uint8_t ioapic)
{
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++)
		add(w,
		    &(struct interrupt){ENTRY_INTERRUPT, TYPE_INT, AS_THE_BUS, BUS_PCI,
					(uint8_t)(slot << 2), ioapic,
					(uint8_t)pci_intx_input(slot)},
		    sizeof(struct interrupt));
}

size_t mptable_build(uint32_t vcpus, bool pci, void *buffer)
{
	const uint8_t ioapic = (uint8_t)vcpus; /* an id that no processor has */
	struct tables *t = buffer;
	struct writer w = {t, t->entries};

	memset(buffer, 0, MPTABLE_SIZE);
	for (uint32_t i = 0; i < vcpus; i++)
		add(&w,
		    &(struct processor){ENTRY_PROCESSOR, (uint8_t)i, APIC_VERSION,
					i ? PROCESSOR_ON : PROCESSOR_ON | PROCESSOR_FIRST},
		    sizeof(struct processor));
	if (pci)
		add(&w, &(struct bus_entry){ENTRY_BUS, BUS_PCI, {'P', 'C', 'I', ' ', ' ', ' '}},
		    sizeof(struct bus_entry));
	add(&w, &(struct bus_entry){ENTRY_BUS, BUS_ISA, {'I', 'S', 'A', ' ', ' ', ' '}},
	    sizeof(struct bus_entry));
	add(&w, &(struct io_apic){ENTRY_IOAPIC, ioapic, 0x20, 1, (uint32_t)IOAPIC_MMIO_BASE},
	    sizeof(struct io_apic));
	add_isa(&w, ioapic, pci);
	if (pci)
		add_pci(&w, ioapic);
	add(&w,
	    &(struct interrupt){ENTRY_LOCAL, TYPE_NMI, AS_THE_BUS, BUS_ISA, 0, ALL_PROCESSORS, 1},
	    sizeof(struct interrupt));

	memcpy(t->header.signature, "PCMP", 4);
	t->header.length = (uint16_t)(w.at - (uint8_t *)&t->header);
	t->header.revision = REVISION;
	memcpy(t->header.oem, "CATNAP  ", 8);
	memcpy(t->header.product, "VM          ", 12);
	t->header.lapic = (uint32_t)LAPIC_MMIO_BASE;
	t->header.checksum = checksum(&t->header, t->header.length);

	memcpy(t->floating.signature, "_MP_", 4);
	t->floating.table = (uint32_t)(MPTABLE_BASE + offsetof(struct tables, header));
	t->floating.length = 1;
	t->floating.revision = REVISION;
	t->floating.checksum = checksum(&t->floating, sizeof(t->floating));
	return (size_t)(w.at - (uint8_t *)t);
}
