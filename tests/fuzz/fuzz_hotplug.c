/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI hotplug: devices come and go, as whoever adds and removes them says, while a guest reads and
 * writes its registers and looks at slots. What a register says is held against what has happened;
 * the line is up while the guest has not read all; a slot shows who is in it and nobody else; and
 * no two devices have the same room.
 */
#include "fuzz.h"
#include "devices/pci/bus.h"
#include "devices/pci/hotplug.h"

#define UNITS 6

struct unit {
	struct pci_function f;
	int slot; /* 0: not on the bus */
	bool hidden;
};

struct vm {
	struct bus pio, mmio;
	struct pci_bus pci;
	struct pci_hotplug hotplug;
	struct unit units[UNITS];
	uint32_t up, down; /* as they are to be */
	uint32_t ejected, answered;
	bool line;
};

static void set_line(void *ctx, bool level)
{
	((struct vm *)ctx)->line = level;
}

static void eject(void *ctx, uint32_t slots)
{
	check(slots && !(slots & 1));
	((struct vm *)ctx)->ejected |= slots;
}

static void answered(void *ctx, unsigned int slot, uint32_t status)
{
	check(slot && slot < PCI_SLOTS);
	((struct vm *)ctx)->answered |= 1u << slot;
}

static void nothing_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	memset(data, 0, len);
}

static void nothing_written(void *dev, uint64_t offset, const void *data, unsigned int len)
{
}

static const struct bus_ops ops = {nothing_read, nothing_written};

static void make_unit(struct unit *u, uint8_t how)
{
	static const struct pci_id id = {.vendor = 0x1234, .device = 1, .class_code = 0xff0000};

	memset(u, 0, sizeof(*u));
	check(pci_function_init(&u->f, &id) == 0);
	check(pci_function_add_bar(&u->f, 0, UINT64_C(16) << (how & 31) % 26, how & 32, &ops, u) ==
	      0);
	if (how & 64)
		check(pci_function_add_bar(&u->f, 2, 4096, false, &ops, u) == 0);
}

static void comes(struct vm *vm, struct unit *u, uint8_t how)
{
	if (u->slot)
		return;
	make_unit(u, how);
	u->slot = how & 128 ? pci_bus_plug(&vm->pci, &u->f) : pci_bus_plug_late(&vm->pci, &u->f);
	if (u->slot < 0) {
		u->slot = 0;
		pci_function_fini(&u->f);
		return;
	}
	check(u->slot > 0 && u->slot < PCI_SLOTS);
	pci_hotplug_came(&vm->hotplug, (unsigned int)u->slot);
	vm->up |= 1u << u->slot;
	vm->down &= ~(1u << u->slot);
}

static void goes(struct vm *vm, struct unit *u)
{
	if (!u->slot)
		return;
	pci_bus_unplug(&vm->pci, (unsigned int)u->slot, &u->f);
	pci_hotplug_gone(&vm->hotplug, (unsigned int)u->slot);
	vm->up &= ~(1u << u->slot);
	vm->down &= ~(1u << u->slot);
	pci_function_fini(&u->f);
	u->slot = 0;
	u->hidden = false;
}

static void reads(struct vm *vm, uint64_t at, unsigned int len)
{
	uint64_t value = 0, expected = 0;

	check(bus_read(&vm->pio, PCI_HOTPLUG_PORT + at, &value, len));
	if (len == 4 && at == PCI_HOTPLUG_UP) {
		expected = vm->up;
		vm->up = 0;
	} else if (len == 4 && at == PCI_HOTPLUG_DOWN) {
		expected = vm->down;
		vm->down = 0;
	}
	check(value == expected);
}

static void writes(struct vm *vm, uint64_t at, unsigned int len, uint64_t value)
{
	const uint32_t slots = len == 4 && at == PCI_HOTPLUG_EJECT ? (uint32_t)value & ~1u : 0;

	const uint32_t told = len == 4 && at > PCI_HOTPLUG_OST && at % 4 == 0
				      ? 1u << (at - PCI_HOTPLUG_OST) / 4
				      : 0;

	vm->ejected = vm->answered = 0;
	check(bus_write(&vm->pio, PCI_HOTPLUG_PORT + at, &value, len));
	check(vm->ejected == slots && vm->answered == told);
}

static bool meet(const struct pci_bar *a, const struct pci_bar *b)
{
	return a->size && b->size && a->home < b->home + b->size && b->home < a->home + a->size;
}

static void check_all(struct vm *vm)
{
	bool seen[PCI_SLOTS] = {true};

	check(vm->line == ((vm->up | vm->down) != 0));
	for (unsigned int i = 0; i < UNITS; i++) {
		struct unit *u = &vm->units[i];

		if (!u->slot)
			continue;
		if (!u->hidden)
			seen[u->slot] = true;
		for (unsigned int k = 0; k < UNITS; k++)
			for (unsigned int b = 0; b < PCI_BARS * PCI_BARS; b++)
				check(k == i || !vm->units[k].slot || vm->units[k].hidden ||
				      u->hidden ||
				      !meet(&u->f.bars[b / PCI_BARS],
					    &vm->units[k].f.bars[b % PCI_BARS]));
	}
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++) {
		uint32_t value;

		check(bus_read(&vm->mmio, PCI_ECAM_BASE + ((uint64_t)slot << 15), &value, 4));
		check((value != UINT32_MAX) == seen[slot]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm vm;

	memset(&vm, 0, sizeof(vm));
	vm.hotplug.set_line = set_line;
	vm.hotplug.eject = eject;
	vm.hotplug.answered = answered;
	vm.hotplug.ctx = &vm;
	check(pci_bus_init(&vm.pci, &vm.pio, &vm.mmio) == 0);
	check(pci_hotplug_add(&vm.hotplug, &vm.pio) == 0);
	while (size) {
		uint8_t op = (uint8_t)fuzz_take(&data, &size, 1);
		unsigned int len = 1u << (op >> 3 & 3);
		struct unit *u = &vm.units[(op >> 3) % UNITS];
		uint64_t at;

		switch (op & 7) {
		case 0:
			comes(&vm, u, (uint8_t)fuzz_take(&data, &size, 1));
			break;
		case 1:
			goes(&vm, u);
			break;
		case 2: /* let go of, and not off the bus yet */
			if (!u->slot)
				break;
			pci_bus_hide(&vm.pci, (unsigned int)u->slot);
			u->hidden = true;
			break;
		case 3:
			if (!u->slot)
				break;
			pci_hotplug_ask(&vm.hotplug, (unsigned int)u->slot);
			vm.down |= 1u << u->slot;
			break;
		case 4:
			at = fuzz_take(&data, &size, 1) % PCI_HOTPLUG_PORTS;
			if (at + len <= PCI_HOTPLUG_PORTS)
				reads(&vm, at, len);
			break;
		case 5:
			at = fuzz_take(&data, &size, 1) % PCI_HOTPLUG_PORTS;
			if (at + len <= PCI_HOTPLUG_PORTS)
				writes(&vm, at, len, fuzz_take(&data, &size, len));
			break;
		case 6:
			if (u->slot && !u->hidden)
				pci_function_reset(&u->f);
			break;
		default:
			pci_hotplug_reset(&vm.hotplug);
			vm.up = vm.down = 0;
			break;
		}
		check_all(&vm);
	}
	for (unsigned int i = 0; i < UNITS; i++)
		goes(&vm, &vm.units[i]);
	pci_bus_fini(&vm.pci);
	return 0;
}
