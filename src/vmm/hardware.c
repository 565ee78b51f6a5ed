/* SPDX-License-Identifier: Apache-2.0 */
/* The machine around the vCPUs as its guest is told of it: tables, device tree, command line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/cmdline.h"
#include "vmm/devtree.h"
#include "vmm/vm.h"

/* On the command line of kernels that get no ACPI tables. */
#define STRING(x)   #x
#define VALUE_OF(x) STRING(x)
#define NO_ACPI	    "acpi=off pmtmr=" VALUE_OF(POWER_TIMER_PORT)

/* virtio_mmio.device=SIZE@BASE:IRQ for each window, each after a blank. */
#define DEVICE_ARG_MAX 48

static void device_args(char *text, const struct virtio_mmio_place *places, unsigned int n)
{
	text[0] = '\0';
	for (unsigned int i = 0; i < n; i++)
		text += snprintf(text, DEVICE_ARG_MAX, " virtio_mmio.device=4K@0x%llx:%u",
				 (unsigned long long)places[i].base, places[i].pin);
}

/*
 * Returns our part of the command line of Linux images; NULL: no memory.
 *
 * Without kvmclock Linux takes the TSC's frequency from here (5.9 and later), if CPUID has not told
 * it: the PM timer is asked too late for a kernel without ACPI to do without the PIT, and is not
 * believed where an access takes more than some 20 us.
 *
 * Without ACPI Linux believes in a PIT, and holds its APIC timer against that unless there is a PM
 * timer; and a kernel that has ACPI, too, would complain that there are no tables.
 */
static char *linux_args(struct catnap_vm *vm, const struct virtio_mmio_place *places,
			unsigned int n)
{
	char devices[VM_VIRTIO_MAX * DEVICE_ARG_MAX + 1], tsc[40] = "", *ours, *all;
	uint32_t khz = vm->clock.tsc ? vm->clock.khz : vm->kvm.tsc_khz;
	bool acpi = vm->cfg.hw == CATNAP_HW_ACPI;

	device_args(devices, places, vm->cfg.hw == CATNAP_HW_MPTABLE ? n : 0);
	if (khz)
		snprintf(tsc, sizeof(tsc), "tsc_early_khz=%u%s", khz, acpi ? "" : " ");
	if (asprintf(&ours, "%s%s%s", tsc, acpi ? "" : NO_ACPI, devices) < 0)
		return NULL;
	all = cmdline_add(vm->linux_given, ours);
	free(ours);
	return all;
}

/* Makes the command line of Linux images, for the loader and for the device tree. */
static int make_cmdline(struct catnap_vm *vm, const struct virtio_mmio_place *places,
			unsigned int n)
{
	struct load_request cmdline = {.cmdline = NULL};

	/* The caller's strings are there the first time only. */
	if (!vm->cmdline)
		vm->cmdline = strdup(vm->cfg.cmdline ? vm->cfg.cmdline : "");
	if (!vm->linux_given)
		vm->linux_given = strdup(vm->cfg.linux_cmdline ? vm->cfg.linux_cmdline : "");
	if (!vm->cmdline || !vm->linux_given)
		return -ENOMEM;
	cmdline.cmdline = vm->cmdline;
	free(vm->linux_args);
	free(vm->bootargs);
	vm->bootargs = NULL;
	vm->linux_args = linux_args(vm, places, n);
	if (!vm->linux_args)
		return -ENOMEM;
	cmdline.linux_cmdline = vm->linux_args;
	vm->bootargs = load_linux_cmdline(&cmdline);
	return vm->bootargs ? 0 : -ENOMEM;
}

/* Writes anew what the loader has put into guest memory. */
static int write_again(struct catnap_vm *vm, struct error *err)
{
	const struct load_places *p = &vm->places;

	if (p->acpi)
		memcpy(memory_at(&vm->memory, ACPI_BASE, ACPI_SIZE), vm->acpi.bytes, vm->acpi.len);
	if (p->cmdline && load_linux_again(&vm->memory, p, vm->bootargs) < 0)
		return error_fail(
			err, -ENOSPC,
			"the command line has %zu bytes with the devices that are added; this "
			"kernel takes %u",
			strlen(vm->bootargs), p->cmdline_room - 1);
	if (p->cmdline)
		return 0;
	return p->dtb ? load_linux_dtb(&vm->memory, p, vm->dtb, vm->dtb_len) : 0;
}

int hardware_describe(struct catnap_vm *vm, struct error *err)
{
	struct virtio_mmio_place places[VM_VIRTIO_MAX];
	unsigned int windows = vm->cfg.transport == CATNAP_TRANSPORT_MMIO ? vm->virtio_count : 0;
	const struct acpi_config config = {.vcpus = vm->cfg.vcpus,
					   .pci = vm->pci_made,
					   .hotplug = vm->cfg.hotplug,
					   .virtio = places,
					   .virtio_count = windows,
					   .memory = &vm->memory};
	struct devtree_config tree = {.vcpus = vm->cfg.vcpus,
				      .memory = &vm->memory,
				      .pci = vm->pci_made,
				      .virtio = places,
				      .virtio_count = windows};
	struct acpi acpi = {.count = 0};
	size_t dtb_len = 0;
	void *dtb = NULL;
	int ret;

	for (unsigned int i = 0; i < windows; i++)
		places[i] = vm->virtio[i]->place;
	ret = make_cmdline(vm, places, windows);
	tree.cmdline = vm->bootargs;
	if (ret == 0)
		ret = acpi_build(&config, &acpi);
	if (ret == 0)
		ret = devtree_build(&tree, &dtb, &dtb_len);
	if (ret == 0) {
		acpi_free(&vm->acpi);
		free(vm->dtb);
		vm->acpi = acpi;
		vm->dtb = dtb;
		vm->dtb_len = dtb_len;
		ret = write_again(vm, err);
	} else {
		acpi_free(&acpi);
	}
	if (ret == -ENOSPC && !err->text[0])
		error_set(err,
			  "the description of %u vCPUs and %u devices does not fit in its place",
			  vm->cfg.vcpus, windows);
	return ret;
}

void hardware_fini(struct catnap_vm *vm)
{
	acpi_free(&vm->acpi);
	free(vm->dtb);
	free(vm->linux_args);
	free(vm->bootargs);
	free(vm->cmdline);
	free(vm->linux_given);
	vm->dtb = NULL;
	vm->linux_args = vm->bootargs = vm->cmdline = vm->linux_given = NULL;
}

int catnap_vm_get_acpi_table(struct catnap_vm *vm, uint32_t index, const char **name,
			     const void **data, size_t *len)
{
	const struct acpi_table *t;

	if (vm_in_child(vm, "get_acpi_table"))
		return -EPERM;
	if (!name || !data || !len)
		return vm_no_place(vm, "get_acpi_table: name, data, len");
	if (index >= vm->acpi.count)
		return vm_fail(vm, -ENOENT, "get_acpi_table: there is no table %u: there are %u",
			       index, vm->acpi.count);
	t = &vm->acpi.tables[index];
	*name = t->name;
	*data = vm->acpi.bytes + t->offset;
	*len = t->len;
	return 0;
}

int catnap_vm_get_device_tree(struct catnap_vm *vm, const void **data, size_t *len)
{
	if (vm_in_child(vm, "get_device_tree"))
		return -EPERM;
	if (!data || !len)
		return vm_no_place(vm, "get_device_tree: data, len");
	*data = vm->dtb;
	*len = vm->dtb_len;
	return 0;
}
