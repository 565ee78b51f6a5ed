/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DSDT: the devices that cannot be found otherwise. There are no processor objects: with them
 * Linux would load ACPI's idle driver, and the guest's own halt polling would lose to it.
 */
#include <errno.h>
#include <stdio.h>

#include "devices/genid.h"
#include "devices/pci/bus.h"
#include "devices/pci/hotplug.h"
#include "devices/power.h"
#include "devices/pvpanic.h"
#include "devices/serial.h"
#include "vmm/acpi.h"
#include "vmm/aml.h"

#define NOTIFY_BUTTON	 0x80 /* 4.8.3.2: S0 power button pressed */
#define NOTIFY_CHANGE	 0x80 /* of a generation: the guest goes on from a snapshot */
#define NOTIFY_CHECK	 1    /* 5.6.6: look whether a device is there now */
#define NOTIFY_EJECT	 3    /* let go of it, and say so by _EJ0 */
#define OSC_UNKNOWN_UUID 0x04 /* 6.2.11 _OSC, first word */
#define OSC_MASKED	 0x10
#define STATUS_ALL	 0xf /* 6.3.7 _STA: present, enabled, shown, working */

static void resources(struct aml *a, const struct aml_resources *r)
{
	aml_name(a, "_CRS");
	aml_resource_template(a, r);
}

static void serial_port(struct aml *a)
{
	struct aml_resources r = {.len = 0};

	aml_res_io(&r, SERIAL_COM1_PORT, SERIAL_PORTS);
	aml_res_interrupt(&r, SERIAL_COM1_IRQ, true, false);
	aml_device(a, "COM1");
	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0501"); /* 16550A-compatible */
	aml_name(a, "_UID");
	aml_integer(a, 1);
	aml_name(a, "_DDN");
	aml_string(a, "COM1");
	resources(a, &r);
	aml_close(a);
}

/* Describes the generation id as its specification has it, and as Linux's driver looks for it. */
static void generation_id(struct aml *a)
{
	aml_device(a, "VGEN");
	aml_name(a, "_HID");
	aml_string(a, "CTNP0001"); /* a HID ends in hexadecimal digits, which the others do not */
	aml_name(a, "_CID");
	aml_package(a, 2);
	aml_string(a, "VM_Gen_Counter");
	aml_string(a, "VMGENCTR");
	aml_close(a);
	aml_name(a, "_DDN");
	aml_string(a, "VM_Gen_Counter");
	aml_name(a, "_UID");
	aml_integer(a, 0);
	aml_name(a, "ADDR");
	aml_package(a, 2);
	aml_integer(a, (uint32_t)GENID_BASE);
	aml_integer(a, GENID_BASE >> 32);
	aml_close(a);
	aml_close(a);
}

static void vmclock(struct aml *a)
{
	struct aml_resources r = {.len = 0};

	aml_res_memory(&r, (uint32_t)VMCLOCK_BASE, (uint32_t)VMCLOCK_SIZE);
	aml_device(a, "VCLK");
	aml_name(a, "_HID");
	aml_string(a, "AMZNC10C");
	aml_name(a, "_CID");
	aml_string(a, "VMCLOCK");
	aml_name(a, "_DDN");
	aml_string(a, "VMCLOCK");
	aml_name(a, "_UID");
	aml_integer(a, 0);
	resources(a, &r);
	aml_close(a);
}

/* Describes the power button: 4.8.3.2 control method power button; 5.6.9 interrupt-signalled events
 * through the GED. */
static void power_button(struct aml *a)
{
	aml_device(a, "PWRB");
	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0C0C");
	aml_name(a, "_UID");
	aml_integer(a, 0);
	aml_close(a);
}

/* Describes the event device (5.6.9): what interrupts tell, and of whom. */
static void event_device(struct aml *a, bool hotplug)
{
	struct aml_resources r = {.len = 0};

	aml_res_interrupt(&r, POWER_BUTTON_GSI, true, false);
	aml_res_interrupt(&r, GENID_GSI, true, false);
	if (hotplug)
		aml_res_interrupt(&r, PCI_HOTPLUG_GSI, false, false);
	aml_device(a, "GED0");
	aml_name(a, "_HID");
	aml_string(a, "ACPI0013");
	aml_name(a, "_UID");
	aml_integer(a, 0);
	resources(a, &r);
	aml_method(a, "_EVT", 1, true);
	aml_if_arg_is(a, 0, POWER_BUTTON_GSI);
	aml_notify(a, "PWRB", NOTIFY_BUTTON);
	aml_close(a);
	aml_if_arg_is(a, 0, GENID_GSI);
	aml_notify(a, "VGEN", NOTIFY_CHANGE);
	aml_notify(a, "VCLK", NOTIFY_CHANGE);
	aml_close(a);
	if (hotplug) {
		aml_if_arg_is(a, 0, PCI_HOTPLUG_GSI);
		aml_path(a, "\\_SB.PCI0.PCNT"); /* a call */
		aml_close(a);
	}
	aml_close(a);
	aml_close(a);
}

/* Describes pvpanic as QEMU's own tables do: drivers use the resource, or the two methods. */
static void pvpanic_device(struct aml *a)
{
	struct aml_resources r = {.len = 0};

	aml_res_io(&r, PVPANIC_PORT, 1);
	aml_device(a, "PEVT");
	aml_name(a, "_HID");
	aml_string(a, "QEMU0001");
	aml_name(a, "_UID");
	aml_integer(a, 0);
	resources(a, &r);
	aml_io_byte(a, "PEOR", "PEPT", PVPANIC_PORT, 1);
	aml_name(a, "_STA");
	aml_integer(a, STATUS_ALL);
	aml_method(a, "RDPT", 0, false);
	aml_return(a);
	aml_path(a, "PEPT");
	aml_close(a);
	aml_method(a, "WRPT", 1, false);
	aml_store_arg(a, 0, "PEPT");
	aml_close(a);
	aml_close(a);
}

/*
 * Writes _OSC (PCI Firmware Specification 3.3, 4.5.1): of the features of PCI Express that the
 * guest may ask for there is none here to hand over.
 */
static void osc(struct aml *a)
{
	/* 33db4d5b-1ff7-401c-9657-7441c03dd766 */
	static const uint8_t uuid[16] = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
					 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};

	aml_method(a, "_OSC", 4, true);
	aml_dword_field(a, 3, 0, "CDW1");
	aml_dword_field(a, 3, 8, "CDW3");
	aml_if_arg_is_buffer(a, 0, uuid, sizeof(uuid));
	aml_if_path(a, "CDW3");
	aml_or(a, "CDW1", OSC_MASKED);
	aml_store_integer(a, 0, "CDW3");
	aml_close(a);
	aml_close(a);
	aml_else(a);
	aml_or(a, "CDW1", OSC_UNKNOWN_UUID);
	aml_close(a);
	aml_return(a);
	aml_arg(a, 3);
	aml_close(a);
}

/* Describes the interrupt pins (6.2.13): of each slot the first, and where it goes without a link
 * device. */
static void interrupt_pins(struct aml *a)
{
	aml_name(a, "_PRT");
	aml_package(a, PCI_SLOTS);
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++) {
		aml_package(a, 4);
		aml_integer(a, (uint64_t)slot << 16 | 0xffff); /* any function of it */
		aml_integer(a, 0);
		aml_integer(a, 0);
		aml_integer(a, pci_intx_input(slot));
		aml_close(a);
	}
	aml_close(a);
}

/* Describes the registers of PCI hotplug. */
static void hotplug_registers(struct aml *a)
{
	char names[PCI_SLOTS][5];
	const char *fields[3 + PCI_SLOTS] = {"PCIU", "PCID", "PCEJ"};
	struct aml_resources r = {.len = 0};

	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++) {
		snprintf(names[slot], sizeof(names[slot]), "OS%02X", slot);
		fields[3 + slot] = names[slot];
	}

	aml_res_io(&r, PCI_HOTPLUG_PORT, PCI_HOTPLUG_PORTS);
	aml_device(a, "PHPR");
	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0A06"); /* of what has no id of its own */
	aml_name(a, "_UID");
	aml_string(a, "PCI hotplug");
	resources(a, &r);
	aml_io_dwords(a, "PHPO", PCI_HOTPLUG_PORT, fields, 3 + PCI_SLOTS);
	aml_close(a);
}

static const char *slot_name(unsigned int slot, char name[5])
{
	snprintf(name, 5, "SL%02X", slot);
	return name;
}

/* Notifies of all slots that the register at @path has. */
static void notify_slots(struct aml *a, const char *path, uint8_t value)
{
	char name[5];

	aml_load_local(a, path);
	for (unsigned int slot = 1; slot < PCI_SLOTS; slot++) {
		aml_if_local_has(a, UINT64_C(1) << slot);
		aml_notify(a, slot_name(slot, name), value);
		aml_close(a);
	}
}

/* Describes the slots whose devices come and go (6.1.1 _ADR, 6.1.11 _SUN, 6.3.3 _EJ0, 6.3.5 _OST), all
 * but the bridge's, and the method that tells of them. */
static void hotplug_slots(struct aml *a)
{
	char name[5], status[sizeof("\\_SB.PHPR.OS00")];

	for (unsigned int slot = 1; slot < PCI_SLOTS; slot++) {
		aml_device(a, slot_name(slot, name));
		aml_name(a, "_ADR");
		aml_integer(a, (uint64_t)slot << 16);
		aml_name(a, "_SUN");
		aml_integer(a, slot);
		aml_method(a, "_EJ0", 1, true);
		aml_store_integer(a, UINT64_C(1) << slot, "\\_SB.PHPR.PCEJ");
		aml_close(a);
		snprintf(status, sizeof(status), "\\_SB.PHPR.OS%02X", slot);
		aml_method(a, "_OST", 3, true);
		aml_if_arg_is(a, 0, NOTIFY_EJECT);
		aml_store_arg(a, 1, status);
		aml_close(a);
		aml_close(a);
		aml_close(a);
	}
	aml_method(a, "PCNT", 0, true);
	notify_slots(a, "\\_SB.PHPR.PCIU", NOTIFY_CHECK);
	notify_slots(a, "\\_SB.PHPR.PCID", NOTIFY_EJECT);
	aml_close(a);
}

/*
 * Describes the root bus, and a device that reserves its configuration space, without which Linux
 * would not believe in MCFG.
 */
static void pci_root(struct aml *a, const struct acpi_config *cfg)
{
	struct aml_resources r = {.len = 0}, ecam = {.len = 0};

	aml_res_bus_numbers(&r, 0, 0);
	aml_res_io(&r, PCI_PORTS_BASE, PCI_PORTS);
	aml_res_memory_window(&r, (uint32_t)PCI_WINDOW_BASE, (uint32_t)PCI_WINDOW_SIZE);
	aml_device(a, "PCI0");
	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0A08");
	aml_name(a, "_CID");
	aml_eisa_id(a, "PNP0A03");
	aml_name(a, "_UID");
	aml_integer(a, 0);
	aml_name(a, "_SEG");
	aml_integer(a, 0);
	aml_name(a, "_BBN");
	aml_integer(a, 0);
	/* Near the first node: Linux complains of a bus that is near none. */
	if (cfg->memory && cfg->memory->numa.count) {
		aml_name(a, "_PXM");
		aml_integer(a, 0);
	}
	resources(a, &r);
	interrupt_pins(a);
	osc(a);
	if (cfg->hotplug)
		hotplug_slots(a);
	aml_close(a);

	aml_res_memory(&ecam, (uint32_t)PCI_ECAM_BASE, (uint32_t)PCI_ECAM_SIZE);
	aml_device(a, "ECAM");
	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0C02"); /* motherboard resources */
	aml_name(a, "_UID");
	aml_integer(a, 0);
	resources(a, &ecam);
	aml_close(a);
}

static void virtio(struct aml *a, unsigned int n, const struct virtio_mmio_place *place)
{
	static const char hex[] = "0123456789ABCDEF";
	const char name[] = {'V', 'R', hex[n >> 4 & 15], hex[n & 15], '\0'};
	struct aml_resources r = {.len = 0};

	aml_res_memory(&r, (uint32_t)place->base, (uint32_t)VIRTIO_MMIO_SIZE);
	aml_res_interrupt(&r, place->pin, true, false);
	aml_device(a, name);
	aml_name(a, "_HID");
	aml_string(a, "LNRO0005");
	aml_name(a, "_UID");
	aml_integer(a, n);
	resources(a, &r);
	aml_close(a);
}

int dsdt_build(const struct acpi_config *cfg, void *buffer, size_t size)
{
	struct aml a;

	aml_init(&a, buffer, size);
	aml_scope(&a, "\\_SB");
	serial_port(&a);
	power_button(&a);
	generation_id(&a);
	vmclock(&a);
	if (cfg->pci && cfg->hotplug)
		hotplug_registers(&a);
	event_device(&a, cfg->pci && cfg->hotplug);
	pvpanic_device(&a);
	if (cfg->pci)
		pci_root(&a, cfg);
	for (unsigned int i = 0; i < cfg->virtio_count; i++)
		virtio(&a, i, &cfg->virtio[i]);
	aml_close(&a);
	/* 7.4.2: what to write as SLP_TYP to power off; the second is of registers that are not
	 * here. */
	aml_name(&a, "\\_S5");
	aml_package(&a, 4);
	aml_integer(&a, POWER_S5);
	for (int i = 0; i < 3; i++)
		aml_integer(&a, 0);
	aml_close(&a);
	return a.failed ? -ENOSPC : (int)a.len;
}
